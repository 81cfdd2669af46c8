"""Order prediction: classes up to reversal, what guessing costs, and pairs of frames."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl.methods.video.order_prediction import order_prediction
from jssl.models.convnet import ConvNet
from jssl.models.jigsaw import PairwiseOrder
from jssl.nets import Net
from jssl.ops.frame_order import order_classes

headline = "loss"
KEY = jax.random.key(0)


def clips():
    """Videos [8, 5, 8, 8, 1]: the pictures, which grow brighter."""
    return images()[:, None] * jnp.linspace(0.1, 1.0, 5)[:, None, None, None]


def network():
    encoder = ConvNet((8, 16), maps=True)
    return jitted(PairwiseOrder(encoder, 3, width=16, pair=8))


def tiny(tx):
    method = order_prediction(
        network(), tx or optax.adam(1e-2), 6, spread=4, jitter=1, count=3
    )
    return method, {"video": clips()}


@cache
def stepped():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(KEY, batch)
    return method, batch, state, jax.jit(method.step)


def test_guessing_costs_the_logarithm_of_the_number_of_orders():
    _, batch, state, step = stepped()
    params = dict(state.params, head=jax.tree.map(jnp.zeros_like, state.params["head"]))
    _, metrics = step(KEY, state._replace(params=params), batch)
    np.testing.assert_allclose(metrics["loss"], np.log(3), rtol=1e-6)


def ranked(sign, seen=None):
    """A network of frames that hold their number, which knows their order."""
    known = jnp.asarray(order_classes(4))

    def apply(params, stats, frames, train=False, keys={}, capture=(), method=None):
        times = frames[:, :, 0, 0, 0]
        if seen is not None:
            jax.debug.callback(lambda x: seen.append(np.asarray(x)), times)
        rank = jnp.argsort(jnp.argsort(times, 1), 1)[:, None]
        both = (rank == known).all(-1) | (rank == known[:, ::-1]).all(-1)
        return {"logits": 9.0 * sign * params["w"] * both}, stats

    return Net(lambda key, frames: ({"w": jnp.ones(())}, {}), apply)


def numbered(n, t=9):
    return {
        "video": jnp.broadcast_to(jnp.arange(t * 1.0)[:, None, None, None], (n, t, 2, 2, 1))
    }


@pytest.mark.parametrize(("sign", "right"), [(1, 1), (-1, 0)])
def test_who_can_sort_is_always_right_and_who_does_the_reverse_never(sign, right):
    seen = []
    net, batch = ranked(sign, seen), numbered(600)
    method = order_prediction(net, optax.sgd(0.0), 2, spread=6, jitter=0)
    _, metrics = jax.jit(method.step)(KEY, method.init(KEY, batch), batch)
    assert metrics["order_accuracy"] == right
    jax.effects_barrier()
    (times,) = seen
    assert np.ptp(times, axis=1).max() == 6 and np.ptp(times, axis=1).min() == 3
    orders = np.argsort(np.argsort(times, axis=1), axis=1)
    found, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(found) == 24  # each class, forward and backward
    assert abs(counts / 600 - 1 / 24).max() < 4 * np.sqrt(1 / 24 * 23 / 24 / 600)


@pytest.mark.parametrize("sign", [1, -1])
def test_frames_sorted_rightly_are_drawn_in_order(sign):
    batch = numbered(8)
    batch["video"] = batch["video"] / 10
    method = order_prediction(ranked(sign), optax.sgd(0.0), 2, spread=6, jitter=0)
    (grid,) = method.render(KEY, method.init(KEY, batch), batch, None).values()
    given, found, true = np.split(np.asarray(grid.images)[:, :, 0, 0, 0], 3, axis=1)
    np.testing.assert_array_equal(np.sort(given), true)
    same = (found == true).all(1)
    assert same.all() if sign > 0 else not same.any()
    assert (given != true).any(1).sum() > 4


def test_the_head_is_that_of_a_loop_over_pairs():
    module = PairwiseOrder(ConvNet((4,), maps=True), 12, width=6, pair=5)
    frames = jax.random.uniform(KEY, (2, 4, 6, 6, 1))
    net = jitted(module)
    params, stats = net.init(KEY, frames)
    found = net.apply(params, stats, frames)[0]["logits"]
    encoder = jitted(ConvNet((4,), maps=True))
    dense = lambda name, x: (
        np.asarray(x) @ np.asarray(params[name]["kernel"])
        + np.asarray(params[name]["bias"])
    )
    encoded = {kind: tree["encoder"] for kind, tree in stats.items()}
    for row, logits in zip(frames, found, strict=True):
        maps = encoder.apply(params["encoder"], encoded, row)[0]
        f = [np.maximum(dense("frame", x.ravel()), 0) for x in maps]
        pairs = [
            np.maximum(dense("pair", np.concatenate([f[i], f[j]])), 0)
            for i in range(4)
            for j in range(i + 1, 4)
        ]
        np.testing.assert_allclose(dense("head", np.concatenate(pairs)), logits, atol=1e-4)


def test_a_frame_is_described_by_itself_on_a_central_crop():
    method, batch, state, _ = stepped()
    embed = jax.jit(method.embed)
    out = embed(state, batch)
    assert out["frames"].shape == (8, 5, 2, 2, 16)
    border = embed(state, {"video": batch["video"].at[:, :, 0].set(0.9)})
    np.testing.assert_array_equal(out["h"], border["h"])
    other = embed(state, {"video": batch["video"].at[:, 2].set(0.3)})
    moved = np.abs(np.asarray(out["frames"] - other["frames"])).max((0, 2, 3, 4)) > 1e-6
    assert moved.tolist() == [t == 2 for t in range(5)]


def test_two_frames_have_no_order():
    with pytest.raises(ValueError, match="count must be at least 3"):
        order_prediction(network(), optax.sgd(0.1), 6, spread=4, jitter=1, count=2)
