"""Grids of overlapping patches, and predictions along them in four directions."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PRNGKeyArray, Shaped

from jssl.ops.shapes import expect

DIRECTIONS = ("down", "up", "right", "left")


def patch_grid(
    images: Shaped[Array, "n h w c"], patch: int, stride: int
) -> Shaped[Array, "n r k p p c"]:
    """Cut every image into r x k square patches, `stride` pixels apart.

    Pixels that are left over are cut from all sides alike. CPC: patches of 64 pixels, 32
    apart, make 7 x 7 of an image of 256 pixels.

    van den Oord, Li and Vinyals 2018, section 3.2. https://arxiv.org/abs/1807.03748

    Raises:
      ValueError: when the images are not [n, h, w, c] or are smaller than a patch.

    >>> grid = patch_grid(jnp.arange(16).reshape(1, 4, 4, 1), patch=2, stride=1)
    >>> grid.shape, grid[0, 2, 1].ravel().tolist()
    ((1, 3, 3, 2, 2, 1), [9, 10, 13, 14])
    """
    expect("patch_grid", images=(images, "n h w c", "any"))
    h, w = images.shape[1:3]
    if not 1 <= patch <= min(h, w) or stride < 1:
        raise ValueError(
            f"patch_grid: patches of {patch} pixels, {stride} apart, do not fit images of "
            f"{h}x{w}: choose a patch of 1 to {min(h, w)} and a positive stride"
        )
    rows, columns = (_windows(side, patch, stride) for side in (h, w))
    cut = images[:, rows][:, :, :, columns]  # [n, r, p, k, p, c]
    return cut.swapaxes(2, 3)


def _windows(side, patch, stride):
    """Pixels of each patch along an axis, [count, patch]."""
    count, rest = divmod(side - patch, stride)
    return rest // 2 + stride * jnp.arange(count + 1)[:, None] + jnp.arange(patch)


def subcrop(
    key: PRNGKeyArray, patches: Shaped[Array, "n p p c"], side: int
) -> Shaped[Array, "n p p c"]:
    """Keep a random square of each patch, moved to its center in a frame of zeros.

    CPC: 60 of 64 pixels, so that patches do not match by edges that go on.

    van den Oord, Li and Vinyals 2018, section 3.2. https://arxiv.org/abs/1807.03748

    Raises:
      ValueError: when the square is larger than the patch.

    >>> subcrop(jax.random.key(0), jnp.ones((1, 3, 3, 1)), 1)[0, :, :, 0].tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    expect("subcrop", patches=(patches, "n p p c", "any"))
    n, patch, _, c = patches.shape
    if not 1 <= side <= patch:
        raise ValueError(
            f"subcrop: a square of {side} does not fit a patch of {patch}: choose 1 to "
            f"{patch}"
        )
    spare = patch - side
    corners = jax.random.randint(key, (n, 2), 0, spare + 1)
    cut = jax.vmap(lambda x, at: lax.dynamic_slice(x, (at[0], at[1], 0), (side, side, c)))(
        patches, corners
    )
    frame = (spare // 2, spare - spare // 2)
    return jnp.pad(cut, [(0, 0), frame, frame, (0, 0)])


def facing(grid: Shaped[Array, "n r k *x"], direction: str) -> Shaped[Array, "n _ _ *x"]:
    """Turn a grid so that predictions in `direction` go from row to later rows.

    "down" is the grid itself, "up" has the rows in reverse order; "right" and "left" have
    the columns as rows.

    Raises:
      ValueError: for another direction.

    >>> grid = jnp.array([[[0, 1], [2, 3]]])
    >>> [facing(grid, way)[0].tolist() for way in ("up", "right", "left")]
    [[[2, 3], [0, 1]], [[0, 2], [1, 3]], [[1, 3], [0, 2]]]
    """
    if direction not in DIRECTIONS:
        raise ValueError(
            f"facing: direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}"
        )
    if direction in ("right", "left"):
        grid = grid.swapaxes(1, 2)
    return grid[:, ::-1] if direction in ("up", "left") else grid
