import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jssl.views import rand_augment
from jssl.views.randaugment import OPERATIONS, WARPS, operate

KEY = jax.random.key(0)
# Whole bytes, so that Pillow and we start from the same image; not the full range.
BYTES = (30 + 150 * np.random.default_rng(0).random((32, 24, 3)) ** 2).astype(np.uint8)
IMAGE = jnp.asarray(BYTES, jnp.float32) / 255
PIL = Image.fromarray(BYTES)


operate = jax.jit(operate)


def apply(operation, level):
    return operate(IMAGE, operation, level)


def enhanced(enhancer):
    return lambda level: enhancer(PIL).enhance(1 + 0.9 * level)


def posterized(level):
    return ImageOps.posterize(PIL, 4 - int(4 * abs(level)))


def brightened(level):
    x = BYTES.astype(int)
    add = int(110 * abs(level))
    return np.where(x < 128, np.minimum(x + add, 255), x)


PILLOW = {
    "autocontrast": lambda level: ImageOps.autocontrast(PIL),
    "equalize": lambda level: ImageOps.equalize(PIL),
    "invert": lambda level: ImageOps.invert(PIL),
    "posterize": posterized,
    "solarize": lambda level: ImageOps.solarize(PIL, 256 - int(256 * abs(level))),
    "solarize_add": brightened,
    "saturation": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "brightness": enhanced(ImageEnhance.Brightness),
    "sharpness": enhanced(ImageEnhance.Sharpness),
}


@pytest.mark.parametrize("name", PILLOW)
@pytest.mark.parametrize("level", [-0.9, -0.3, 0.5, 0.9])
def test_tones_and_blends_are_pillow_s(name, level):
    got = 255 * apply(OPERATIONS.index(name), level)
    want = np.asarray(PILLOW[name](level), float)
    # Pillow rounds its grey image, its mean and its result to whole bytes.
    np.testing.assert_allclose(got, want, atol=2.01)


@pytest.mark.parametrize(
    ("name", "coefficients"),
    [
        ("translate_x", lambda v: (1, 0, -0.45 * 24 * v, 0, 1, 0)),
        ("translate_y", lambda v: (1, 0, 0, 0, 1, -0.45 * 32 * v)),
        ("shear_x", lambda v: (1, 0.3 * v, -0.3 * v * 16, 0, 1, 0)),
        ("shear_y", lambda v: (1, 0, 0, 0.3 * v, 1, -0.3 * v * 12)),
        ("rotate", None),
    ],
)
@pytest.mark.parametrize("level", [-0.9, 0.6])
def test_warps_are_pillow_s_about_the_center(name, coefficients, level):
    bilinear = Image.Resampling.BILINEAR
    plane = Image.fromarray(np.asarray(IMAGE[..., 0]))
    if coefficients is None:
        want = plane.rotate(30 * level, bilinear, fillcolor=0.5)
    else:
        want = plane.transform(
            plane.size, Image.Transform.AFFINE, coefficients(level), bilinear, fillcolor=0.5
        )
    got = apply(OPERATIONS.index(name), level)[..., 0]
    error = np.abs(got - np.asarray(want))
    # At the border Pillow fills or repeats, where we blend with the fill.
    assert (error < 1e-4).mean() > 0.8
    inside = error[3:-3, 3:-3]
    if name.startswith(("rotate", "shear")):
        assert (inside < 1e-4).mean() > 0.95


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_gets_stronger_with_its_level(name):
    # Warps are judged on a ramp: noise is as far from itself however it is moved.
    ramp = jnp.linspace(0, 0.4, 32)[:, None, None] + jnp.linspace(0, 0.4, 24)[:, None]
    image = jnp.broadcast_to(ramp, IMAGE.shape) if name in WARPS else IMAGE
    change = [
        float(jnp.abs(operate(image, OPERATIONS.index(name), level) - image).mean())
        for level in (0.1, 0.5, 0.9)
    ]
    if name in ("autocontrast", "equalize", "invert"):
        assert change[0] == change[1] == change[2] > 0.01
    else:
        assert change[0] < change[1] <= change[2] and change[2] > 0.01


def test_no_operation_is_the_identity():
    np.testing.assert_array_equal(apply(-1, 0.9), IMAGE)


def test_a_flat_image_survives_stretching_and_equalizing():
    flat = jnp.full((4, 4, 3), 0.4)
    for name in ("autocontrast", "equalize"):
        np.testing.assert_allclose(operate(flat, OPERATIONS.index(name), 0.9), 0.4)


