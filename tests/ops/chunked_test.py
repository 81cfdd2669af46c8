import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jssl.ops.chunked import row_logsumexp

N, M, D = 4, 7, 3


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


EXCLUDE = {
    "nothing": None,
    "one": jnp.array([[3], [0], [6], [3]]),
    "two": jnp.array([[3, 4], [0, 6], [6, 6], [2, 1]]),
}


@pytest.mark.parametrize("chunk", [None, 1, 3, 7, 50])
@pytest.mark.parametrize("exclude", EXCLUDE)
def test_value_and_gradient_are_those_of_the_whole_matrix(exclude, chunk):
    x, y, weights = draw(N, D), draw(M, D, seed=1), draw(N, seed=2)
    exclude = EXCLUDE[exclude]
    logits = np.asarray(x) @ np.asarray(y).T
    for i, row in enumerate([] if exclude is None else exclude.tolist()):
        logits[i, row] = -np.inf
    wanted = logsumexp(logits, 1)
    share = np.asarray(weights)[:, None] * np.exp(logits - wanted[:, None])

    def value(x, y):
        return (weights * row_logsumexp(x, y, exclude, chunk)).sum()

    np.testing.assert_allclose(row_logsumexp(x, y, exclude, chunk), wanted)
    to_x, to_y = jax.jit(jax.grad(value, (0, 1)))(x, y)
    np.testing.assert_allclose(to_x, share @ np.asarray(y), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(to_y, share.T @ np.asarray(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 2])
def test_enormous_logits_do_not_overflow(chunk):
    x, y = jnp.array([[1e4], [-1e4]]), jnp.array([[1.0], [-1.0], [1.0]])
    value = row_logsumexp(x, y, chunk=chunk)
    np.testing.assert_allclose(value, [1e4 + np.log(2), 1e4])
    slope = jax.grad(lambda x: row_logsumexp(x, y, chunk=chunk).sum())(x)
    np.testing.assert_allclose(slope, [[1], [-1]])


@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_where_all_are_excluded_it_is_minus_infinity_without_gradient(chunk):
    x, y, exclude = draw(2, D), draw(2, D, seed=1), jnp.array([[0, 1], [1, 1]])
    value = row_logsumexp(x, y, exclude, chunk)
    assert value[0] == -jnp.inf
    np.testing.assert_allclose(value[1], x[1] @ y[0])
    to_x, to_y = jax.grad(lambda x, y: row_logsumexp(x, y, exclude, chunk)[1], (0, 1))(x, y)
    np.testing.assert_allclose(to_x, jnp.stack([0 * y[0], y[0]]))
    np.testing.assert_allclose(to_y, jnp.stack([x[1], 0 * x[0]]))


def test_it_maps_over_batches_and_differentiates_twice():
    x, y = draw(2, N, D), draw(2, M, D, seed=1)

    def slope(chunk):
        total = jax.grad(lambda x, y: row_logsumexp(x, y, chunk=chunk).sum())
        return jax.jit(jax.vmap(total))(x, y)

    np.testing.assert_allclose(slope(3), slope(None))

    def curvature(chunk):
        total = jax.grad(lambda x: row_logsumexp(x, y[0], chunk=chunk).sum())
        return jax.jit(jax.grad(lambda x: jnp.square(total(x)).sum()))(x[0])

    np.testing.assert_allclose(curvature(3), curvature(None))


def test_memory_grows_with_the_chunk_not_with_the_candidates():
    def temporary(candidates, chunk):
        x = jax.ShapeDtypeStruct((512, 8), jnp.float32)
        y = jax.ShapeDtypeStruct((candidates, 8), jnp.float32)
        loss = jax.value_and_grad(
            lambda x, y: row_logsumexp(x, y, chunk=chunk).sum(), (0, 1)
        )
        compiled = jax.jit(loss).lower(x, y).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    logits = 4 * 512 * 8192
    assert temporary(8192, None) > logits
    assert temporary(8192, 64) < logits / 8


def test_a_chunk_is_positive():
    with pytest.raises(ValueError, match="chunk must be positive, got 0"):
        row_logsumexp(jnp.ones((2, 3)), jnp.ones((2, 3)), chunk=0)
