import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.losses.distillation import dino, ibot, koleo, swav, update_center
from jssl.ops.sinkhorn import sinkhorn

N, V, G, K = 4, 4, 2, 5


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def softmax(x):
    e = np.exp(np.asarray(x))
    return e / e.sum()


def cross_entropy(p, q):
    return -sum(a * np.log(b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("g", [1, 2, V])
def test_dino_is_its_double_loop(g):
    student, teacher, center = draw(N, V, K), draw(N, g, K, seed=1), draw(K, seed=2)
    losses = []
    for i in range(g):
        for v in range(V):
            if v != i:
                for n in range(N):
                    target = softmax((teacher[n, i] - center) / 0.3)
                    losses.append(cross_entropy(target, softmax(student[n, v] / 0.2)))
    assert len(losses) == N * g * (V - 1)
    value = dino(student, teacher, center, 0.2, 0.3)
    np.testing.assert_allclose(value, np.mean(losses))


def test_uniform_student_and_teacher_cost_the_logarithm():
    zeros = jnp.zeros((N, V, K))
    np.testing.assert_allclose(dino(zeros, zeros[:, :G], jnp.zeros(K)), np.log(K))
    np.testing.assert_allclose(swav(zeros), np.log(K))
    tokens, mask = jnp.zeros((N, 3, K)), jnp.ones((N, 3))
    np.testing.assert_allclose(ibot(tokens, tokens, mask, jnp.zeros(K)), np.log(K))


def test_a_constant_added_to_all_logits_of_a_row_changes_nothing():
    student, teacher = draw(N, V, K), draw(N, G, K, seed=1)
    center, shift = draw(K, seed=2), draw(N, 1, 1, seed=3)
    moved = dino(student + shift, teacher - 2 * shift, center)
    np.testing.assert_allclose(moved, dino(student, teacher, center))


def test_the_cross_entropy_is_the_teachers_entropy_and_a_divergence():
    student, teacher, zero = draw(1, 2, K), draw(1, 2, K, seed=1), jnp.zeros(K)
    parts = []
    for i, v in ((0, 1), (1, 0)):
        p, q = softmax(teacher[0, i] / 0.04), softmax(student[0, v] / 0.1)
        parts.append(cross_entropy(p, p) + sum(p * (np.log(p) - np.log(q))))
    np.testing.assert_allclose(dino(student, teacher, zero), np.mean(parts))


def test_teacher_and_center_pass_no_gradient():
    student, teacher, center = draw(N, V, K), draw(N, G, K, seed=1), draw(K, seed=2)
    slopes = jax.grad(dino, (0, 1, 2))(student, teacher, center)
    mask = jnp.ones((N, G))
    slopes += jax.grad(ibot, (0, 1, 3))(student[:, :G], teacher, mask, center)
    for slope in (*slopes[1:3], *slopes[4:]):
        np.testing.assert_array_equal(slope, 0)
    assert jnp.abs(slopes[0]).max() > 1e-3
    assert jnp.abs(slopes[3]).max() > 1e-3
    for argument in (0, 1):
        slope = jax.grad(lambda *x: update_center(*x).sum(), argument)(center, teacher)
        np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize(("v", "g"), [(1, 1), (2, 3)])
def test_views_without_a_partner_are_an_error(v, g):
    with pytest.raises(ValueError, match="needs at least 2 views"):
        dino(jnp.zeros((N, v, K)), jnp.zeros((N, g, K)), jnp.zeros(K))


def test_swav_without_a_global_view_is_the_same_error():
    with pytest.raises(ValueError, match="needs at least 2 views"):
        swav(jnp.zeros((N, V, K)), crops=0)


def test_the_center_is_a_running_mean_over_everything_but_the_last_axis():
    center, teacher = draw(K), draw(N, 3, 2, K, seed=1)
    wanted = 0.7 * np.asarray(center) + 0.3 * np.asarray(teacher).mean((0, 1, 2))
    np.testing.assert_allclose(update_center(center, teacher, 0.7), wanted)


def test_ibot_is_its_double_loop():
    student, teacher, center = draw(N, 3, K), draw(N, 3, K, seed=1), draw(K, seed=2)
    mask = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    images = []
    for n in range(N):
        patches = []
        for t in np.flatnonzero(mask[n]):
            target = softmax((teacher[n, t] - center) / 0.3)
            patches.append(cross_entropy(target, softmax(student[n, t] / 0.2)))
        images.append(np.mean(patches) if patches else 0)
    value = ibot(student, teacher, jnp.array(mask), center, 0.2, 0.3)
    np.testing.assert_allclose(value, np.mean(images))


def test_koleo_is_its_double_loop():
    x = np.asarray(draw(N, K))
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    nearest = [
        min(np.linalg.norm(x[i] - x[j]) for j in range(N) if j != i) for i in range(N)
    ]
    wanted = -np.mean(np.log(np.array(nearest) + 1e-8))
    np.testing.assert_allclose(koleo(jnp.asarray(7 * x)), wanted)


def test_koleo_has_closed_forms():
    np.testing.assert_allclose(koleo(jnp.eye(5)), -np.log(2) / 2, atol=1e-7)
    antipodes = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(koleo(antipodes), -np.log(2), atol=1e-7)
    twins = jnp.ones((2, 3))
    np.testing.assert_allclose(koleo(twins), -np.log(1e-8))
    np.testing.assert_array_equal(jax.grad(koleo)(twins), 0)
    assert koleo(jnp.ones((1, 3))) == 0


def test_swav_is_its_double_loop():
    scores = draw(N, V, K)
    losses = []
    for i in range(G):
        code = np.asarray(sinkhorn(scores[:, i], 0.5, 3))
        for v in range(V):
            if v != i:
                rows = [softmax(scores[n, v] / 0.2) for n in range(N)]
                losses += [cross_entropy(code[n], rows[n]) for n in range(N)]
    value = swav(scores, temperature=0.2, epsilon=0.5)
    np.testing.assert_allclose(value, np.mean(losses))


def test_codes_of_swav_are_stopped_and_may_come_from_outside():
    scores = draw(N, V, K)
    codes = jnp.stack([sinkhorn(scores[:, i]) for i in range(G)], 1)
    np.testing.assert_allclose(swav(scores, codes), swav(scores))
    held = jax.grad(lambda s: swav(s, codes))(scores)
    np.testing.assert_allclose(jax.grad(swav)(scores), held)
    np.testing.assert_array_equal(jax.grad(swav, 1)(scores, codes), 0)
