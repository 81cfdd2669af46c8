"""Masks of blocks of patches: block-wise masking, and I-JEPA's target and context blocks.

Pure functions of a key with static shapes, for use within a compiled step. Patches are
numbered row by row, as in `jssl.ops.patches`.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

Pair = tuple[float, float]


def block_mask(
    key: jax.Array,
    n: int,
    grid: tuple[int, int],
    count: int | Int[Array, " n"],
    *,
    least: int = 16,
    aspect: float = 0.3,
) -> Bool[Array, "n l"]:
    """Block-wise masking: exactly `count` patches of each of n images, in rectangles.

    Rectangles are added until `count` patches are masked. The area of each is uniform
    between `least` and the number that is still missing, or `least` if that is more; the
    logarithm of height / width is uniform in +-log(1 / aspect), as far as the rectangle
    fits into the grid; all its places are equally likely. Of the one that reaches the
    count, a part is masked: its new patches in order of rows or of columns, from a random
    side. (The released code omits rectangles that exceed the count, so that its masks have
    at most as many patches.) As shapes and loops are static, the number of rectangles is
    limited to 8 + 2 l / least; if they leave patches missing, which takes counts near l,
    the remaining ones are masked in the same order.

    Bao et al. 2021, "BEiT", algorithm 1. https://arxiv.org/abs/2106.08254

    Args:
      key: a PRNG key.
      n: number of images.
      grid: rows and columns of patches, l together.
      count: masked patches of every image, or of each; values of an array must be 0 to l.
      least: smallest area of a rectangle. 16 of 14 x 14 patches in BEiT and data2vec; 7 x 7
        patches need about 4.
      aspect: smallest ratio of the sides; the largest is its reciprocal.

    Raises:
      ValueError: when no patch, or every patch, would be masked, or `least` or `aspect` is
        out of range.

    >>> mask = block_mask(jax.random.key(0), 2, (14, 14), 120)
    >>> mask.shape, mask.sum(1).tolist()
    ((2, 196), [120, 120])
    """
    rows, columns = grid
    length = rows * columns
    if isinstance(count, int) and not 0 < count < length:
        raise ValueError(
            f"block_mask: {count} of {rows} x {columns} patches cannot be masked: give 1 "
            f"to {length - 1}"
        )
    most = count if isinstance(count, int) else length
    if not (1 <= least <= most and 0 < aspect <= 1):
        raise ValueError(
            f"block_mask: least must be 1 to {most} patches and aspect at most 1, got "
            f"{least} and {aspect}: give a smaller least for a small grid"
        )
    count = jnp.broadcast_to(jnp.asarray(count), (n,))
    limit = 8 + 2 * -(-length // least)
    key, side = jax.random.split(key)

    def add(i, first):
        """Masks the new patches of rectangle i, in images where some are missing."""
        u = jax.random.uniform(jax.random.fold_in(key, i), (4, n))
        missing = count - (first < limit).sum(1)
        area = least + u[0] * jnp.maximum(missing - least, 0)
        low = jnp.maximum(aspect, area / columns**2)
        high = jnp.maximum(low, jnp.minimum(1 / aspect, rows**2 / area))
        ratio = low * (high / low) ** u[1]
        height = jnp.clip(jnp.round(jnp.sqrt(area * ratio)), 1, rows)
        width = jnp.clip(jnp.round(jnp.sqrt(area / ratio)), 1, columns)
        top = jnp.floor(u[2] * (rows - height + 1))
        left = jnp.floor(u[3] * (columns - width + 1))
        inside = _box(grid, top, left, height, width)
        new = inside & (first == limit) & (missing > 0)[:, None]
        return jnp.where(new, i, first)

    first = jax.lax.fori_loop(0, limit, add, jnp.full((n, length), limit))
    order = jnp.argsort(first * length + _scan(side, n, grid), axis=1)
    return jnp.argsort(order, axis=1) < count[:, None]


class Blocks(NamedTuple):
    """Patches of context and target blocks.

    Attributes:
      context: [n, c] numbers of the context's patches, ascending, none of a target.
      targets: [n, k, t] numbers of the patches of each target block, row by row.
      real: [t] True where `targets` has patches; the rest is padding, which repeats the
        last patch.
    """

    context: Int[Array, "n c"]
    targets: Int[Array, "n k t"]
    real: Bool[Array, " t"]


def multi_block(
    key: jax.Array,
    n: int,
    grid: tuple[int, int],
    context: int,
    *,
    blocks: int = 4,
    scale: Pair = (0.15, 0.2),
    aspect: Pair = (0.75, 1.5),
    context_scale: Pair = (0.85, 1.0),
    tries: int = 8,
) -> Blocks:
    """I-JEPA's multi-block masking: k target blocks, and exactly `context` other patches.

    The sizes of targets and context are drawn for the whole batch, area and height / width
    uniformly; the places of all blocks for each image. As a compiled step has static
    shapes, lists of targets have the length of the largest block and are padded: of the
    published sizes on 14 x 14 patches a fifth is padding. Sizes drawn outside the step
    would compile it once for each pair of them, and would not vary within a dispatch of
    several steps.

    The context is a block of height / width 1, less the targets, of which `context` patches
    are kept: in order of rows or of columns, from a random side. Where it has too few, the
    patches nearest in this order outside the block complete it. Where targets leave too few
    patches in the whole image, their places are drawn again, at most `tries` times; the
    last time all are in one place, so that the count is always reached. The released code
    keeps the first patches by rows, as many as every image of the batch has: about 60 of
    14 x 14, with 128 images.

    Assran et al. 2023, section 3. https://arxiv.org/abs/2301.08243

    Args:
      key: a PRNG key.
      n: number of images.
      grid: rows and columns of patches, l together.
      context: patches of the context.
      blocks: k.
      scale: smallest and largest area of a target block, as fractions of l.
      aspect: smallest and largest height / width of a target block.
      context_scale: smallest and largest area of the context block.
      tries: draws of the targets' places, of which the first that suffices is taken.

    Raises:
      ValueError: when fractions are not in (0, 1], or the context has no patch, or more
        than one target block leaves.

    >>> masks = multi_block(jax.random.key(0), 2, (14, 14), context=60)
    >>> masks.context.shape, masks.targets.shape, int(masks.real.sum())    # 6 x 6 of 42
    ((2, 60), (2, 4, 42), 36)
    """
    for name, (low, high) in {"scale": scale, "context_scale": context_scale}.items():
        if not 0 < low <= high <= 1:
            raise ValueError(
                f"multi_block: {name} must be two ascending fractions in (0, 1], got "
                f"{low} and {high}"
            )
    if not 0 < aspect[0] <= aspect[1] or min(blocks, tries) < 1:
        raise ValueError(
            f"multi_block: aspect must be two ascending positive numbers, blocks and tries "
            f"positive, got {aspect}, {blocks} and {tries}"
        )
    rows, columns = grid
    length, table = rows * columns, _sizes(grid, scale, aspect)
    largest = int(table.prod(1).max())
    if not 0 < context <= length - largest:
        raise ValueError(
            f"multi_block: context must be 1 to {length - largest}, as a target has up to "
            f"{largest} of {rows} x {columns} patches, got {context}: give another one, or "
            f"a smaller scale"
        )
    size, place, wide, around, side = jax.random.split(key, 5)
    shape = jax.random.choice(size, jnp.asarray(table))  # height and width
    top, left = _places(place, (n, tries, blocks), grid, shape)
    top, left = (x.at[:, -1].set(x[:, -1, :1]) for x in (top, left))
    covered = _box(grid, top, left, *shape).any(2)  # [n, tries, l]
    suffices = length - covered.sum(2) >= context
    suffices = suffices.argmax(1)[:, None, None]
    top, left, covered = (
        jnp.take_along_axis(x, suffices, axis=1)[:, 0] for x in (top, left, covered)
    )

    j = jnp.minimum(jnp.arange(largest), shape.prod() - 1)
    row, column = top[..., None] + j // shape[1], left[..., None] + j % shape[1]

    square = jax.random.choice(wide, jnp.asarray(_sizes(grid, context_scale, (1.0, 1.0))))
    near = _box(grid, *_places(around, (n,), grid, square), *square)
    rank = _scan(side, n, grid) + length * ~near + 2 * length * covered
    kept = jnp.sort(jnp.argsort(rank, axis=1)[:, :context], axis=1)
    return Blocks(kept, row * columns + column, jnp.arange(largest) < shape.prod())


def _sizes(grid, scale, aspect):
    """Heights and widths [s, 2] of blocks; all are equally likely, some occur repeatedly.

    Areas are the whole numbers of patches in the range, with 64 ratios of the sides each.
    """
    low, high = (int(share * math.prod(grid) + 1e-6) for share in scale)
    areas = np.arange(max(low, 1), max(high, 1) + 1)
    area, ratio = np.meshgrid(areas, np.linspace(*aspect, 64))
    sides = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], -1).reshape(-1, 2)
    return np.clip(np.rint(sides), 1, grid).astype(np.int32)


def _places(key, shape, grid, size):
    """Uppermost rows and leftmost columns of blocks of a size, uniformly distributed."""
    keys = jax.random.split(key)
    return [
        jax.random.randint(k, shape, 0, many - side + 1)
        for k, many, side in zip(keys, grid, size, strict=True)
    ]


def _box(grid, top, left, height, width):
    """True inside of blocks [...]: [..., l]."""
    top, left, height, width = (
        jnp.asarray(x)[..., None] for x in (top, left, height, width)
    )
    row, column = (jnp.asarray(x.ravel()) for x in np.indices(grid))
    down, across = row - top, column - left
    return (down >= 0) & (down < height) & (across >= 0) & (across < width)


def _scan(key, n, grid):
    """Ranks [n, l] of patches, by rows or by columns, from a side drawn for each image."""
    row, column = np.indices(grid)
    ranks = np.stack([row * grid[1] + column, column * grid[0] + row]).reshape(2, -1)
    ranks = np.concatenate([ranks, ranks.shape[1] - 1 - ranks])
    return jnp.asarray(ranks)[jax.random.randint(key, (n,), 0, 4)]
