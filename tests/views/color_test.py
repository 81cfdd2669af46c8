import colorsys
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import colors
from PIL import Image, ImageFilter

from jssl.views import (
    CIFAR10,
    CIFAR10_PIXELS,
    IMAGENET,
    IMAGENET_SWAV,
    LAB,
    brightness,
    color_jitter,
    contrast,
    gaussian_blur,
    grayscale,
    hsv_to_rgb,
    hue,
    normalize,
    rgb_to_hsv,
    rgb_to_lab,
    saturation,
    solarize,
)
from jssl.views.color import jitter_from

KEY = jax.random.key(0)
IMAGE = jnp.asarray(np.random.default_rng(0).random((10, 8, 3), np.float32))
GREY = jnp.broadcast_to(IMAGE[..., :1], IMAGE.shape)
CORNERS = jnp.array(list(itertools.product([0.0, 0.5, 1.0], repeat=3)))[None]


@pytest.mark.parametrize("image", [IMAGE, CORNERS], ids=["random", "corners"])
def test_hsv_is_colorsys_s(image):
    want = [colorsys.rgb_to_hsv(*map(float, rgb)) for rgb in image.reshape(-1, 3)]
    np.testing.assert_allclose(rgb_to_hsv(image).reshape(-1, 3), want, atol=1e-6)


@pytest.mark.parametrize("image", [IMAGE, CORNERS], ids=["random", "corners"])
def test_hsv_comes_back_as_the_same_rgb(image):
    np.testing.assert_allclose(hsv_to_rgb(rgb_to_hsv(image)), image, atol=1e-6)


def test_hsv_to_rgb_is_colorsys_s():
    want = [colorsys.hsv_to_rgb(*map(float, hsv)) for hsv in IMAGE.reshape(-1, 3)]
    np.testing.assert_allclose(hsv_to_rgb(IMAGE).reshape(-1, 3), want, atol=1e-6)


def test_hue_turns_red_to_green_to_blue_and_once_around():
    red, green, blue = jnp.eye(3)[:, None, None]
    np.testing.assert_allclose(hue(red, 1 / 3), green, atol=1e-6)
    np.testing.assert_allclose(hue(red, -1 / 3), blue, atol=1e-6)
    np.testing.assert_allclose(hue(IMAGE, 1.0), IMAGE, atol=2e-6)


def test_hue_and_saturation_leave_gray_alone():
    np.testing.assert_allclose(hue(GREY, 0.3), GREY, atol=1e-6)
    # The three grey weights sum to 0.9999.
    np.testing.assert_allclose(saturation(GREY, 0.2), GREY, atol=1.01e-4)


def test_one_channel_is_gray_already():
    image = IMAGE[..., :1]
    for change in (grayscale, lambda x: hue(x, 0.3), lambda x: saturation(x, 0.0)):
        np.testing.assert_array_equal(change(image), image)


def test_gray_is_the_weighted_sum_on_every_channel():
    want = np.asarray(IMAGE) @ [0.2989, 0.5870, 0.1140]
    for i in range(3):
        np.testing.assert_allclose(grayscale(IMAGE)[..., i], want, rtol=1e-6)


def test_factor_zero_is_black_flat_or_gray():
    np.testing.assert_array_equal(brightness(IMAGE, 0.0), 0)
    mean = (np.asarray(IMAGE) @ [0.2989, 0.5870, 0.1140]).mean()
    np.testing.assert_allclose(contrast(IMAGE, 0.0), mean, rtol=1e-5)
    np.testing.assert_allclose(saturation(IMAGE, 0.0), grayscale(IMAGE), rtol=1e-6)


@pytest.mark.parametrize("change", [brightness, contrast, saturation])
def test_factor_one_is_the_identity(change):
    np.testing.assert_array_equal(change(IMAGE, 1.0), IMAGE)


@pytest.mark.parametrize("change", [brightness, contrast, saturation])
def test_blends_stay_between_zero_and_one(change):
    x = change(IMAGE, 1.9)
    assert x.min() >= 0 and x.max() == 1


