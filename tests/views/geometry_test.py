from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.views import (
    View,
    affine,
    center_crop,
    crop_resize,
    hflip,
    motion,
    pad_crop,
    random_erase,
    rotate,
    rrc_box,
    shift,
)

KEY = jax.random.key(0)
IMAGE = np.random.default_rng(0).random((12, 9, 3), np.float32)

# Compiled whole: op by op, most of a test would be compilation.
crop = jax.jit(crop_resize, static_argnums=(2, 3, 4))
scale_and_translate = jax.jit(
    jax.image.scale_and_translate,
    static_argnames=("shape", "spatial_dims", "method", "antialias"),
)
warp, turn, move = jax.jit(affine), jax.jit(rotate), jax.jit(shift)


def draw_boxes(n, hw, scale, ratio=(3 / 4, 4 / 3)):
    keys = jax.random.split(KEY, n)
    draw = jax.jit(jax.vmap(lambda key: rrc_box(key, hw, scale, ratio)))
    return np.asarray(draw(keys))


def test_boxes_lie_inside_the_image_and_have_whole_sides():
    top, left, h, w = draw_boxes(10_000, (24, 40), (0.08, 1.0)).T
    assert (top >= 0).all() and (left >= 0).all()
    assert (h >= 1).all() and (w >= 1).all()
    assert (top + h <= 24).all() and (left + w <= 40).all()
    for side in (top, left, h, w):
        np.testing.assert_array_equal(side, np.round(side))


def test_box_areas_and_ratios_follow_an_independent_rejection_sampler():
    scale, size, n = (0.08, 1.0), 224, 10_000
    _, _, h, w = draw_boxes(n, (size, size), scale).T
    area, log_ratio = h * w / size**2, np.log(w / h)
    # Rounding moves a side by at most half a pixel.
    assert area.min() > 0.08 - 0.003 and area.max() <= 1

    rng = np.random.default_rng(0)
    wanted = []
    for _ in range(n):
        while True:  # ten attempts almost never fail on a square
            a = rng.uniform(*scale) * size**2
            r = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
            side = np.round([np.sqrt(a / r), np.sqrt(a * r)])
            if (side <= size).all():
                break
        wanted.append(side)
    wanted = np.array(wanted)
    for got, want in (
        (area, wanted.prod(1) / size**2),
        (log_ratio, np.log(wanted[:, 1] / wanted[:, 0])),
    ):
        sigma = np.sqrt((got.var() + want.var()) / n)
        assert abs(got.mean() - want.mean()) < 4 * sigma
    assert area.mean() < 0.54  # large boxes are the ones that do not fit


def test_corners_are_uniform_over_all_places_of_the_box():
    n = 10_000
    top, left, h, w = draw_boxes(n, (8, 8), (0.25, 0.25), (1.0, 1.0)).T
    assert set(h) == set(w) == {4.0}
    sigma = np.sqrt(n * (1 / 5) * (4 / 5))
    for corner in (top, left):
        counts = np.bincount(corner.astype(int), minlength=5)
        assert counts.shape == (5,)
        assert abs(counts - n / 5).max() < 4 * sigma
    assert abs(np.corrcoef(top, left)[0, 1]) < 4 / np.sqrt(n)


@pytest.mark.parametrize(
    ("hw", "box"), [((10, 100), (0, 45, 10, 10)), ((100, 10), (45, 0, 10, 10))]
)
def test_where_no_box_fits_the_largest_central_one_is_taken(hw, box):
    boxes = draw_boxes(3, hw, (1.0, 1.0), (1.0, 1.0))
    np.testing.assert_array_equal(boxes, [box] * 3)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
def test_the_full_box_at_equal_size_is_the_image(method, antialias):
    box = jnp.array([0.0, 0.0, 12.0, 9.0])
    x = crop(jnp.asarray(IMAGE), box, (12, 9), method, antialias)
    np.testing.assert_allclose(x, IMAGE, atol=1e-6)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_a_crop_of_a_constant_image_is_constant(method):
    boxes = draw_boxes(200, (12, 9), (0.05, 1.0))
    crops = jax.jit(
        jax.vmap(lambda b: crop_resize(jnp.full((12, 9, 1), 0.3), b, (8, 8), method))
    )
    np.testing.assert_allclose(crops(boxes), 0.3, rtol=1e-5)  # weights sum to 1


