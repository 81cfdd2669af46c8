"""BYOL: its loss, and how its target moves."""

from functools import cache, partial

import chex
import jax
import numpy as np
import optax
from toys import images, jitted, two_views

from jssl.learner import without_predictor
from jssl.methods.siamese.byol import byol
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese

headline = "loss"


def network():
    return jitted(Siamese(ConvNet((8, 16)), MLP((16, 8)), MLP((16, 8))))


def method(tx, momentum=0.99, steps=100):
    return byol(network(), tx, two_views, steps=steps, momentum=momentum)


def tiny(tx):
    return method(tx or optax.sgd(0.05)), {"image": images()}


@jax.jit
def step(momentum, state):
    return method(optax.sgd(0.1), momentum).step(
        jax.random.key(1), state, {"image": images()}
    )


@cache
def moved(momentum):
    """The states before and after a step, and its metrics."""
    init = jax.jit(method(optax.sgd(0.1)).init)
    before = init(jax.random.key(0), {"image": images()})
    return before, *step(momentum, before)


def test_at_momentum_one_the_target_does_not_move():
    before, after, _ = moved(1.0)
    chex.assert_trees_all_equal(before.target.params, after.target.params)
    assert np.any(
        before.online.params["encoder"]["conv0"]["kernel"]
        != after.online.params["encoder"]["conv0"]["kernel"]
    )


def test_at_momentum_zero_it_becomes_the_online_network_after_its_step():
    _, after, _ = moved(0.0)
    wanted = without_predictor(after.online)[0]
    chex.assert_trees_all_close(after.target.params, wanted, rtol=1e-6)
    assert "predictor" not in after.target.params


def test_the_targets_statistics_are_its_own_and_see_both_views():
    before, after, _ = moved(1.0)
    views = two_views(jax.random.key(1), images())
    project = partial(network().apply, train=True, method="project")
    stats = before.target.stats
    for i in (0, 1):
        _, stats = project(before.target.params, stats, views[:, i])
    chex.assert_trees_all_close(after.target.stats, stats, rtol=1e-4, atol=1e-6)


def test_the_loss_is_four_less_twice_the_cosines_of_both_ways():
    before, _, metrics = moved(1.0)
    views = two_views(jax.random.key(1), images())
    online = [
        network().apply(before.online.params, before.online.stats, v, train=True)[0]["p"]
        for v in (views[:, 0], views[:, 1])
    ]
    target = [
        network().apply(*before.target, v, train=True, method="project")[0]["z"]
        for v in (views[:, 0], views[:, 1])
    ]

    def cosine(p, z):
        p, z = np.asarray(p, np.float64), np.asarray(z, np.float64)
        norms = np.linalg.norm(p, axis=1) * np.linalg.norm(z, axis=1)
        return ((p * z).sum(1) / norms).mean()

    wanted = 4 - 2 * cosine(online[0], target[1]) - 2 * cosine(online[1], target[0])
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-5)
