"""BiGAN: gradients of each player, the value of the game, and an encoder that inverts."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl import nets
from jssl.learner import ema_weights
from jssl.methods.generative.bigan import bigan
from jssl.models.bigan import Discriminator, Encoder, Generator
from jssl.nets import Net

headline = "disc/loss"  # the others hardly move, so that the discriminator gains
KEY = jax.random.key(0)


def uniform(width, key, n):
    return jax.random.uniform(key, (n, width), minval=-1, maxval=1)


def tiny(tx):
    method = bigan(
        jitted(Encoder((8, 8), 4)),
        jitted(Generator((8, 8, 1), (8, 8))),
        jitted(Discriminator((16, 16))),
        tx or optax.sgd(1e-3),
        tx or optax.adam(1e-2),
        partial(uniform, 4),
    )
    return method, {"image": images(), "index": jnp.arange(8)}


def network(params, apply) -> Net:
    """A network without statistics, of one function (params, *inputs) -> out."""

    def applied(params, stats, *inputs, train=False, keys={}):
        return apply(params, *inputs), stats

    return Net(lambda key, *inputs: (jnp.asarray(params), ()), applied)


def scalar(theta=0.5, phi=0.3, psi=(0.7, -0.4, 0.9), rates=(1.0, 1.0)):
    """E(x) = theta x, G(z) = phi z and s(x, z) = a x + b z + c x z, of one number each."""
    return bigan(
        network(theta, lambda theta, x: {"h": theta * x}),
        network(phi, lambda phi, z: phi * z),
        network(
            psi, lambda s, x, z: {"logits": (s[0] * x + s[1] * z + s[2] * x * z)[:, 0]}
        ),
        *map(optax.sgd, rates),
        partial(uniform, 1),
    )


def stepped(method, batch, key=KEY):
    batch = jax.tree.map(jnp.asarray, batch)
    state = method.init(key, batch)
    return jax.jit(method.step)(key, state, batch)


def weights(state):
    params = state.maker.params
    return params["encoder"], params["generator"], np.asarray(state.judge.params)


def sigmoid(s):
    return 1 / (1 + np.exp(-s))


def test_all_three_go_down_the_gradients_worked_out_on_paper(x64):
    """At once: G and E against the discriminator that was there before the step."""
    theta, phi, psi = 0.5, 0.3, np.array([0.7, -0.4, 0.9])
    x = np.random.default_rng(0).normal(size=(6, 1))
    z = np.asarray(uniform(1, jax.random.split(KEY)[0], 6))
    state, metrics = stepped(scalar(), {"image": x})
    pairs = (x, theta * x), (phi * z, z)
    real, fake = (psi[0] * a + psi[1] * b + psi[2] * a * b for a, b in pairs)
    features = [np.concatenate([a, b, a * b], 1) for a, b in pairs]
    loss = np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean()
    np.testing.assert_allclose(metrics["disc/loss"], loss, rtol=1e-12)
    np.testing.assert_allclose(metrics["value"], -loss, rtol=1e-12)
    exchanged = np.log1p(np.exp(real)).mean() + np.log1p(np.exp(-fake)).mean()
    np.testing.assert_allclose(metrics["gen/loss"], exchanged, rtol=1e-12)
    judge = (-(1 - sigmoid(real)) * features[0] + sigmoid(fake) * features[1]).mean(0)
    # The encoder is in the first term alone, the generator in the second.
    encoder = (sigmoid(real) * (psi[1] + psi[2] * x) * x).mean()
    generator = (-(1 - sigmoid(fake)) * (psi[0] + psi[2] * z) * z).mean()
    found = weights(state)
    np.testing.assert_allclose(found[0], theta - encoder, rtol=1e-10)
    np.testing.assert_allclose(found[1], phi - generator, rtol=1e-10)
    np.testing.assert_allclose(found[2], psi - judge, rtol=1e-10)


def test_a_discriminator_of_one_of_the_two_moves_one_player_alone():
    """s = b z sees the encoder's codes and no sample, s = a x the samples and no code."""
    batch = {"image": np.ones((4, 1))}
    moved = {
        psi: weights(stepped(scalar(psi=psi, rates=(0.1, 0.0)), batch)[0])[:2]
        for psi in ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    }
    encoder, generator = moved[0.0, 1.0, 0.0]
    assert encoder != 0.5 and generator == np.float32(0.3)
    encoder, generator = moved[1.0, 0.0, 0.0]
    assert encoder == 0.5 and generator != np.float32(0.3)


def test_a_sure_discriminator_leaves_both_players_their_gradients(x64):
    """D is nearly 1 on real pairs and nearly 0 on others; V itself would be flat."""
    method = scalar(theta=0.5, phi=-1.0, psi=(0.0, 0.0, 80.0), rates=(1.0, 0.0))
    state, metrics = stepped(method, {"image": np.ones((256, 1))})  # s = 40, or -80 z^2
    square = np.asarray(uniform(1, jax.random.split(KEY)[0], 256)) ** 2
    assert metrics["disc/real_right"] == metrics["disc/fake_right"] == 1
    encoder, generator, _ = weights(state)
    np.testing.assert_allclose(0.5 - encoder, 80.0, rtol=1e-6)
    wanted = (sigmoid(80 * square) * 80 * square).mean()
    np.testing.assert_allclose(generator + 1.0, wanted, rtol=1e-6)


def test_an_undecided_discriminator_has_the_textbook_losses(x64):
    _, metrics = stepped(scalar(psi=(0.0, 0.0, 0.0)), {"image": np.ones((4, 1))})
    np.testing.assert_allclose(metrics["disc/loss"], 2 * np.log(2), rtol=1e-12)
    np.testing.assert_allclose(metrics["gen/loss"], 2 * np.log(2), rtol=1e-12)


