import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.memory import (
    Queue,
    bank_init,
    bank_read,
    bank_write,
    ensemble_init,
    ensemble_read,
    ensemble_write,
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


def test_ensembles_moved_at_each_visit_are_the_papers_moved_after_each_epoch():
    """Algorithm 2, with a count for each row: every epoch leaves out another row."""
    decay, random = 0.6, np.random.default_rng(0)
    ensemble, write = ensemble_init(5, 3), jax.jit(ensemble_write)
    z, t, past = np.zeros((5, 3)), np.zeros(5), [[] for _ in range(5)]
    for _ in range(6):
        order, new = random.permutation(5)[:4], random.dirichlet(np.ones(3), 5)
        for index in np.split(order, 2):
            seen, known = ensemble_read(ensemble, jnp.array(index), decay)
            np.testing.assert_array_equal(known, t[index] > 0)
            whole = np.where(t > 0, 1 - decay**t, 1)[:, None]
            np.testing.assert_allclose(seen, (z / whole)[index], rtol=1e-5)
            ensemble = write(ensemble, jnp.array(index), jnp.float32(new[index]), decay)
        z[order] = decay * z[order] + (1 - decay) * new[order]
        t[order] += 1
        for i in order:
            past[i].append(new[i])
    np.testing.assert_array_equal(ensemble.counts, t)
    for i, rows in enumerate(past):
        powers = decay ** np.arange(len(rows))[::-1]
        total = (1 - decay) * powers @ np.stack(rows)
        np.testing.assert_allclose(ensemble.sums[i], total, rtol=1e-5)
    targets, _ = ensemble_read(ensemble, jnp.arange(5), decay)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)


def test_a_constant_prediction_is_its_own_average_from_the_first():
    ensemble, q = ensemble_init(3, 2), jnp.array([[0.3, 0.7]])
    for _ in range(4):
        ensemble = ensemble_write(ensemble, jnp.array([1]), q)
        np.testing.assert_allclose(ensemble_read(ensemble, jnp.array([1]))[0], q, rtol=1e-6)
    np.testing.assert_array_equal(ensemble.sums[jnp.array([0, 2])], 0)


def test_a_sample_that_comes_twice_is_predicted_once_by_the_mean():
    rows = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.2, 0.8]])
    ensemble = ensemble_write(ensemble_init(3, 2), jnp.array([1, 1, 2]), rows, 0.5)
    np.testing.assert_allclose(ensemble.sums, [[0, 0], [0.25, 0.25], [0.1, 0.4]])
    assert ensemble.counts.tolist() == [0, 1, 1]


def test_no_gradient_enters_or_leaves_an_ensemble():
    ensemble, index = ensemble_init(3, 2), jnp.array([0, 2])
    write = lambda p: ensemble_write(ensemble, index, p).sums.sum()
    read = lambda sums: ensemble_read(ensemble._replace(sums=sums), index)[0].sum()
    np.testing.assert_array_equal(jax.grad(write)(jnp.ones((2, 2))), 0)
    np.testing.assert_array_equal(jax.grad(read)(jnp.ones((3, 2))), 0)
