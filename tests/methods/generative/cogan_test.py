"""CoGAN: a game of two domains, and pairs that tied layers alone can find."""

from functools import cache, partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl import config
from jssl.methods.generative.cogan import cogan
from jssl.models import gan
from jssl.models.cogan import (
    CoupledDiscriminator,
    CoupledGenerator,
    DoublingHead,
    HalvingStem,
)
from jssl.models.conditional import Strided
from jssl.models.dcgan import Generator
from jssl.nets import Net, linen

headline = "disc/loss"  # the generators hardly move, so that the discriminators gain
batch_axis = 1

MAKER = jitted(
    CoupledGenerator(
        (Generator((8, 8, 1), (6, 4), 4, maps=True),), (DoublingHead(1), DoublingHead(1))
    )
)
JUDGE = jitted(CoupledDiscriminator((HalvingStem(4), HalvingStem(4)), (Strided((6,)),)))
KEY = jax.random.key(0)


def normal(width, key, n):
    return jax.random.normal(key, (n, width))


def tiny(tx):
    one, two = ({"image": x[None], "index": jnp.arange(8)[None]} for x in domains())
    method = cogan(
        MAKER, JUDGE, tx or optax.sgd(1e-3), tx or optax.sgd(0.1), partial(normal, 4)
    )
    return method, {"first": one, "second": two}


def domains():
    return images(), 1 - images()[::-1]


def rows(batch):
    return {name: x[0] for name, x in batch["first"].items()}


@cache
def begun():
    """`tiny`, and its first state."""
    method, batch = tiny(None)
    return method, batch, jax.jit(method.init)(KEY, batch)


def network(params, apply) -> Net:
    """A network without statistics, of one function (params, x) -> out."""

    def applied(params, stats, x, train=False, keys={}, method=None):
        return apply(params, x), stats

    return Net(lambda key, x: (jnp.asarray(params), ()), applied)


def test_both_players_go_down_the_means_of_both_domains(x64):
    """G(z) = (a z, b z) and s_i(x) = c_i x: the losses and their slopes, in NumPy."""
    a, c, rng = np.array([0.5, -0.3]), np.array([0.7, -1.1]), np.random.default_rng(0)
    x = rng.normal(size=(2, 1, 6, 1))
    z = rng.normal(size=(6, 1))
    method = cogan(
        network(a, lambda a, z: (a[0] * z, a[1] * z)),
        network(
            c, lambda c, pair: {"logits": jnp.concatenate(pair, 1) * c}
        ),
        *[optax.sgd(1.0)] * 2,
        lambda key, n: jnp.asarray(z)[:n],
    )
    batch = {"first": {"image": x[0]}, "second": {"image": x[1]}}
    state = method.init(KEY, batch)
    state, metrics = jax.jit(method.step)(KEY, state, batch)
    sigmoid = lambda s: 1 / (1 + np.exp(-s))
    real, fake = x[:, 0, :, 0].T, z * a  # [n, 2]
    loss = np.log1p(np.exp(-c * real)).mean() + np.log1p(np.exp(c * fake)).mean()
    np.testing.assert_allclose(metrics["disc/loss"], loss, rtol=1e-12)
    slope = (-sigmoid(-c * real) * real + sigmoid(c * fake) * fake).mean(0) / 2
    np.testing.assert_allclose(state.discriminator.params, c - slope, rtol=1e-10)
    c = c - slope  # the generators move after the discriminators
    loss = np.log1p(np.exp(-c * fake)).mean()
    np.testing.assert_allclose(metrics["gen/loss"], loss, rtol=1e-12)
    slope = (-sigmoid(-c * fake) * c * z).mean(0) / 2
    np.testing.assert_allclose(state.generator.params, a - slope, rtol=1e-10)


def test_each_domain_has_its_own_input():
    prepare = lambda batch: 2 * batch["image"], lambda batch: -batch["image"]
    seen = []

    def judged(params, pair):
        seen.append(pair)
        return {"logits": jnp.stack([x.mean((1, 2, 3)) for x in pair], 1)}

    method = cogan(
        network(0.0, lambda a, z: (z, z)),
        network(0.0, judged),
        *[optax.identity()] * 2,
        lambda key, n: jnp.zeros((n, 8, 8, 1)),
        prepare=prepare,
    )
    _, batch = tiny(None)
    state = method.init(KEY, batch)
    method.step(KEY, state, batch)
    one, two = domains()
    np.testing.assert_array_equal(seen[0][0], 2 * one)
    np.testing.assert_array_equal(seen[0][1], -two)


def test_h_is_that_of_the_first_domain():
    method, batch, state = begun()
    judge = state.discriminator
    h = jax.jit(method.embed)(state, rows(batch))["h"]
    wanted = JUDGE.apply(judge.params, judge.stats, images(), method="first")[0]["h"]
    np.testing.assert_allclose(h, wanted, rtol=1e-5, atol=1e-6)
    other = judge.params | {"stems_1": jax.tree.map(jnp.ones_like, judge.params["stems_1"])}
    changed = state._replace(discriminator=judge._replace(params=other))
    np.testing.assert_array_equal(method.embed(changed, rows(batch))["h"], h)


def test_a_sample_is_a_pair_of_one_z():
    method, batch, state = begun()
    maker = state.generator
    heads = {"heads_1": maker.params["heads_0"]}
    equal = state._replace(generator=maker._replace(params=maker.params | heads))
    generate = jax.jit(method.generate)
    made, again, other = (
        generate(jax.random.key(i), equal, rows(batch)) for i in (0, 0, 1)
    )
    assert list(made) == ["image", "second"] and made["image"].shape == (8, 8, 8, 1)
    np.testing.assert_array_equal(made["image"], made["second"])
    np.testing.assert_array_equal(made["image"], again["image"])
    assert np.any(made["image"] != other["image"])


def test_a_picture_has_pairs_side_by_side():
    method, batch, state = begun()
    [grid] = method.render(KEY, state, rows(batch), None).values()
    assert grid.images.shape == (8, 8, 8, 8, 1)
    assert grid.columns[:4] == ("image", "second", "image", "second")


class Trunk(nn.Module):
    """Noise [n, d] -> contents [n, 2]."""

    @nn.compact
    def __call__(self, z, train=False):
        for _ in range(2):
            z = nn.relu(nn.Dense(32, kernel_init=nn.initializers.he_normal())(z))
        return nn.Dense(2)(z)


class Head(nn.Module):
    """An affine map of the plane, at first the identity."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, kernel_init=lambda key, shape, dtype: jnp.eye(2))(x)


class Stem(nn.Module):
    @nn.compact
    def __call__(self, x):
        init = nn.initializers.he_normal()
        return nn.leaky_relu(nn.Dense(32, kernel_init=init)(x), 0.2)
