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
    HalvingStem,
    Head,
)
from jssl.models.conditional import Strided
from jssl.models.dcgan import Generator
from jssl.nets import Net, linen

headline = "disc/loss"  # the generators hardly move, so that the discriminators gain
batch_axis = 1

MAKER = jitted(
    CoupledGenerator(
        (Generator((8, 8, 1), (6, 4), 4, (2, 1), maps=True),), (Head(1), Head(1))
    )
)
JUDGE = jitted(CoupledDiscriminator((HalvingStem(4), HalvingStem(4)), (Strided((6,)),)))
KEY = jax.random.key(0)


def normal(width, key, n):
    return jax.random.normal(key, (n, width))


def tiny(tx):
    one, two = ({"image": x[None], "index": jnp.arange(8)[None]} for x in domains())
    method = cogan(
        MAKER, JUDGE, tx or optax.sgd(1e-4), tx or optax.sgd(0.1), partial(normal, 4)
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
        network(c, lambda c, pair: {"logits": jnp.concatenate(pair, 1) * c}),
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


CORNERS = np.array([[0.0, 0.0], [1.2, 0.0], [0.0, 1.2], [1.5, 2.0]]) - 0.7
TURN, SHIFT = np.array([[0.8, 0.5], [-0.5, 0.8]]), np.array([1.0, 0.5])


def corners(seed, turned):
    """Training points [600, 1, 64, 2] near four corners, of the first or other domain.

    No affine map but the identity keeps the four: if both heads are affine and their common
    input is two numbers, both laws are right only if the pairs are.
    """
    draw = np.random.default_rng(seed)
    shape = (600, 1, 64)
    points = CORNERS[draw.integers(4, size=shape)] + 0.1 * draw.normal(size=(*shape, 2))
    points = points @ TURN + SHIFT if turned else points
    return {"image": jnp.asarray(points, jnp.float32)}


@pytest.mark.parametrize("tied", [True, False])
def test_pairs_correspond_if_layers_are_tied_and_only_then(tied):
    copies, adam = range(1 if tied else 2), optax.adam(2e-3, b1=0.5)
    judges = tuple(gan.Discriminator((32,)) for _ in copies)
    method = cogan(
        linen(CoupledGenerator(tuple(Trunk() for _ in copies), (Head(), Head()))),
        linen(CoupledDiscriminator((Stem(), Stem()), judges)),
        adam,
        adam,
        partial(normal, 4),
    )
    data = {"first": corners(0, False), "second": corners(1, True)}

    @jax.jit
    def play(key, data):
        def step(state, now):
            return method.step(now[0], state, now[1])[0], None

        first = method.init(key, jax.tree.map(lambda x: x[0], data))
        state, _ = jax.lax.scan(step, first, (jax.random.split(key, 600), data))
        return method.generate(key, state, {"index": jnp.arange(1000)})

    made = play(KEY, data)
    one, two = (
        np.linalg.norm(np.asarray(x)[:, None] - to, axis=2).argmin(1)
        for x, to in ((made["image"], CORNERS), (made["second"], CORNERS @ TURN + SHIFT))
    )
    for found in (one, two):  # either domain by itself is learned
        assert np.bincount(found, minlength=4).min() > 50
    agreement = (one == two).mean()
    assert agreement > 0.9 if tied else agreement < 0.5


def test_the_two_domains_have_no_image_in_common():
    path = Path(__file__).parents[3] / "experiments" / "cogan.py"
    [stage] = config.load(f"{path}:tiny=True,seed=3").stages()
    tables = [part.table["image"] for part in stage.data.parts.values()]
    images = [{x.tobytes() for x in table} for table in tables]
    sizes = [len(x) for x in tables]
    assert sum(sizes) == 1077 and abs(sizes[0] - sizes[1]) <= 1
    twice = len(images[0] & images[1])  # the data have a few equal images
    assert twice <= 2


def test_the_papers_training_has_25_000_steps():
    path = Path(__file__).parents[3] / "experiments" / "cogan.py"
    [stage] = config.load(f"{path}:paper,source=blank:60000x10,size=28").stages()
    assert abs(stage.steps - 25_000) <= 5 and stage.data.batch == 128


def test_samples_of_another_shape_than_the_data_are_refused():
    method = cogan(MAKER, JUDGE, optax.sgd(0.1), optax.sgd(0.1), partial(normal, 4))
    wide = {"image": jnp.zeros((1, 8, 8, 10, 1)), "index": jnp.arange(8)[None]}
    with pytest.raises(ValueError, match=r"shape \(\(8, 8, 1\), \(8, 8, 1\)\), but the"):
        method.init(KEY, {"first": wide, "second": wide})
