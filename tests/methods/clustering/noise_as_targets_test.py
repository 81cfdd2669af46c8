"""Noise As Targets: its assignment by brute force, its gradient, and its permutation."""

from functools import cache
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import linear_sum_assignment
from toys import images, jitted, noisy

from jssl.methods.clustering.noise_as_targets import noise_as_targets
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese
from jssl.nets import Net

headline = "loss"
discrete = True  # the assignment
SIZE = 8
KEY = jax.random.key(2)


def tiny(tx, **how):
    net = jitted(Siamese(ConvNet((8, 16)), MLP((16, 6))))
    tx = tx or optax.adam(3e-3)
    method = noise_as_targets(net, tx, noisy, size=SIZE, **how)
    return method, {"image": images(), "index": jnp.arange(8, dtype=jnp.int32)}


def matrix(lr, width=3, size=6, **how):
    """z = W x, of one matrix, and the compiled step."""

    def apply(w, stats, x, train=False, keys={}):
        return {"h": x, "z": x @ w}, stats

    def init(key, x):
        return jax.random.normal(key, (x.shape[1], width)), ()

    method = noise_as_targets(Net(init, apply), optax.sgd(lr), size=size, **how)
    return method, jax.jit(method.init), jax.jit(method.step)


def batch_of(*index, size=6):
    points = np.random.default_rng(1).normal(size=(size, 4))
    return {"image": jnp.asarray(points[list(index)]), "index": jnp.array(index)}


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_the_assignment_of_a_batch_is_the_best_of_all_permutations(x64):
    _, init, step = matrix(0.0)
    index = [4, 1, 5, 0, 2]
    batch = batch_of(*index)
    state = init(KEY, batch)
    after, metrics = step(KEY, state, batch)
    z = unit(np.asarray(batch["image"] @ state.learner.params))
    c, labels = np.asarray(state.targets), np.asarray(state.labels)[index]
    losses = {
        order: np.square(z - c[labels[list(order)]]).sum()
        for order in permutations(range(5))
    }
    best = min(losses, key=losses.get)
    np.testing.assert_array_equal(np.asarray(after.labels)[index], labels[list(best)])
    assert after.labels[3] == state.labels[3]  # not in the batch
    np.testing.assert_allclose(metrics["loss"], losses[best], rtol=1e-10)
    trace = (z * c[labels[list(best)]]).sum()
    np.testing.assert_allclose(metrics["loss"], 2 * 5 - 2 * trace, rtol=1e-10)
    np.testing.assert_allclose(metrics["cosine"], trace / 5, rtol=1e-10)
    moved = np.mean([i != place for i, place in enumerate(best)])
    np.testing.assert_allclose(metrics["reassigned"], moved)
    assert moved > 0


def test_the_assignment_of_a_whole_split_is_scipys(x64):
    _, init, step = matrix(0.0, width=8, size=40)
    batch = batch_of(*range(40), size=40)
    state = init(KEY, batch)
    after, _ = step(KEY, state, batch)
    z = unit(np.asarray(batch["image"] @ state.learner.params))
    rows, columns = linear_sum_assignment(-z @ np.asarray(state.targets).T)
    np.testing.assert_array_equal(after.labels, columns)


def test_the_weights_descend_towards_the_new_targets(x64):
    """The gradient of |z / |z| - c|^2 is -2 (c - u (u c)) / |z|, with u = z / |z|."""
    _, init, step = matrix(0.1)
    batch = batch_of(4, 1, 5)
    state = init(KEY, batch)
    after, _ = step(KEY, state, batch)
    x, w = np.asarray(batch["image"]), np.asarray(state.learner.params)
    z = x @ w
    u = unit(z)
    c = np.asarray(state.targets)[np.asarray(after.labels)[[4, 1, 5]]]
    along = c - u * (u * c).sum(1, keepdims=True)
    slope = x.T @ (-2 * along / np.linalg.norm(z, axis=1, keepdims=True))
    np.testing.assert_allclose(after.learner.params, w - 0.1 * slope, rtol=1e-10)


def test_targets_are_fixed_unit_vectors_and_their_assignment_stays_one_to_one():
    _, init, step = matrix(0.05, size=30)
    points = np.random.default_rng(0).normal(size=(30, 4))
    order = np.random.default_rng(1)
    first = state = init(KEY, {"image": jnp.asarray(points[:5], jnp.float32)})
    for i in range(40):
        index = order.permutation(30)[:5]
        batch = {"image": jnp.asarray(points[index], jnp.float32), "index": index}
        state, _ = step(jax.random.key(i), state, batch)
    np.testing.assert_array_equal(np.sort(state.labels), np.arange(30))
    assert (np.asarray(first.labels) != state.labels).sum() > 10
    np.testing.assert_array_equal(first.targets, state.targets)
    np.testing.assert_allclose(np.linalg.norm(first.targets, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(np.sort(first.labels), np.arange(30))


@pytest.mark.parametrize(("period", "wanted"), [(0, ()), (1, range(8)), (3, (0, 1, 6, 7))])
def test_targets_are_reassigned_in_the_epochs_of_the_period(period, wanted):
    """Two steps an epoch: of period 3, those of epochs 0 and 3."""
    _, init, step = matrix(0.0, epoch=2, period=period)
    batch = batch_of(*range(6))
    state = init(KEY, batch)
    found = []
    for i in range(8):
        # A rotation of the labels cannot be the best assignment twice.
        state = state._replace(labels=jnp.roll(state.labels, 1))
        state, metrics = step(jax.random.key(i), state, batch)
        found += [i] if metrics["reassigned"] > 0 else []
    assert tuple(found) == tuple(wanted)


@cache
def trained(period):
    method, batch = tiny(None, period=period)
    state, step, seen = jax.jit(method.init)(KEY, batch), jax.jit(method.step), []
    for i in range(40):
        state, metrics = step(jax.random.key(i), state, batch)
        seen.append(metrics)
    return method, batch, state, seen


def test_reassignment_gives_a_lower_loss_than_a_fixed_assignment():
    learned, fixed = (trained(period)[-1] for period in (1, 0))
    assert learned[0]["loss"] < fixed[0]["loss"]
    assert np.mean([float(m["loss"]) for m in learned]) < np.mean(
        [float(m["loss"]) for m in fixed]
    )
    assert learned[-1]["cosine"] > 0.9


def test_the_picture_orders_images_by_the_cosines_of_their_targets():
    method, batch, state, _ = trained(1)
    collect = lambda fn, split="train": np.asarray(fn(batch))
    [grid] = method.render(KEY, state, batch, collect).values()
    own = np.asarray(state.targets)[np.asarray(state.labels)]
    order = np.argsort(-own @ own.T, axis=1)
    np.testing.assert_array_equal(order[:, 0], np.arange(SIZE))
    for i, near in enumerate(order[jax.random.permutation(KEY, SIZE)]):
        wanted = np.asarray(images())[near]
        np.testing.assert_allclose(grid.images[i], wanted, atol=2e-3)


def test_wrong_numbers_are_refused_in_one_line():
    with pytest.raises(ValueError, match="at least 1 and period at least 0 .* got 8, 0"):
        tiny(None, epoch=0)
