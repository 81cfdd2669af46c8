"""Hue, saturation and value: scikit-image's numbers (colorsys's: views/color_test.py)."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.hsv import (
    hsv_to_rgb,
    hue_and_chroma,
    rgb_to_hsv,
    value_and_chroma,
    with_hue_and_chroma,
)

FILE = Path(__file__).parents[1] / "golden" / "lab.npz"
GOLDEN = {k: jnp.asarray(x) for k, x in np.load(FILE).items() if k != "versions"}


def test_hsv_is_scikit_images():
    got, want = np.asarray(rgb_to_hsv(GOLDEN["rgb"])), GOLDEN["hsv"]
    turns = np.abs(got[:, 0] - want[:, 0])
    np.testing.assert_allclose(np.minimum(turns, 1 - turns), 0, atol=1e-5)
    np.testing.assert_allclose(got[:, 1:], want[:, 1:], atol=1e-6)


def test_rgb_of_hsv_is_scikit_images():
    np.testing.assert_allclose(hsv_to_rgb(GOLDEN["rgb"]), GOLDEN["turned/rgb"], atol=1e-5)


def test_chroma_is_the_largest_difference_of_channels():
    rgb = GOLDEN["rgb"]
    value, chroma = value_and_chroma(*rgb.T)
    np.testing.assert_array_equal(value, rgb.max(1))
    np.testing.assert_array_equal(chroma, rgb.max(1) - rgb.min(1))


def test_hue_chroma_and_the_mean_of_the_channels_make_up_a_color():
    images = GOLDEN["rgb"].reshape(1, 25, 17, 3)
    hue, chroma = hue_and_chroma(images)
    np.testing.assert_allclose(chroma, images.max(-1) - images.min(-1), atol=1e-6)
    again = with_hue_and_chroma(images.mean(-1), hue, chroma)
    np.testing.assert_allclose(again, images, atol=1e-5)


def test_colors_of_two_channels_are_refused(unhooked):
    for convert in (rgb_to_hsv, hsv_to_rgb):
        with pytest.raises(ValueError, match=r"must have 3 channels, last .*got \[4, 2\]"):
            convert(jnp.ones((4, 2)))