def test_solarizing_is_idempotent_and_turns_the_bright_half():
    x = solarize(IMAGE)
    np.testing.assert_array_equal(x, np.where(IMAGE < 0.5, IMAGE, 1 - IMAGE))
    np.testing.assert_array_equal(solarize(x), x)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.74, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_the_primaries_and_of_white(rgb, lab):
    got = rgb_to_lab(jnp.array(rgb, float)[None, None])[0, 0]
    np.testing.assert_allclose(got, lab, atol=0.01)


def test_lab_is_a_double_loop_in_numpy():
    rows = (
        (0.412453, 0.357580, 0.180423),
        (0.212671, 0.715160, 0.072169),
        (0.019334, 0.119193, 0.950227),
    )
    image = np.concatenate([np.asarray(IMAGE), np.asarray(IMAGE) / 40])  # both branches
    want = np.empty(image.shape)
    for i, j in np.ndindex(image.shape[:2]):
        v = [
            ((x + 0.055) / 1.055) ** 2.4 if x > 0.04045 else x / 12.92
            for x in image[i, j].astype(float)
        ]
        t = np.array(rows) @ v / (0.95047, 1, 1.08883)
        f = [x ** (1 / 3) if x > 0.008856 else 7.787 * x + 16 / 116 for x in t]
        want[i, j] = 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])
    np.testing.assert_allclose(rgb_to_lab(jnp.asarray(image)), want, atol=1e-3)


STRENGTH = (0.4, 0.5, 1.2, 0.1)


def amounts(keys, style="torchvision"):
    """Draws of color_jitter for STRENGTH: three amounts and a turn, [n, 1, 1, 1] each."""
    u = jax.jit(jax.vmap(lambda key: jax.random.uniform(key, (8,))))(keys)
    u = np.asarray(u).T[..., None, None, None]
    b, c, _, h = STRENGTH
    low = (1 - b, 1 - c, 0)  # max(0, 1 - 1.2)
    f = [lo + (1 + a - lo) * x for lo, a, x in zip(low, STRENGTH, u, strict=False)]
    if style == "tensorflow":
        f[0] = b * (2 * u[0] - 1)  # tf.image.random_brightness
    return (*f, h * (2 * u[3] - 1))


def jitter_by_hand(images, order, amounts, style="torchvision"):
    """The four parts one after the other, in numpy, [n, h, w, 3]."""
    gray = lambda x: (x @ [0.2989, 0.5870, 0.1140])[..., None]

    def turned(x, f):  # tf.image.adjust_hue, and torchvision's
        hsv = colors.rgb_to_hsv(x)
        hsv[..., 0] = (hsv[..., 0] + f[..., 0]) % 1
        return colors.hsv_to_rgb(hsv)

    def saturated(x, f):  # tf.image.adjust_saturation
        hsv = colors.rgb_to_hsv(x)
        hsv[..., 1] = np.clip(hsv[..., 1] * f[..., 0], 0, 1)
        return colors.hsv_to_rgb(hsv)

    def contrasted(x, f):  # tf.image.adjust_contrast
        mean = x.mean((1, 2), keepdims=True)
        return (x - mean) * f + mean

    torchvision = (
        lambda x, f: f * x,
        lambda x, f: f * x + (1 - f) * gray(x).mean((1, 2, 3), keepdims=True),
        lambda x, f: f * x + (1 - f) * gray(x),
        turned,
    )
    parts = {
        "torchvision": torchvision,
        "tensorflow": (np.add, contrasted, saturated, turned),
        "simclr_v2": (np.multiply, contrasted, saturated, turned),
    }[style]
    for part in order:
        images = np.clip(parts[part](images, amounts[part]), 0, 1)
    return images


JITTERS = ["torchvision", "tensorflow", "simclr_v2"]


