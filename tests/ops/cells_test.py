"""Pooling over cells against loops."""

import jax
import numpy as np
import pytest

from jssl.ops.cells import cell_maxima, cell_means


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
