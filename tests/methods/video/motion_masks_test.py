"""Motion masks: labels from flow, and a loss of the pixels of which they are certain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy

from jssl.losses import mask_cross_entropy
from jssl.methods.video.motion_masks import motion_masks
from jssl.models.colorization import Cells
from jssl.models.convnet import ConvNet

headline = "loss"


def tiny(tx):
    net = jitted(Cells(ConvNet((8, 16), (1, 2), maps=True), 1))
    flow = jnp.full((8, 8, 8, 2), jnp.array([1.0, -0.5]))  # the camera pans
    flow = flow.at[:, 2:6, 4:8].add(jnp.array([0.0, 2.0]))  # and something falls
    frames = images().at[:, 2:6, 4:8].add(0.5)
    batch = {"video": jnp.stack([frames, frames], 1), "flow": flow[:, None]}
    first = lambda batch: batch["video"][:, 0]
    method = motion_masks(
        net,
        tx or optax.adam(1e-2),
        lambda batch: batch["flow"][:, 0],
        lambda key, batch: noisy(key, first(batch)),
        prepare=first,
    )
    return method, batch


def test_the_loss_is_the_mean_cross_entropy_of_certain_cells():
    rng = np.random.default_rng(0)
    logits, mask = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    mask, valid = (mask > 0).astype(np.float32), rng.random((3, 4, 5)) < 0.5
    total = count = 0.0
    for at in np.ndindex(3, 4, 5):
        if valid[at]:
            p = 1 / (1 + np.exp(-np.float64(logits[at])))
            total -= np.log(p if mask[at] else 1 - p)
            count += 1
    found = mask_cross_entropy(*map(jnp.asarray, (logits, mask, valid)))
    np.testing.assert_allclose(found, total / count, rtol=1e-6)


def test_uncertain_cells_get_no_gradient():
    logits = jax.random.normal(jax.random.key(0), (2, 4, 4))
    valid = jnp.zeros((2, 4, 4)).at[:, 1].set(1)
    slope = jax.grad(mask_cross_entropy)(logits, jnp.ones((2, 4, 4)), valid)
    assert not slope[valid == 0].any() and slope[valid == 1].all()


def test_nothing_certain_costs_nothing():
    x = jnp.ones((1, 2, 2))
    value, slope = jax.value_and_grad(mask_cross_entropy)(x, x, 0 * x)
    assert value == 0 and not slope.any()


def test_the_method_learns_what_moves_from_the_flow_and_finds_it_without():
    method, batch = tiny(None)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    step = jax.jit(method.step)
    for i in range(80):
        state, metrics = step(jax.random.key(i), state, batch)
    np.testing.assert_allclose(metrics["valid"], 1)
    np.testing.assert_allclose(metrics["foreground"], 0.25)  # 2 x 2 of 4 x 4 cells
    alone = {"video": batch["video"]}
    for _ in range(20):  # the running averages catch up
        state, _ = step(jax.random.key(0), state, batch)
    mask = method.embed(state, alone)["mask"]
    wanted = np.zeros((8, 4, 4))
    wanted[:, 1:3, 2:4] = 1
    assert ((np.asarray(mask) > 0.5) == wanted).mean() > 0.95


def test_the_second_frame_and_the_flow_are_not_seen():
    method, batch = tiny(None)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    other = {"video": batch["video"].at[:, 1].set(0), "flow": 0 * batch["flow"]}
    for name, x in method.embed(state, batch).items():
        if name != "layers":
            np.testing.assert_array_equal(x, method.embed(state, other)[name])


def test_shapes_that_do_not_fit_are_refused(unhooked):
    with pytest.raises(ValueError, match="mask_cross_entropy: mask"):
        mask_cross_entropy(jnp.zeros((1, 2, 2)), jnp.zeros((1, 2, 3)), jnp.ones((1, 2, 2)))