@pytest.mark.parametrize(
    ("method", "jax_name"), [("bilinear", "linear"), ("bicubic", "cubic")]
)
@pytest.mark.parametrize("antialias", [False, True])
def test_a_crop_is_scale_and_translate_of_the_part(method, jax_name, antialias):
    for box, out in (((2, 1, 5, 7), (8, 6)), ((0, 3, 12, 6), (5, 5))):
        top, left, h, w = box
        part = jnp.asarray(IMAGE[top : top + h, left : left + w])
        want = scale_and_translate(
            part,
            (*out, 3),
            (0, 1),
            jnp.array([out[0] / h, out[1] / w]),
            jnp.zeros(2),
            method=jax_name,
            antialias=antialias,
        )
        got = crop(jnp.asarray(IMAGE), jnp.array(box, float), out, method, antialias)
        np.testing.assert_allclose(got, want, atol=2e-6)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_an_antialiased_crop_is_pillow_s(method):
    from PIL import Image

    plane = IMAGE[..., 0]
    want = Image.fromarray(plane[2:12, 1:8]).resize(
        (4, 5), getattr(Image.Resampling, method.upper())
    )
    got = crop(
        jnp.asarray(plane[..., None]),
        jnp.array([2.0, 1.0, 10.0, 7.0]),
        (5, 4),
        method,
        antialias=True,
    )
    np.testing.assert_allclose(got[..., 0], np.asarray(want), atol=1e-5)


def test_pixels_outside_the_box_do_not_leak_in():
    x = jnp.zeros((8, 8, 1)).at[2:6, 2:6].set(1.0)
    x = crop(x, jnp.array([2.0, 2.0, 4.0, 4.0]), (9, 9), "bicubic")
    # A pixel is a sum of 4 x 4 products, each rounded once.
    np.testing.assert_allclose(x, 1, rtol=16 * np.finfo(np.float32).eps)


def test_a_crop_keeps_half_precision_but_weighs_in_single():
    x = jnp.asarray(IMAGE, jnp.bfloat16)
    box = jnp.array([1.0, 1.0, 7.0, 7.0])
    half, single = crop(x, box, (5, 5)), crop(x.astype(jnp.float32), box, (5, 5))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(half, single.astype(jnp.bfloat16))


def test_center_crop_cuts_the_middle_and_resizes_when_asked():
    x = jnp.asarray(np.random.default_rng(1).random((256, 320, 1), np.float32))
    cut = center_crop(x, 0.875)
    np.testing.assert_array_equal(cut, x[16:240, 48:272])
    np.testing.assert_array_equal(center_crop(x, 0.875, out=224), cut)
    stripes = jnp.broadcast_to(jnp.tile(jnp.array([0.2, 0.6]), 8)[:, None], (16, 16, 1))
    small = center_crop(stripes, 1.0, out=4)
    assert small.shape == (4, 4, 1)
    np.testing.assert_allclose(small.mean(), 0.4, rtol=1e-5)  # shrinking averages


def test_hflip_is_its_own_inverse():
    x = jnp.asarray(IMAGE)
    np.testing.assert_array_equal(hflip(x), IMAGE[:, ::-1])
    np.testing.assert_array_equal(hflip(hflip(x)), x)


def test_affine_is_scipy_s_affine_transform():
    from scipy import ndimage

    matrix = np.array([[0.9, 0.2, 1.3], [-0.3, 1.1, -0.4]])
    center = np.array([11 / 2, 8 / 2])
    # scipy: in = A out + offset, from the corner; ours from the centre.
    offset = matrix[:, 2] + center - matrix[:, :2] @ center
    want = np.stack(
        [
            ndimage.affine_transform(
                IMAGE[..., i], matrix[:, :2], offset, order=1,
                mode="grid-constant", cval=0.25,
            )
            for i in range(3)
        ],
        axis=-1,
    )  # fmt: skip
    got = warp(jnp.asarray(IMAGE), jnp.array(matrix), 0.25)
    np.testing.assert_allclose(got, want, atol=2e-6)


def test_quarter_turns_are_exact_and_anticlockwise():
    x = jnp.asarray(IMAGE[:9])
    np.testing.assert_allclose(turn(x, 90.0), np.rot90(IMAGE[:9]), atol=1e-5)
    np.testing.assert_allclose(turn(x, 0.0), x, atol=1e-6)


def test_a_turn_fills_the_corners():
    x = turn(jnp.ones((9, 9, 3)), 45.0, fill=jnp.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(x[0, 0], [0.1, 0.2, 0.3], atol=1e-6)
    np.testing.assert_allclose(x[4, 4], 1, rtol=1e-6)


def test_a_shift_moves_down_and_right():
    x = move(jnp.asarray(IMAGE), 2, -1, fill=0.5)
    np.testing.assert_allclose(x[2:, :-1], IMAGE[:-2, 1:], atol=1e-6)
    np.testing.assert_allclose(x[:2], 0.5)
    np.testing.assert_allclose(x[:, -1], 0.5)


def test_motion_turns_first_and_moves_after():
    x = jnp.asarray(IMAGE[:9])
    moved = warp(x, motion(90.0, dy=2.0))
    np.testing.assert_allclose(moved, move(turn(x, 90.0), 2, 0), atol=1e-5)


def test_erasing_paints_one_box_of_the_area_asked_for():
    erase = jax.jit(
        jax.vmap(lambda k: random_erase(k, jnp.ones((32, 32, 3)), (0.1, 0.2), fill=0.0))
    )
    gone = np.asarray(erase(jax.random.split(KEY, 200))) == 0
    np.testing.assert_array_equal(gone[..., :1].repeat(3, -1), gone)
    gone = gone[..., 0]
    area = gone.mean((1, 2))
    # Rounding a side of at least 5 pixels (area 0.1, ratio 0.3) by half a pixel.
    assert area.min() > 0.1 * 0.85 and area.max() < 0.2 * 1.15
    box = gone.any(2, keepdims=True) & gone.any(1, keepdims=True)
    np.testing.assert_array_equal(box, gone)


def test_erasing_with_noise_leaves_the_rest_alone():
    erase = jax.jit(lambda x: random_erase(KEY, x, (0.3, 0.33), fill="noise"))
    x = erase(jnp.full((64, 64, 3), 7.0))
    new = np.asarray(x)[np.asarray(x) != 7]
    assert new.size > 0.25 * x.size
    assert abs(new.mean()) < 4 / np.sqrt(new.size)
    assert abs(new.std() - 1) < 4 / np.sqrt(2 * new.size)


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match="method must be one of .*bicubic"):
        crop(jnp.ones((4, 4, 1)), jnp.array([0.0, 0.0, 4.0, 4.0]), (2, 2), "nearest")


