r"""Redundancy reduction: features invariant between views and decorrelated.

Without negatives or asymmetry, collapse is prevented by constraints on batch statistics:
Barlow Twins drives the cross-correlation of the two views to the identity, VICReg the
variances to 1 and covariances to 0, W-MSE whitens, LeJEPA tests for a Gaussian.

With `axis_name`, under `pmap` or `shard_map`, the statistics are those of all devices.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, ScalarLike

from jssl.ops.explicit import compares_rows
from jssl.ops.gather import gather, pmean, psum
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import unit


def barlow_twins(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    weight: ScalarLike = 0.005,
    eps: float = 1e-5,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Barlow Twins: distance of the views' cross-correlation C from the identity.

    .. math:: \sum_i (1 - C_{ii})^2 + \lambda \sum_{i \neq j} C_{ij}^2

    weight is lambda (0.0051 in the paper). For constant features, and for n = 1, C = 0
    and the loss is d.

    Zbontar et al. 2021, eq. 1. https://arxiv.org/abs/2103.03230

    Raises:
      ValueError: when shapes differ.

    >>> a = jnp.array([[1.0, 1.0], [-1.0, -1.0]])    # one feature twice: C is all 1
    >>> print(f"{barlow_twins(a, a, weight=0.5):.3f}")    # 0 + 0.5 * 2
    1.000
    """
    c = cross_correlation(a, b, eps, axis_name)
    return jnp.square(1 - jnp.diag(c)).sum() + weight * _off_diagonal(c)


@compares_rows
def cross_correlation(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    eps: float = 1e-5,
    axis_name: str | None = None,
) -> Float[Array, "d d"]:
    r"""Correlation of each feature of `a` with each feature of `b`, over the batch.

    .. math:: C_{ij} = \frac{1}{n} \sum_n \tilde a_{ni} \tilde b_{nj}, \qquad
              \tilde a = \frac{a - \mathrm{mean}}{\sqrt{\mathrm{var} + \epsilon}}

    with the variance over n, not n - 1, as in batch normalization.

    >>> c = cross_correlation(jnp.array([[1.0], [3.0]]), jnp.array([[8.0], [2.0]]))
    >>> print(c.round(3))
    [[-1.]]
    """
    expect("cross_correlation", a=(a, "n d"), b=(b, "n d"))
    a, b = (_standard(x, eps, axis_name) for x in widen(a, b))
    return pmean(_products(a, b) / len(a), axis_name)


