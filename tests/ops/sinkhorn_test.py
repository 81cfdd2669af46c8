import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.sinkhorn import sinkhorn

N, K = 12, 4


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, size=shape))


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_it_is_the_papers_loop(iterations):
    scores = draw(N, K)
    q = np.exp(np.asarray(scores) / 0.3).T
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(1, keepdims=True) / K
        q = q / q.sum(0, keepdims=True) / N
    codes = sinkhorn(scores, 0.3, iterations)
    np.testing.assert_allclose(codes, (N * q).T)


def test_each_sample_gets_one_code_and_each_cluster_its_share():
    codes = sinkhorn(draw(N, K), 0.3)
    np.testing.assert_allclose(codes.sum(1), 1)
    assert jnp.abs(codes.sum(0) - N / K).max() < 0.5
    dealt = sinkhorn(draw(N, K), 0.3, 100)
    np.testing.assert_allclose(dealt.sum(0), N / K, rtol=1e-6)  # it converges linearly


def test_constant_scores_give_uniform_codes():
    np.testing.assert_allclose(sinkhorn(jnp.full((N, K), 3.0)), 1 / K)


def test_a_small_epsilon_gives_hard_codes():
    scores = jnp.repeat(jnp.eye(K), N // K, 0) + 0.1 * draw(N, K)
    codes = sinkhorn(scores, 0.01)
    np.testing.assert_allclose(codes, jnp.repeat(jnp.eye(K), N // K, 0), atol=1e-12)


def test_in_the_limit_constants_of_rows_and_columns_do_not_matter():
    scores = draw(N, K)
    moved = scores + draw(N, 1, seed=1) + draw(1, K, seed=2)
    codes = sinkhorn(scores, 0.5, 100)
    np.testing.assert_allclose(sinkhorn(moved, 0.5, 100), codes, atol=1e-10)


def test_no_iterations_are_a_softmax():
    scores = draw(N, K)
    codes = sinkhorn(scores, 0.3, iterations=0)
    np.testing.assert_allclose(codes, jax.nn.softmax(scores / 0.3))


def test_enormous_scores_in_bfloat16_stay_finite():
    scores = (1e4 * draw(N, K)).astype(jnp.bfloat16)
    codes = sinkhorn(scores)
    assert codes.dtype == jnp.float32
    np.testing.assert_allclose(codes.sum(1), 1, rtol=1e-6)


def in_logs(scores, epsilon, iterations):
    """The paper's loop in float64 numpy, in log space."""
    log_q = np.asarray(scores, np.float64) / epsilon
    for _ in range(iterations):
        log_q = log_q - np.logaddexp.reduce(log_q, 0, keepdims=True)
        log_q = log_q - np.logaddexp.reduce(log_q, 1, keepdims=True)
    return np.exp(log_q)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mass_moves_through_entries_that_underflow(dtype):
    scores = jnp.asarray([[1, 0]] * 255 + [[-1, 1]], dtype)
    codes = sinkhorn(scores, 0.01, 200)
    wanted = np.array([[128 / 255, 127 / 255]] * 255 + [[0, 1]])
    np.testing.assert_allclose(codes, wanted, atol=1e-4)


@pytest.mark.parametrize("iterations", [1, 3, 17, 100])
@pytest.mark.parametrize("epsilon", [0.05, 0.01])
def test_float32_is_near_float64_for_scores_of_all_sizes(epsilon, iterations):
    for scores in (draw(64, 12), [[1, 0]] * 255 + [[-1, 1]], 5 * draw(30, 7, seed=1)):
        scores = np.asarray(scores, np.float32)
        codes = sinkhorn(jnp.asarray(scores), epsilon, iterations)
        assert codes.dtype == jnp.float32
        wanted = in_logs(scores, np.float32(epsilon), iterations)
        np.testing.assert_allclose(codes, wanted, atol=2e-4)
