r"""Whitening: uncorrelated features of variance 1.

.. math:: z = (x - \mu) W, \qquad W = V \Lambda^{-1/2} \quad\text{(PCA)}, \qquad
    W = V (\Lambda + \epsilon)^{-1/2} V^\top \quad\text{(ZCA)}

for the covariance's eigenvalues Lambda and their eigenvectors V: in PCA those of the
leading components, in ZCA all, turned back to the axes of x.
"""

import operator
from collections.abc import Callable, Iterator
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
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
def pca_whiten(
    x: Float[Array | np.ndarray, "n d"],
    components: int,
    epsilon: float = 1e-6,
    block: int | None = None,
) -> Whitening:
    """Project on the leading principal components and scale each to variance 1.

    Variances are unbiased (over n - 1) and at least `epsilon` times the largest: directions
    of smaller variance are rounding error and would otherwise be amplified. Signs are such
    that the largest weight of each component is positive. Computed in float32 at least.

    Caron et al. 2018, "Deep Clustering", https://arxiv.org/abs/1807.05520, whiten features
    to 256 components before k-means, and normalize them to length 1 after.

    Args:
      x: samples. A numpy array stays on the host if there is a `block`: memory of the
        device is [block, d], [d, d] and the result, in place of [n, d].
      components: number of principal components.
      epsilon: least variance of a component, as a fraction of the largest.
      block: samples at a time, in three passes: means, covariances and projections, which
        are added up in float32; None: all.

    Raises:
      ValueError: when x is not float[n, d], `components` not in 1 ... d, or `block` below
        1.

    >>> x = jnp.array([[0.0, 5.0], [2.0, 5.0]])    # variance 2 along the first axis
    >>> z = pca_whiten(x, 1).z
    >>> print(f"{z[0, 0]:.4f} {z[1, 0]:.4f}")    # -1 and 1, over sqrt(2)
    -0.7071 0.7071
    """
    n, d = expect("pca_whiten", x=(x, "n d")).values()
    if not 1 <= components <= d:
        raise ValueError(f"pca_whiten: components must be in 1 ... d={d}, got {components}")
    block = max(n, 1) if block is None else block
    if block < 1:
        raise ValueError(f"pca_whiten: block must be at least 1, got {block}")

    def over(function: Callable[[Array], Array]) -> Iterator[Array]:
        """`function` of each block; one at a time, since JAX does not wait for results."""
        for begin in range(0, max(n, 1), block):
            (rows,) = widen(jnp.asarray(x[begin : begin + block]))
            yield jax.block_until_ready(function(rows))

    mean = reduce(operator.add, over(lambda rows: rows.sum(0))) / n

    def scatter(rows):
        rows = rows - mean[None]
        return dots(rows.T, rows.T)

    variances, axes = jnp.linalg.eigh(reduce(operator.add, over(scatter)) / max(n - 1, 1))
    variances, axes = variances[::-1][:components], axes[:, ::-1][:, :components]
    largest = jnp.take_along_axis(axes, jnp.abs(axes).argmax(0)[None], axis=0)
    axes = jnp.where(largest < 0, -axes, axes)
    variances = jnp.maximum(variances, epsilon * variances[0])
    scale = jnp.where(variances > 0, variances, jnp.inf) ** -0.5
    projection = axes * scale[None]
    z = [*over(lambda rows: dots(rows - mean[None], projection.T))]
    return Whitening(jnp.concatenate(z), mean, projection)


class Zca(NamedTuple):
    """ZCA whitening of samples of any shape, flattened: (x - mean) @ matrix.

    Attributes:
      mean: [d].
      matrix: symmetric [d, d].
    """

    mean: np.ndarray
    matrix: np.ndarray

    def __call__(self, x: Float[Array, "n *shape"]) -> Float[Array, "n *shape"]:
        flat = x.reshape(len(x), -1) - self.mean
        return dots(flat, jnp.asarray(self.matrix)).reshape(x.shape)


def zca(x: Float[np.ndarray, "n d"], epsilon: float = 0.0) -> Zca:
    """Fits ZCA whitening: of all whitenings the one that changes samples least.

    On the host, in float64, by blocks of samples; the result is float32. Covariances are
    unbiased. Directions in which samples do not vary are removed if epsilon is 0.

    Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images", appendix A.
    https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf

    Args:
      x: samples.
      epsilon: added to the variances: 0.1 in Mean Teacher, of images of length 55, and 0 in
        VAT.

    Raises:
      ValueError: when x is not float[n, d] of two samples or more, or epsilon is negative.

    >>> fitted = zca(np.array([[0.0, 5.0], [2.0, 5.0]]))    # variances 2 and 0
    >>> print(fitted(jnp.array([[2.0, 5.0]])).round(4))    # 1 / sqrt(2), and nothing
    [[0.7071 0.    ]]
    """
    n, d = expect("zca", x=(x, "n d")).values()
    if n < 2 or not epsilon >= 0:
        raise ValueError(
            f"zca: wanted two samples or more and epsilon >= 0, got {n} and {epsilon}"
        )
    mean, scatter = x.mean(0, dtype=np.float64), np.zeros((d, d))
    for begin in range(0, n, 4096):
        rows = x[begin : begin + 4096] - mean
        scatter += rows.T @ rows
    variances, axes = np.linalg.eigh(scatter / (n - 1))
    variances = variances + epsilon
    varied = variances > d * np.finfo(np.float64).eps * max(variances[-1], 1e-300)
    scale = np.where(varied, np.where(varied, variances, 1.0) ** -0.5, 0.0)
    matrix = axes * scale @ axes.T
    return Zca(mean.astype(np.float32), matrix.astype(np.float32))


def contrast_normalize(x: Float[Array | np.ndarray, "n *shape"], length: float = 55.0):
    """Global contrast normalization: each sample minus its mean, scaled to a length.

    Constant samples become 0. Numpy arrays give numpy arrays.

    Goodfellow et al. 2013, "Maxout Networks", section 5.2. https://arxiv.org/abs/1302.4389

    >>> print(contrast_normalize(np.array([[0.0, 2.0]]), length=2.0**0.5))
    [[-1.  1.]]
    """
    axes = tuple(range(1, x.ndim))
    x = x - x.mean(axes, keepdims=True)
    norm = (x * x).sum(axes, keepdims=True) ** 0.5
    return length * x / (norm + (norm < 1e-8))
