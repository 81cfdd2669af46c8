"""Counting: what adds up costs nothing, nothing is not free, and pictures are in order."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy

from jssl import nets
from jssl.methods.pretext.counting import counting
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese
from jssl.ops.halving import halve

headline = "loss"


def network():
    return jitted(Siamese(ConvNet((8, 16), (1, 2)), MLP((16, 8))))


def tiny(tx):
    return counting(network(), tx or optax.adam(5e-3), noisy), {"image": images()}


@cache
def stepped():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(jax.random.key(0), batch)
    return method, batch, state, jax.jit(method.step)


LEVELS = jnp.array([0.1, 0.9, 0.3, 0.5, 0.2, 0.8, 0.45, 0.65])
FLAT = jnp.broadcast_to(LEVELS[:, None, None, None], (8, 8, 8, 1))
"""Images of one brightness, which no filter changes."""


def ideal(seen=None):
    """A network that counts the light of an image: a detector of pixels, summed.

    It knows that the first of every five inputs is a reduced image, whose pixels stand for
    four; outside training all inputs are.
    """

    def apply(params, stats, x, train=False, keys={}, capture=(), method=None):
        if seen is not None:
            jax.debug.callback(lambda x: seen.append(np.asarray(x)), x)
        stands = jnp.where(jnp.arange(len(x)) % 5 == 0, 4.0, 1.0) if train else 1.0
        z = params["w"] * stands * x.sum((1, 2, 3))
        return {"z": jnp.stack([z, 2 * z, -z], 1), "h": x.reshape(len(x), -1)}, stats

    return nets.Net(lambda key, x: ({"w": jnp.ones(())}, {}), apply)


def steps_of(net, batch, keys, margin=10.0):
    method = counting(net, optax.sgd(0.0), margin=margin)
    state, step = method.init(jax.random.key(0), batch), jax.jit(method.step)
    found = [step(jax.random.key(i), state, batch)[1] for i in range(keys)]
    jax.effects_barrier()
    return found


def test_additive_counts_of_light_have_no_first_term_and_negative_counts_are_none():
    wanted = {}
    for shift in range(1, 5):  # those of 8 - shift are the same
        far = 64 * (np.roll(np.asarray(LEVELS), -shift) - np.asarray(LEVELS))
        wanted[shift] = 5 * np.square(far)  # of counts z, 2 z and 0
    shifts = set()
    for metrics in steps_of(ideal(), {"image": FLAT}, 40, margin=900.0):
        assert metrics["same"] == pytest.approx(0, abs=1e-6)
        value = float(metrics["different"])
        shift = min(wanted, key=lambda s: abs(wanted[s].mean() - value))
        assert value == pytest.approx(wanted[shift].mean(), rel=1e-5)
        hinge = np.maximum(0, 900 - wanted[shift]).mean()
        assert metrics["loss"] == pytest.approx(hinge, rel=1e-5)
        shifts.add(shift)
    assert shifts == {1, 2, 3, 4}


def test_inputs_are_the_reduced_image_and_its_quarters():
    seen, x = [], np.asarray(images())
    steps_of(ideal(seen), {"image": images()}, 3)
    for views in (inputs.reshape(8, 5, 4, 4, 1) for inputs in seen[-3:]):
        assert abs(views[:, 0] - np.asarray(halve(images()))).mean() < 0.1
        top, bottom = (np.concatenate([views[:, k], views[:, k + 1]], 2) for k in (1, 3))
        np.testing.assert_array_equal(np.concatenate([top, bottom], 1), x)


def test_counting_nothing_costs_the_margin():
    _, batch, state, step = stepped()
    blank = jax.tree.map(jnp.zeros_like, state.params["projector"]["dense1"])
    params = state.params | {"projector": state.params["projector"] | {"dense1": blank}}
    _, metrics = step(jax.random.key(1), state._replace(params=params), batch)
    assert (metrics["loss"], metrics["same"], metrics["count"]) == (10, 0, 0)


def test_a_step_descends_the_double_loop_of_the_paper():
    """The image that each is compared with is found by the value of the loss."""
    method = counting(network(), optax.sgd(1.0))
    batch = {"image": FLAT}
    state = jax.jit(method.init)(jax.random.key(0), batch)
    after, metrics = jax.jit(method.step)(jax.random.key(7), state, batch)

    def looped(params, shift):
        small = jnp.repeat(FLAT[:, :4, :4], 5, 0)  # reduced, and four quarters: all alike
        out, _ = network().apply(params, state.stats, small, train=True)
        phi, total = jnp.maximum(out["z"], 0).reshape(8, 5, 8), 0
        for x in range(8):
            y, s = (x + shift) % 8, phi[x, 1] + phi[x, 2] + phi[x, 3] + phi[x, 4]
            apart = ((phi[y, 0] - s) ** 2).sum()
            total += ((phi[x, 0] - s) ** 2).sum() + jnp.maximum(0, 10 - apart)
        return total / 8

    compared = jax.jit(jax.value_and_grad(looped))
    tried = [compared(state.params, shift) for shift in range(1, 8)]
    errors = [abs(float(value - metrics["loss"])) for value, _ in tried]
    assert min(errors) < 1e-4 and sorted(errors)[1] > 1e-3
    moved = jax.tree.map(lambda a, b: a - b, state.params, after.params)
    for a, b in zip(
        *map(jax.tree.leaves, (moved, tried[np.argmin(errors)][1])), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("margin", "collapses"), [(0.0, True), (10.0, False)])
def test_without_the_second_term_counts_collapse(margin, collapses):
    method = counting(network(), optax.adam(5e-3), margin=margin)
    batch = {"image": images()}
    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    for i in range(150):
        state, metrics = step(jax.random.key(i), state, batch)
    assert (metrics["different"] < 0.5) == collapses
    assert (metrics["different"] > 5) != collapses


def test_embedding_counts_the_reduced_image():
    method, batch, state, _ = stepped()
    out = jax.jit(method.embed)(state, batch)
    wanted, _ = network().apply(state.params, state.stats, halve(images()))
    np.testing.assert_allclose(out["h"], wanted["h"], atol=1e-6)
    np.testing.assert_allclose(out["z"], np.maximum(wanted["z"], 0), atol=1e-6)


def test_images_are_drawn_from_the_most_to_the_least_of_a_count():
    method, batch = counting(ideal(), optax.sgd(0.0)), {"image": FLAT}
    state = method.init(jax.random.key(0), batch)
    drawn = method.render(jax.random.key(0), state, batch, None)
    ordered = drawn["images in the order of a count"]
    light = np.asarray(ordered.images).mean((2, 3, 4))
    assert ordered.columns == tuple("12345678")
    np.testing.assert_allclose(light[0], np.sort(LEVELS)[::-1], rtol=1e-6)
    np.testing.assert_allclose(light[1], light[0], rtol=1e-6)
    charts = np.asarray(drawn["counts"].images)[:, 1:, ..., 0]
    second = charts[:, :2, 0, 4]  # the count with the most light, of a grid of 2 x 2
    np.testing.assert_allclose(second[:, 1] * LEVELS.max(), LEVELS, rtol=1e-5)
    np.testing.assert_allclose(4 * second[:, 0], second[:, 1], rtol=1e-5)


def test_oblong_images_are_refused():
    method, batch = counting(ideal(), optax.sgd(0.0)), {"image": FLAT[:, :6]}
    with pytest.raises(ValueError, match="images must be square, got 6 x 8"):
        method.step(jax.random.key(0), method.init(jax.random.key(0), batch), batch)
