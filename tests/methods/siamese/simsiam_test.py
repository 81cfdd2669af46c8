"""SimSiam: its loss, its stopped gradient, and the collapse without it."""

from functools import partial

import jax
import numpy as np
import optax
import pytest
from toys import images, jitted, two_views

from jssl.methods.siamese.simsiam import simsiam
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese

headline = "loss"


def network():
    projector = MLP((16, 8), last_norm="plain")
    return jitted(Siamese(ConvNet((8, 16)), projector, MLP((8, 8))))


def tiny(tx):
    method = simsiam(network(), tx or optax.sgd(0.05), two_views)
    return method, {"image": images()}


def test_the_loss_is_minus_half_the_sum_of_both_cosines():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(jax.random.key(0), batch)
    _, metrics = jax.jit(method.step)(jax.random.key(1), state, batch)
    views = two_views(jax.random.key(1), batch["image"])
    outs = [
        network().apply(state.params, state.stats, views[:, i], train=True)[0]
        for i in (0, 1)
    ]

    def cosine(p, z):
        p, z = np.asarray(p, np.float64), np.asarray(z, np.float64)
        norms = np.linalg.norm(p, axis=1) * np.linalg.norm(z, axis=1)
        return ((p * z).sum(1) / norms).mean()

    one, two = outs
    wanted = -(cosine(one["p"], two["z"]) + cosine(two["p"], one["z"])) / 2
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-5)


def flat(width):
    """An encoder of vectors in the place of the convolutional one."""
    return MLP((32, width), last_norm="affine")


def clusters(key, n=128):
    """Eight-dimensional Gaussian clusters."""
    center_key, label_key, key = jax.random.split(key, 3)
    centers = 2 * jax.random.normal(jax.random.key(9), (5, 8))
    label = jax.random.randint(label_key, (n,), 0, 5)
    return centers[label] + 0.3 * jax.random.normal(key, (n, 8))


@partial(jax.jit, static_argnums=0)
def learnt(stopped):
    """The metrics of 200 steps on noisy views."""

    def noisy(key, batch):
        x = batch["image"]
        return x[:, None] + jax.random.normal(key, (len(x), 2, 8))

    net = jitted(Siamese(flat(16), MLP((16, 16), last_norm=""), MLP((8, 16))))
    # No norm on z: without a stopped gradient one would keep the spread up by itself.
    tx = optax.sgd(0.3, momentum=0.9)
    method = simsiam(net, tx, noisy, stop_gradient=stopped)

    def step(state, key):
        return method.step(key, state, {"image": clusters(key)})

    key = jax.random.key(0)
    state = method.init(key, {"image": clusters(key)})
    return jax.lax.scan(step, state, jax.random.split(key, 200))[1]


@pytest.mark.parametrize("stopped", [True, False])
def test_the_stopped_gradient_alone_keeps_it_from_collapse(stopped):
    metrics = {name: values[-1] for name, values in learnt(stopped).items()}
    if stopped:
        assert metrics["z_spread"] > 0.5
    else:
        assert metrics["z_spread"] < 0.1
        assert metrics["loss"] < -0.99