@pytest.mark.parametrize("style", JITTERS)
def test_jitter_goes_through_its_parts_in_each_of_the_24_orders_alike(style):
    n, image = 960, IMAGE[:4, :4]
    keys = jax.random.split(KEY, n)
    got = jax.jit(jax.vmap(lambda k: color_jitter(k, image, *STRENGTH, style=style)))(keys)
    error = []
    for order in itertools.permutations(range(4)):
        images = np.broadcast_to(np.asarray(image, float), (n, 4, 4, 3))
        want = jitter_by_hand(images, order, amounts(keys, style), style)
        error.append(np.abs(got - want).max((1, 2, 3)))
    match = np.array(error) < 1e-5  # [24, n]
    assert match.any(0).all()
    # Orders that agree to rounding, where nothing was clipped, share the image.
    frequency = (match / match.sum(0)).mean(1)
    assert abs(frequency - 1 / 24).max() < 4 * np.sqrt(1 / 24 * 23 / 24 / n)


@pytest.mark.parametrize("style", JITTERS)
def test_jitter_in_fixed_order_is_brightness_contrast_saturation_hue(style):
    keys = jax.random.split(KEY, 20)
    jitter = jax.jit(
        jax.vmap(
            lambda key: color_jitter(key, IMAGE, *STRENGTH, order="fixed", style=style)
        )
    )
    images = np.broadcast_to(np.asarray(IMAGE, float), (20, 10, 8, 3))
    want = jitter_by_hand(images, range(4), amounts(keys, style), style)
    np.testing.assert_allclose(jitter(keys), want, atol=1e-5)


@pytest.mark.parametrize(
    ("strength", "style", "spread", "clipped"),
    [
        (0.4, "torchvision", 0.099, None),
        (0.4, "tensorflow", 0.206, None),
        (0.8, "simclr_v2", 0.189, 0.12),
        (0.8, "tensorflow", 0.344, 0.39),
    ],
)
def test_additive_brightness_spreads_images_twice_as_far(strength, style, spread, clipped):
    """BYOL's and SimCLR's strengths on pixels N(0.45, 0.25), clipped to [0, 1]."""
    image = np.clip(np.random.default_rng(0).normal(0.45, 0.25, (32, 32, 3)), 0, 1)
    image = jnp.asarray(image, jnp.float32)
    jitter = lambda key: color_jitter(key, image, strength, 0.0, 0.0, 0.0, style=style)
    x = np.asarray(jax.jit(jax.vmap(jitter))(jax.random.split(KEY, 4000)))
    # A uniform variable of this spread has a standard error of 0.7 / sqrt(n) of it.
    assert abs(x.mean((1, 2, 3)).std() / spread - 1) < 0.05
    if clipped:
        assert abs(((x == 0) | (x == 1)).mean() - clipped) < 0.02


@pytest.mark.parametrize("style", JITTERS)
def test_amounts_in_the_middle_change_nothing(style):
    u = jnp.full(8, 0.5).at[4:].set(jnp.array([0.1, 0.7, 0.3, 0.5]))
    x = jitter_from(u, IMAGE, (0.4, 0.4, 0.4, 0.0), style=style)
    np.testing.assert_allclose(x, IMAGE, atol=1e-6)
    x = jitter_from(u, IMAGE[..., :1], (0.4, 0.4, 0.4, 0.1), style=style)
    np.testing.assert_allclose(x, IMAGE[..., :1], atol=1e-6)


@pytest.mark.parametrize("strength", [0.4, 1.5])
def test_brightness_jitter_is_uniform_between_its_bounds(strength):
    image, n = jnp.full((2, 2, 3), 0.25), 4000
    jitter = jax.jit(jax.vmap(lambda k: color_jitter(k, image, strength, 0.0, 0.0, 0.0)))
    f = np.asarray(jitter(jax.random.split(KEY, n)))[:, 0, 0, 0] / 0.25
    low, high = max(0, 1 - strength), 1 + strength
    assert low - 1e-6 <= f.min() and f.max() <= high + 1e-6
    assert abs(f.mean() - (low + high) / 2) < 4 * (high - low) / np.sqrt(12 * n)
    assert abs(np.mean(f < low + (high - low) / 4) - 1 / 4) < 4 * np.sqrt(3 / 16 / n)


