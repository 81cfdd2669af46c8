import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.memory import (
    Queue,
    bank_init,
    bank_read,
    bank_write,
    nearest,
    queue_init,
    queue_push,
)

KEY = jax.random.key(0)


def draw(*shape, seed=0):
    random = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(random, jnp.float32)


def test_memories_begin_as_unit_vectors():
    queue, bank = queue_init(KEY, 6, 3), bank_init(KEY, 6, 3)
    assert (queue.keys.shape, queue.pointer.dtype) == ((6, 3), jnp.int32)
    for rows in (queue.keys, bank):
        np.testing.assert_allclose(jnp.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    assert jnp.abs(bank[0] - bank[1]).max() > 0.01


@pytest.mark.parametrize(("size", "n"), [(6, 2), (7, 3), (5, 5), (4, 3)])
def test_a_queue_holds_the_last_rows_in_the_order_they_came(size, n):
    queue = Queue(jnp.zeros((size, 1)), jnp.int32(0))
    push, pushed = jax.jit(queue_push), []
    for step in range(9):
        rows = jnp.arange(1.0, n + 1)[:, None] + step * n
        queue = push(queue, rows)
        pushed += rows[:, 0].tolist()
        assert queue.pointer == len(pushed) % size
        assert queue.pointer.dtype == jnp.int32
        held = jnp.roll(queue.keys[:, 0], -queue.pointer)
        wanted = ([0] * size + pushed)[-size:]
        if len(pushed) >= size:
            assert held.tolist() == wanted


def test_a_push_passes_no_gradient_and_keeps_the_dtype():
    queue = Queue(jnp.zeros((4, 2), jnp.bfloat16), jnp.int32(3))
    assert queue_push(queue, jnp.ones((2, 2))).keys.dtype == jnp.bfloat16
    slope = jax.grad(lambda rows: queue_push(queue, rows).keys.sum())(jnp.ones((2, 2)))
    np.testing.assert_array_equal(slope, 0)


def test_a_queue_cannot_take_more_than_it_holds():
    queue = queue_init(KEY, 4, 2)
    with pytest.raises(ValueError, match="5 rows do not fit a queue of 4"):
        queue_push(queue, jnp.ones((5, 2)))


def test_the_nearest_row_has_the_largest_cosine():
    keys, z = draw(7, 3), 5 * draw(4, 3, seed=1)
    rows, index = nearest(keys, z)
    lengths = np.linalg.norm(keys, axis=1)[None]  # those of z do not matter
    cosines = np.asarray(z) @ np.asarray(keys).T / lengths
    np.testing.assert_array_equal(index, cosines.argmax(1))
    np.testing.assert_array_equal(rows, keys[index])


@pytest.mark.parametrize("momentum", [0.0, 0.5, 1.0])
def test_a_written_row_is_the_closed_form_and_others_stay(momentum):
    bank, rows, index = bank_init(KEY, 8, 3), draw(3, 3), jnp.array([6, 0, 3])
    written = jax.jit(bank_write)(bank, index, rows, momentum)
    for i, u in zip(index.tolist(), np.asarray(rows), strict=True):
        v = momentum * np.asarray(bank[i]) + (1 - momentum) * u / np.linalg.norm(u)
        np.testing.assert_allclose(written[i], v / np.linalg.norm(v), rtol=1e-5)
    others = jnp.array([1, 2, 4, 5, 7])
    np.testing.assert_array_equal(written[others], bank[others])


def test_a_sample_that_comes_twice_moves_towards_the_mean():
    bank, rows = bank_init(KEY, 4, 2), jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
    written = bank_write(bank, jnp.array([1, 1, 2]), rows, momentum=0.0)
    np.testing.assert_allclose(written[1], [0.5**0.5] * 2, rtol=1e-6)
    np.testing.assert_allclose(written[2], [0, 1])


def test_no_gradient_enters_or_leaves_a_bank():
    bank, rows, index = bank_init(KEY, 4, 2), draw(2, 2), jnp.array([1, 3])
    to_rows = jax.grad(lambda rows: bank_write(bank, index, rows).sum())(rows)
    to_bank = jax.grad(lambda bank: bank_read(bank, index).sum())(bank)
    np.testing.assert_array_equal(to_rows, 0)
    np.testing.assert_array_equal(to_bank, 0)
    assert bank_read(bank, jnp.array([[1, 3], [0, 0]])).shape == (2, 2, 2)
