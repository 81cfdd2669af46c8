"""Colorization: the weights of colors, the loss by loops, and pictures at temperatures."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted, noisy

from jssl import config, nets
from jssl.methods.pretext.colorization import TEMPERATURES, colorization
from jssl.models.colorization import Cells, ConvolutionalAlexNet
from jssl.models.convnet import ConvNet
from jssl.ops.lab import ab_bins, lab_to_rgb, lightness, nearest_bin, rgb_to_lab

headline = "loss"
BINS = ab_bins(50)


def images():
    """Waves [8, 8, 8, 3], whose color depends on their brightness."""
    y, x, phase = jnp.arange(8)[:, None], jnp.arange(8), jnp.arange(8)[:, None, None]
    wave = 0.5 + 0.5 * jnp.sin(0.9 * y * (phase % 3) + 0.7 * x + phase)
    return jnp.stack([wave, 1 - wave, wave**2], -1)


def network():
    return jitted(Cells(ConvNet((8, 16), maps=True), len(BINS), (8,)))


def tiny(tx):
    method = colorization(network(), tx or optax.adam(5e-3), BINS, noisy)
    return method, {"image": images()}


@cache
def stepped():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(jax.random.key(0), batch)
    return method, batch, state, jax.jit(method.step)


def collected(batch):
    return lambda fn, *args, split="train": np.asarray(jax.jit(fn)(*args, batch))


def painter(w=40.0):
    """A network that gives each of 2 x 2 pixels the bin of its lightness, times w."""

    def apply(params, stats, x, train=False, keys={}, capture=(), method=None):
        number = jnp.floor((x[:, ::2, ::2, 0] + 0.5) * 0.999 * len(BINS)).astype(int)
        cells = params["w"] * jax.nn.one_hot(number, len(BINS))
        return {"cells": cells, "h": x.mean((1, 2))}, stats

    return nets.Net(lambda key, x: ({"w": jnp.asarray(w)}, {}), apply)


def expected(rgb, weights, neighbors=5):
    """The loss of uniform predictions for 2 x 2 cells, and numbers of bins, by loops."""
    total, numbers = 0.0, []
    for image in np.asarray(rgb):
        ab = np.asarray(rgb_to_lab(jnp.asarray(image)))[::2, ::2, 1:].reshape(-1, 2)
        gate = (np.abs(ab) > 5).any()
        for color in ab.astype(float):
            q = ((BINS - color) ** 2).sum(1).argmin()
            numbers.append(q)
            total += gate * weights[q] * np.log(len(BINS))
    return total / len(numbers), numbers


def test_uniform_predictions_cost_the_logarithm_of_the_bins_before_the_frequencies():
    method = colorization(painter(0.0), optax.sgd(0.0), BINS)
    batch = {"image": images()}
    _, metrics = jax.jit(method.step)(
        jax.random.key(1), method.init(jax.random.key(0), batch), batch
    )
    np.testing.assert_allclose(metrics["loss"], np.log(len(BINS)), rtol=1e-5)


def test_refreshed_weights_are_those_of_the_smoothed_frequencies_of_the_cells():
    """Eq. 4 by loops; gray images cost nothing and still count in the mean."""
    method = colorization(painter(0.0), optax.sgd(0.0), BINS)
    rgb = images().at[2].set(0.4)
    batch = {"image": rgb}
    state = method.init(jax.random.key(0), batch)
    state, order = method.refresh(jax.random.key(0), state, collected(batch))
    assert order is None
    _, numbers = expected(rgb, np.ones(len(BINS)))
    counts = np.bincount(numbers, minlength=len(BINS)).astype(float)
    prior = np.zeros(len(BINS))
    for q, r in np.ndindex(len(BINS), len(BINS)):
        prior[q] += counts[r] * np.exp(-((BINS[q] - BINS[r]) ** 2).sum() / 50)
    prior /= prior.sum()
    np.testing.assert_allclose(state.prior, prior, rtol=1e-5)
    weights = 1 / (0.5 * prior + 0.5 / len(BINS))
    weights /= (prior * weights).sum()
    _, metrics = jax.jit(method.step)(jax.random.key(1), state, batch)
    np.testing.assert_allclose(metrics["loss"], expected(rgb, weights)[0], rtol=1e-5)


def test_mix_one_weighs_all_colors_alike():
    method = colorization(painter(0.0), optax.sgd(0.0), BINS, mix=1.0)
    batch = {"image": images()}
    state = method.init(jax.random.key(0), batch)
    state, _ = method.refresh(jax.random.key(0), state, collected(batch))
    _, metrics = jax.jit(method.step)(jax.random.key(1), state, batch)
    np.testing.assert_allclose(metrics["loss"], np.log(len(BINS)), rtol=1e-5)


def test_the_network_sees_lightness_only():
    """Two pictures of one lightness and other colors have the same features."""
    method, batch, state, _ = stepped()
    gray = jnp.repeat(images()[..., :1], 3, -1)
    lab = rgb_to_lab(0.3 + 0.4 * gray)
    tinted = lab_to_rgb(lab.at[..., 1].add(10.0).at[..., 2].add(-8.0))
    np.testing.assert_allclose(lightness(tinted), lightness(lab_to_rgb(lab)), atol=1e-4)
    embed = jax.jit(lambda x: method.embed(state, {"image": x})["h"])
    np.testing.assert_allclose(embed(tinted), embed(lab_to_rgb(lab)), atol=1e-3)


def test_a_picture_has_the_lightness_of_the_original_and_the_colors_predicted():
    """Of a network that is sure, at all temperatures alike, on flat colors in the gamut."""
    q = int(nearest_bin(jnp.array([0.0, 50.0]), BINS))

    def apply(params, stats, x, train=False, keys={}, capture=(), method=None):
        shape = (len(x), 4, 4, len(BINS))
        cells = params["w"] * jnp.broadcast_to(jax.nn.one_hot(q, len(BINS)), shape)
        return {"cells": cells, "h": x.mean((1, 2))}, stats

    net = nets.Net(lambda key, x: ({"w": jnp.asarray(100.0)}, {}), apply)
    method = colorization(net, optax.sgd(0.0), BINS)
    batch = {"image": jnp.full((2, 8, 8, 3), 0.6)}
    state = method.init(jax.random.key(0), batch)
    drawn = method.render(jax.random.key(1), state, batch, None)["colors by temperature"]
    assert drawn.columns[0] == "gray" and drawn.columns[-1] == "original"
    assert drawn.images.shape == (2, len(TEMPERATURES) + 2, 8, 8, 3)
    lab = np.asarray(rgb_to_lab(jnp.asarray(drawn.images)))
    light = lab[0, -1, 0, 0, 0]
    np.testing.assert_allclose(lab[..., 0], light, atol=0.02)
    np.testing.assert_allclose(lab[:, 0, ..., 1:], 0, atol=0.02)
    np.testing.assert_allclose(
        lab[:, 1:-1, ..., 1:], np.full((2, 3, 8, 8, 2), BINS[q]), atol=0.1
    )
    made = method.embed(state, batch)
    np.testing.assert_array_equal(made["input"], batch["image"])
    np.testing.assert_allclose(made["reconstruction"], drawn.images[:, 2], atol=1e-6)


def test_predictions_of_another_shape_than_the_cells_are_refused():
    net = jitted(Cells(ConvNet((8,), maps=True), len(BINS), every=3))
    method = colorization(net, optax.sgd(0.0), BINS)
    batch = {"image": jnp.ones((2, 8, 8, 3))}
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    jax.eval_shape(method.step, jax.random.key(0), state, batch)  # 3 x 3 cells of 3 pixels
    odd = {"image": jnp.ones((2, 8, 10, 3))}

    def wrong(params, stats, x, **how):
        return {"cells": jnp.zeros((2, 4, 4, len(BINS))), "h": x.mean((1, 2))}, stats

    method = colorization(net._replace(apply=wrong), optax.sgd(0.0), BINS)
    with pytest.raises(ValueError, match="one prediction for each cell"):
        jax.eval_shape(method.step, jax.random.key(0), state, odd)


def test_the_convolutional_alexnet_has_the_maps_and_weights_of_the_released_one():
    """train_alexnet/train_val.prototxt: 180 pixels; 45, 23 and 12 squares, 23 of colors."""
    net = nets.linen(Cells(ConvolutionalAlexNet(), 313, every=8))
    x = jax.ShapeDtypeStruct((2, 180, 180, 1), jnp.float32)
    params, stats = jax.eval_shape(net.init, jax.random.key(0), x)
    out, _ = jax.eval_shape(net.apply, params, stats, x)
    assert [maps.shape[1] for maps in out["layers"]] == [45, 23, 12, 12, 12]
    assert out["cells"].shape == (2, 23, 23, 313) and out["h"].shape == (2, 4096)
    sizes = {
        name: int(np.prod(layer["kernel"].shape))
        for name, layer in params["encoder"].items()
    }
    assert sizes == {
        "conv0": 96 * 11 * 11,
        "conv1": 256 * 48 * 25,
        "conv2": 384 * 256 * 9,
        "conv3": 384 * 192 * 9,
        "conv4": 256 * 192 * 9,
        "fc6": 4096 * 256 * 36,
        "fc7": 4096 * 4096,
    }


@pytest.mark.parametrize("name", ["colorization", "split_brain"])
def test_the_published_lengths_are_those_of_the_released_solvers(name):
    """train_alexnet/solver0.prototxt to solver3.prototxt, of 450,000 steps of 80 images."""
    path = Path(__file__).parents[3] / "experiments" / f"{name}.py"
    stage, linear = config.load(f"{path}:paper,source=blank:imagenet2012").stages()
    assert abs(stage.steps / 450_000 - 1) < 1e-3 and stage.data.batch == 80
    assert abs(linear.steps / 140_000 - 1) < 1e-2 and linear.data.batch == 256
    shapes = jax.eval_shape(stage.data.decode, stage.data.shapes())
    state = jax.eval_shape(stage.method.init, jax.random.key(0), shapes)
    after, _ = jax.eval_shape(stage.method.step, jax.random.key(0), state, shapes)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert stage.refresh_every in (0, stage.steps)
