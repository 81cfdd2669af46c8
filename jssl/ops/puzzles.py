"""Jigsaw puzzles: images as shuffled tiles."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from jssl.ops.patches import patchify, unpatchify
from jssl.ops.shapes import expect


def cut_tiles(
    images: Shaped[Array, "n h w c"],
    tile: int,
    key: PRNGKeyArray | None = None,
    grid: int = 3,
) -> Shaped[Array, "n k t t c"]:
    """Crop a square tile from each of the k = grid * grid cells of every image.

    The cells are the largest squares of which grid * grid fit into the image, centered,
    in row-major order. With a key each tile has a random position in its cell, so that
    the gaps between neighbors vary and edges do not continue across tiles; without, it is
    centered.

    Noroozi and Favaro 2016, section 3.2. https://arxiv.org/abs/1603.09246

    Raises:
      ValueError: when the images are not [n, h, w, c] or a tile is larger than a cell.

    >>> cut_tiles(jnp.arange(16).reshape(1, 4, 4, 1), tile=1, grid=2)[0].ravel().tolist()
    [0, 2, 8, 10]
    """
    expect("cut_tiles", images=(images, "n h w c", "any"))
    n, h, w, c = images.shape
    cell = min(h, w) // grid
    if not 1 <= tile <= cell:
        raise ValueError(
            f"cut_tiles: a tile of {tile} does not fit a cell of {cell}, of which "
            f"{grid}x{grid} make an image of {h}x{w}"
        )
    top, left = (h - grid * cell) // 2, (w - grid * cell) // 2
    middle = images[:, top : top + grid * cell, left : left + grid * cell]
    cells = patchify(middle, cell).reshape(n * grid**2, cell, cell, c)
    spare = cell - tile
    if key is None:
        low = spare // 2
        tiles = cells[:, low : low + tile, low : low + tile]
    else:
        corners = jax.random.randint(key, (n * grid**2, 2), 0, spare + 1)
        tiles = jax.vmap(
            lambda x, at: lax.dynamic_slice(x, (at[0], at[1], 0), (tile, tile, c))
        )(cells, corners)
    return tiles.reshape(n, grid**2, tile, tile, c)


def normalize_tiles(tiles: Float[Array, "*n t t c"]) -> Float[Array, "*n t t c"]:
    """Standardize each channel of each tile; constant ones become 0.

    Neighboring tiles have similar mean and contrast. Without normalization the puzzle can
    be solved from these statistics, a shortcut that ignores the content.

    Noroozi and Favaro 2016, section 3.3. https://arxiv.org/abs/1603.09246

    >>> normalize_tiles(jnp.array([0.0, 2.0, 2.0, 0.0]).reshape(1, 2, 2, 1)).ravel()
    Array([-1.,  1.,  1., -1.], dtype=float32)
    """
    expect("normalize_tiles", tiles=(tiles, "... t t c"))
    mean = tiles.mean((-3, -2), keepdims=True)
    variance = tiles.var((-3, -2), keepdims=True)
    # Below the resolution of float32, variation is rounding error: do not amplify it.
    flat = variance <= jnp.square(1e-6 * mean)
    return (tiles - mean) / jnp.sqrt(jnp.where(flat, 1, variance))


def shuffle(
    tiles: Shaped[Array, "n k *x"], order: Int[Array, "n k"]
) -> Shaped[Array, "n k *x"]:
    """Permute the tiles of each row: position j gets tile order[j].

    Raises:
      ValueError: when order is not int[n, k].

    >>> shuffle(jnp.array([[5, 6, 7]]), jnp.array([[2, 0, 1]])).tolist()
    [[7, 5, 6]]
    """
    if order.shape != tiles.shape[:2]:
        raise ValueError(
            f"shuffle: order must be int{list(tiles.shape[:2])}, one index per tile, "
            f"got {order.dtype}{list(order.shape)}"
        )
    return jnp.take_along_axis(
        tiles, order.reshape(*order.shape, *[1] * (tiles.ndim - 2)), axis=1
    )


def unshuffle(
    tiles: Shaped[Array, "n k *x"], order: Int[Array, "n k"]
) -> Shaped[Array, "n k *x"]:
    """Inverse of `shuffle`, if each order is a permutation.

    >>> unshuffle(jnp.array([[7, 5, 6]]), jnp.array([[2, 0, 1]])).tolist()
    [[5, 6, 7]]
    """
    return shuffle(tiles, jnp.argsort(order, axis=1))


def lay_out(
    tiles: Shaped[Array, "n k t t c"], border: float | None = None
) -> Shaped[Array, "n h w c"]:
    """Assemble tiles in row-major order to images, with an optional border around each.

    Raises:
      ValueError: when the number of tiles is not a square.

    >>> lay_out(jnp.arange(4).reshape(1, 4, 1, 1, 1))[0, :, :, 0].tolist()
    [[0, 1], [2, 3]]
    """
    expect("lay_out", tiles=(tiles, "n k t t c", "any"))
    grid = round(tiles.shape[1] ** 0.5)
    if grid**2 != tiles.shape[1]:
        raise ValueError(
            f"lay_out: the number of tiles must be a square, got {tiles.shape[1]}"
        )
    if border is not None:
        frame = [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)]
        tiles = jnp.pad(tiles, frame, constant_values=border)
    n, k, side = tiles.shape[:3]
    return unpatchify(tiles.reshape(n, k, -1), side, (grid * side, grid * side))