@pytest.mark.usefixtures("unhooked")
def test_what_is_not_one_float_image_is_refused():
    box = jnp.array([0.0, 0.0, 4.0, 4.0])
    with pytest.raises(ValueError, match=r"float\[h, w, c\], got float32\[2, 4, 4, 1\]"):
        crop(jnp.ones((2, 4, 4, 1)), box, (2, 2))
    with pytest.raises(ValueError, match=r"image must be float.*got uint8"):
        center_crop(jnp.ones((4, 4, 1), jnp.uint8))


@pytest.mark.parametrize(
    ("mode", "numpy_mode"), [("fill", "constant"), ("reflect", "reflect"), ("edge", "edge")]
)
def test_a_crop_after_padding_is_numpy_s_at_every_place_bit_for_bit(mode, numpy_mode):
    pad, fill = 2, np.float32(0.3)
    extra = {"constant_values": fill} if mode == "fill" else {}
    padded = np.pad(IMAGE, ((pad, pad), (pad, pad), (0, 0)), numpy_mode, **extra)
    places = np.stack(np.meshgrid(*[np.arange(2 * pad + 1)] * 2), -1).reshape(-1, 2)
    crops = jax.jit(
        jax.vmap(lambda corner: pad_crop(jnp.asarray(IMAGE), corner, pad, mode, fill))
    )
    for (top, left), got in zip(places, crops(places), strict=True):
        np.testing.assert_array_equal(got, padded[top : top + 12, left : left + 9])


def test_an_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="mode must be one of .*reflect.* got 'wrap'"):
        pad_crop(jnp.asarray(IMAGE), jnp.zeros(2, int), 1, "wrap")


GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "crops.npz")


@pytest.mark.parametrize("name", sorted(set(GOLDEN.files) - {"versions"}))
def test_boxes_are_torchvision_s_in_distribution(name):
    """Two samples of torchvision's boxes and ours: Kolmogorov and Smirnov's distance."""
    want = GOLDEN[name].astype(float)
    size, *area = name.split()
    height, width = map(int, size.split("x"))
    got = draw_boxes(10_000, (height, width), tuple(map(float, area))).astype(float)

    def measures(boxes):
        top, left, h, w = boxes.T
        room = lambda place, free: (place + 0.5) / (free + 1)
        yield h * w
        yield w / h
        yield room(top, height - h)
        yield room(left, width - w)

    limit = 1.95 * np.sqrt(1 / len(want) + 1 / len(got))  # p = 0.001
    for a, b in zip(measures(got), measures(want), strict=True):
        points = np.union1d(a, b)
        below = [np.searchsorted(np.sort(x), points, "right") / len(x) for x in (a, b)]
        assert np.abs(below[0] - below[1]).max() < limit


def test_the_square_of_cutout_lies_around_every_pixel_equally_and_ends_at_the_border():
    view = View(size=8, erase=1.0, erase_side=0.5, erase_fill=-1.0)
    x = np.asarray(view(jax.random.key(0), jnp.ones((4000, 8, 8, 1))))[..., 0] < 0
    rows, columns = x.any(2).sum(1), x.any(1).sum(1)
    np.testing.assert_array_equal(x.sum((1, 2)), rows * columns)  # a box
    # Around row c are rows c - 2 to c + 1: 2 and 3 of them at the top, 3 at the bottom.
    counts = np.bincount(rows, minlength=5) / len(rows)
    np.testing.assert_allclose(counts[2:], [1 / 8, 2 / 8, 5 / 8], atol=0.04)
    np.testing.assert_allclose(np.bincount(columns, minlength=5) / 4000, counts, atol=0.04)
    with pytest.raises(ValueError, match="erase_side must be a fraction of the side"):
        View(size=8, erase_side=16.0)
