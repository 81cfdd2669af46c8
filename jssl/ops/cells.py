"""Means and maxima over a grid of cells, as in adaptive pooling, and their first pixels."""

from collections.abc import Sequence

import jax
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


def cell_maxima(x: Float[Array | np.ndarray, "n *places d"], cells: Sequence[int]) -> Array:
    """Largest values of the places of each row over a grid of cells: [n, *cells, d].

    Args and cells are those of `cell_means`.

    >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> cell_maxima(x, (2, 2))[0, ..., 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    x = jnp.asarray(x)
    for axis, count in enumerate(cells, 1):
        parts = [
            jax.lax.slice_in_dim(x, low, high, axis=axis).max(axis)
            for low, high in _edges(count, x.shape[axis])
        ]
        x = jnp.stack(parts, axis)
    return x


def first_pixels(maps: Float[Array, "n h w c"], shape: Sequence[int]) -> Array:
    """The first pixel of each s x s cell: [n, ceil(h / s), ceil(w / s), c].

    The targets of a network with one prediction for each cell: subsampling, without means,
    which would mix colors.

    Args:
      maps: [n, h, w, c].
      shape: of the predictions, [n, h', w', ...]; s is ceil(h / h').

    Raises:
      ValueError: when there are no such cells.

    >>> first_pixels(jnp.arange(16.0).reshape(1, 4, 4, 1), (1, 2, 2, 9))[0, ..., 0].tolist()
    [[0.0, 2.0], [8.0, 10.0]]
    """
    every = -(-maps.shape[1] // shape[1])
    cells = maps[:, ::every, ::every]
    if cells.shape[:3] != tuple(shape[:3]):
        raise ValueError(
            "first_pixels: there must be one prediction for each cell of s x s pixels, got "
            f"predictions {list(shape)} for maps {list(maps.shape)}"
        )
    return cells


def _shares(cells, length):
    """[cells, length]: the share of each place in the mean of each cell."""
    share = np.zeros((cells, length), np.float32)
    for i, (low, high) in enumerate(_edges(cells, length)):
        share[i, low:high] = 1
    return share / share.sum(1, keepdims=True)


def _edges(cells, length):
    """Begin and end of each cell along an axis."""
    return [(i * length // cells, -(-(i + 1) * length // cells)) for i in range(cells)]
