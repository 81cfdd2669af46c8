"""A pool of past samples: none is lost before it is full, none is made up after."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.history import pool_init, pool_update


def test_new_samples_are_shown_until_the_pool_is_full():
    pool = pool_init(6, (2,))
    for i in range(3):
        rows = jnp.full((2, 2), i + 1.0)
        shown, pool = pool_update(jax.random.key(i), pool, rows)
        np.testing.assert_array_equal(shown, rows)
    np.testing.assert_array_equal(pool.rows[:, 0], [1, 1, 2, 2, 3, 3])


def test_a_full_pool_gives_one_for_each_that_it_takes():
    """Before and after, shown and kept samples are the same multiset, half of them past."""
    past = jnp.arange(8.0)[:, None]
    update = jax.jit(pool_update)
    pool = pool_init(8, (1,))._replace(rows=past, filled=jnp.int32(8))
    swaps = []
    for i in range(200):
        rows = 100 + 4.0 * i + jnp.arange(4.0)[:, None]
        before = np.concatenate([pool.rows, rows]).ravel()
        shown, pool = update(jax.random.key(i), pool, rows)
        after = np.concatenate([pool.rows, shown]).ravel()
        np.testing.assert_array_equal(np.sort(after), np.sort(before))
        swaps.append(float((shown != rows).mean()))
    assert abs(np.mean(swaps) - 0.5) < 0.06
    assert pool.filled == 8


def test_no_gradient_passes_the_pool():
    pool = pool_init(2, (1,))
    slope = jax.grad(lambda x: pool_update(jax.random.key(0), pool, x)[1].rows.sum())
    assert not slope(jnp.ones((2, 1))).any()


def test_more_rows_than_places_are_refused():
    with pytest.raises(ValueError, match="at most 2 rows"):
        pool_update(jax.random.key(0), pool_init(2, (1,)), jnp.ones((3, 1)))
