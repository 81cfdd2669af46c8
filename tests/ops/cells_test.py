"""Pooling over cells against loops."""

import jax
import numpy as np
import pytest

from jssl.ops.cells import cell_maxima, cell_means, first_pixels


@pytest.mark.parametrize(("pool", "law"), [(cell_means, np.mean), (cell_maxima, np.max)])
@pytest.mark.parametrize("cells", [(5, 5), (3, 2), (16, 1)])
def test_cells_overlap_where_they_do_not_divide_the_places(pool, law, cells):
    x = jax.random.normal(jax.random.key(0), (2, 13, 7, 3))
    found = pool(x, cells)
    assert found.shape == (2, *cells, 3)
    for i in range(cells[0]):
        for j in range(cells[1]):
            rows = slice(i * 13 // cells[0], -(-(i + 1) * 13 // cells[0]))
            columns = slice(j * 7 // cells[1], -(-(j + 1) * 7 // cells[1]))
            wanted = law(np.asarray(x)[:, rows, columns], axis=(1, 2))
            np.testing.assert_allclose(found[:, i, j], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("side", "cells"), [(12, 3), (13, 4), (180, 23)])
def test_the_first_pixel_of_each_cell_is_taken(side, cells):
    x = jax.random.normal(jax.random.key(0), (2, side, side, 1))
    found = first_pixels(x, (2, cells, cells, 5))
    every = -(-side // cells)
    for i in range(cells):
        for j in range(cells):
            np.testing.assert_array_equal(found[:, i, j], x[:, i * every, j * every])


def test_predictions_of_no_square_cells_are_refused():
    with pytest.raises(ValueError, match=r"one prediction for each .* \[2, 5, 5, 3\] for"):
        first_pixels(jax.numpy.zeros((2, 12, 12, 1)), (2, 5, 5, 3))
