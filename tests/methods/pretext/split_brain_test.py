"""Split-brain: halves that share nothing, losses by loops, and pictures of the parts."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted, noisy

from jssl import nets
from jssl.methods.pretext.split_brain import (
    color_classes,
    depth_halves,
    joined,
    lab_halves,
    lightness_classes,
    regression,
    split_brain,
    split_depth,
    split_lab,
)
from jssl.models.colorization import Cells, ConvolutionalAlexNet, SplitBrain
from jssl.models.convnet import ConvNet
from jssl.ops.lab import ab_bins, rgb_to_lab

headline = "loss"
BINS = ab_bins(50)
HALVES = lab_halves(BINS)
DRAW = np.random.default_rng(0)


def images():
    """Waves [8, 8, 8, 3], whose color depends on their brightness."""
    y, x, phase = jnp.arange(8)[:, None], jnp.arange(8), jnp.arange(8)[:, None, None]
    wave = 0.5 + 0.5 * jnp.sin(0.9 * y * (phase % 3) + 0.7 * x + phase)
    return jnp.stack([wave, 1 - wave, wave**2], -1)


def network(halves=HALVES):
    one = Cells(ConvNet((4, 8), maps=True), halves.second.outputs, (4,))
    two = Cells(ConvNet((4, 8), maps=True), halves.first.outputs, (4,))
    return jitted(SplitBrain(one, two))


def tiny(tx):
    look = lambda key, batch: split_lab(noisy(key, batch))
    return split_brain(network(), tx or optax.adam(5e-3), HALVES, look), {"image": images()}


@cache
def stepped():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(jax.random.key(0), batch)
    return method, batch, state, jax.jit(method.step)


def test_uniform_predictions_cost_the_logarithms_of_the_classes():
    _, batch, state, step = stepped()
    params = {
        half: dict(weights, head=jax.tree.map(jnp.zeros_like, weights["head"]))
        for half, weights in state.params.items()
    }
    _, metrics = step(jax.random.key(1), state._replace(params=params), batch)
    np.testing.assert_allclose(metrics["second/loss"], np.log(13), rtol=1e-5)
    np.testing.assert_allclose(metrics["first/loss"], np.log(100), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], np.log(1300), rtol=1e-5)


def test_neither_loss_has_a_gradient_for_the_other_half():
    _, batch, state, _ = stepped()
    parts = split_lab(batch["image"])
    net = network()

    @jax.jit
    def gradients(params):
        def of(name):
            def loss(params):
                out, _ = net.apply(params, state.stats, parts, train=True)
                return jnp.square(out[name]).mean()

            return jax.grad(loss)(params)

        return of("second"), of("first")

    size = lambda tree: float(optax.tree.norm(tree))
    second, first = gradients(state.params)
    assert size(second["one"]) > 0 and size(first["two"]) > 0
    assert size(second["two"]) == size(first["one"]) == 0


def test_a_half_sees_its_own_part_only():
    _, batch, state, _ = stepped()
    one, two = split_lab(batch["image"])
    seen = lambda *parts: network().apply(state.params, state.stats, parts)[0]
    whole, other, another = seen(one, two), seen(one, 1 - two), seen(1 - one, two)
    for name in ("second", "h/first"):
        np.testing.assert_array_equal(whole[name], other[name])
        assert not np.allclose(whole[name], another[name])
    for name in ("first", "h/second"):
        np.testing.assert_array_equal(whole[name], another[name])
        assert not np.allclose(whole[name], other[name])


def test_h_and_layers_are_those_of_both_halves_side_by_side():
    method, batch, state, _ = stepped()
    out = jax.jit(method.embed)(state, batch)
    np.testing.assert_array_equal(out["h"][:, :8], out["h/first"])
    np.testing.assert_array_equal(out["h"][:, 8:], out["h/second"])
    assert [maps.shape for maps in out["layers"]] == [(8, 4, 4, 8), (8, 2, 2, 16)]
    one = Cells(ConvNet((4, 8), maps=True), 13, (4,))
    stats = jax.tree.map(lambda x: x, state.stats)
    half = {"batch_stats": stats["batch_stats"]["one"]}
    light, _ = split_lab(batch["image"])
    alone, _ = jitted(one).apply(state.params["one"], half, light)
    for both, own in zip(out["layers"], alone["layers"], strict=True):
        np.testing.assert_allclose(both[..., : own.shape[-1]], own, atol=1e-5)


def test_two_half_networks_have_half_the_weights_of_inner_layers():
    """And the widths together of the whole one: c/2 -> c/2 twice, instead of c -> c."""
    x = [jax.ShapeDtypeStruct((1, 64, 64, c), jnp.float32) for c in (1, 2)]
    whole = nets.linen(Cells(ConvolutionalAlexNet(split=1), 313))
    single, _ = jax.eval_shape(whole.init, jax.random.key(0), x[0])
    widths = (48, 128, 192, 192, 128)
    side = lambda: ConvolutionalAlexNet(widths=widths, hidden=(2048, 2048), split=1)
    both = nets.linen(SplitBrain(Cells(side(), 313), Cells(side(), 100)))
    params, stats = jax.eval_shape(both.init, jax.random.key(0), tuple(x))
    for name in ("conv1", "conv2", "conv3", "conv4", "fc7"):
        count = lambda weights, name=name: np.prod(weights[name]["kernel"].shape)
        parts = [count(params[half]["encoder"]) for half in ("one", "two")]
        assert sum(parts) == count(single["encoder"]) / 2
    out, _ = jax.eval_shape(joined(both).apply, params, stats, tuple(x))
    widths = [maps.shape[-1] for maps in out["layers"]]
    assert widths == [96, 256, 384, 384, 256]


def test_lightness_is_classified_in_levels_of_width_one():
    light = np.float32(DRAW.uniform(0, 100, (2, 3, 3)))
    light[0, 0] = 0.0, 100.0, 99.5
    scores = np.float32(DRAW.normal(size=(2, 3, 3, 100)))
    total = 0.0
    for at in np.ndindex(light.shape):
        level = min(int(light[at]), 99)
        z = scores[at].astype(float)
        total += np.log(np.exp(z).sum()) - z[level]
    prediction = lightness_classes()
    got = prediction.loss(jnp.asarray(scores), jnp.asarray((light[..., None] - 50) / 100))
    np.testing.assert_allclose(got, total / light.size, rtol=1e-5)
    sure = 50 * jax.nn.one_hot(jnp.array([0, 40, 99]), 100)
    decoded = 100 * prediction.decode(sure)[:, 0] + 50
    np.testing.assert_allclose(decoded, [0.5, 40.5, 99.5], atol=1e-3)


def test_colors_are_classified_by_soft_codes_in_their_own_units():
    ab = np.float32(DRAW.uniform(-60, 60, (2, 3, 3, 2)))
    scores = np.float32(DRAW.normal(size=(2, 3, 3, 13)))
    total = 0.0
    for at in np.ndindex(2, 3, 3):
        squared = ((BINS.astype(float) - ab[at]) ** 2).sum(1)
        near = np.argsort(squared)[:5]
        w = np.exp(-(squared[near] - squared[near[0]]) / 50)
        z = scores[at].astype(float)
        total -= (w / w.sum()) @ (z[near] - np.log(np.exp(z).sum()))
    prediction = color_classes(BINS)
    got = prediction.loss(jnp.asarray(scores), jnp.asarray(ab / 110))
    np.testing.assert_allclose(got, total / 18, rtol=1e-4)
    sure = prediction.decode(100 * jnp.eye(13))
    np.testing.assert_allclose(110 * sure, BINS, atol=1e-3)


def test_regression_is_by_squared_or_absolute_errors():
    found, true = jnp.asarray(DRAW.normal(size=(2, 2, 3, 3, 2)), jnp.float32)
    apart = np.asarray(found - true, float)
    np.testing.assert_allclose(
        regression(2).loss(found, true), (apart**2).mean(), rtol=1e-5
    )
    got = regression(2, jnp.abs).loss(found, true)
    np.testing.assert_allclose(got, np.abs(apart).mean(), rtol=1e-5)
    assert lab_halves(None).second.outputs == 2 and lab_halves(None).first.outputs == 1


def test_parts_of_lab_have_fixed_scales_and_join_to_the_image():
    light, ab = split_lab(images())
    lab = rgb_to_lab(images())
    np.testing.assert_allclose(100 * light[..., 0] + 50, lab[..., 0], atol=1e-3)
    np.testing.assert_allclose(110 * ab, lab[..., 1:], atol=1e-3)
    np.testing.assert_allclose(HALVES.join(light, ab), images(), atol=1e-3)


def scenes():
    depth = jnp.arange(8 * 64).reshape(8, 8, 8) % 256
    return {"image": images(), "depth": depth.astype(jnp.uint8)}


def test_depth_learns_from_color_and_color_from_depth():
    """By the mean absolute error of depth, and the mean squared one of color."""
    halves, batch = depth_halves(), scenes()
    rgb, depth = split_depth(batch)
    np.testing.assert_allclose(rgb, batch["image"] - 0.5)
    np.testing.assert_allclose(
        depth[..., 0], np.asarray(batch["depth"]) / 255 - 0.5, atol=1e-6
    )
    method = split_brain(network(halves), optax.adam(5e-3), halves, prepare=split_depth)
    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    flat = jax.tree.map(jnp.zeros_like, state.params)
    _, metrics = step(jax.random.key(0), state._replace(params=flat), batch)
    cells = lambda x: np.asarray(x)[:, ::2, ::2]
    np.testing.assert_allclose(metrics["second/loss"], abs(cells(depth)).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["first/loss"], (cells(rgb) ** 2).mean(), rtol=1e-5)
    seen = []
    for i in range(60):
        state, metrics = step(jax.random.key(i), state, batch)
        seen.append(metrics["loss"])
    assert np.mean(seen[-5:]) < 0.8 * np.mean(seen[:5])
    [picture] = method.render(jax.random.key(0), state, batch, None).values()
    assert picture.images.shape == (8, 5, 8, 16, 3)
    original = np.asarray(picture.images)[:, -1]
    np.testing.assert_allclose(original[:, :, :8], batch["image"], atol=1e-6)
    np.testing.assert_allclose(
        original[:, :, 8:, 0], np.asarray(batch["depth"]) / 255, atol=1e-6
    )


def test_pictures_show_each_part_and_its_prediction_beside_the_original():
    method, batch, state, _ = stepped()
    [picture] = method.render(jax.random.key(0), state, batch, None).values()
    assert picture.columns == (
        "lightness",
        "color predicted",
        "color",
        "lightness predicted",
        "original",
    )
    lab = np.asarray(rgb_to_lab(jnp.asarray(picture.images)))
    np.testing.assert_allclose(picture.images[:, 4], images(), atol=1e-3)
    np.testing.assert_allclose(lab[:, 0, ..., 0], rgb_to_lab(images())[..., 0], atol=0.02)
    np.testing.assert_allclose(lab[:, 0, ..., 1:], 0, atol=0.02)
    gray = np.asarray(HALVES.join(jnp.zeros((1, 1, 1, 1)), jnp.zeros((1, 1, 1, 2))))
    np.testing.assert_allclose(rgb_to_lab(jnp.asarray(gray))[..., 0], 50, atol=0.02)


def test_gray_images_have_no_second_part():
    with pytest.raises(ValueError, match="image must have 3 channels"):
        split_lab(jnp.zeros((1, 2, 2, 1)))
