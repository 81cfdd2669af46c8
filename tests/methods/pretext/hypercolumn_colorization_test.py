"""Hypercolumns: the loss by loops, sampled places, and decoded pictures."""

import colorsys
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import entropy
from toys import jitted, noisy

from jssl import nets
from jssl.methods.pretext.hypercolumn_colorization import (
    decoded,
    excess,
    gray,
    grid,
    hypercolumn_colorization,
)
from jssl.models.hypercolumns import ConvolutionalVGG, Hypercolumns
from jssl.ops.hsv import hue_and_chroma

headline = "loss"
BINS = 8
DRAW = np.random.default_rng(0)


def images():
    """Waves [8, 8, 8, 3], whose color depends on their brightness."""
    y, x, phase = jnp.arange(8)[:, None], jnp.arange(8), jnp.arange(8)[:, None, None]
    wave = 0.5 + 0.5 * jnp.sin(0.9 * y * (phase % 3) + 0.7 * x + phase)
    return jnp.stack([wave, 1 - wave, wave**2], -1)


def network():
    encoder = ConvolutionalVGG(((8,), (8,)), (16,), 3, dropout=0.0, maps=True)
    return jitted(Hypercolumns(encoder, BINS, 16, dropout=0.0))


def tiny(tx):
    how = dict(places=32, window=3, edge=1)
    method = hypercolumn_colorization(network(), tx or optax.adam(1e-2), BINS, noisy, **how)
    return method, {"image": images()}


def noting(seen, scores):
    """A network without weights that notes the places, and its scores there."""

    def apply(params, stats, x, at, train=False, keys={}, capture=(), method=None):
        jax.debug.callback(lambda at: seen.append(np.asarray(at)), at)
        row, rows, columns = jnp.arange(len(x))[:, None], at[..., 0], at[..., 1]
        found = {name: params["w"] * s[row, rows, columns] for name, s in scores.items()}
        return found | {"h": x.mean((1, 2))}, stats

    return nets.Net(lambda key, x, at: ({"w": jnp.ones(())}, {}), apply)


def random_scores():
    draw = lambda: jnp.asarray(DRAW.normal(size=(8, 8, 8, BINS)), jnp.float32)
    return {"hue": draw(), "chroma": draw()}


def test_the_loss_is_that_of_loops_over_sampled_pixels():
    """KL of the histograms of 3 x 3 pixels; hue by colorsys, weighed by chroma."""
    seen, scores = [], random_scores()
    how = dict(places=20, window=3, edge=2)
    method = hypercolumn_colorization(noting(seen, scores), optax.sgd(0.0), BINS, **how)
    batch = {"image": images()}
    state = method.init(jax.random.key(0), batch)
    _, metrics = jax.jit(method.step)(jax.random.key(1), state, batch)
    jax.effects_barrier()
    rgb = np.asarray(images(), float)
    hue = np.array([colorsys.rgb_to_hsv(*x)[0] for x in rgb.reshape(-1, 3)]).reshape(
        8, 8, 8
    )
    chroma = rgb.max(-1) - rgb.min(-1)
    p = {name: np.asarray(jax.nn.softmax(x), float) for name, x in scores.items()}

    def kl(values, name, n, y, x):
        near = values[n, y - 1 : y + 2, x - 1 : x + 2].ravel()
        counts = np.bincount(
            np.minimum((near * BINS).astype(int), BINS - 1), minlength=BINS
        )
        return entropy(counts / 9, p[name][n, y, x])

    [places] = seen
    total = {"chroma": 0.0, "hue": 0.0}
    for n in range(8):
        for y, x in places[n]:
            total["chroma"] += kl(chroma, "chroma", n, y, x) / 160
            total["hue"] += chroma[n, y, x] * kl(hue, "hue", n, y, x) / 160
    np.testing.assert_allclose(metrics["chroma/loss"], total["chroma"], rtol=1e-5)
    np.testing.assert_allclose(metrics["hue/loss"], total["hue"], rtol=1e-5)
    want = total["chroma"] + 5 * total["hue"]
    np.testing.assert_allclose(metrics["loss"], want, rtol=1e-5)


def test_the_hue_of_gray_images_costs_nothing():
    net = noting([], random_scores())
    method = hypercolumn_colorization(net, optax.sgd(0.0), BINS)
    batch = {"image": jnp.repeat(images()[..., :1], 3, -1)}
    state = method.init(jax.random.key(0), batch)
    _, metrics = jax.jit(method.step)(jax.random.key(1), state, batch)
    assert metrics["hue/loss"] == 0
    np.testing.assert_allclose(metrics["loss"], metrics["chroma/loss"])


def test_places_are_uniform_within_the_border():
    seen = []
    how = dict(places=50, edge=2)
    net = noting(seen, random_scores())
    method = hypercolumn_colorization(net, optax.sgd(0.0), BINS, **how)
    batch = {"image": images()}
    state, step = method.init(jax.random.key(0), batch), jax.jit(method.step)
    for i in range(20):
        step(jax.random.key(i), state, batch)
        jax.effects_barrier()
    at = np.concatenate(seen).reshape(-1, 2)
    assert set(at.ravel()) == {2, 3, 4, 5}
    counts = np.bincount(4 * at[:, 0] + at[:, 1])[10:]
    shares = counts[counts > 0] / len(at)
    assert len(shares) == 16 and abs(shares - 1 / 16).max() < 0.01
    with pytest.raises(ValueError, match="edge must be under half of the .* got 4"):
        hypercolumn_colorization(net, optax.sgd(0.0), BINS, edge=4).step(
            jax.random.key(0), state, batch
        )


