"""Grids of overlapping patches: their pixels, random squares in them, their directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.grids import DIRECTIONS, facing, patch_grid, subcrop


@pytest.mark.parametrize(
    ("size", "patch", "stride", "wanted"),
    [((256, 256), 64, 32, (7, 7)), ((260, 260), 80, 36, (6, 6)), ((28, 28), 12, 4, (5, 5)),
     ((9, 13), 4, 3, (2, 4)), ((5, 5), 5, 3, (1, 1))],
)  # fmt: skip
def test_patches_are_those_of_a_double_loop(size, patch, stride, wanted):
    images = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    grid = np.asarray(patch_grid(jnp.asarray(images), patch, stride))
    assert grid.shape == (2, *wanted, patch, patch, 3)
    corner = [(side - patch) % stride // 2 for side in size]
    for i in range(wanted[0]):
        for j in range(wanted[1]):
            y, x = corner[0] + i * stride, corner[1] + j * stride
            cut = images[:, y : y + patch, x : x + patch]
            np.testing.assert_array_equal(grid[:, i, j], cut)


@pytest.mark.parametrize(("patch", "stride"), [(9, 1), (0, 1), (2, 0)])
def test_patches_that_do_not_fit_are_refused(patch, stride):
    with pytest.raises(ValueError, match="do not fit images of 8x8: choose a patch of 1"):
        patch_grid(jnp.zeros((1, 8, 8, 1)), patch, stride)


def test_a_random_square_is_a_part_of_its_patch_at_every_place_alike():
    patches = jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1).repeat(4000, 0)
    cut = np.asarray(subcrop(jax.random.key(0), patches, 2))[..., 0]
    assert (cut[:, [0, 3]] == 0).all() and (cut[:, :, [0, 3]] == 0).all()
    inner = cut[:, 1:3, 1:3]
    corner = inner[:, :1, :1]
    np.testing.assert_array_equal(
        inner - corner, np.broadcast_to([[0, 1], [4, 5]], inner.shape)
    )
    places, count = np.unique(corner, return_counts=True)
    assert places.tolist() == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert abs(count / 4000 - 1 / 9).max() < 0.02  # four deviations


def test_a_square_as_large_as_the_patch_is_the_patch():
    patches = jax.random.normal(jax.random.key(1), (3, 4, 4, 2))
    np.testing.assert_array_equal(subcrop(jax.random.key(0), patches, 4), patches)
    with pytest.raises(ValueError, match="a square of 5 does not fit a patch of 4"):
        subcrop(jax.random.key(0), patches, 5)


def test_directions_are_flips_and_quarter_turns_of_the_grid():
    grid = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    turned = {way: np.asarray(facing(grid, way)) for way in DIRECTIONS}
    np.testing.assert_array_equal(turned["down"], grid)
    np.testing.assert_array_equal(turned["up"], np.flip(grid, 1))
    np.testing.assert_array_equal(turned["left"], np.rot90(grid, 1, (1, 2)))
    np.testing.assert_array_equal(turned["right"], np.swapaxes(grid, 1, 2))
    with pytest.raises(ValueError, match="one of down, up, right, left, got 'back'"):
        facing(grid, "back")
