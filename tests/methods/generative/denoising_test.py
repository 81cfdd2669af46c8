"""Denoising: optima in closed form, golden values, and who sees what noise."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl import nets
from jssl.methods.generative.denoising import denoising
from jssl.models.dense import Autoencoder
from jssl.ops.corruption import gaussian, masking, salt_and_pepper

headline = "loss"
KEY = jax.random.key(0)


def network():
    return jitted(Autoencoder((8, 8, 1), (8,)))


def tiny(tx):
    corrupt = partial(masking, share=0.2)
    return denoising(network(), tx or optax.adam(3e-2), corrupt), {"image": images()}


def matrix(w):
    """A network that multiplies by w."""

    def apply(params, stats, x, **options):
        return {"logits": x @ params, "h": x}, stats

    return nets.Net(lambda key, x: (jnp.asarray(w), ()), apply)


def gradient(w, x, corrupt, key=KEY, **knobs):
    """Loss, metrics and gradient with respect to w: what a step at rate 1 takes away."""
    method = denoising(matrix(w), optax.sgd(1.0), corrupt, output="linear", **knobs)
    batch = {"image": jnp.asarray(x)}
    state = method.init(key, batch)
    after, metrics = method.step(key, state, batch)
    return metrics["loss"], metrics, state.params - after.params


def white(variance, n=400, d=3):
    """Points whose covariance is variance times I to the last digit."""
    x = np.random.default_rng(0).normal(size=(n, d))
    x -= x.mean(0)
    root = np.linalg.cholesky(np.linalg.inv(x.T @ x / n))
    return np.sqrt(variance) * x @ root


def test_under_normal_noise_the_best_linear_map_shrinks_towards_the_mean(x64):
    """s2 / (s2 + n2) times the input, at s2 n2 / (s2 + n2) an entry; 4 standard errors."""
    s2, n2 = 1.5, 0.25
    x, corrupt = white(s2), partial(gaussian, deviation=np.sqrt(n2))

    @jax.jit
    def draws(w):
        keys = jax.random.split(KEY, 1000)
        return jax.vmap(lambda key: gradient(w, x, corrupt, key)[::2])(keys)

    def within(found, wanted):
        found = np.asarray(found)
        error = found.std(0, ddof=1) / np.sqrt(len(found))
        return np.abs(found.mean(0) - wanted) < 4 * error

    best = s2 / (s2 + n2)
    np.testing.assert_allclose(best, 0.857142857, rtol=1e-8)
    loss, grad = draws(best * jnp.eye(3))
    assert within(loss, 3 * 0.2142857142857)
    assert within(grad, 0).all()
    loss, grad = draws(jnp.eye(3))  # a copy keeps all the noise
    assert within(loss, 3 * n2)
    assert within(grad, 2 * n2 * np.eye(3)).all()


def test_under_masking_the_best_linear_map_is_the_marginalised_one(x64):
    """P Q^-1 of Chen et al. 2012, its golden numbers, and all eight masks one by one."""
    x = np.array([[1, 0.5, 0], [0.2, 1, 0.7], [0.9, 0.1, 0.4], [0, 0.3, 1]])
    kept = 0.7
    scatter = x.T @ x
    spoilt = kept**2 * scatter
    np.fill_diagonal(spoilt, kept * np.diag(scatter))
    best = kept * scatter @ np.linalg.inv(spoilt)
    golden = [
        [0.93955846, 0.18945293, 0.02014109],
        [0.13824944, 0.81263461, 0.24243315],
        [0.01796368, 0.29630718, 0.86545520],
    ]
    np.testing.assert_allclose(best, golden, rtol=0, atol=5.1e-9)  # all eight digits
    masks = np.array(list(product([0.0, 1.0], repeat=3)))
    chance = np.prod(np.where(masks == 1, kept, 1 - kept), axis=1)

    def under(mask):
        corrupt = lambda key, x: (x * mask, jnp.broadcast_to(1 - mask, x.shape))
        return gradient(best.T, x, corrupt)[::2]

    losses, grads = jax.vmap(under)(jnp.asarray(masks))
    np.testing.assert_allclose(chance @ losses, 0.3197430718, rtol=1e-9)
    np.testing.assert_allclose(np.tensordot(chance, grads, 1), 0, atol=1e-14)


@pytest.mark.parametrize(
    ("error", "beta", "golden"),
    [
        ("squared", 1.0, 0.22),
        ("squared", 0.5, 0.21),
        ("cross_entropy", 1.0, 1.8772599550),
        ("cross_entropy", 0.5, 1.4678006083),
    ],
)
def test_the_loss_has_its_golden_value(x64, error, beta, golden):
    x, said = np.array([[1, 0, 0.5, 0.2]]), np.array([0.8, 0.1, 0.4, 0.6])
    logits = jnp.asarray(np.log(said / (1 - said)))[None]
    net = nets.Net(
        lambda key, x: (logits, ()),
        lambda params, stats, x, **options: ({"logits": params, "h": x}, stats),
    )
    corrupt = lambda key, x: (1 - x, jnp.array([[1.0, 0, 0, 1]]))
    method = denoising(net, optax.sgd(0.0), corrupt, beta=beta, error=error)
    batch = {"image": jnp.asarray(x)}
    _, metrics = method.step(KEY, method.init(KEY, batch), batch)
    np.testing.assert_allclose(metrics["loss"], golden, rtol=1e-9)
    np.testing.assert_allclose(metrics["mse"], 0.22 / 4, rtol=1e-9)


def test_full_emphasis_asks_for_nothing_where_nothing_was_corrupted(x64):
    """A pixel that no mask ever selects has no gradient; a selected one that kept its
    value, here 0, has."""
    x = np.random.default_rng(0).uniform(0.2, 0.8, (6, 3))
    x[:, 1] = 0
    w = np.random.default_rng(1).normal(size=(3, 3))
    chosen = jnp.array([0, 1, 1]) == 1
    corrupt = lambda key, x: (jnp.where(chosen, 0, x), jnp.broadcast_to(chosen, x.shape))
    _, _, full = gradient(w, x, corrupt, beta=0.0)
    _, _, plain = gradient(w, x, corrupt)
    np.testing.assert_array_equal(full[:, 0], 0)
    assert np.all(plain[0] != 0)
    assert np.all(full[0, 1:] != 0)
    np.testing.assert_allclose(full[:, 1:], plain[:, 1:], rtol=1e-12)


def test_every_step_draws_its_own_noise_and_aims_at_the_clean_image(x64):
    """A network that copies is as far off as the noise of the step's key."""
    x = np.random.default_rng(0).uniform(size=(6, 3))
    corrupt = partial(salt_and_pepper, share=0.5)
    seen = []
    for key in jax.random.split(KEY, 3):
        loss, metrics, _ = gradient(np.eye(3), x, corrupt, key)
        spoilt = np.asarray(corrupt(key, jnp.asarray(x))[0])
        np.testing.assert_allclose(loss, ((spoilt - x) ** 2).sum(1).mean(), rtol=1e-12)
        np.testing.assert_allclose(metrics["psnr_gain"], 0, atol=1e-12)
        seen.append(float(loss))
    assert len(set(seen)) == 3


