r"""Virtual adversarial training: smooth predictions around each sample.

For every sample, labeled or not, the perturbation r that changes the prediction most is
found, and the change is penalized:

.. math:: D(r, x) = KL\big(p(x) \Vert p(x + r)\big), \qquad
          \frac{1}{n} \sum_i \max_{\lVert r_i \rVert \le \epsilon} D(r_i, x_i)

Near r = 0 the divergence is r'Hr / 2, so the worst direction is the eigenvector of H
with the largest eigenvalue, found by power iteration from a random vector.

Miyato, Maeda, Koyama and Ishii, "Virtual Adversarial Training: A Regularization Method
for Supervised and Semi-Supervised Learning", TPAMI 2019.
https://arxiv.org/abs/1704.03976
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, ScalarLike

from jssl.ops.divergences import kl_divergence
from jssl.ops.precision import widen
from jssl.ops.shapes import expect


def vat(
    key: jax.Array,
    predict: Callable[[Array], Array],
    x: Float[Array, "n *d"],
    epsilon: ScalarLike,
    iterations: int = 1,
    xi: float | None = None,
    reverse: bool = False,
) -> Float[Array, ""]:
    r"""Divergence of predictions under each sample's virtual adversarial perturbation.

    .. math:: \frac{1}{n} \sum_i KL\big(\mathrm{sg}\, p(x_i) \Vert p(x_i + r_i)\big)

    with r of `vat_perturbation`. No gradient flows through r, nor through the clean
    prediction: only through p(x + r).

    Args:
      key: PRNG key for the first direction.
      predict: maps inputs to logits, each row independently; a closure over weights, with
        the same dropout key at every call and no update of batch statistics.
      x: samples.
      epsilon: norm of the perturbation, in the units of x; 1 to 4 suits images of
        28 x 28 pixels in [0, 1].
      iterations: number of power iterations (products with H).
      xi: see `vat_perturbation`.
      reverse: penalize KL(p(x + r) || p(x)), as some re-implementations do.

    Raises:
      ValueError: when x is not float[n, ...] or `predict`'s output not float[n, c].

    >>> flat = lambda x: jnp.zeros((len(x), 3))
    >>> print(vat(jax.random.key(0), flat, jnp.ones((4, 2)), epsilon=1.0))
    0.0
    """
    r = vat_perturbation(key, predict, x, epsilon, iterations, xi)
    clean, moved = lax.stop_gradient(predict(x)), predict(x + r)
    pair = (moved, clean) if reverse else (clean, moved)
    return kl_divergence(*pair).mean()


def vat_perturbation(
    key: jax.Array,
    predict: Callable[[Array], Array],
    x: Float[Array, "n *d"],
    epsilon: ScalarLike,
    iterations: int = 1,
    xi: float | None = None,
) -> Float[Array, "n *d"]:
    r"""Virtual adversarial perturbation: norm epsilon, largest change of prediction.

    .. math:: d \leftarrow \overline{H d}, \qquad r = \epsilon \, d

    from a random d, by power iteration; the bar normalizes each sample's d. Where H is 0
    (saturated predictions) d is left unchanged. No gradient flows through r.

    Args:
      key, predict, x, epsilon, iterations: as for `vat`.
      xi: None computes H d exactly, with forward-over-reverse differentiation, which
        does not support `jax.custom_vjp` inside `predict`. A number is the step of a
        finite difference instead: 1e-2 works in float32, while the paper's 1e-6 is lost
        in the rounding of x + xi d.

    Raises:
      ValueError: when x is not float[n, ...] or `predict`'s output not float[n, c].

    >>> slope = jnp.array([3.0, 4.0])    # of the logit of class 0: r is parallel to it
    >>> predict = lambda x: jnp.stack([x @ slope, jnp.zeros(1)], axis=1)
    >>> r = vat_perturbation(jax.random.key(0), predict, jnp.zeros((1, 2)), epsilon=2.0)
    >>> print(f"{abs(r[0, 0]):.4f} {abs(r[0, 1]):.4f}")    # 2 * (3, 4) / 5
    1.2000 1.6000
    """
    expect("vat_perturbation", x=(x, _batch_shape(x)))
    d = jax.random.normal(key, x.shape, x.dtype)
    d = _unit_rows(d, otherwise=d)
    # Unrolled: XLA's loops run the gradient of a convolution slowly on CPUs.
    for _ in range(iterations):
        d = _unit_rows(kl_hessian_vector_product(predict, x, d, xi), otherwise=d)
    return lax.stop_gradient(jnp.asarray(epsilon, d.dtype) * d)


def kl_hessian_vector_product(
    predict: Callable[[Array], Array],
    x: Float[Array, "n *d"],
    d: Float[Array, "n *d"],
    xi: float | None = None,
) -> Float[Array, "n *d"]:
    r"""Hessian-vector product H d of each sample, for the divergence at r = 0.

    .. math:: H = \nabla_r^2 \, KL\big(p(x) \Vert p(x + r)\big) \big|_{r = 0}
                = J^\top (\mathrm{diag}\, p - p p^\top) J

    for logits with Jacobian J at x. With a number for xi it is the finite difference
    of the gradient at xi d, else exact.

    Raises:
      ValueError: when x and d are not float[n, ...] of the same shape, or the output of
        `predict` is not float[n, c].

    >>> slope = jnp.array([3.0, 4.0])    # p = 1/2, so H = slope slope' / 4
    >>> predict = lambda x: jnp.stack([x @ slope, jnp.zeros(1)], axis=1)
    >>> hd = kl_hessian_vector_product(predict, jnp.zeros((1, 2)), jnp.eye(2)[:1])
    >>> print(hd)    # (9, 12) / 4
    [[2.25 3.  ]]
    """
    shape = _batch_shape(x)
    expect("kl_hessian_vector_product", x=(x, shape), d=(d, shape))
    clean = lax.stop_gradient(predict(x))
    expect("predict", x=(x, shape), logits=(clean, "n c"))

    def divergence(r):
        return kl_divergence(clean, predict(x + r)).sum()

    slope = jax.grad(divergence)
    if xi is None:
        return jax.jvp(slope, (jnp.zeros_like(x),), (d,))[1]
    return slope(xi * d) / xi


def _batch_shape(x):
    return " ".join(["n", *(f"d{i}" for i in range(1, jnp.ndim(x)))])


def _unit_rows(d, otherwise):
    """Each sample's d normalized to length 1, or `otherwise` where d is 0."""
    (wide,) = widen(d)
    axes = tuple(range(1, d.ndim))
    # Divide by the largest entry first: squares of tiny entries would underflow.
    top = jnp.abs(wide).max(axes, keepdims=True)
    zero = top <= 0
    wide = wide / jnp.where(zero, 1, top)
    length = jnp.sqrt(jnp.square(wide).sum(axes, keepdims=True))
    wide = wide / jnp.where(zero, 1, length)
    return jnp.where(zero, otherwise, wide.astype(d.dtype))