def test_hue_jitter_is_uniform_both_ways():
    red, n = jnp.zeros((1, 1, 3)).at[..., 0].set(1.0), 4000
    jitter = jax.jit(
        jax.vmap(lambda k: rgb_to_hsv(color_jitter(k, red, 0.0, 0.0, 0.0, 0.1)))
    )
    turn = np.asarray(jitter(jax.random.split(KEY, n)))[:, 0, 0, 0]
    turn = np.where(turn > 0.5, turn - 1, turn)
    assert abs(turn).max() <= 0.1 + 1e-6
    assert abs(turn.mean()) < 4 * 0.2 / np.sqrt(12 * n)


def test_jitter_without_strength_is_the_identity():
    np.testing.assert_array_equal(color_jitter(KEY, IMAGE, 0.0, 0.0, 0.0, 0.0), IMAGE)


def test_jitter_of_a_gray_image_is_brightness_and_contrast_alone():
    image = IMAGE[..., :1]
    np.testing.assert_array_equal(
        color_jitter(KEY, image, 0.4, 0.4, 0.8, 0.2),
        color_jitter(KEY, image, 0.4, 0.4, 0.0, 0.0),
    )


@pytest.mark.parametrize("radius", [1, 3])
def test_a_blur_is_the_convolution_with_the_outer_product_of_its_taps(radius):
    from scipy import ndimage

    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * 1.3**2))
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    got = gaussian_blur(IMAGE, 1.3, radius)
    for i in range(3):
        want = ndimage.convolve(np.asarray(IMAGE[..., i]), kernel, mode="constant")
        np.testing.assert_allclose(got[..., i], want, atol=1e-6)


def test_a_blur_spreads_a_point_into_weights_that_sum_to_one():
    point = jnp.zeros((9, 9, 1)).at[4, 4].set(1.0)
    np.testing.assert_allclose(gaussian_blur(point, 1.5, 4).sum(), 1, rtol=1e-6)


def test_a_blur_keeps_a_constant_away_from_the_border():
    x = gaussian_blur(jnp.full((9, 9, 2), 0.7), 2.0, 2)
    np.testing.assert_allclose(x[2:-2, 2:-2], 0.7, rtol=1e-6)
    assert (x[0] < 0.7).all()


@pytest.mark.parametrize("border", ["edge", "reflect"])
def test_a_blur_that_extends_the_image_keeps_a_constant_everywhere(border):
    x = gaussian_blur(jnp.full((9, 9, 2), 0.7), 2.0, 4, border)
    np.testing.assert_allclose(x, 0.7, rtol=1e-6)


