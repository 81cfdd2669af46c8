"""NNCLR: its loss in loops over the old queue, its gradient, and what the queue keeps."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, two_views

from jssl import nets
from jssl.methods.contrastive.nnclr import nnclr
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese

headline = "loss"
discrete = True  # another neighbor where two are equally near up to rounding
KEY = jax.random.key(1)
TAU = 0.5


def network():
    return jitted(Siamese(ConvNet((8, 16)), MLP((16, 8), last_norm="affine"), MLP((16, 8))))


def tiny(tx):
    made = nnclr(network(), tx or optax.adam(3e-3), two_views, queue=16, temperature=TAU)
    return made, {"image": images()}


@cache
def stepped():
    """The states around a step, and its metrics."""
    method, batch = tiny(optax.sgd(1.0))
    before = jax.jit(method.init)(jax.random.key(0), batch)
    return before, *jax.jit(method.step)(KEY, before, batch)


def outputs(params, stats):
    """Those of either view in training, one after the other, and the statistics then."""
    views, found = two_views(KEY, images()), []
    for i in (0, 1):
        out, stats = network().apply(params, stats, views[:, i], train=True)
        found.append(out)
    return found, stats


def normal(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def friends(z, queue):
    """The row of the queue nearest to each of z, by a loop."""
    return np.stack([queue[max(range(len(queue)), key=lambda k: queue[k] @ x)] for x in z])


def test_the_loss_is_the_loop_over_both_ways_with_neighbors_from_the_old_queue():
    before, after, metrics = stepped()
    (one, two), stats = outputs(before.learner.params, before.learner.stats)
    queue, total = normal(before.queue.keys), 0.0
    for z, p in ((one["z"], two["p"]), (two["z"], one["p"])):
        near, p = friends(normal(z), queue), normal(p)
        for i in range(8):  # n logits a row, those of the other view's predictions
            logits = [near[i] @ p[k] / TAU for k in range(8)]
            total += (np.log(np.exp(logits).sum()) - logits[i]) / 8 / 2
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    z = normal(one["z"])
    near = (friends(z, queue) * z).sum(1).mean()
    np.testing.assert_allclose(metrics["neighbor_cosine"], near, rtol=1e-5)
    assert near < 0.99  # pushed first, each would be its own
    chex.assert_trees_all_close(after.learner.stats, stats, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_that_of_predictions_alone():
    before, after, _ = stepped()
    (one, two), _ = outputs(before.learner.params, before.learner.stats)
    queue = normal(before.queue.keys)
    near = [jnp.float32(friends(normal(out["z"]), queue)) for out in (one, two)]

    @jax.grad
    def slope(params):
        (one, two), _ = outputs(params, before.learner.stats)
        value = 0.0
        for fixed, p in ((near[0], two["p"]), (near[1], one["p"])):
            p = p / jnp.linalg.norm(p, axis=1, keepdims=True)
            value -= jnp.diag(jax.nn.log_softmax(fixed @ p.T / TAU)).mean() / 2
        return value

    moved = jax.tree.map(jnp.subtract, before.learner.params, after.learner.params)
    chex.assert_trees_all_close(moved, slope(before.learner.params), rtol=1e-3, atol=1e-5)


def test_the_first_views_projections_take_the_places_of_the_oldest():
    before, after, _ = stepped()
    (one, _), _ = outputs(before.learner.params, before.learner.stats)
    np.testing.assert_allclose(after.queue.keys[:8], normal(one["z"]), atol=1e-5)
    np.testing.assert_array_equal(after.queue.keys[8:], before.queue.keys[8:])
    assert int(after.queue.pointer) == 8


class Scalar:
    """A network of one weight: z = p = (cos, sin) of w times the image's angle."""

    @staticmethod
    def init(key, x):
        return {"w": jnp.ones(())}, {}

    @staticmethod
    def apply(params, stats, x, train=False, **how):
        angle = params["w"] * x.reshape(len(x), 1)
        z = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], 1)
        return {"h": z, "z": z, "p": z}, stats


def test_of_a_queue_that_holds_the_batch_the_loss_is_info_nce_with_both_views():
    """Catalogue: if Q contains z, nn = z; so it is from the second step on."""
    batch = {"image": jnp.arange(6.0).reshape(6, 1, 1, 1)}
    twice = lambda key, batch: jnp.stack([batch["image"]] * 2, 1)
    net = nets.Net(Scalar.init, Scalar.apply)
    method = nnclr(net, optax.sgd(0.0), twice, queue=6, temperature=TAU)
    state, step = jax.jit(method.init)(KEY, batch), jax.jit(method.step)
    state, first = step(KEY, state, batch)
    _, second = step(KEY, state, batch)
    angles = np.arange(6.0)
    logits = np.cos(angles[:, None] - angles) / TAU
    wanted = (np.log(np.exp(logits).sum(1)) - 1 / TAU).mean()
    np.testing.assert_allclose(second["loss"], wanted, rtol=1e-5)
    np.testing.assert_allclose(second["neighbor_cosine"], 1, rtol=1e-5)
    assert first["neighbor_cosine"] < 0.99


def test_accumulated_gradients_are_refused():
    method, batch = tiny(optax.MultiSteps(optax.sgd(1.0), 2))
    with pytest.raises(ValueError, match="nnclr: the loss compares the samples"):
        jax.eval_shape(method.init, KEY, batch)