def test_the_excess_is_a_divergence_and_the_cross_entropy_of_one_hot_codes():
    scores, other = jnp.asarray(DRAW.normal(size=(2, 5, BINS)), jnp.float32)
    np.testing.assert_allclose(excess(scores, jax.nn.softmax(scores)), 0, atol=1e-6)
    target = jax.nn.softmax(other)
    want = entropy(np.asarray(target), np.asarray(jax.nn.softmax(scores)), axis=-1)
    np.testing.assert_allclose(excess(scores, target), want, rtol=1e-5, atol=1e-6)
    hard = jnp.arange(5) % BINS
    want = optax.softmax_cross_entropy_with_integer_labels(scores, hard)
    np.testing.assert_allclose(excess(scores, jax.nn.one_hot(hard, BINS)), want, rtol=1e-5)


def test_sure_histograms_decode_to_their_bins_and_unsure_hues_fade():
    dark = jnp.full((1, 4, 4), 0.5)
    hue = jnp.zeros((1, 2, 2, 32)).at[..., 10].set(1.0)
    chroma = jnp.zeros((1, 2, 2, 32)).at[..., 6].set(1.0)
    seen = decoded(dark, hue, chroma)
    angle, depth = hue_and_chroma(seen)
    np.testing.assert_allclose(angle, 10.5 / 32, atol=1e-5)
    np.testing.assert_allclose(depth, 6.5 / 32, atol=1e-5)
    np.testing.assert_allclose(seen.mean(-1), dark, atol=1e-6)
    opposite = jnp.zeros((1, 2, 2, 32)).at[..., 0].set(0.62).at[..., 16].set(0.38)
    length = 0.24
    faded, whole = (
        hue_and_chroma(decoded(dark, opposite, chroma, fade=x))[1] for x in (True, False)
    )
    np.testing.assert_allclose(faded, length / 0.96 * whole, rtol=1e-4)
    np.testing.assert_allclose(whole, 6.5 / 32, atol=1e-5)


def test_pictures_are_of_all_pixels_and_keep_the_gray_values():
    scores = {
        k: 50 * jax.nn.one_hot(jnp.full((8, 8, 8), 2), BINS) for k in ("hue", "chroma")
    }

    def apply(params, stats, x, at, train=False, keys={}, capture=(), method=None):
        found = {name: s.reshape(8, 64, BINS)[: len(x)] for name, s in scores.items()}
        return found | {"h": params["w"] * x.mean((1, 2))}, stats

    net = nets.Net(lambda key, x, at: ({"w": jnp.ones(())}, {}), apply)
    method = hypercolumn_colorization(net, optax.sgd(0.0), BINS)
    batch = {"image": 0.4 + 0.2 * images()}
    state = method.init(jax.random.key(0), batch)
    [picture] = method.render(jax.random.key(0), state, batch, None).values()
    dark, colors, faded, original = np.moveaxis(np.asarray(picture.images), 1, 0)
    np.testing.assert_array_equal(original, batch["image"])
    np.testing.assert_allclose(dark.mean(-1), original.mean(-1), atol=1e-6)
    np.testing.assert_allclose(colors.mean(-1), original.mean(-1), atol=1e-5)
    np.testing.assert_allclose(colors, faded, atol=1e-6)
    hue, chroma = hue_and_chroma(jnp.asarray(colors))
    np.testing.assert_allclose(hue, 2.5 / BINS, atol=1e-4)
    np.testing.assert_allclose(chroma, 2.5 / BINS, atol=1e-4)


def test_large_images_are_predicted_at_the_centers_of_equal_cells():
    places, cells = grid(8, 6)
    assert cells == (8, 6) and places[:7].tolist()[-1] == [1.0, 0.0]
    places, cells = grid(352, 352)
    assert cells == (59, 59)
    np.testing.assert_allclose(places[0], [2.5, 2.5])
    np.testing.assert_allclose(places[1] - places[0], [0, 6])


def test_the_network_sees_means_of_channels_only():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(jax.random.key(0), batch)
    np.testing.assert_allclose(
        gray(images())[..., 0], images().mean(-1) - 0.4488, atol=1e-6
    )
    embed = jax.jit(lambda x: method.embed(state, {"image": x})["h"])
    np.testing.assert_allclose(embed(images()), embed(images()[..., ::-1]), atol=1e-5)
    assert [maps.shape[1:] for maps in jax.jit(method.embed)(state, batch)["layers"]] == [
        (8, 8, 8),
        (4, 4, 8),
        (2, 2, 16),
    ]


@cache
def shapes():
    encoder = ConvolutionalVGG(maps=True)
    net = nets.linen(Hypercolumns(encoder))
    x = jax.ShapeDtypeStruct((1, 64, 64, 1), jnp.float32)
    at = jax.ShapeDtypeStruct((1, 5, 2), jnp.int32)
    return jax.eval_shape(net.init, jax.random.key(0), x, at)


def test_vgg_16_has_the_published_weights_and_hypercolumns():
    """Of train_vgg16.prototxt: 12,417 channels, of the image and of 15 layers."""
    params, _ = shapes()
    assert params["hidden"]["kernel"].shape == (12_417, 1024)
    assert 12_417 == 1 + 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512 + 2 * 4096
    convolutions = sum(
        x["kernel"].size for k, x in params["encoder"].items() if "kernel" in x
    )
    whole = 14_710_464 - 2 * 9 * 64  # VGG-16's kernels, with one channel of input
    assert convolutions == whole + 49 * 512 * 4096 + 4096 * 4096
