"""Lengths, directions and log-sum-exps whose gradients are finite everywhere.

The length of a vector has no gradient at 0 and its direction none either; `jnp.where`
around the quotient is not enough, for 0 * inf is nan on the way back. Hence a `where`
inside as well.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jssl.ops.gather import psum


def norm(x: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """The Euclidean length of the last axis, whose gradient at 0 is 0.

    >>> print(norm(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
    [5. 0.]
    >>> print(jax.grad(norm)(jnp.zeros(2)))
    [0. 0.]
    """
    square = jnp.square(x).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def unit(x: Float[Array, "*n d"], eps: float = 1e-12) -> Float[Array, "*n d"]:
    """Vectors scaled to length 1 along the last axis.

    One no longer than eps has no direction: it becomes 0, and passes no gradient.

    >>> print(unit(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
    [[0.6 0.8]
     [0.  0. ]]
    >>> print(jax.grad(lambda x: unit(x).sum())(jnp.zeros(2)))
    [0. 0.]
    """
    square = jnp.square(x).sum(-1, keepdims=True)
    long = square > eps**2
    return jnp.where(long, x / jnp.sqrt(jnp.where(long, square, 1)), 0)


def cosine(a: Float[Array, "*n d"], b: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """The cosine of each vector of a with the same one of b; 0 where either is 0.

    >>> print(f"{cosine(jnp.array([3.0, 4.0]), jnp.array([0.0, 2.0])):.1f}")
    0.8
    """
    return (unit(a) * unit(b)).sum(-1)


def dots(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """The inner product of every row of a with every row of b.

    In full float32: accelerators would round the factors to bfloat16 or TF32, an error
    that a temperature of 0.07 multiplies by 14.

    >>> print(dots(jnp.eye(2), jnp.array([[1.0, 2.0]])))
    [[1.]
     [2.]]
    """
    return jnp.matmul(a, b.T, precision=lax.Precision.HIGHEST)


def layer_norm(x: Float[Array, "*n d"], eps: float = 1e-5) -> Float[Array, "*n d"]:
    """Vectors with mean 0 and variance 1 along the last axis: no gain and no bias.

    eps is that of torch.

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

    The largest x is taken out first, so nothing overflows. Over nothing it is -inf.

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
