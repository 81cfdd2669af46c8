"""Sine-cosine position embeddings in 1D, 2D and 3D, and resizing of learned ones.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; on a grid as in MAE, He et al. 2022.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jssl.ops.shapes import expect


def sincos_1d(width: int, positions: np.ndarray) -> np.ndarray:
    """1D embeddings [l, width]: sin, then cos of position * 10000^(-2k/width).

    Raises:
      ValueError: when `width` is odd.

    >>> sincos_1d(2, np.array([0.0, np.pi / 2])).round(6).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if width % 2:
        raise ValueError(f"sincos_1d: width must be even, got {width}")
    omega = 10000.0 ** (-np.arange(width // 2) / (width / 2))
    angles = np.outer(positions, omega)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def interleaved_sincos_1d(width: int, positions: np.ndarray) -> np.ndarray:
    """The numbers of `sincos_1d` in the order sin, cos, sin, cos ...: [l, width].

    The order of the original transformer, which VideoMAE's positions have.

    >>> interleaved_sincos_1d(4, np.array([0.0, np.pi / 2])).round(2).tolist()
    [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.02, 1.0]]
    """
    halves = sincos_1d(width, positions).reshape(len(positions), 2, width // 2)
    return halves.swapaxes(1, 2).reshape(len(positions), width)


def sincos_2d(width: int, rows: int, columns: int) -> np.ndarray:
    """2D embeddings [rows * columns, width], in row-major order.

    The first half encodes the column, the second the row, in the order of the authors'
    code. Every embedding has norm sqrt(width / 2).

    Raises:
      ValueError: when 4 does not divide `width`.

    >>> sincos_2d(4, 1, 2)[0].tolist()    # column 0: sin, cos; row 0: sin, cos
    [0.0, 1.0, 0.0, 1.0]
    """
    if width % 4:
        raise ValueError(f"sincos_2d: width must be divisible by 4, got {width}")
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.concatenate(
        [sincos_1d(width // 2, column.ravel()), sincos_1d(width // 2, row.ravel())], axis=1
    )


def sincos_3d(width: int, frames: int, rows: int, columns: int, time: int) -> np.ndarray:
    """Embeddings [frames * rows * columns, width] of a video, in row-major order.

    The first `time` numbers encode the frame, the others are those of `sincos_2d`; with
    time = 0 they are those of an image, the same in all frames.

    Raises:
      ValueError: when `time` is odd, or 4 does not divide the rest of `width`.

    >>> sincos_3d(6, 2, 1, 1, time=2).round(2).tolist()    # sin and cos of 0 and 1, first
    [[0.0, 1.0, 0.0, 1.0, 0.0, 1.0], [0.84, 0.54, 0.0, 1.0, 0.0, 1.0]]
    """
    of_place = np.tile(sincos_2d(width - time, rows, columns), (frames, 1))
    of_frame = sincos_1d(time, np.arange(frames)).repeat(rows * columns, 0)
    return np.concatenate([of_frame, of_place], axis=1)


def resize_positions(
    positions: Float[Array | np.ndarray, "1 m d"],
    grid: tuple[int, int],
    old: tuple[int, int] | None = None,
) -> Float[Array | np.ndarray, "1 k d"]:
    """Resize learned positions [1, 1 + l, d] of a class token and a grid to another grid.

    The class token's position is unchanged; the others are interpolated like an image of
    d channels, by Keys' cubic (a = -1/2), with antialiasing where the grid shrinks. For
    an unchanged grid the result is identical. Dosovitskiy et al. 2021, section 3.2,
    https://arxiv.org/abs/2010.11929

    Args:
      positions: the class token's first, then the grid's in row-major order.
      grid: new number of rows and columns.
      old: number of rows and columns of `positions`; a square if None.

    Raises:
      ValueError: when the number of positions is not one plus that of the old grid.

    >>> learned = jnp.array([7.0, 1.0, 3.0]).reshape(1, 3, 1)    # on a grid of 1 x 2
    >>> resize_positions(learned, (2, 2), (1, 2)).ravel().tolist()    # the row twice
    [7.0, 1.0, 3.0, 1.0, 3.0]
    """
    expect("resize_positions", positions=(positions, "1 m d"))
    length, width = positions.shape[1] - 1, positions.shape[2]
    old = old or (math.isqrt(max(length, 0)),) * 2
    if math.prod(old) != length or length < 1 or min(grid) < 1:
        raise ValueError(
            f"resize_positions: {1 + length} positions are not one plus a grid of "
            f"{old[0]}x{old[1]}, to be resized to {grid[0]}x{grid[1]}; pass old=(rows, "
            f"columns)"
        )
    if tuple(grid) == tuple(old):
        return positions
    picture = jnp.reshape(positions[:, 1:], (1, *old, width))
    picture = jax.image.resize(picture, (1, *grid, width), "cubic")
    return jnp.concatenate([positions[:, :1], picture.reshape(1, -1, width)], axis=1)