def vicreg(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    invariance: ScalarLike = 25.0,
    variance: ScalarLike = 25.0,
    covariance: ScalarLike = 1.0,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""VICReg: weighted sum of the variance, invariance and covariance `vicreg_terms`.

    Bardes, Ponce and LeCun 2022, eq. 6. https://arxiv.org/abs/2105.04906

    Raises:
      ValueError: when shapes differ.

    >>> print(f"{vicreg(jnp.zeros((4, 2)), jnp.zeros((4, 2))):.2f}")    # 25 (1 - 0.01)
    24.75
    """
    terms = vicreg_terms(a, b, axis_name=axis_name)
    return (
        invariance * terms["invariance"]
        + variance * terms["variance"]
        + covariance * terms["covariance"]
    )


@compares_rows
def vicreg_terms(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    gamma: ScalarLike = 1.0,
    eps: float = 1e-4,
    axis_name: str | None = None,
) -> dict[str, Float[Array, ""]]:
    r"""VICReg's three terms, unweighted.

    .. math::
        \text{invariance} &= \frac{1}{nd} \sum (a - b)^2 \\
        \text{variance} &= \frac{v(a) + v(b)}{2}, \quad
        v(z) = \frac{1}{d} \sum_j \max(0, \gamma - \sqrt{\mathrm{Var}_j + \epsilon}) \\
        \text{covariance} &= c(a) + c(b), \quad
        c(z) = \frac{1}{d} \sum_{i \neq j} \mathrm{Cov}_{ij}^2

    Variances are over n - 1. The variance term is halved as in the released code, not as
    in the paper's eq. 6. A single sample has variance 0.

    Bardes, Ponce and LeCun 2022, eq. 1 to 5. https://arxiv.org/abs/2105.04906

    Raises:
      ValueError: when shapes differ.

    >>> a = jnp.array([[1.0, 1.0], [-1.0, -1.0]])    # variances and covariance 2
    >>> terms = vicreg_terms(a, a)
    >>> print({k: round(float(x), 3) for k, x in terms.items()})    # 2 (2^2 + 2^2) / 2
    {'invariance': 0.0, 'variance': 0.0, 'covariance': 8.0}
    """
    expect("vicreg", a=(a, "n d"), b=(b, "n d"))
    a, b = widen(a, b)
    covariances = [_covariance(z, axis_name) for z in (a, b)]
    spread = [jnp.sqrt(jnp.diag(c) + eps) for c in covariances]
    return {
        "invariance": pmean(jnp.square(a - b).mean(), axis_name),
        "variance": sum(jax.nn.relu(gamma - s).mean() for s in spread) / 2,
        "covariance": sum(_off_diagonal(c) for c in covariances) / a.shape[1],
    }


@compares_rows
def w_mse(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    size: int | None = None,
    key: jax.Array | None = None,
    eps: float = 1e-4,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""W-MSE: squared distance of whitened, normalized features of two views.

    .. math:: \mathrm{mean}_i \; \lVert \hat v_i - \hat w_i \rVert^2, \qquad
              v = \mathrm{whiten}(a), \; w = \mathrm{whiten}(b)

    Each view is whitened in sub-batches of `size` rows (2 d in the paper), or as a whole;
    with a key the rows are shuffled first, identically in both views and on all devices.
    For more than two views, average over pairs. eps is passed to `whiten`; the paper's 0
    gives nan if the batch covariance is singular.

    Ermolov et al. 2021, eq. 1 to 5. https://arxiv.org/abs/2007.06346

    Raises:
      ValueError: when shapes differ, `size` does not divide the (global) batch, or
        eps = 0 and sub-batches have no more rows than features.

    >>> a = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    >>> print(f"{w_mse(a, -a):.3f}")    # opposite views: 2 - 2 cos = 4
    4.000
    """
    expect("w_mse", a=(a, "n d"), b=(b, "n d"))
    a, b = (gather(x, axis_name) for x in widen(a, b))
    size = len(a) if size is None else size
    if size < 1 or len(a) % size:
        raise ValueError(f"w_mse: size must divide the {len(a)} rows, got {size}")
    if key is not None:
        order = jax.random.permutation(key, len(a))
        a, b = a[order], b[order]
    groups = [x.reshape(-1, size, x.shape[1]) for x in (a, b)]
    v, w = (unit(jax.vmap(lambda z: whiten(z, eps))(x)) for x in groups)
    return pmean(jnp.square(v - w).sum(-1).mean(), axis_name)


@compares_rows(like="z")
def whiten(z: Float[Array, "n d"], eps: float = 0.0) -> Float[Array, "n d"]:
    r"""Whiten rows to mean 0 and covariance I, by the inverse of a Cholesky factor.

    .. math:: L^{-1} (z - \mu), \qquad
              L L^\top = (1 - \epsilon) \, \mathrm{Cov} + \epsilon \, \bar\sigma^2 I

    The covariance is over n - 1; \(\bar\sigma^2\) is the mean variance (the paper
    shrinks towards I; relative to the data, the scale of z does not matter and eps > 0
    is safe in float32). Features that are all constant become 0.

    Ermolov et al. 2021, section 3. https://arxiv.org/abs/2007.06346

    Raises:
      ValueError: when eps = 0 and there are no more rows than features.

    >>> z = whiten(jnp.array([[4.0], [2.0], [0.0]]))
    >>> print(z.ravel())
    [ 1.  0. -1.]
    """
    sizes = expect("whiten", z=(z, "n d"))
    if eps == 0 and sizes["n"] <= sizes["d"]:
        raise ValueError(
            f"whiten: {sizes['n']} rows of {sizes['d']} features have a singular "
            "covariance; use more rows, or eps > 0"
        )
    (z,) = widen(z)
    z = z - z.mean(0, keepdims=True)
    covariance = _products(z, z) / max(len(z) - 1, 1)
    level, eye = jnp.trace(covariance) / z.shape[1], jnp.eye(z.shape[1], dtype=z.dtype)
    varies = level > jnp.finfo(z.dtype).tiny
    level = jnp.where(varies, level, 1)
    shrunk = (1 - eps) * covariance / level + eps * eye
    factor = jnp.linalg.cholesky(jnp.where(varies, shrunk, eye))
    white = lax.linalg.triangular_solve(factor, z.T, left_side=True, lower=True).T
    return white / jnp.sqrt(level)


def sigreg(
    key: jax.Array,
    z: Float[Array, "n d"],
    slices: int = 256,
    knots: int = 17,
    reach: float = 5.0,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""LeJEPA's SIGReg: test statistic of z against a standard Gaussian.

    .. math:: \mathrm{mean}_u \; n \int \left| \frac{1}{n} \sum_k
              e^{\mathrm{i} t \, u \cdot z_k} - e^{-t^2/2} \right|^2 e^{-t^2/2} \, dt

    the Epps-Pulley test along `slices` random unit vectors u (the key must be the same on
    all devices and change each step), by the trapezoid rule on `knots` points from
    -reach to reach. It grows with the batch when z is not Gaussian. LeJEPA combines it
    with the squared distance between views.

    Balestriero and LeCun 2025, algorithm 1. https://arxiv.org/abs/2511.08544

    Raises:
      ValueError: when `z` is not float[n, d].

    >>> loss = sigreg(jax.random.key(0), jnp.zeros((1, 3)))
    >>> print(f"{loss:.3f}")    # sqrt(2 pi) (1 - sqrt(2) + 1 / sqrt(3))
    0.409
    """
    expect("sigreg", z=(z, "n d"))
    (z,) = widen(z)
    directions = unit(jax.random.normal(key, (slices, z.shape[1]), z.dtype))
    t = jnp.linspace(-reach, reach, knots, dtype=z.dtype)
    phase = jnp.matmul(z, directions.T, precision="highest")[..., None] * t[None, None]
    real, imaginary = pmean((jnp.cos(phase).mean(0), jnp.sin(phase).mean(0)), axis_name)
    window = jnp.exp(-jnp.square(t) / 2)[None]  # also the Gaussian's own transform
    error = (jnp.square(real - window) + jnp.square(imaginary)) * window
    n = psum(len(z), axis_name)
    return n * jnp.trapezoid(error.mean(0), t)


def _products(a, b):
    """The sum over samples of outer products: [d, d]."""
    return jnp.matmul(a.T, b, precision=lax.Precision.HIGHEST)


def _standard(x, eps, axis_name):
    """Features with mean 0 and (biased) variance 1 over the batch."""
    x = x - pmean(x.mean(0, keepdims=True), axis_name)
    variance = pmean(jnp.square(x).mean(0, keepdims=True), axis_name)
    return x / jnp.sqrt(variance + eps)


def _covariance(z, axis_name):
    """Covariance [d, d] over n - 1, or over 1 if n is 1."""
    z = z - pmean(z.mean(0, keepdims=True), axis_name)
    n = psum(len(z), axis_name)
    return psum(_products(z, z), axis_name) / max(n - 1, 1)


def _off_diagonal(c):
    """The sum of squares off the diagonal."""
    return jnp.square(jnp.where(jnp.eye(len(c), dtype=bool), 0, c)).sum()