def test_the_best_discriminator_has_the_divergence_of_the_joint_tables(x64):
    """V = -log 4 + 2 JSD of p(x) [z = E(x)] and p(z) [x = G(z)], three atoms each."""
    atoms = np.eye(3)
    data = np.repeat(atoms, [5, 3, 2], axis=0)
    noise = jnp.asarray(np.repeat(atoms, [3, 3, 4], axis=0))
    code, made = np.array([0, 1, 1]), np.array([0, 2, 1])  # E and G, as maps of atoms
    method = bigan(
        network(atoms[code], lambda table, x: {"h": x @ table}),
        network(atoms[made], lambda table, z: z @ table),
        network(
            np.zeros((3, 3)),
            lambda s, x, z: {"logits": jnp.einsum("nx,xz,nz->n", x, s, z)},
        ),
        optax.sgd(0.0),
        optax.sgd(3.0),
        lambda key, n: noise[:n],
    )
    batch = {"image": jnp.asarray(data)}
    step = lambda state, key: method.step(key, state, batch)
    play = jax.jit(lambda state: jax.lax.scan(step, state, jax.random.split(KEY, 600)))
    state, metrics = play(method.init(KEY, batch))
    p, q = np.zeros((3, 3)), np.zeros((3, 3))
    for i, share in enumerate([0.5, 0.3, 0.2]):
        p[i, code[i]] += share
    for j, share in enumerate([0.3, 0.3, 0.4]):
        q[made[j], j] += share
    both = (p > 0) & (q > 0)
    assert both.sum() == 2  # (0, 0) and (2, 1); (1, 1) is real, (1, 2) made
    np.testing.assert_allclose(state.judge.params[both], np.log(p[both] / q[both]))
    middle = (p + q) / 2

    def divergence(a):
        return (a[a > 0] * np.log(a[a > 0] / middle[a > 0])).sum()

    wanted = -np.log(4) + divergence(p) + divergence(q)  # 2 JSD
    np.testing.assert_allclose(metrics["value"][-1], wanted, atol=2e-3)  # as s -> inf
    assert metrics["value"][-1] < wanted


class Map(nn.Module):
    """Points [n, d] -> points [n, d], by one hidden layer; "h" of a dict if it encodes."""

    encodes: bool

    @nn.compact
    def __call__(self, x, train=False):
        out = nn.Dense(2)(nn.tanh(nn.Dense(32)(x)))
        return {"h": out} if self.encodes else out


class Pairs(nn.Module):
    """Pairs of points -> logits."""

    @nn.compact
    def __call__(self, x, z, train=False):
        x = jnp.concatenate([x, z], 1)
        for _ in range(2):
            x = nn.relu(nn.Dense(64)(x))
        return {"logits": nn.Dense(1)(x)[:, 0]}


def played():
    """Points of a bent square; the method, and its states before and after 2,000 steps."""
    z = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    x = z @ [[1.0, 0.5], [-0.5, 1.0]] + 0.3 * z[:, ::-1] ** 2
    x = jnp.asarray((x - x.mean(0)) / x.std(0), jnp.float32)
    adam = optax.adam(optax.cosine_decay_schedule(2e-3, 2000), b1=0.5)
    method = bigan(
        *map(nets.linen, (Map(True), Map(False), Pairs())),
        optax.chain(adam, ema_weights(0.99)),
        adam,
        partial(uniform, 2),
    )

    def step(state, key):
        rows = jax.random.randint(key, (128,), 0, len(x))
        return method.step(key, state, {"image": x[rows]})

    first = method.init(KEY, {"image": x})
    keys = jax.random.split(KEY, 2000)
    return x, method, first, jax.jit(lambda s: jax.lax.scan(step, s, keys)[0])(first)


def test_the_encoder_learns_the_inverse_of_the_generator():
    x, method, *states = played()
    z = uniform(2, jax.random.key(1), 1000)
    inversions, reconstructions = [], []
    for state in states:
        made = Map(False).apply({"params": state.maker.weights["generator"]}, z)
        code = method.embed(state, {"image": made})["h"]
        inversions.append(np.square(code - z).mean())
        found = method.embed(state, {"image": x})
        reconstructions.append(np.square(found["reconstruction"] - found["input"]).mean())
    assert inversions[1] < 0.03 < 0.2 < inversions[0]  # the variance of z is 1 / 3
    assert reconstructions[1] < 0.1 < 0.5 < reconstructions[0]  # the variance of x is 1


def test_samples_are_one_a_row_and_the_key_alone_decides():
    method, batch = tiny(None)
    state = jax.jit(method.init)(KEY, batch)
    generate = jax.jit(method.generate)
    one, same, other = (generate(jax.random.key(k), state, batch) for k in (0, 0, 1))
    assert one["image"].shape == images().shape
    np.testing.assert_array_equal(one["image"], same["image"])
    assert np.any(one["image"] != other["image"])


def test_codes_of_another_shape_than_the_noise_are_refused():
    method = bigan(
        jitted(Encoder((8, 8), 3)),
        jitted(Generator((8, 8, 1), (8, 8))),
        jitted(Discriminator((16, 16))),
        *[optax.sgd(0.1)] * 2,
        partial(uniform, 4),
    )
    with pytest.raises(ValueError, match=r"\(4,\) and \(8, 8, 1\), got \(3,\)"):
        method.init(KEY, {"image": images()})
