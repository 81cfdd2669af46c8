"""Generators of rows: the critic's closed forms, and rows of the classes asked for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from toys import images, jitted

from jssl.learner import ema_weights
from jssl.methods.generative.augmentation import augmentation, variational_augmentation
from jssl.models import gan
from jssl.models.conditional import Conditional, Conditioned
from jssl.models.dense import linear
from jssl.models.vae import VAE
from jssl.nets import Net

headline = "disc/loss"
batch_axis = 1
KEY = jax.random.key(0)
MAKER = jitted(Conditioned(gan.Generator((64,), (8,), linear)))
CRITIC = jitted(Conditional(gan.Discriminator((16,)), "concat"))


def normal(width, key, n):
    return jax.random.normal(key, (n, width))


def flat(batch):
    return batch["image"].reshape(len(batch["image"]), -1)


def tiny(tx):
    batch = {"image": images(), "label": jnp.arange(8) % 3, "index": jnp.arange(8)}
    batch = {name: x[None] for name, x in batch.items()}
    slow, fast = tx or optax.sgd(1e-4), tx or optax.adam(1e-2)
    show = lambda x: x.reshape(-1, 8, 8, 1)
    return augmentation(
        MAKER, CRITIC, slow, fast, partial(normal, 4), 3, prepare=flat, show=show
    ), batch


def rows(batch):
    return {name: x[0] for name, x in batch.items()}


def test_the_loss_of_a_linear_critic_is_the_difference_of_means_and_the_penalty(x64):
    """s = w x + v y with |w| = 5: the penalty is 10 (5 - 1)^2, and the classes cancel."""
    w, v = jnp.array([3.0, 4.0]), jnp.array([7.0, -2.0])

    def apply(params, stats, x, y, train=False, keys={}):
        return {"logits": x @ params["w"] + y @ params["v"], "h": x}, stats

    critic = Net(lambda key, x, y: ({"w": w, "v": v}, ()), apply)
    shift = jnp.array([0.5, -1.0])
    maker = Net(
        lambda key, z, y: (shift, ()),
        lambda shift, stats, z, y, train=False, keys={}: (z + shift, stats),
    )
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
    batch = {"image": x[None], "label": jnp.arange(6)[None] % 2}
    draw = lambda key, n: jnp.zeros((n, 2))
    m = augmentation(maker, critic, optax.sgd(0.0), optax.sgd(0.0), draw, 2)
    _, metrics = jax.jit(m.step)(KEY, m.init(KEY, batch), batch)
    wanted = w @ (shift - x.mean(0)) + 10 * (5 - 1) ** 2
    np.testing.assert_allclose(metrics["disc/loss"], wanted, rtol=1e-8)
    np.testing.assert_allclose(metrics["gen/loss"], -(w @ shift + v.mean()), rtol=1e-8)


def test_the_score_reads_the_class_and_h_does_not():
    m, batch = tiny(None)
    state, seen = jax.jit(m.init)(KEY, batch), rows(batch)
    embed = jax.jit(m.embed)
    one = embed(state, seen)
    other = embed(state, seen | {"label": (seen["label"] + 1) % 3})
    np.testing.assert_array_equal(one["h"], other["h"])
    assert np.all(one["score"] != other["score"])
    judge, y = state.discriminator, jax.nn.one_hot(seen["label"], 3)
    wanted = CRITIC.apply(judge.params, judge.stats, flat(seen), y)[0]["logits"]
    np.testing.assert_allclose(one["score"], wanted, rtol=1e-5)
    del seen["label"]
    assert "score" not in m.embed(state, seen)


MEANS = np.array([[2.0, 0.0], [-1.0, 1.0]])


def clouds(n):
    """Rows of two classes, of deviation 0.7 along the first axis, else 0.3."""
    y = np.arange(n) % 2
    noise = np.random.default_rng(0).normal(size=(n, 2)) * [0.7, 0.3]
    x = jnp.asarray(MEANS[y] + noise, jnp.float32)
    return {"image": x, "label": jnp.asarray(y), "index": jnp.arange(n)}


def trained(method, batch, steps):
    def step(state, key):
        return method.step(key, state, batch)[0], None

    start = method.init(KEY, batch)
    return jax.jit(lambda keys: jax.lax.scan(step, start, keys)[0])(
        jax.random.split(KEY, steps)
    )


def test_rows_of_the_variational_model_have_the_means_and_variances_of_their_class():
    """A linear decoder with the noise 0.3 represents these rows exactly."""
    net = jitted(VAE((2,), (), 1))
    m = variational_augmentation(net, optax.adam(0.02), 2, deviation=0.3)
    batch = clouds(512)
    state = trained(m, batch, 600)
    asked = {k: jnp.tile(x, (8,) + (1,) * (x.ndim - 1)) for k, x in batch.items()}
    made = np.asarray(jax.jit(m.generate)(KEY, state, asked)["image"])
    for k in (0, 1):
        mine = made[np.asarray(asked["label"]) == k]
        np.testing.assert_allclose(mine.mean(0), MEANS[k], atol=0.12)
        np.testing.assert_allclose(mine.std(0), [0.7, 0.3], atol=0.06)
    embed = jax.jit(m.embed)
    other = batch | {"label": 1 - batch["label"]}
    np.testing.assert_array_equal(embed(state, batch)["h"], embed(state, other)["h"])


def test_rows_of_the_adversarial_model_have_the_means_of_their_class():
    """Averaged weights, as in the experiment: those of a step go around the means."""
    m = augmentation(
        jitted(Conditioned(gan.Generator((2,), (16,), linear))),
        jitted(Conditional(gan.Discriminator((32,)), "concat")),
        optax.chain(optax.adam(1e-3, 0.5, 0.9), ema_weights(0.99)),
        optax.adam(3e-3, 0.5, 0.9),
        partial(normal, 2),
        2,
        penalty=1.0,
    )
    whole = clouds(64)
    state = trained(m, {k: jnp.stack([x] * 3) for k, x in whole.items()}, 1000)
    asked = clouds(1024)
    made = np.asarray(jax.jit(m.generate)(KEY, state, asked)["image"])
    for k in (0, 1):
        mine = made[np.asarray(asked["label"]) == k]
        np.testing.assert_allclose(mine.mean(0), MEANS[k], atol=0.25)
