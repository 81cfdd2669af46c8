"""Pieces of space-time cubic puzzles: four neighbors in space or in time.

Kim, Cho and Kweon, "Self-Supervised Video Representation Learning with Space-Time Cubic
Puzzles", AAAI 2019. https://arxiv.org/abs/1811.09795
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, PRNGKeyArray, Shaped

from jssl.ops.patches import patchify_video
from jssl.ops.shapes import expect

GRID = (4, 2, 2)
"""Cells of a video along time, rows and columns."""


def four_cells(
    videos: Shaped[Array, "n t h w c"], in_time: Bool[Array, " n"], place: Int[Array, " n"]
) -> Shaped[Array, "n 4 _ _ _ c"]:
    """Four cells of a grid of 4 x 2 x 2: of one interval of time, or of one quarter.

    Args:
      videos: whose frames, rows and columns are divided into 4, 2 and 2.
      in_time: True for the four intervals of one quarter of the picture, in order; False
        for the four quarters of one interval, in reading order.
      place: number of the quarter, or of the interval, 0 to 3.

    Raises:
      ValueError: videos that do not divide.

    >>> video = jnp.arange(16).reshape(1, 4, 2, 2, 1)
    >>> four_cells(video, jnp.array([True]), jnp.array([1])).ravel().tolist()
    [1, 5, 9, 13]
    >>> four_cells(video, jnp.array([False]), jnp.array([1])).ravel().tolist()
    [4, 5, 6, 7]
    """
    expect("four_cells", videos=(videos, "n t h w c", "any"))
    n, *sides, c = videos.shape
    if any(side < k or side % k for side, k in zip(sides, GRID, strict=True)):
        raise ValueError(
            f"four_cells: frames, rows and columns must be multiples of {GRID}, got {sides}"
        )
    t, h, w = sides
    cell = t // GRID[0], h // GRID[1], w // GRID[2]
    cells = patchify_video(videos, cell).reshape(n, 4, 4, *cell, c)
    choose = jax.vmap(lambda x, at: x[at])
    over = choose(jnp.swapaxes(cells, 1, 2), place), choose(cells, place)
    return jnp.where(in_time.reshape(n, *[1] * 5), *over)


def crop_pieces(
    pieces: Shaped[Array, "n k t h w c"],
    size: tuple[int, int, int],
    key: PRNGKeyArray | None = None,
) -> Shaped[Array, "n k _ _ _ c"]:
    """Crops each piece, at a random place with a key, so that edges do not continue.

    Args:
      pieces: [n, k, t, h, w, c].
      size: frames, rows and columns of the crops. 16 x 80 x 80 in the paper.
      key: random key; None: central crops.

    Raises:
      ValueError: crops that are larger than the pieces.

    >>> crop_pieces(jnp.arange(9).reshape(1, 1, 1, 3, 3, 1), (1, 1, 1)).item()
    4
    """
    expect("crop_pieces", pieces=(pieces, "n k t h w c", "any"))
    n, k, *sides, c = pieces.shape
    spare = [side - x for side, x in zip(sides, size, strict=True)]
    if min(size) < 1 or min(spare) < 0:
        asked, there = ("x".join(map(str, x)) for x in (size, sides))
        raise ValueError(f"crop_pieces: crops of {asked} do not fit cells of {there}")
    if key is None:
        begin = jnp.broadcast_to(jnp.array(spare) // 2, (n, k, 3))
    else:
        begin = jax.random.randint(key, (n, k, 3), 0, jnp.array(spare) + 1)

    def crop(piece, at):
        return lax.dynamic_slice(piece, (at[0], at[1], at[2], 0), (*size, c))

    return jax.vmap(jax.vmap(crop))(pieces, begin)


def turn_upside_down(
    videos: Shaped[Array, "*n t h w c"], turned: Bool[Array, "*n"]
) -> Shaped[Array, "*n t h w c"]:
    """Rotates the frames of some videos by 180 degrees.

    >>> x = jnp.arange(4).reshape(1, 1, 2, 2, 1)
    >>> turn_upside_down(x, jnp.array([True])).ravel().tolist()
    [3, 2, 1, 0]
    """
    chosen = turned.reshape(*turned.shape, *[1] * 4)
    return jnp.where(chosen, videos[..., ::-1, ::-1, :], videos)
