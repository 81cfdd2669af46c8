"""Views of one scene: what they share, what they add up to, and what they refuse."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from jssl.views import LAB, rgb_to_lab
from jssl.views.channels import (
    VIEWS,
    band_views,
    depth_views,
    drop_colors,
    half_views,
    lab_depth_views,
    lab_views,
    quarter_views,
    ycbcr_views,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 4), np.uint8)
IMAGES = jnp.asarray(PIXELS / 255, jnp.float32)


def test_lab_is_that_of_the_recipe_in_two_parts():
    light, color = lab_views(IMAGES[..., :3])
    lab = np.stack([rgb_to_lab(x) for x in IMAGES[..., :3]])
    wanted = (lab - LAB.mean) / LAB.std
    np.testing.assert_allclose(jnp.concatenate([light, color], -1), wanted, atol=1e-5)
    gray = jnp.asarray(PIXELS[..., :1].repeat(3, -1) / 255, jnp.float32)
    light, color = lab_views(gray)  # no color beside the middle of its range
    np.testing.assert_allclose(
        color, -np.array(LAB.mean[1:]) / LAB.std[1:] + 0 * color, atol=2e-3
    )
    assert light.std() > 0.1


def test_luma_and_chroma_are_those_of_pillow():
    luma, chroma = ycbcr_views(IMAGES[..., :3])
    seen = np.stack(
        [np.asarray(Image.fromarray(x[..., :3]).convert("YCbCr")) for x in PIXELS]
    )
    # Pillow cuts off what is behind the point.
    np.testing.assert_allclose(255 * (luma + 1) / 2, seen[..., :1] + 0.5, atol=0.51)
    np.testing.assert_allclose(128 + 255 * chroma / 2, seen[..., 1:], atol=1.1)


def test_depth_is_the_fourth_channel():
    color, depth = depth_views(IMAGES)
    np.testing.assert_allclose(color, 2 * IMAGES[..., :3] - 1)
    np.testing.assert_allclose(depth, 2 * IMAGES[..., 3:] - 1)
    three = lab_depth_views(IMAGES)
    for seen, wanted in zip(three, (*lab_views(IMAGES[..., :3]), depth), strict=True):
        np.testing.assert_array_equal(seen, wanted)


def test_bands_are_a_blur_of_scipy_and_the_rest():
    low, high = band_views(IMAGES, 1.5)
    for image, seen in zip(np.asarray(IMAGES), low, strict=True):
        for i in range(4):
            wanted = gaussian_filter(image[..., i], 1.5, mode="nearest", radius=3)
            np.testing.assert_allclose(seen[..., i], wanted, atol=1e-6)
    np.testing.assert_allclose(low + high, IMAGES, atol=1e-6)


@pytest.mark.parametrize("size", [6, 5])
def test_halves_and_quarters_show_every_pixel(size):
    images = IMAGES[:, :size, :size]
    left, right = half_views(images)
    middle = size % 2
    np.testing.assert_array_equal(jnp.concatenate([left, right[:, :, middle:]], 2), images)
    one, two, three, four = quarter_views(images)
    top = jnp.concatenate([one, two[:, :, middle:]], 2)
    below = jnp.concatenate([three, four[:, :, middle:]], 2)
    np.testing.assert_array_equal(jnp.concatenate([top, below[:, middle:]], 1), images)
    assert one.shape == two.shape == three.shape == four.shape


@pytest.mark.parametrize("name", VIEWS)
def test_every_choice_names_its_views(name):
    names, split = VIEWS[name]
    images = IMAGES if "depth" in name else IMAGES[..., :3]
    parts = split(images)
    assert len(parts) == len(names) and all(x.ndim == 4 and len(x) == 2 for x in parts)


@pytest.mark.parametrize("views", [lab_views, ycbcr_views, depth_views, lab_depth_views])
def test_gray_images_have_no_views_by_color(views):
    with pytest.raises(ValueError, match=r"three channels of color.* got \[2, 4, 4, 1\]"):
        views(jnp.zeros((2, 4, 4, 1)))


def test_dropped_colors_leave_one_channel_of_some_images():
    images = jnp.ones((3000, 1, 1, 3))
    left = np.asarray(drop_colors(jax.random.key(0), images, 0.4)).reshape(-1, 3)
    single = left.sum(1) == 1
    assert abs(single.mean() - 0.4) < 0.04
    assert (left[~single] == 1).all()
    assert abs(left[single].mean(0) - 1 / 3).max() < 0.06
    hues = {colorsys.rgb_to_hsv(*map(float, x))[0] for x in left[single]}
    assert hues == {0.0, 1 / 3, 2 / 3}  # pure red, green, blue
