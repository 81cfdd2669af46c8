"""Masks of hidden image regions for inpainting: True where a pixel is hidden.

Pathak, Krahenbuhl, Donahue, Darrell and Efros, "Context Encoders: Feature Learning by
Inpainting", CVPR 2016, section 3.3. https://arxiv.org/abs/1604.07379
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray


def central_window(h: int, w: int) -> tuple[slice, slice]:
    """Rows and columns of the central quarter of an image: half of its height and width.

    >>> central_window(128, 28)
    (slice(32, 96, None), slice(7, 21, None))
    """
    rows, columns = (slice(side // 4, side // 4 + side // 2) for side in (h, w))
    return rows, columns


def central_hole(h: int, w: int, overlap: int = 0) -> Bool[Array, "h w"]:
    """The central quarter of an image, less a border of `overlap` pixels on each side.

    The border is visible, and predicted as well: a network that predicts the whole quarter
    sees the edges that it has to continue.

    Raises:
      ValueError: the border leaves no pixel.

    >>> central_hole(8, 8).sum().item(), central_hole(8, 8, overlap=1).sum().item()
    (16, 4)
    """
    if not 0 <= 2 * overlap < min(h, w) // 2:
        raise ValueError(
            f"central_hole: an overlap of {overlap} pixels leaves no hole in the central "
            f"{h // 2} x {w // 2}: give a smaller one"
        )
    inner = (slice(x.start + overlap, x.stop - overlap) for x in central_window(h, w))
    return jnp.zeros((h, w), bool).at[tuple(inner)].set(True)


def random_blocks(
    key: PRNGKeyArray, n: int, h: int, w: int, *, count: int = 8, share: float = 0.25
) -> Bool[Array, "n h w"]:
    """Rectangles at random places of each of n images, which may overlap.

    Their sides are drawn from an eighth to a quarter of the image's. They are added in
    turn, and one with which more than `share` of the image would be hidden is left out.

    Raises:
      ValueError: sides of less than 4 pixels, or less than one rectangle may be hidden.

    >>> random_blocks(jax.random.key(0), 100, 32, 32).mean((1, 2)).max() <= 0.25
    Array(True, dtype=bool)
    """
    if min(h, w) < 4 or count < 1 or not 1 / 16 <= share <= 1:
        raise ValueError(
            f"random_blocks: images must be 4 x 4 or larger, with one block or more and a "
            f"share of 1/16 to 1, got {h} x {w}, {count} blocks and {share}"
        )
    u = jax.random.uniform(key, (4, n, count, 1))

    def intervals(size, place, side):
        """True on `count` random intervals of a line of `side` pixels, [n, count, side]."""
        least, most = max(side // 8, 1), side // 4
        size = least + jnp.floor(size * (most - least + 1))
        start = jnp.floor(place * (side - size + 1))
        at = jnp.arange(side)
        return (at >= start) & (at < start + size)

    blocks = intervals(u[0], u[1], h)[..., None] & intervals(u[2], u[3], w)[:, :, None]
    hidden = jnp.zeros((n, h, w), bool)
    for i in range(count):
        more = hidden | blocks[:, i]
        fits = more.sum((1, 2), keepdims=True) <= share * h * w
        hidden = jnp.where(fits, more, hidden)
    return hidden


def random_regions(
    key: PRNGKeyArray, n: int, h: int, w: int, *, share: float = 0.25, cell: float = 0.13
) -> Bool[Array, "n h w"]:
    """Regions of arbitrary shape that cover the same share of each of n images.

    They are where a smooth random surface is lowest: uniform noise on a coarse grid,
    interpolated bicubically, with a random offset. `cell` is the distance of the grid's
    points, as a fraction of the image's longer side.

    The surface and its cell of 17 pixels of 128 are those of `train_random.lua` in
    https://github.com/pathak22/context-encoder, which thresholds it at 0.25 and redraws
    until 20 to 30 % are hidden; the paper has silhouettes of segmented objects.

    Raises:
      ValueError: no share or cell strictly between 0 and 1.

    >>> random_regions(jax.random.key(0), 2, 32, 32).sum((1, 2)).tolist()
    [256, 256]
    """
    if not (0 < share < 1 and 0 < cell < 1):
        raise ValueError(
            f"random_regions: share and cell must lie between 0 and 1, got {share}, {cell}"
        )
    draw, move = jax.random.split(key)
    step = cell * max(h, w)  # pixels between points of the grid
    beyond = 3  # points outside the image, on which the interpolation depends
    grid = [math.ceil(side / step) + 2 * beyond for side in (h, w)]
    noise = jax.random.uniform(draw, (n, *grid))
    offset = beyond + jax.random.uniform(move, (n, 2))
    scale = jnp.full(2, step)

    def enlarged(noise, offset):
        shift = -step * offset
        return jax.image.scale_and_translate(noise, (h, w), (0, 1), scale, shift, "cubic")

    surface = jax.vmap(enlarged)(noise, offset).reshape(n, -1)
    count = round(share * h * w)
    level = jnp.sort(surface, axis=1)[:, count : count + 1]
    return (surface < level).reshape(n, h, w)