@pytest.mark.parametrize(("border", "mode"), [("edge", "nearest"), ("reflect", "mirror")])
def test_a_blur_extends_the_image_as_it_says(border, mode):
    from scipy import ndimage

    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 1.3**2))
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    got = gaussian_blur(IMAGE, 1.3, 3, border)
    for i in range(3):
        want = ndimage.convolve(np.asarray(IMAGE[..., i]), kernel, mode=mode)
        np.testing.assert_allclose(got[..., i], want, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_a_blur_with_extended_edges_is_pillow_s_up_to_the_border(sigma):
    """Pillow's blur is three box filters in whole levels: within 2.5 of 255 on this."""
    ramp = np.arange(48)[:, None, None] / 60 + np.arange(48)[:, None] / 200
    smooth = ramp + 0.05 * np.random.default_rng(0).random((48, 48, 3))
    levels = np.round(255 * np.clip(smooth + 0.1, 0, 1)).astype(np.uint8)
    want = Image.fromarray(levels).filter(ImageFilter.GaussianBlur(sigma))
    want = np.asarray(want, np.float32)
    image = jnp.asarray(levels, jnp.float32) / 255
    error = np.abs(255 * np.asarray(gaussian_blur(image, sigma, 11, "edge")) - want)
    assert error.mean() < 0.8 and error.max() < 2.5
    dark = np.abs(255 * np.asarray(gaussian_blur(image, sigma, 11)) - want)
    assert dark.max() > 50  # zeros beyond the border
    inside = slice(11, -11)
    np.testing.assert_allclose(dark[inside, inside], error[inside, inside], atol=1e-3)


def test_a_blur_cannot_extend_the_image_in_another_way():
    with pytest.raises(ValueError, match=r"border must be one of \['zero', .* 'wrap'"):
        gaussian_blur(IMAGE, 1.0, 1, "wrap")
    with pytest.raises(ValueError, match=r"too small to reflect 8 pixels"):
        gaussian_blur(IMAGE, 1.0, 8, "reflect")


@pytest.mark.parametrize("sigma", [0.0, 1e-3])
def test_a_blur_of_no_width_is_the_identity(sigma):
    np.testing.assert_array_equal(gaussian_blur(IMAGE, sigma, 3), IMAGE)


@pytest.mark.parametrize("statistics", [IMAGENET, CIFAR10, CIFAR10_PIXELS, LAB])
def test_normalizing_takes_the_mean_to_zero_and_a_deviation_to_one(statistics):
    mean, std = map(jnp.array, statistics)
    x = normalize(jnp.stack([mean, mean + std])[None], *statistics)
    np.testing.assert_allclose(x[0, 0], 0, atol=1e-6)
    np.testing.assert_allclose(x[0, 1], 1, rtol=1e-5)


def test_the_published_statistics():
    assert IMAGENET.mean == (0.485, 0.456, 0.406)
    assert IMAGENET.std == (0.229, 0.224, 0.225)
    assert CIFAR10.mean == (0.4914, 0.4822, 0.4465)
    assert CIFAR10.std == (0.2023, 0.1994, 0.2010)
    assert IMAGENET_SWAV == (IMAGENET.mean, (0.228, 0.224, 0.225))
    np.testing.assert_allclose(CIFAR10_PIXELS.mean, CIFAR10.mean, atol=3e-4)
    np.testing.assert_allclose(CIFAR10_PIXELS.std, (0.2470, 0.2435, 0.2616), atol=1e-4)
    lab = ((0, 100), (-86.183, 98.233), (-107.857, 94.478))
    np.testing.assert_allclose(LAB.mean, [(a + b) / 2 for a, b in lab], rtol=1e-6)
    np.testing.assert_allclose(LAB.std, [(b - a) / 2 for a, b in lab], rtol=1e-6)


@pytest.mark.parametrize(
    ("strength", "message"),
    [((-0.1, 0, 0, 0), "must be >= 0"), ((0, 0, 0, 18.0), r"h in \[0, 0.5\] turns")],
)
def test_impossible_strengths_are_refused(strength, message):
    with pytest.raises(ValueError, match=message):
        color_jitter(KEY, IMAGE, *map(float, strength))


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match='order must be "random" or "fixed"'):
        color_jitter(KEY, IMAGE, 0.4, 0.4, 0.4, 0.1, order="shuffled")
    with pytest.raises(ValueError, match="style must be one of .*torchvision.* not 'pil'"):
        color_jitter(KEY, IMAGE, 0.4, 0.4, 0.4, 0.1, style="pil")


@pytest.mark.parametrize(
    "change", [grayscale, lambda x: contrast(x, 1.0), rgb_to_hsv, rgb_to_lab]
)
def test_images_of_two_channels_have_no_color(change):
    with pytest.raises(ValueError, match=r"must have .*channels, last .*got \[4, 4, 2\]"):
        change(jnp.ones((4, 4, 2)))


def test_statistics_of_another_number_of_channels_are_refused():
    with pytest.raises(ValueError, match="mean must have one number for each .* 1 ch"):
        normalize(jnp.ones((4, 4, 1)), *IMAGENET)