def test_gray_images_have_one_channel_throughout():
    for i in range(len(OPERATIONS)):
        x = operate(IMAGE[..., :1], i, 0.9)
        assert x.shape == (32, 24, 1) and jnp.isfinite(x).all()


def augmented(images, **settings):
    keys = jax.random.split(KEY, images)
    augment = jax.jit(jax.vmap(lambda key: rand_augment(key, IMAGE[:20, :16], **settings)))
    return np.asarray(augment(keys))


def test_each_operation_is_as_likely_and_half_of_the_rounds_do_nothing():
    n, image = 3000, IMAGE[:20, :16]
    x = augmented(n, n=1, magnitude=5.0, std=0.0)
    candidates = [operate(image, i, s) for i in range(15) for s in (-0.5, 0.5)]
    same = np.abs(x - image).max((1, 2, 3)) < 1e-6
    assert abs(same.mean() - 0.5) < 4 * np.sqrt(0.25 / n)
    distance = [np.abs(x[~same] - np.asarray(c)).mean((1, 2, 3)) for c in candidates]
    assert np.min(distance, 0).max() < 1e-5
    counts = np.bincount(np.argmin(distance, 0) // 2, minlength=15) / n
    p = 0.5 / 15
    assert abs(counts - p).max() < 4 * np.sqrt(p * (1 - p) / n)


def test_two_rounds_leave_a_quarter_of_the_images_alone():
    n = 1000
    x = augmented(n)
    same = np.abs(x - IMAGE[:20, :16]).max((1, 2, 3)) < 1e-6
    assert abs(same.mean() - 0.25) < 4 * np.sqrt(3 / 16 / n)
    assert x.min() >= -1e-6 and x.max() <= 1 + 1e-6


def test_strength_varies_around_the_magnitude():
    flat = jnp.full((4, 4, 1), 0.2)
    x = jax.jit(jax.vmap(lambda key: rand_augment(key, flat, n=1, magnitude=5.0)))(
        jax.random.split(KEY, 3000)
    )
    # Of a flat image brightness alone makes 0.2 * (1 +- 0.9 * level), solarise_add
    # 0.2 + 0.431 * level; everything else leaves a few known values.
    level = (np.asarray(x)[:, 1, 1, 0] / 0.2 - 1) / 0.9
    brighter = level[(0.2 < level) & (level < 0.8)]
    assert abs(brighter.mean() - 0.5) < 4 * 0.05 / np.sqrt(len(brighter))
    assert abs(brighter.std() - 0.05) < 4 * 0.05 / np.sqrt(2 * len(brighter))


def test_an_image_of_two_channels_is_refused():
    with pytest.raises(ValueError, match="must have 1 or 3 channels"):
        rand_augment(KEY, jnp.ones((8, 8, 2)))


def test_an_infinite_deviation_draws_strengths_evenly_up_to_the_magnitude():
    flat, n = jnp.full((4, 4, 1), 0.2), 3000
    how = dict(n=1, magnitude=8.0, std=float("inf"), probability=1.0)
    x = jax.jit(
        jax.vmap(lambda key: rand_augment(key, flat, operations=("brightness",), **how))
    )(jax.random.split(KEY, n))
    level = (np.asarray(x)[:, 1, 1, 0] / 0.2 - 1) / 0.9
    assert abs(level).max() <= 0.8 + 1e-6
    assert abs(abs(level).mean() - 0.4) < 4 * 0.8 / np.sqrt(12 * n)
    assert abs((level < 0).mean() - 0.5) < 4 * np.sqrt(0.25 / n)


def test_only_the_named_operations_are_drawn():
    how = dict(n=1, magnitude=10.0, std=0.0, probability=1.0)
    x = augmented(64, operations=("identity", "invert"), **how)
    image = np.asarray(IMAGE[:20, :16])
    same = [np.abs(x - y).max((1, 2, 3)) < 1e-6 for y in (image, 1 - image)]
    assert (same[0] ^ same[1]).all() and 16 < same[0].sum() < 48
    right = augmented(64, operations=("translate_x",), translate=0.25, **how)
    moved = [np.roll(image, shift, 1) for shift in (4, -4)]
    inner = [np.abs(right - y)[:, :, 4:-4].max((1, 2, 3)) < 1e-5 for y in moved]
    assert (inner[0] ^ inner[1]).all()
    with pytest.raises(ValueError, match=r"operations must be of .*, got \['flip'\]"):
        rand_augment(KEY, IMAGE, operations=("flip",))
