"""Relative depth: percentiles from parallax, and their absolute error."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy

from jssl import losses
from jssl.methods.video.relative_depth import relative_depth
from jssl.models.colorization import Cells
from jssl.models.convnet import ConvNet
from jssl.ops.parallax import rotational_flow

headline = "loss"
FOCAL = 8.0
OMEGA = jnp.array([0.02, -0.05, 0.03])
SIDEWAYS = jnp.array([-0.5, 0.0, 0.0])


def scene():
    """Eight frames, in which what is brighter is nearer, their depths and flow."""
    frames = images()
    depth = 8 - 6 * frames[..., 0]
    u = -FOCAL * SIDEWAYS[0] / depth
    flow = jnp.stack([u, jnp.zeros_like(u)], -1) + rotational_flow(OMEGA, FOCAL, 8, 8)
    camera = jnp.tile(jnp.concatenate([SIDEWAYS, OMEGA]), (8, 1, 1))
    video = jnp.stack([frames, frames[:, ::-1]], 1)
    return {"video": video, "flow": flow[:, None], "camera": camera}, depth


def method_of(tx, **motion):
    net = jitted(Cells(ConvNet((8, 16), (1, 2), maps=True), 1))
    return relative_depth(
        net,
        tx or optax.adam(1e-2),
        lambda batch: batch["flow"][:, 0],
        FOCAL,
        lambda key, batch: noisy(key, batch["video"][:, 0]),
        prepare=lambda batch: batch["video"][:, 0],
        rotation=lambda batch: batch["camera"][:, 0, 3:],
        **motion,
    )


def tiny(tx):
    translation = lambda batch: batch["camera"][:, 0, :3]
    return method_of(tx, translation=translation), scene()[0]


def test_the_loss_is_the_mean_absolute_error_of_valid_pixels():
    rng = np.random.default_rng(0)
    pred, target = rng.random((2, 3, 4, 5)).astype(np.float32)
    valid = rng.random((3, 4, 5)) < 0.5
    gaps = [abs(pred[at] - target[at]) for at in np.ndindex(3, 4, 5) if valid[at]]
    found = losses.relative_depth(*map(jnp.asarray, (pred, target, valid)))
    np.testing.assert_allclose(found, np.mean(gaps), rtol=1e-6)


@pytest.mark.parametrize("known", [True, False])
def test_what_is_learned_is_the_order_of_depth(known):
    batch, depth = scene()
    method = tiny(None)[0] if known else method_of(None)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    step = jax.jit(method.step)
    for i in range(150):
        state, metrics = step(jax.random.key(i), state, batch)
    assert metrics["valid"] == 1 and metrics["loss"] < 0.1
    for _ in range(20):  # the running averages catch up
        state, _ = step(jax.random.key(0), state, batch)
    found = np.asarray(method.embed(state, {"video": batch["video"]})["depth"])
    wanted = np.asarray(depth[:, 1::2, 1::2])
    for pred, true in zip(found, wanted, strict=True):
        assert np.corrcoef(pred.ravel(), true.ravel())[0, 1] > 0.8


def test_the_scale_of_the_translation_does_not_matter():
    batch, _ = scene()
    method, _ = tiny(None)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    twice = batch | {"camera": batch["camera"] * jnp.array([2, 2, 2, 1, 1, 1])}
    step = jax.jit(method.step)
    one, two = (step(jax.random.key(1), state, x)[1]["loss"] for x in (batch, twice))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_predictions_that_do_not_divide_the_frame_are_refused():
    net = jitted(Cells(ConvNet((8,), (3,), maps=True), 1))
    batch, _ = scene()
    first = lambda batch: batch["video"][:, 0]
    method = relative_depth(
        net, optax.sgd(0.1), lambda batch: batch["flow"][:, 0], FOCAL, prepare=first
    )
    state = method.init(jax.random.key(0), batch)
    with pytest.raises(ValueError, match="3 x 3 predictions must divide"):
        method.step(jax.random.key(0), state, batch)
