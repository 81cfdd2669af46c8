import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.losses.contrastive import info_nce
from jssl.losses.siamese import (
    byol_regression,
    data2vec,
    data2vec_targets,
    i_jepa,
    negative_cosine,
    nnclr,
)

N, D = 6, 4


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def cos(u, v):
    return u @ v / (np.linalg.norm(u) * np.linalg.norm(v))


def smooth_l1(x, beta):
    return x**2 / (2 * beta) if abs(x) < beta else abs(x) - beta / 2


def normalized(x):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def test_negative_cosine_and_regression_are_their_loops():
    p, z = draw(N, D), draw(N, D, seed=1)
    cosines = [cos(*rows) for rows in zip(np.asarray(p), np.asarray(z), strict=True)]
    np.testing.assert_allclose(negative_cosine(p, z), -np.mean(cosines))
    np.testing.assert_allclose(byol_regression(p, z), 2 - 2 * np.mean(cosines))


def test_any_axes_may_stand_before_the_last():
    p, z = draw(2, 3, D), draw(2, 3, D, seed=1)
    flat = p.reshape(-1, D), z.reshape(-1, D)
    for loss in (negative_cosine, byol_regression, i_jepa):
        np.testing.assert_allclose(loss(p, z), loss(*flat))


@pytest.mark.parametrize("loss", [negative_cosine, byol_regression])
def test_the_gradient_is_orthogonal_to_p_and_none_reaches_z(loss):
    p, z = draw(N, D), draw(N, D, seed=1)
    to_p, to_z = jax.grad(loss, (0, 1))(p, z)
    np.testing.assert_allclose((to_p * p).sum(1), 0, atol=1e-12)
    assert jnp.abs(to_p).max() > 1e-3
    np.testing.assert_array_equal(to_z, 0)


def test_the_ranges_are_reached():
    z = draw(N, D)
    np.testing.assert_allclose(negative_cosine(z, 3 * z), -1)
    np.testing.assert_allclose(negative_cosine(z, -z), 1)
    np.testing.assert_allclose(byol_regression(z, z), 0, atol=1e-12)
    np.testing.assert_allclose(byol_regression(z, -z), 4)


def test_nnclr_is_its_loop():
    z, p, queue = draw(N, D), draw(N, D, seed=1), draw(9, D, seed=2)
    losses = []
    for i in range(N):
        cosines = [cos(np.asarray(q), np.asarray(z[i])) for q in queue]
        neighbor = np.asarray(queue[int(np.argmax(cosines))])
        logits = [cos(neighbor, np.asarray(row)) / 0.1 for row in p]
        losses.append(np.log(np.exp(logits).sum()) - logits[i])
    np.testing.assert_allclose(nnclr(z, p, queue), np.mean(losses))


def test_a_queue_that_holds_z_makes_nnclr_info_nce():
    z, p = draw(N, D), draw(N, D, seed=1)
    np.testing.assert_allclose(nnclr(z, p, z), info_nce(z, p, None, 0.1))


def test_nnclr_stops_z_and_the_queue():
    z, p, queue = draw(N, D), draw(N, D, seed=1), draw(9, D, seed=2)
    to_z, to_p, to_queue = jax.grad(nnclr, (0, 1, 2))(z, p, queue)
    np.testing.assert_array_equal(to_z, 0)
    np.testing.assert_array_equal(to_queue, 0)
    assert jnp.abs(to_p).max() > 1e-3


@pytest.mark.parametrize("beta", [0.5, 2.0, None, 0.0])
def test_data2vec_is_its_loop(beta):
    p, y, mask = draw(2, 3, D), draw(2, 3, D, seed=1), [[1, 0, 1], [0, 0, 1]]
    ell = {None: lambda x: x**2, 0.0: abs}.get(beta, lambda x: smooth_l1(x, beta))
    tokens = []
    for i in range(2):
        for t in range(3):
            if mask[i][t]:
                errors = np.asarray(p[i, t] - y[i, t])
                tokens.append(sum(ell(x) for x in errors) / np.sqrt(D))
    value = data2vec(p, y, jnp.array(mask), beta)
    np.testing.assert_allclose(value, np.mean(tokens))


def test_tokens_that_are_not_masked_do_not_count():
    p, y, mask = draw(2, 3, D), draw(2, 3, D, seed=1), jnp.array([[1, 0, 1], [0, 0, 1]])
    slope = jax.grad(data2vec)(p, y, mask)
    np.testing.assert_array_equal(slope[mask == 0], 0)
    assert (jnp.abs(slope[mask == 1]).max(-1) > 0).all()
    np.testing.assert_array_equal(jax.grad(data2vec, 1)(p, y, mask), 0)
    assert data2vec(p, y, jnp.zeros((2, 3))) == 0


def test_data2vec_targets_are_their_loop_and_stopped():
    layers = draw(2, 3, 4, D) * jnp.array([1.0, 100.0])[:, None, None, None]
    targets = data2vec_targets(layers)
    for i in range(3):
        for t in range(4):
            mean = np.mean([normalized(np.asarray(x[i, t])) for x in layers], axis=0)
            np.testing.assert_allclose(targets[i, t], normalized(mean))
    slope = jax.grad(lambda x: data2vec_targets(x)[0, 0, 0])(layers)
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("beta", [1.0, None])
def test_i_jepa_is_its_loop(beta):
    p, h = 2 * draw(N, D), draw(N, D, seed=1)
    ell = (lambda x: x**2) if beta is None else (lambda x: smooth_l1(x, beta))
    targets = [normalized(np.asarray(row)) for row in h]
    errors = (np.asarray(p) - np.stack(targets)).ravel()
    wanted = np.mean([ell(x) for x in errors])
    np.testing.assert_allclose(i_jepa(p, h, beta), wanted)


def test_i_jepa_with_a_mask_is_its_mean_over_the_tokens_within():
    p, h = 2 * draw(2 * 3, D).reshape(2, 3, D), draw(2 * 3, D, seed=1).reshape(2, 3, D)
    some = jnp.array([True, False, True])
    kept = jnp.array([0, 2])
    value, slope = jax.value_and_grad(i_jepa)(p, h, 1.0, some)
    wanted = jax.value_and_grad(lambda p: i_jepa(p[:, kept], h[:, kept]))(p)
    np.testing.assert_allclose(value, wanted[0], rtol=1e-12)
    np.testing.assert_allclose(slope, wanted[1], rtol=1e-12)
    assert i_jepa(p, h, 1.0, jnp.zeros((2, 3))) == 0
    with pytest.raises(ValueError, match=r"broadcast to the tokens \(2, 3\), got \(2,\)"):
        i_jepa(p, h, 1.0, jnp.zeros(2))


def test_i_jepa_is_nothing_at_its_target_and_stops_it():
    h = draw(N, D)
    target = jnp.stack([jnp.asarray(normalized(np.asarray(row))) for row in h])
    np.testing.assert_allclose(i_jepa(target, h), 0, atol=1e-20)
    np.testing.assert_array_equal(jax.grad(i_jepa, 1)(draw(N, D, seed=1), h), 0)


def test_beta_cannot_be_negative():
    with pytest.raises(ValueError, match="beta must be positive"):
        i_jepa(jnp.ones((2, 3)), jnp.ones((2, 3)), beta=-1.0)
