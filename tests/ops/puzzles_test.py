"""Puzzles: tiles are where they should be, and nothing is lost in shuffling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.permutations import permutation_set
from jssl.ops.puzzles import cut_tiles, lay_out, normalize_tiles, shuffle, unshuffle

IMAGES = jax.random.uniform(jax.random.key(0), (4, 14, 13, 3))  # cells of 4, one row over
cut = jax.jit(cut_tiles, static_argnames=("tile", "grid"))


def test_whole_cells_laid_out_are_the_middle_of_the_image():
    tiles = cut(IMAGES, tile=4)
    np.testing.assert_array_equal(lay_out(tiles), IMAGES[:, 1:13, 0:12])


def test_without_a_key_a_tile_is_the_middle_of_its_cell():
    tiles = cut(IMAGES, tile=2)
    for k in range(9):
        top, left = 1 + 4 * (k // 3) + 1, 4 * (k % 3) + 1
        np.testing.assert_array_equal(
            tiles[:, k], IMAGES[:, top : top + 2, left : left + 2]
        )


def test_with_a_key_it_lies_anywhere_in_its_cell_each_by_itself():
    """Pixels numbered, so that a tile says where it was."""
    numbers = jnp.arange(144.0).reshape(1, 12, 12, 1).repeat(200, 0)
    tiles = np.asarray(cut(numbers, tile=3, key=jax.random.key(1)))
    corner = tiles[:, :, 0, 0, 0].astype(int)
    rows, columns = corner // 12, corner % 12
    cell = np.arange(9)
    down, right = rows - 4 * (cell // 3), columns - 4 * (cell % 3)
    for offset in (down, right):
        assert set(offset.ravel().tolist()) == {0, 1}
        assert abs(offset.mean() - 0.5) < 0.05
        assert abs(np.corrcoef(offset.T) - np.eye(9)).max() < 0.3
    assert abs(np.corrcoef(down.ravel(), right.ravel())[0, 1]) < 0.1
    whole = corner[..., None, None] + 12 * np.arange(3)[:, None] + np.arange(3)
    np.testing.assert_array_equal(tiles[..., 0], whole)


def test_tiles_have_mean_0_and_deviation_1_and_a_flat_one_is_0():
    tiles = cut(IMAGES, tile=4).at[0, 3].set(0.1).at[1, 4].set(0.0)
    found = np.asarray(normalize_tiles(tiles), np.float64)
    flat = np.zeros((4, 9), bool)
    flat[0, 3] = flat[1, 4] = True
    np.testing.assert_allclose(found.mean((2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(found.std((2, 3))[~flat], 1, rtol=1e-5)
    np.testing.assert_allclose(found[flat], 0, atol=1e-6)


def test_normalized_tiles_of_a_gradient_do_not_tell_their_places():
    """All that differs between tiles of a slope is their brightness."""
    slope = (jnp.arange(12.0)[:, None] + 5 * jnp.arange(12.0)).reshape(1, 12, 12, 1) / 64
    tiles = cut(slope, tile=3)
    assert len(np.unique(tiles.mean((2, 3, 4)))) == 9
    found = normalize_tiles(tiles)
    np.testing.assert_allclose(found, found[:, :1].repeat(9, 1), atol=1e-5)


def test_the_inverse_permutation_restores_the_tiles():
    tiles = cut(IMAGES, tile=4)
    order = jnp.asarray(permutation_set(9, 4, seed=0))
    laid = shuffle(tiles, order)
    for i in range(4):
        np.testing.assert_array_equal(laid[i], np.asarray(tiles[i])[np.asarray(order[i])])
    np.testing.assert_array_equal(unshuffle(laid, order), tiles)
    np.testing.assert_array_equal(shuffle(unshuffle(tiles, order), order), tiles)
    assert (laid != tiles).any()


def test_the_gradient_passes_a_flat_tile():
    grads = jax.grad(lambda x: (normalize_tiles(x) ** 3).sum())(jnp.ones((2, 3, 3, 1)))
    assert np.isfinite(grads).all()


def test_what_cannot_be_cut_or_laid_is_refused(unhooked):
    with pytest.raises(ValueError, match="a tile of 5 does not fit a cell of 4"):
        cut_tiles(IMAGES, 5)
    with pytest.raises(ValueError, match="must be a square, got 8"):
        lay_out(jnp.zeros((1, 8, 2, 2, 1)))
    with pytest.raises(ValueError, match=r"order must be int\[1, 9\]"):
        shuffle(jnp.zeros((1, 9, 2)), jnp.zeros((1, 8), jnp.int32))