def test_what_it_embeds_is_not_corrupted(x64):
    method, batch = tiny(None)
    state = jax.jit(method.init)(KEY, batch)
    first = state.params["encoder"]["dense0"]
    s = np.asarray(images(), np.float64).reshape(8, 64) @ np.asarray(first["kernel"])
    wanted = 1 / (1 + np.exp(-s - np.asarray(first["bias"])))
    np.testing.assert_allclose(method.embed(state, batch)["h"], wanted, rtol=1e-5)


def test_it_takes_most_of_the_noise_away():
    net = jitted(Autoencoder((8, 8, 1), (32,)))
    corrupt = partial(salt_and_pepper, share=0.25)
    method = denoising(net, optax.adam(1e-2), corrupt, error="cross_entropy")
    batch = {"image": images()}
    state, step = jax.jit(method.init)(KEY, batch), jax.jit(method.step)
    _, before = step(KEY, state, batch)
    for i in range(400):
        state, metrics = step(jax.random.key(i), state, batch)
    assert before["psnr_gain"] < 0
    assert metrics["psnr_gain"] > 8
    clean, spoilt, restored = np.moveaxis(
        np.asarray(method.render(KEY, state, batch, None)["denoising"].images), 1, 0
    )
    np.testing.assert_array_equal(clean, images())
    assert 4 * np.square(restored - clean).mean() < np.square(spoilt - clean).mean()


def test_the_gain_is_in_decibels_and_finite_without_noise(x64):
    x = np.random.default_rng(0).uniform(0.5, 1, (6, 3))
    none = lambda key, x: (x, jnp.zeros(x.shape))
    _, metrics, _ = gradient(np.eye(3), x, none)
    np.testing.assert_allclose(metrics["psnr_gain"], 0)
    double = lambda key, x: (2 * x, jnp.ones(x.shape))  # off by x, then by x / 2
    _, metrics, _ = gradient(0.75 * np.eye(3), x, double)
    np.testing.assert_allclose(metrics["psnr_gain"], 10 * np.log10(4), rtol=1e-9)


def test_cross_entropy_of_real_numbers_is_refused():
    words = dict(error="cross_entropy", output="linear")
    with pytest.raises(ValueError, match='"cross_entropy" needs output "sigmoid"'):
        denoising(network(), optax.sgd(0.1), masking, **words)
