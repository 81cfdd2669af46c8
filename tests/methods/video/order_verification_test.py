"""Order verification: what decides is the middle frame, and what guessing is worth."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl.methods.video.order_verification import order_verification
from jssl.models.convnet import ConvNet
from jssl.models.jigsaw import ContextFree
from jssl.nets import Net

headline = "loss"
KEY = jax.random.key(0)


def clips():
    """Videos [8, 6, 8, 8, 1]: the pictures, which grow brighter."""
    bright = jnp.linspace(0.1, 1.0, 6)[:, None, None, None]
    return images()[:, None] * bright


def network():
    return jitted(ContextFree(ConvNet((8, 16), maps=True), 2, width=4, hidden=16))


def tiny(tx):
    method = order_verification(network(), tx or optax.adam(1e-2), spread=3)
    return method, {"video": clips()}


@cache
def stepped():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(KEY, batch)
    return method, batch, state, jax.jit(method.step)


def test_guessing_costs_log_two():
    _, batch, state, step = stepped()
    params = dict(state.params, head=jax.tree.map(jnp.zeros_like, state.params["head"]))
    _, metrics = step(KEY, state._replace(params=params), batch)
    np.testing.assert_allclose(metrics["loss"], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(metrics["auc"], 0.5)


def counting(judge, seen=None):
    """A network of frames that hold their number: judge(frames [n, 3]) -> scores [n]."""

    def apply(params, stats, frames, train=False, keys={}, capture=(), method=None):
        times = frames[:, :, 0, 0, 0]
        if seen is not None:
            jax.debug.callback(lambda x: seen.append(np.asarray(x)), times)
        score = params["w"] * judge(times)
        return {"logits": jnp.stack([-score, score], -1)}, stats

    return Net(lambda key, frames: ({"w": jnp.ones(())}, {}), apply)


def numbered(n, t=12):
    return {
        "video": jnp.broadcast_to(jnp.arange(t * 1.0)[:, None, None, None], (n, t, 1, 1, 1))
    }


def between(times):
    """9 if the middle frame is between the others, else -9."""
    low, high = times[:, [0, 2]].min(1), times[:, [0, 2]].max(1)
    return jnp.where((times[:, 1] > low) & (times[:, 1] < high), 9.0, -9.0)


def test_who_sees_the_middle_frame_between_the_others_is_always_right():
    for sign, worth in ((1, 1), (-1, 0)):
        net = counting(lambda x, sign=sign: sign * between(x))
        method = order_verification(net, optax.sgd(0.0), spread=5, gap=2)
        batch = numbered(64)
        _, metrics = jax.jit(method.step)(KEY, method.init(KEY, batch), batch)
        assert metrics["auc"] == worth and metrics["balanced_accuracy"] == worth


def test_who_sees_the_outer_frames_alone_is_right_half_of_the_time():
    """The ends, their distance and their order tell nothing of the class."""
    net = counting(lambda x: x[:, 2] - x[:, 0] + 0.1 * x[:, 0])
    method = order_verification(net, optax.sgd(0.0), spread=5, gap=2)
    batch = numbered(4000)
    _, metrics = jax.jit(method.step)(KEY, method.init(KEY, batch), batch)
    assert abs(metrics["auc"] - 0.5) < 4 * np.sqrt(1 / (12 * 1000))


def test_the_majority_has_half_of_the_balanced_accuracy():
    net = counting(lambda x: -1.0 + 0 * x[:, 0])
    method = order_verification(net, optax.sgd(0.0), spread=5)
    batch = numbered(64)
    _, metrics = jax.jit(method.step)(KEY, method.init(KEY, batch), batch)
    np.testing.assert_allclose(metrics["balanced_accuracy"], 0.5)
    np.testing.assert_allclose(metrics["auc"], 0.5)


def test_triples_have_the_spread_and_the_gap_that_were_asked_for():
    seen = []
    net = counting(lambda x: x[:, 0], seen)
    method, batch = order_verification(net, optax.sgd(0.0), spread=4, gap=3), numbered(512)
    jax.jit(method.step)(KEY, method.init(KEY, batch), batch)
    jax.effects_barrier()
    first, middle, last = seen[0].T
    low, high = np.minimum(first, last), np.maximum(first, last)
    assert (high - low).min() == 2 and (high - low).max() == 4
    outside = np.maximum(low - middle, middle - high)
    assert ((outside < 0) | (outside >= 3)).all()
    assert abs((outside < 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 512)


def test_a_frame_is_described_by_itself():
    method, batch, state, _ = stepped()
    embed = jax.jit(method.embed)
    out, other = (
        embed(state, batch),
        embed(state, {"video": batch["video"].at[:, 2].set(0.3)}),
    )
    assert out["frames"].shape == (8, 6, 2, 2, 16) and out["h"].shape == (8, 16)
    moved = np.abs(np.asarray(out["frames"] - other["frames"])).max((0, 2, 3, 4)) > 1e-6
    assert moved.tolist() == [t == 2 for t in range(6)]
    np.testing.assert_allclose(out["h"], out["frames"].mean((1, 2, 3)), atol=1e-5)
    mixed = embed(state, {"video": batch["video"][:, ::-1]})
    np.testing.assert_allclose(mixed["h"], out["h"], atol=1e-5)


@pytest.mark.parametrize("negatives", [0.0, 1.0])
def test_a_single_class_is_refused(negatives):
    with pytest.raises(ValueError, match="negatives must be between 0 and 1"):
        order_verification(network(), optax.sgd(0.1), spread=3, negatives=negatives)


def test_videos_that_are_too_short_are_refused():
    method, _ = tiny(None)
    state = method.init(KEY, {"video": clips()})
    with pytest.raises(ValueError, match="need a spread of 2 and 5 frames or more"):
        method.step(KEY, state, {"video": clips()[:, :4]})
