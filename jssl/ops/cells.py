"""Means over a grid of cells, as in adaptive average pooling."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def cell_means(x: Float[Array | np.ndarray, "n *places d"], cells: Sequence[int]) -> Array:
    """Averages the places of each row over a grid of cells: [n, *cells, d].

    Cell i of k along an axis of length l goes from floor(i l / k) to ceil((i + 1) l / k).

    Args:
      x: rows of places: [n, l, d], [n, h, w, d], [n, t, h, w, d].
      cells: number of cells along each axis of places.

    >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> cell_means(x, (2, 2))[0, ..., 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    for axis, count in enumerate(cells, 1):
        x = jnp.tensordot(x, _shares(count, x.shape[axis]), ((axis,), (1,)))
        x = jnp.moveaxis(x, -1, axis)
    return x


def _shares(cells, length):
    """[cells, length]: the share of each place in the mean of each cell."""
    share = np.zeros((cells, length), np.float32)
    for i in range(cells):
        share[i, i * length // cells : -(-(i + 1) * length // cells)] = 1
    return share / share.sum(1, keepdims=True)
