"""Latent diffusion: its scale, its two codes of an image, and what a text does."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl.learner import Learner, descend, ema_weights, fresh
from jssl.method import field
from jssl.methods.generative.ddpm import ddpm
from jssl.methods.generative.latent_diffusion import State, coded_by, latent_diffusion
from jssl.models.vae import VAE
from jssl.ops.diffusion import cosine_schedule, timestep_embedding

headline = "loss"
KEY = jax.random.key(0)
CODER, GRID = VAE((8, 8, 1), (16,), 8), (2, 2, 2)
TOKENS = jnp.array([[2, 3, 4], [2, 3, 0], [5, 0, 0], [4, 3, 2]] * 2)


class Told(nn.Module):
    """x_t, i, tokens [n, l] -> {"output": like x_t, "h": [n, 32]}, 0 at first."""

    @nn.compact
    def __call__(self, x, i, tokens, train=False):
        text = nn.Embed(6, 8, name="words")(tokens).sum(1)
        rows = [x.reshape(len(x), -1), timestep_embedding(i, 8), text]
        h = nn.swish(nn.Dense(32)(jnp.concatenate(rows, 1)))
        out = nn.Dense(x[0].size, kernel_init=nn.initializers.zeros)(h)
        return {"output": out.reshape(x.shape), "h": h}


def tiny(tx, **knobs):
    how = dict(target="v", steps=4, eta=0.0, clip=False, gray_levels=None) | knobs
    prior = ddpm(
        jitted(Told()),
        tx or optax.chain(optax.adam(1e-2), ema_weights(0.5)),
        cosine_schedule(20),
        condition=field("tokens"),
        none=0,
        prepare=field("latent"),
        show=lambda z: z,
        made="latent",
        **how,
    )
    batch = {"image": images(), "tokens": TOKENS, "index": jnp.arange(8)}
    return latent_diffusion(jitted(CODER), prior, GRID), batch


@pytest.fixture(scope="module")
def trained():
    """A method, its batch, and a state after ten steps, with a scale that is not 1."""
    method, batch = tiny(None)
    step = jax.jit(method.step)
    state = jax.jit(method.init)(KEY, batch)._replace(scale=jnp.array(2.5))
    for key in jax.random.split(KEY, 10):
        state, _ = step(key, state, batch)
    return method, batch, state


def encoded(state, batch):
    return CODER.apply({"params": state.coder.params}, batch["image"], method="encode")


def decoded(state, z):
    out = CODER.apply({"params": state.coder.params}, z, method="decode")
    return jnp.clip(out, 0, 1)


def test_the_scale_gives_codes_a_variance_of_one(trained):
    method, batch, state = trained
    _, far = tiny(None)
    many = {name: jnp.tile(x, (50,) + (1,) * (x.ndim - 1)) for name, x in far.items()}
    collect = lambda fn, *args: jax.device_get(jax.jit(fn)(*args, many))
    after, order = method.refresh(KEY, state, collect)
    assert order is None
    mean, log_variance = encoded(state, many)
    z = mean + jnp.exp(log_variance / 2) * jax.random.normal(KEY, mean.shape)
    np.testing.assert_allclose(np.std(after.scale * z), 1, atol=0.01)
    assert abs(np.std(z) - 1) > 0.05
    assert after.coder is state.coder and after.prior is state.prior


def test_a_strength_of_zero_returns_the_decoded_input_whatever_the_scale(trained):
    method, batch, state = trained
    like = batch["image"][::-1]
    wanted = decoded(state, encoded(state, {"image": like})[0])
    generate = jax.jit(method.generate)
    for scale in (2.5, 0.3):
        given = batch | {"like": like, "strength": jnp.zeros(8)}
        made = generate(KEY, state._replace(scale=jnp.array(scale)), given)["image"]
        np.testing.assert_allclose(made, wanted, atol=1e-5)
    far = generate(KEY, state, batch | {"like": like, "strength": jnp.ones(8)})["image"]
    other = generate(KEY, state, batch | {"like": 0 * like, "strength": jnp.ones(8)})
    near = generate(KEY, state, batch | {"like": 0 * like, "strength": jnp.zeros(8)})
    gap = lambda a, b: np.abs(a - b).mean()
    assert gap(far, other["image"]) < 0.2 * gap(wanted, near["image"])


def test_samples_are_decoded_from_those_of_the_prior(trained):
    """A network of zeros says v = 0: a step turns x_t by the angle between two levels."""
    method, batch, state = trained
    zeros = jax.tree.map(jnp.zeros_like, state.prior)
    made = jax.jit(method.generate)(KEY, state._replace(prior=zeros), batch)["image"]
    assert made.shape == (8, 8, 8, 1) and made.min() >= 0 and made.max() <= 1
    levels, at = cosine_schedule(20), np.array([19, 13, 6, 0])
    angle = np.append(np.arctan2(levels.noise[at], levels.signal[at]), 0)
    begin, _ = jax.random.split(KEY)
    x = np.cos(np.diff(angle)).prod() * jax.random.normal(begin, (8, *GRID))
    np.testing.assert_allclose(made, decoded(state, x.reshape(8, -1) / 2.5), atol=1e-4)


def test_guidance_of_one_is_none_and_of_zero_ignores_the_text(trained):
    _, batch, state = trained
    made = {}
    for scale in (0.0, 1.0, 1 + 1e-6, 3.0):
        method, _ = tiny(None, guidance=scale)
        made[scale] = jax.jit(method.generate)(KEY, state, batch)["image"]
    np.testing.assert_allclose(made[1.0], made[1 + 1e-6], atol=1e-4)
    empty = batch | {"tokens": 0 * TOKENS}
    method, _ = tiny(None)
    nothing = jax.jit(method.generate)(KEY, state, empty)["image"]
    np.testing.assert_allclose(made[0.0], nothing, atol=1e-4)
    assert np.abs(made[3.0] - made[1.0]).max() > 1e-4


def test_the_autoencoder_is_frozen_and_the_rest_learns(trained):
    method, batch, state = trained
    after, _ = jax.jit(method.step)(KEY, state, batch)
    jax.tree.map(np.testing.assert_array_equal, after.coder, state.coder)
    assert after.scale == state.scale
    words = lambda state: state.prior.params["words"]["embedding"]
    assert np.abs(words(after) - words(state)).max() > 0


def test_words_do_not_learn_if_every_text_is_dropped():
    method, batch = tiny(optax.sgd(1.0), drop=1.0)
    state = jax.jit(method.init)(KEY, batch)
    after = jax.jit(method.step)(KEY, state, batch)[0]
    words = lambda state: state.prior.params["words"]["embedding"]
    np.testing.assert_array_equal(words(after)[1:], words(state)[1:])


def test_a_step_draws_codes_and_the_representation_is_their_mean(trained):
    method, batch, state = trained
    out = jax.jit(method.embed)(state, batch)
    mean, _ = encoded(state, batch)
    np.testing.assert_allclose(out["h"], mean, atol=1e-5)
    seen = CODER.apply({"params": state.coder.params}, mean, method="decode")
    np.testing.assert_allclose(out["reconstruction"], seen.reshape(8, -1), atol=1e-5)
    assert out["h/prior"].shape == (8, 32)
    wide = state.coder.params["posterior"]
    wide = {"bias": wide["bias"].at[8:].add(8.0), "kernel": wide["kernel"]}
    noisy = state._replace(
        coder=state.coder._replace(params=state.coder.params | {"posterior": wide})
    )
    one, two = (jax.jit(method.step)(KEY, s, batch)[1]["loss"] for s in (state, noisy))
    assert two > 10 * one


def test_the_second_stage_starts_from_the_averaged_weights_of_the_first():
    tx = optax.chain(optax.sgd(1.0), ema_weights(0.5))
    first = descend(tx, fresh(tx, jnp.zeros(()), "stats"), jnp.array(-2.0))
    state = State(Learner(jnp.zeros(()), "", ()), jnp.ones(()), "prior")
    done = {"autoencoder": SimpleNamespace(learner=first)}
    after = coded_by("autoencoder")(state, done)
    assert (float(after.coder.params), after.coder.stats, after.coder.opt) == (
        1,
        "stats",
        (),
    )
    assert after._replace(coder=state.coder) == state
