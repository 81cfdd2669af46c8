r"""PCA whitening: uncorrelated features of variance 1, leading components first.

.. math:: z = (x - \mu) W, \qquad W = V \Lambda^{-1/2}

for the covariance's largest eigenvalues Lambda and their eigenvectors V.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl.ops.explicit import compares_rows
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import dots


class Whitening(NamedTuple):
    """Whitened samples, and the transform for others: (x - mean) @ projection.

    Attributes:
      z: [n, c].
      mean: [d].
      projection: [d, c].
    """

    z: Float[Array, "n c"]
    mean: Float[Array, " d"]
    projection: Float[Array, "d c"]


@compares_rows(like="x")
def pca_whiten(x: Float[Array, "n d"], components: int, epsilon: float = 1e-6) -> Whitening:
    """Project on the leading principal components and scale each to variance 1.

    Variances are unbiased (over n - 1) and at least `epsilon` times the largest: directions
    of smaller variance are rounding error and would otherwise be amplified. Signs are such
    that the largest weight of each component is positive. Computed in float32 at least.

    Caron et al. 2018, "Deep Clustering", https://arxiv.org/abs/1807.05520, whiten features
    to 256 components before k-means, and normalize them to length 1 after.

    Raises:
      ValueError: when x is not float[n, d], or `components` not in 1 ... d.

    >>> x = jnp.array([[0.0, 5.0], [2.0, 5.0]])    # variance 2 along the first axis
    >>> z = pca_whiten(x, 1).z
    >>> print(f"{z[0, 0]:.4f} {z[1, 0]:.4f}")    # -1 and 1, over sqrt(2)
    -0.7071 0.7071
    """
    n, d = expect("pca_whiten", x=(x, "n d")).values()
    if not 1 <= components <= d:
        raise ValueError(f"pca_whiten: components must be in 1 ... d={d}, got {components}")
    (x,) = widen(x)
    mean = x.mean(0)
    x = x - mean[None]
    variances, axes = jnp.linalg.eigh(dots(x.T, x.T) / max(n - 1, 1))
    variances, axes = variances[::-1][:components], axes[:, ::-1][:, :components]
    largest = jnp.take_along_axis(axes, jnp.abs(axes).argmax(0)[None], axis=0)
    axes = jnp.where(largest < 0, -axes, axes)
    variances = jnp.maximum(variances, epsilon * variances[0])
    scale = jnp.where(variances > 0, variances, jnp.inf) ** -0.5
    projection = axes * scale[None]
    return Whitening(dots(x, projection.T), mean, projection)
