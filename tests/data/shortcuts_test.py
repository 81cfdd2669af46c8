"""Shortcuts: textures are the same everywhere, and artifacts are where they should be."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from jssl.data import load
from jssl.data.shortcuts import (
    MOSAIC,
    ORIENTATIONS,
    TINTS,
    aberrated,
    lit,
    mosaicked,
    shortcuts,
    textures,
)
from jssl.ops.lab import lab_to_rgb, rgb_to_lab

GRAY = np.random.default_rng(0).uniform(size=(8, 12, 16))


@cache
def many():
    """Four hundred textures of each orientation."""
    label = np.arange(400 * ORIENTATIONS) % ORIENTATIONS
    return textures(np.random.PCG64(0), label, 24), label


def test_textures_are_waves_at_their_angle():
    """The angle is that of the structure tensor, the mean product of gradients."""
    x, label = many()
    down, right = np.gradient(x, axis=1), np.gradient(x, axis=2)
    for k in range(ORIENTATIONS):
        d, r = down[label == k], right[label == k]
        angle = 0.5 * np.arctan2(2 * (d * r).mean(), (r * r).mean() - (d * d).mean())
        error = (angle - np.pi * k / ORIENTATIONS + np.pi / 2) % np.pi - np.pi / 2
        assert abs(error) < 0.1  # of pi / 8; differences shrink steep waves


def test_textures_have_the_same_statistics_everywhere():
    x, label = many()
    assert abs(x.mean(0)).max() < 5 / np.sqrt(len(x))
    for k in range(ORIENTATIONS):
        mine = x[label == k]
        assert abs(np.square(mine).mean(0) - 1).max() < 5 * np.sqrt(2 / len(mine))
        assert np.square(mine).mean() == pytest.approx(1, abs=0.03)


def test_pixels_of_a_texture_are_unrelated_beyond_seven():
    x, _ = many()
    for axis in (1, 2):
        for d in (7, 9, 11):
            far = x.swapaxes(1, axis)
            assert abs((far[:, d:] * far[:, :-d]).mean()) < 0.01
    assert abs((x[:, 1:] * x[:, :-1]).mean()) > 0.3


@pytest.mark.parametrize("shift", [0.0, 0.7, 3.0])
def test_green_is_magnified_about_the_center(shift):
    color = aberrated(GRAY, shift)
    np.testing.assert_array_equal(color[..., 0], GRAY)
    np.testing.assert_array_equal(color[..., 2], GRAY)
    corner = np.hypot(11, 15) / 2
    for image, green in zip(GRAY, color[..., 1], strict=True):
        wanted = np.zeros_like(image)
        for y in range(12):
            for x in range(16):
                place = np.array([y - 5.5, x - 7.5])
                back = place - shift * place / corner + [5.5, 7.5]
                wanted[y, x] = map_coordinates(image, back[:, None], order=1)[0]
        np.testing.assert_allclose(green, wanted, atol=1e-12)


def test_light_is_a_plane_that_rises_toward_its_angle():
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    image = lit(GRAY, angle, 0.6)[..., 0]
    light = (image - 0.4 * GRAY) / 0.6
    np.testing.assert_allclose(np.diff(light, 2, axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(light, 2, axis=2), 0, atol=1e-12)
    np.testing.assert_allclose([light.min((1, 2)), light.max((1, 2))], [[0] * 8, [1] * 8])
    right = (light[:, 0, -1] - light[:, 0, 0]) / 2  # of half the image
    up = (light[:, 0, 0] - light[:, -1, 0]) / 2
    np.testing.assert_allclose(np.arctan2(up, right) % (2 * np.pi), angle, atol=1e-9)


def test_a_mosaic_leaves_the_color_and_moves_the_lightness():
    tint = np.arange(8) % 4
    lab = np.asarray(rgb_to_lab(jnp.asarray(mosaicked(GRAY, tint, 0.25))))
    ab = np.broadcast_to(TINTS[tint][:, None, None], lab[..., 1:].shape)
    np.testing.assert_allclose(lab[..., 1:], ab, atol=0.02)
    plain = np.asarray(rgb_to_lab(jnp.asarray(mosaicked(GRAY, tint, 0.0))))[..., 0]
    np.testing.assert_allclose(plain, 40 + 30 * GRAY, atol=0.01)
    trace = lab[..., 0] - plain
    for n, k in enumerate(tint):
        color = np.asarray(lab_to_rgb(jnp.array([55.0, *TINTS[k]])))
        mean = (color[0] + 2 * color[1] + color[2]) / 4
        for y in range(12):
            for x in range(16):
                site = (0, 1, 1, 2)[2 * (y % 2) + x % 2]
                assert trace[n, y, x] == pytest.approx(25 * (color[site] - mean), abs=0.03)
    blocks = trace.reshape(8, 6, 2, 8, 2).mean((2, 4))
    np.testing.assert_allclose(blocks, 0, atol=0.02)
    assert MOSAIC.ravel().tolist() == [0, 1, 1, 2]


def test_sources_have_contents_of_all_labels_that_do_not_tell_the_tint():
    source = load("shortcuts:mosaic", 16, size=8)
    assert (source.size, source.split("val").size, source.classes) == (2000, 500, 8)
    image, label = source.column("image"), source.column("label")
    lab = np.asarray(rgb_to_lab(jnp.asarray(image / 255, jnp.float32)))
    tint = abs(lab[..., 1:].mean((1, 2))[:, None] - TINTS).sum(-1).argmin(1)
    table = np.histogram2d(tint, label, (4, 8))[0] / 2000
    assert abs(table - 1 / 32).max() < 0.012


def test_reducing_takes_means_of_blocks_and_removes_the_mosaic():
    fine = shortcuts("mosaic", size=16).splits["val"]["image"]
    coarse = shortcuts("mosaic", size=16, reduce=2).splits["val"]["image"]
    means = fine.reshape(500, 8, 2, 8, 2, 3).mean((2, 4))
    assert coarse.shape == (500, 8, 8, 3)
    assert abs(coarse - means).max() <= 1.01  # rounded before and after
    plain = shortcuts("mosaic", size=16, reduce=2, strength=0.0).splits["val"]["image"]
    assert abs(coarse - plain.astype(float)).max() < 3


def test_digits_have_the_artifact_too():
    source = load("shortcuts:aberration", 16, over="mnist", size=28)
    assert source.image_shape == (28, 28, 3) and source.classes == 10
    plain = load("mnist", 16)
    np.testing.assert_array_equal(source.column("label"), plain.column("label"))
    np.testing.assert_array_equal(source.column("image")[..., :1], plain.column("image"))
    assert (source.column("image")[..., 1] != source.column("image")[..., 0]).mean() > 0.1


@pytest.mark.parametrize(
    ("where", "knobs", "reason"),
    [
        ("noise", {}, "must be aberration, light, mosaic or none, got 'noise'"),
        ("light", {"over": "cats"}, "over must be 'texture', or 'mnist' except for mosaic"),
        ("mosaic", {"over": "mnist"}, "except for mosaic, got 'mnist'"),
        ("light", {"size": 9, "reduce": 2}, "a divisor of the size, got 9, 1.0 and 2"),
        ("light", {"strength": -1.0}, "strength at least 0"),
    ],
)
def test_what_there_is_not_is_refused(where, knobs, reason):
    with pytest.raises(ValueError, match=reason):
        shortcuts(where, **knobs)
