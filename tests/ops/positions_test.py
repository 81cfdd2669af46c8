"""Positions on another grid."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jssl.ops.positions import resize_positions

LEARNED = np.asarray(jax.random.normal(jax.random.key(0), (1, 1 + 15, 4)))


@pytest.mark.parametrize("grid", [(7, 4), (3, 2), (4, 6)])
def test_resized_positions_are_those_of_timm(grid):
    with np.load(Path(__file__).parents[1] / "golden" / "weights.npz") as file:
        learned = file["positions/learned"]
        wanted = file[f"positions/{grid[0]}x{grid[1]}"]
    found = resize_positions(learned, grid, (5, 3))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_an_unchanged_grid_changes_nothing():
    assert resize_positions(LEARNED, (5, 3), (5, 3)) is LEARNED


def test_the_class_token_stays_and_a_plain_field_stays_plain():
    flat = np.concatenate([LEARNED[:, :1], np.full((1, 9, 4), 0.7, np.float32)], axis=1)
    found = np.asarray(resize_positions(flat, (2, 5)))
    np.testing.assert_array_equal(found[:, 0], LEARNED[:, 0])
    np.testing.assert_allclose(found[:, 1:], 0.7, rtol=1e-6)


def test_rows_and_columns_are_not_confused():
    rows = np.repeat(np.arange(4, dtype=np.float32), 2)  # a grid of 4 x 2, told by its row
    found = resize_positions(np.r_[0, rows].reshape(1, 9, 1), (4, 6), (4, 2))
    grid = np.asarray(found)[0, 1:, 0].reshape(4, 6)
    np.testing.assert_allclose(grid, np.repeat(np.arange(4)[:, None], 6, 1), atol=1e-5)


def test_positions_that_make_no_grid_are_refused():
    with pytest.raises(ValueError, match="16 positions are not one plus a grid of 3x3"):
        resize_positions(LEARNED, (2, 2))
    with pytest.raises(ValueError, match="resized to 0x2"):
        resize_positions(LEARNED, (0, 2), (5, 3))
