import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.losses.contrastive import info_nce
from jssl.losses.crossmodal import clip, cross_and_learn, mil_nce, siglip

N, D, P = 5, 4, 3


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def cos(u, v):
    return u @ v / (np.linalg.norm(u) * np.linalg.norm(v))


def log_sum(logits):
    return np.log(sum(np.exp(x) for x in logits))


def test_clip_is_its_double_loop():
    x, y = map(np.asarray, (draw(N, D), draw(N, D, seed=1)))
    losses = []
    for i in range(N):
        positive = 3 * cos(x[i], y[i])
        losses.append(log_sum(3 * cos(x[i], y[j]) for j in range(N)) - positive)
        losses.append(log_sum(3 * cos(x[j], y[i]) for j in range(N)) - positive)
    np.testing.assert_allclose(clip(jnp.array(x), jnp.array(y), 3.0), np.mean(losses))


def test_clip_is_the_mean_of_both_directions_and_symmetric():
    x, y = draw(N, D), draw(N, D, seed=1)
    directions = info_nce(x, y, None, 1 / 3) + info_nce(y, x, None, 1 / 3)
    np.testing.assert_allclose(clip(x, y, 3.0), directions / 2)
    np.testing.assert_allclose(clip(x, y, 3.0), clip(y, x, 3.0))


def test_equal_embeddings_tell_clip_nothing():
    np.testing.assert_allclose(clip(jnp.ones((N, D)), jnp.ones((N, D)), 9.0), np.log(N))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_a_scale_of_another_dtype_is_learnt_in_its_own(dtype):
    x, y = draw(N, D).astype(jnp.float32), draw(N, D, seed=1).astype(jnp.float32)
    scale = jnp.asarray(2.0, dtype)
    with jax.numpy_dtype_promotion("strict"):
        value, slope = jax.value_and_grad(lambda s: clip(x, y, s))(scale)
    assert (value.dtype, slope.dtype) == (jnp.float32, dtype)
    difference = (clip(x, y, 2.01) - clip(x, y, 1.99)) / 0.02
    np.testing.assert_allclose(slope, difference, rtol=0.01)  # bfloat16 has 8 bits


def test_siglip_is_its_double_loop():
    x, y = map(np.asarray, (draw(N, D), draw(N, D, seed=1)))
    total = 0
    for i in range(N):
        for j in range(N):
            logit = 10 * cos(x[i], y[j]) - 4
            total += np.log1p(np.exp(-logit if i == j else logit))
    value = siglip(jnp.array(x), jnp.array(y), 10.0, -4.0)
    np.testing.assert_allclose(value, total / N)


@pytest.mark.parametrize(("n", "wanted"), [(32, 10.001453), (256, 10.011622)])
def test_siglip_begins_at_its_bias(n, wanted):
    x, y = jnp.eye(2 * n)[:n], jnp.eye(2 * n)[n:]
    np.testing.assert_allclose(siglip(x, y, 10.0, -10.0), wanted, atol=1e-6)


def mil_nce_loop(x, y, released):
    losses = []
    for i in range(N):
        positive = [x[i] @ y[i, p] for p in range(P)]
        others = [j for j in range(N) if j != i]
        negative = [x[i] @ y[j, p] for j in others for p in range(P)]
        negative += [x[j] @ y[i, p] for j in others for p in range(P)]
        below = (1 + released) * positive + negative
        losses.append(log_sum(below) - log_sum(positive))
    return np.mean(losses)


@pytest.mark.parametrize("released", [False, True])
def test_mil_nce_is_its_double_loop(released):
    x, y = draw(N, D), draw(N, P, D, seed=1)
    wanted = mil_nce_loop(np.asarray(x), np.asarray(y), released)
    np.testing.assert_allclose(mil_nce(x, y, paper=not released), wanted)


def test_mil_nce_of_one_caption_has_row_and_column_in_one_softmax():
    x, y = draw(N, D), draw(N, 1, D, seed=1)
    scores = x @ y[:, 0].T
    both = jnp.concatenate([scores, scores.T], 1)
    both = both.at[jnp.arange(N), N + jnp.arange(N)].set(-jnp.inf)
    wanted = (jax.nn.logsumexp(both, 1) - jnp.diag(scores)).mean()
    np.testing.assert_allclose(mil_nce(x, y), wanted)


def test_the_bag_of_captions_has_no_order_and_a_hopeless_one_does_not_count():
    x, y = draw(N, D), draw(N, P, D, seed=1)
    np.testing.assert_allclose(mil_nce(x, y[:, ::-1]), mil_nce(x, y))
    # One more feature, which makes the further caption score -1e9 everywhere.
    x = jnp.concatenate([x, jnp.ones((N, 1))], 1)
    y = jnp.concatenate([y, jnp.zeros((N, P, 1))], 2)
    hopeless = jnp.zeros((N, 1, D + 1)).at[..., -1].set(-1e9)
    more = mil_nce(x, jnp.concatenate([y, hopeless], 1))
    np.testing.assert_allclose(more, mil_nce(x, y))


def test_alike_bags_leave_the_logarithm_of_the_candidates():
    x, y = jnp.ones((N, D)), jnp.ones((N, P, D))
    np.testing.assert_allclose(mil_nce(x, y), np.log(2 * N - 1))
    np.testing.assert_allclose(mil_nce(x, y, paper=False), np.log(2 * N))


def test_one_pair_alone():
    x, y = draw(1, D), draw(1, D, seed=1)
    np.testing.assert_allclose(clip(x, y, 5.0), 0, atol=1e-12)
    np.testing.assert_allclose(mil_nce(x, y[:, None]), 0, atol=1e-12)
    logit = 5 * cos(np.asarray(x)[0], np.asarray(y)[0]) - 1
    np.testing.assert_allclose(siglip(x, y, 5.0, -1.0), np.log1p(np.exp(-logit)))


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_cross_and_learn_is_its_double_loop(weight):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 5, 4))
    s = lambda x, y: x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    each = [
        (1 - weight) * (s(a[i], a[j]) + s(b[i], b[j]))
        - weight * (s(a[i], b[i]) + s(a[j], b[j]))
        for i, j in np.ndindex(5, 5)
        if i != j
    ]
    found = cross_and_learn(jnp.asarray(a), jnp.asarray(b), weight)
    np.testing.assert_allclose(found, np.mean(each), atol=1e-6)


def test_cross_and_learn_has_the_stated_values():
    eye, same = jnp.eye(4), jnp.ones((4, 3))
    np.testing.assert_allclose(cross_and_learn(eye, 2 * eye), -1, atol=1e-6)
    np.testing.assert_allclose(cross_and_learn(same, same), 0, atol=1e-6)
    np.testing.assert_allclose(cross_and_learn(same, -same), 2, atol=1e-6)
    apart = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(cross_and_learn(apart, apart), -2, atol=1e-6)
    np.testing.assert_allclose(cross_and_learn(same[:1], -same[:1]), 1, atol=1e-6)
    with pytest.raises(ValueError, match="weight must be in"):
        cross_and_learn(eye, eye, 2.0)
