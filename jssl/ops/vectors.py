"""Norms, normalization and log-sum-exps with finite gradients everywhere.

The norm of a vector and its direction are not differentiable at 0. `jnp.where` around the
quotient is not enough, because 0 * inf is nan in the backward pass; hence a second `where`
inside. Conditions are true at what is replaced, since every comparison with nan is false:
nan stays nan.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jssl.ops.explicit import compares_rows
from jssl.ops.gather import psum


def norm(x: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """Euclidean norm over the last axis, with gradient 0 at 0.

    >>> print(norm(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
    [5. 0.]
    >>> print(jax.grad(norm)(jnp.zeros(2)))
    [0. 0.]
    """
    square = jnp.square(x).sum(-1)
    zero = square <= 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


def unit(x: Float[Array, "*n d"], eps: float = 1e-12) -> Float[Array, "*n d"]:
    """Normalize vectors to length 1 along the last axis.

    Vectors of norm at most eps become 0, with gradient 0.

    >>> print(unit(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
    [[0.6 0.8]
     [0.  0. ]]
    >>> print(jax.grad(lambda x: unit(x).sum())(jnp.zeros(2)))
    [0. 0.]
    """
    square = jnp.square(x).sum(-1, keepdims=True)
    short = square <= eps**2
    return jnp.where(short, 0, x / jnp.sqrt(jnp.where(short, 1, square)))


def cosine(a: Float[Array, "*n d"], b: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """Cosine similarity of corresponding vectors of a and b; 0 where either is 0.

    >>> print(f"{cosine(jnp.array([3.0, 4.0]), jnp.array([0.0, 2.0])):.1f}")
    0.8
    """
    return (unit(a) * unit(b)).sum(-1)


@compares_rows(like="a")
def dots(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Inner product of every row of a with every row of b.

    In full float32: by default accelerators round the factors to bfloat16 or TF32, an
    error that a temperature of 0.07 multiplies by 14.

    >>> print(dots(jnp.eye(2), jnp.array([[1.0, 2.0]])))
    [[1.]
     [2.]]
    """
    return jnp.matmul(a, b.T, precision=lax.Precision.HIGHEST)


def layer_norm(x: Float[Array, "*n d"], eps: float = 1e-5) -> Float[Array, "*n d"]:
    """Layer normalization over the last axis, without scale and bias.

    eps has torch's default.

    >>> print(layer_norm(jnp.array([1.0, 3.0])).round(3))
    [-1.  1.]
    """
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + eps)


def logsumexp(
    x: Float[Array, "..."],
    axis: int | tuple[int, ...] | None = None,
    where: Bool[Array, "..."] | None = None,
    axis_name: str | None = None,
) -> Float[Array, "..."]:
    """log of the sum of exp(x) over `axis`, and over the devices of `axis_name`.

    The maximum is subtracted first to avoid overflow. The sum over nothing gives -inf.

    >>> print(logsumexp(jnp.array([1e4, 1e4])) - 1e4 - jnp.log(2.0) < 1e-3)
    True
    """
    local = jax.nn.logsumexp(x, axis=axis, where=where)
    if axis_name is None:
        return local
    top = lax.pmax(lax.stop_gradient(local), axis_name)
    top = jnp.where(jnp.isfinite(top), top, 0)
    return top + jnp.log(psum(jnp.exp(local - top), axis_name))


def log_mean_exp(
    x: Float[Array, "..."],
    where: Bool[Array, "..."] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """log of the mean of exp(x), over the devices of `axis_name` too; 0 over nothing.

    >>> print(f"{log_mean_exp(jnp.log(jnp.array([1.0, 3.0]))):.4f}")    # log 2
    0.6931
    """
    where = jnp.ones(x.shape, bool) if where is None else where
    count = psum(where.sum(), axis_name).astype(x.dtype)
    some = count > 0
    total = logsumexp(x, where=where, axis_name=axis_name)
    return jnp.where(some, total - jnp.log(jnp.where(some, count, 1)), 0)
