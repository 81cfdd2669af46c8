import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jssl.views import (
    IMAGENET,
    View,
    crop_resize,
    grayscale,
    multi_crop,
    multi_size,
    multi_view,
    normalize,
    recipe,
    rgb_to_lab,
)

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).random((16, 12, 12, 3), np.float32)
BUSY = View(
    size=8, area=(0.2, 1.0), flip=0.5, rotate=15.0, shift=2.0, jitter=0.8,
    strength=(0.4, 0.4, 0.4, 0.1), gray=0.2, blur=0.5, solarize=0.2,
    statistics=IMAGENET, erase=0.3,
)  # fmt: skip
PLAIN = View(size=8, area=(0.2, 1.0), flip=0.5, gray=0.3)


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))


def test_a_view_of_nothing_in_particular_is_the_image():
    np.testing.assert_array_equal(View(size=12)(KEY, IMAGES), IMAGES)


def test_a_view_without_an_area_shows_the_whole_image():
    x = View(size=6, method="bicubic", antialias=True)(KEY, IMAGES)
    box = jnp.array([0.0, 0.0, 12.0, 12.0])
    for got, image in zip(x, IMAGES, strict=True):
        want = crop_resize(jnp.asarray(image), box, (6, 6), "bicubic", antialias=True)
        np.testing.assert_allclose(got, np.clip(want, 0, 1), atol=1e-6)


def test_a_bicubic_crop_is_clipped_where_it_overshoots():
    edge = jnp.zeros((4, 8, 8, 1)).at[:, :, 4:].set(1.0)
    x = View(size=16, method="bicubic")(KEY, edge)
    assert x.min() == 0 and x.max() == 1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_view_has_the_dtype_of_the_images_and_works_in_single(dtype):
    images = jnp.asarray(IMAGES, dtype)
    x = PLAIN(KEY, images)
    assert x.dtype == dtype and x.shape == (16, 8, 8, 3)
    want = PLAIN(KEY, images.astype(jnp.float32)).astype(dtype)
    np.testing.assert_allclose(x.astype(float), want.astype(float), atol=5e-3)  # 1 ulp


def test_double_precision_images_stay_so_and_are_seen_alike():
    with jax.enable_x64(True):
        x = PLAIN(KEY, IMAGES.astype(np.float64))
        assert x.dtype == jnp.float64
    np.testing.assert_allclose(x, PLAIN(KEY, IMAGES), atol=1e-5)


def test_the_same_key_shows_the_same_and_another_shows_something_else():
    x = BUSY(KEY, IMAGES)
    assert x.shape == (16, 8, 8, 3) and jnp.isfinite(x).all()
    np.testing.assert_array_equal(x, BUSY(KEY, IMAGES))
    assert not np.allclose(x, BUSY(jax.random.key(1), IMAGES))


def test_no_two_images_of_a_batch_are_seen_alike():
    same = jnp.broadcast_to(IMAGES[:1], (16, 12, 12, 3))
    brighter = View(size=12, jitter=1.0, strength=(0.4, 0.0, 0.0, 0.0))
    x = np.asarray(brighter(KEY, same)).reshape(16, -1)
    assert len(np.unique(x.round(5), axis=0)) == 16


def test_an_image_is_seen_alike_in_a_larger_batch():
    np.testing.assert_allclose(PLAIN(KEY, IMAGES[:4]), PLAIN(KEY, IMAGES)[:4], atol=1e-5)


# Of one step, what tells whether it was applied to the image beside it.
TELLS = {
    "flip": (np.arange(16.0).reshape(1, 4, 4, 1) / 16, {}),
    "gray": (np.eye(3)[None, None, :1].repeat(4, 1).repeat(4, 2), {}),
    "jitter": (np.full((1, 4, 4, 3), 0.5), {"strength": (0.4, 0.4, 0.4, 0.1)}),
    "blur": (np.eye(4)[None, ..., None], {"sigma": (1.0, 2.0)}),
    "solarize": (np.ones((1, 4, 4, 1)), {}),
    "erase": (np.ones((1, 4, 4, 1)), {"erase_area": (0.3, 0.5)}),
}


@pytest.mark.parametrize(
    ("step", "p"),
    [
        *((step, p) for step in TELLS for p in (0.0, 1.0)),
        *(("flip", 0.5), ("jitter", 0.8), ("gray", 0.1), ("gray", 0.2)),
        *(("blur", 0.1), ("blur", 0.3), ("blur", 0.5), ("solarize", 0.2)),
        ("erase", 0.25),
    ],
)
def test_steps_are_taken_as_often_as_they_say(step, p):
    n = 4000
    image, settings = TELLS[step]
    images = jnp.broadcast_to(jnp.asarray(image, jnp.float32), (n, *image.shape[1:]))
    x = View(size=4, **{step: p}, **settings)(KEY, images)
    taken = np.asarray((x != images).any((1, 2, 3)))
    assert abs(taken.mean() - p) <= 4 * np.sqrt(p * (1 - p) / n)


def test_steps_are_taken_independently_of_each_other():
    n = 4000
    image = np.zeros((4, 4, 3))
    image[:, :2] = 0.2, 0.4, 0.4  # cyan on the left, black on the right
    images = jnp.broadcast_to(jnp.asarray(image, jnp.float32), (n, 4, 4, 3))
    x = np.asarray(View(size=4, flip=0.5, gray=0.3)(KEY, images))
    gray = np.isclose(x[..., 0], x[..., 1]).all((1, 2))
    flipped = x[:, 0, 0].sum(-1) < x[:, 0, -1].sum(-1)
    assert abs(np.corrcoef(gray, flipped)[0, 1]) < 4 / np.sqrt(n)


def test_steps_go_in_the_order_given():
    colorful = View(size=12, jitter=1.0, strength=(0.0, 0.0, 0.8, 0.2), gray=1.0)
    order = list(colorful.order)
    i, j = order.index("gray"), order.index("jitter")
    order[i], order[j] = order[j], order[i]
    gray_first = dataclasses.replace(colorful, order=tuple(order))
    # Saturation and hue do nothing (1e-4) to what is grey already.
    want = jax.vmap(grayscale)(IMAGES)
    np.testing.assert_allclose(gray_first(KEY, IMAGES), want, atol=4e-4)
    assert np.abs(colorful(KEY, IMAGES) - want).max() > 0.01


def test_lab_and_normalization_come_last():
    lab = View(size=12, lab=True)(KEY, IMAGES)
    np.testing.assert_allclose(lab, jax.vmap(rgb_to_lab)(IMAGES), atol=1e-3)
    x = View(size=12, statistics=IMAGENET)(KEY, IMAGES)
    np.testing.assert_allclose(x, normalize(jnp.asarray(IMAGES), *IMAGENET), atol=1e-5)


def test_noise_has_the_deviation_asked_for_and_stays_in_range():
    x = View(size=32, noise=0.05)(KEY, jnp.full((8, 32, 32, 1), 0.5))
    assert abs(x.std() - 0.05) < 4 * 0.05 / np.sqrt(2 * x.size)
    x = View(size=32, noise=0.05)(KEY, jnp.ones((8, 32, 32, 1)))
    assert x.max() == 1


def test_rotations_and_shifts_are_within_their_bounds():
    images = jnp.full((500, 15, 15, 1), 0.3).at[:, 7, 7].set(1.3)
    x = np.asarray(View(size=15, shift=3.0, fill=0.3)(KEY, images))[..., 0] - 0.3
    place = np.arange(15)
    for axis in (1, 2):
        moved = (x.sum(3 - axis) * place).sum(1) - 7
        assert 2.5 < abs(moved).max() <= 3 + 1e-4
        assert abs(moved.mean()) < 4 * 6 / np.sqrt(12 * 500)
    images = jnp.zeros((500, 15, 15, 1)).at[:, 7, 12].set(1.0)
    x = np.asarray(View(size=15, rotate=15.0)(KEY, images))[..., 0]
    down = (x.sum(2) * place).sum(1) / x.sum((1, 2)) - 7
    angle = np.rad2deg(np.arcsin(down / 5))
    assert 13 < abs(angle).max() < 17  # of a bilinear point


@pytest.mark.parametrize("mode", ["fill", "reflect", "edge"])
def test_padding_and_cropping_shifts_by_every_whole_number_of_pixels_alike(mode):
    k, n, side = 2, 5000, 7
    image = np.arange(1, side * side + 1, dtype=np.float32).reshape(side, side, 1)
    extra = {"constant_values": 0} if mode == "fill" else {}
    padded = np.pad(image[..., 0], k, "constant" if mode == "fill" else mode, **extra)
    images = jnp.broadcast_to(image, (n, side, side, 1))
    x = np.asarray(View(size=side, pad=k, pad_mode=mode)(KEY, images))[..., 0]
    counts = np.zeros((2 * k + 1, 2 * k + 1), int)
    for top, left in np.ndindex(counts.shape):
        window = padded[top : top + side, left : left + side]
        counts[top, left] = (x == window).all((1, 2)).sum()  # bit for bit
    assert counts.sum() == n
    p = 1 / counts.size
    assert abs(counts - n * p).max() < 4 * np.sqrt(n * p * (1 - p))


def test_whole_shifts_keep_the_sharpness_that_fractional_shifts_lose():
    def energies(view):
        """Shares of the energies of neighbor differences and of the Laplacian that stay."""
        x = np.asarray(view(KEY, images), float)[..., 0]
        shares = []
        for energy in (
            lambda x: (np.diff(x, axis=1)[:, :, 1:] ** 2).mean(),
            lambda x: (
                (4 * x[:, 1:-1, 1:-1] - x[:, 2:, 1:-1] - x[:, :-2, 1:-1]
                 - x[:, 1:-1, 2:] - x[:, 1:-1, :-2]) ** 2
            ).mean(),
        ):  # fmt: skip
            inside = slice(4, -4)
            shares.append(
                energy(x[:, inside, inside])
                / energy(np.asarray(images, float)[:, inside, inside, 0])
            )
        return shares

    # Half smooth, half noise: about as many details as photographs.
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1000, 34, 34))
    smooth = noise[:, :-1, :-1] + noise[:, 1:, :-1] + noise[:, :-1, 1:] + noise[:, 1:, 1:]
    images = (smooth[:, :32, :32, None] / 2).astype(np.float32)
    np.testing.assert_allclose(energies(View(size=32, pad=4)), 1, atol=0.02)
    fractional = energies(View(size=32, shift=4.0))
    assert fractional[0] < 0.8 and fractional[1] < 0.6


def test_whole_shifts_of_a_sharded_batch_exchange_nothing(mesh):
    view = recipe("mixmatch")[0]
    split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    look = jax.jit(view, in_shardings=(whole, split), out_shardings=split)
    images = jnp.asarray(np.random.default_rng(1).random((16, 32, 32, 3), np.float32))
    text = look.lower(KEY, images).compile().as_text()
    for collective in ("all-gather", "all-to-all", "all-reduce", "collective-permute"):
        assert collective not in text
    np.testing.assert_array_equal(look(KEY, images), view(KEY, images))


def test_no_gradient_flows_through_a_view():
    total = lambda x: PLAIN(KEY, x).sum() + multi_view(KEY, x, (PLAIN,)).sum()
    np.testing.assert_array_equal(jax.grad(total)(jnp.asarray(IMAGES)), 0)


def test_a_step_left_out_leaves_no_trace_in_the_program():
    def program(**steps):
        return str(jax.make_jaxpr(View(size=12, **steps))(KEY, IMAGES))

    assert "dot_general" not in program() and "sort" not in program()
    assert "dot_general" in program(area=(0.2, 1.0))
    assert "sort" in program(jitter=0.5, strength=(0.4, 0.4, 0.4, 0.1))


def test_views_are_stacked_on_axis_one_each_with_a_key_of_its_own():
    other = dataclasses.replace(PLAIN, gray=1.0)
    x = multi_view(KEY, IMAGES, (PLAIN, PLAIN, other))
    assert x.shape == (16, 3, 8, 8, 3)
    for v, view in enumerate((PLAIN, PLAIN, other)):
        want = view(jax.random.fold_in(KEY, v), IMAGES)
        np.testing.assert_allclose(x[:, v], want, atol=1e-5)
    assert not np.allclose(x[:, 0], x[:, 1])


def test_views_of_different_sizes_come_as_a_list():
    large, small = View(size=8, area=(0.4, 1.0)), View(size=4, area=(0.1, 0.4))
    x = multi_view(KEY, IMAGES, (large, small, large))
    assert [v.shape for v in x] == [(16, 8, 8, 3), (16, 4, 4, 3), (16, 8, 8, 3)]
    for v, view in enumerate((large, small, large)):
        want = view(jax.random.fold_in(KEY, v), IMAGES)
        np.testing.assert_allclose(x[v], want, atol=1e-5)
    groups = multi_size(KEY, IMAGES, (large, large, small, small))
    wanted = multi_crop(KEY, IMAGES, (large, large, small, small))
    assert [g.shape for g in groups] == [(16, 2, 8, 8, 3), (16, 2, 4, 4, 3)]
    for found, want in zip(groups, (wanted[:2], wanted[2:]), strict=True):
        np.testing.assert_array_equal(found, jnp.stack(want, 1))
    equal = multi_crop(KEY, IMAGES, (large, large))
    np.testing.assert_allclose(
        jnp.stack(equal, 1), multi_view(KEY, IMAGES, (large, large)), atol=1e-6
    )


def alone_and_sharded(mesh, name):
    images = jnp.asarray(np.random.default_rng(1).random((16, 32, 32, 3), np.float32))
    views = recipe(name)
    alone = multi_view(KEY, images, views)
    sharded = jax.device_put(images, NamedSharding(mesh, P("data")))
    look = jax.jit(lambda key, x: multi_view(key, x, views))
    together = look(KEY, sharded)
    assert together.sharding.is_equivalent_to(sharded.sharding, together.ndim)
    return alone, together


@pytest.mark.parametrize("name", ["moco_cifar", "photos", "wmse", "mixmatch"])
def test_a_sharded_batch_is_seen_as_on_one_device_bit_for_bit(mesh, name):
    alone, together = alone_and_sharded(mesh, name)
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("name", ["simclr_cifar", "byol_cifar"])
def test_a_sharded_batch_of_tensorflow_s_jitter_is_seen_alike_to_rounding(mesh, name):
    """XLA fuses, and rounds, these blends differently for two images than for sixteen."""
    alone, together = alone_and_sharded(mesh, name)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_sharded_views_exchange_nothing(mesh):
    views = recipe("byol_cifar")
    split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    look = jax.jit(
        lambda key, x: multi_view(key, x, views).reshape(-1, 32, 32, 3),
        in_shardings=(whole, split),
        out_shardings=split,
    )
    text = look.lower(KEY, jnp.ones((16, 32, 32, 3))).compile().as_text()
    for collective in ("all-gather", "all-to-all", "all-reduce", "collective-permute"):
        assert collective not in text


def test_under_shard_map_an_axis_name_gives_the_same_views(mesh):
    local = jax.shard_map(
        lambda key, x: BUSY(key, x, axis_name="data"),
        mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"),
    )  # fmt: skip
    x = jax.jit(local)(KEY, jnp.asarray(IMAGES))
    np.testing.assert_allclose(x, BUSY(KEY, IMAGES), atol=1e-5)


def test_raw_uint32_keys_work_as_well():
    key = jax.random.PRNGKey(0)
    np.testing.assert_array_equal(
        multi_view(key, IMAGES, (PLAIN, PLAIN)), multi_view(KEY, IMAGES, (PLAIN, PLAIN))
    )


@pytest.mark.parametrize("look", [PLAIN, lambda k, x: multi_view(k, x, (PLAIN,))])
def test_uint8_images_are_refused_with_what_to_do(look):
    with pytest.raises(ValueError, match=r"float in \[0, 1\], got uint8: divide them"):
        look(KEY, (255 * IMAGES).astype(np.uint8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flip": 1.5}, "flip must be a probability, got 1.5"),
        ({"area": (0.5, 0.2)}, r"area must be a range in \(0, 1\]"),
        ({"area": (8.0, 100.0)}, r"area must be a range in \(0, 1\]"),
        ({"method": "cubic"}, "method must be one of .*bicubic.*got 'cubic'"),
        ({"order": ("crop", "flip")}, "order must hold each of"),
        ({"pad": -1}, "pad must be whole pixels >= 0, got -1"),
        ({"pad": 2, "shift": 2.0}, "set one of them to 0, got pad=2, shift=2.0"),
        ({"pad_mode": "wrap"}, "pad_mode must be one of .*reflect.*got 'wrap'"),
        ({"jitter_style": "pil"}, "jitter_style must be one of .*got 'pil'"),
        ({"blur_border": "wrap"}, "blur_border must be one of .*edge.*got 'wrap'"),
    ],
)
def test_a_view_that_makes_no_sense_is_refused_when_built(settings, message):
    with pytest.raises(ValueError, match=message):
        View(size=8, **settings)


@pytest.mark.usefixtures("unhooked")
def test_a_fraction_of_a_pixel_cannot_be_padded():
    with pytest.raises(ValueError, match="pad must be whole pixels >= 0, got 1.5"):
        View(size=8, pad=1.5)


@pytest.mark.usefixtures("unhooked")
def test_what_is_no_batch_of_images_is_refused():
    with pytest.raises(ValueError, match=r"float\[n, h, w, c\], got float32\[12, 12, 3\]"):
        PLAIN(KEY, IMAGES[0])


def test_no_views_are_refused():
    with pytest.raises(ValueError, match="at least one View"):
        multi_view(KEY, IMAGES, ())


CROPPED = View(
    size=12, area=(0.2, 1.0), method="bicubic", antialias=True, flip=0.5, jitter=0.8,
    strength=(0.4, 0.4, 0.4, 0.1), gray=0.2, blur=0.5, statistics=IMAGENET, erase=0.3,
)  # fmt: skip


def own_crops(key, view, images):
    """The crops that a view draws with a key, [n, S, S, c], before its other steps."""
    return dataclasses.replace(
        View(size=view.size), area=view.area, method=view.method, antialias=view.antialias
    )(key, images)


def test_views_of_crops_are_the_views_without_their_own_crop():
    views = (CROPPED, dataclasses.replace(CROPPED, solarize=1.0), CROPPED)
    crops = jnp.stack(
        [
            own_crops(jax.random.fold_in(KEY, v), view, IMAGES)
            for v, view in enumerate(views)
        ],
        axis=1,
    )
    x = multi_view(KEY, crops, views)
    assert x.shape == (16, 3, 12, 12, 3)
    np.testing.assert_allclose(x, multi_view(KEY, IMAGES, views), atol=1e-4)
    # And they are no longer those of the uncropped images.
    whole = jnp.broadcast_to(IMAGES[:, None], crops.shape)
    assert np.abs(multi_view(KEY, whole, views) - x).max() > 0.1


def test_one_view_of_one_crop_is_a_view():
    x = CROPPED(KEY, own_crops(KEY, CROPPED, IMAGES)[:, None])
    assert x.shape == (16, 12, 12, 3)
    np.testing.assert_allclose(x, CROPPED(KEY, IMAGES), atol=1e-4)


def test_crops_of_another_size_are_resized():
    half = dataclasses.replace(CROPPED, size=6)
    assert multi_view(KEY, IMAGES[:, None], (half,)).shape == (16, 1, 6, 6, 3)
    box = jnp.array([0.0, 0.0, 12.0, 12.0])
    resize = View(size=6, area=(0.2, 1.0), antialias=True)
    want = crop_resize(jnp.asarray(IMAGES[0]), box, (6, 6), antialias=True)
    np.testing.assert_allclose(resize(KEY, IMAGES[:, None])[0], want, atol=1e-6)


def test_views_of_crops_of_a_sharded_batch_exchange_nothing(mesh):
    split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    look = jax.jit(
        lambda key, x: multi_view(key, x, (CROPPED, CROPPED)),
        in_shardings=(whole, split),
        out_shardings=split,
    )
    crops = jnp.asarray(np.random.default_rng(1).random((16, 2, 12, 12, 3), np.float32))
    text = look.lower(KEY, crops).compile().as_text()
    for collective in ("all-gather", "all-to-all", "all-reduce", "collective-permute"):
        assert collective not in text
    alone = multi_view(KEY, crops, (CROPPED, CROPPED))
    np.testing.assert_allclose(look(KEY, crops), alone, atol=1e-5)


def test_crops_that_do_not_suit_the_views_are_refused():
    crops = np.stack([IMAGES] * 3, axis=1)
    with pytest.raises(ValueError, match=r"2 views need as many crops .* got 3, .*crop_of"):
        multi_view(KEY, crops, (PLAIN, PLAIN))
    with pytest.raises(ValueError, match=r"1 views need as many crops .* got 3"):
        PLAIN(KEY, crops)
    with pytest.raises(ValueError, match="got uint8: divide them"):
        PLAIN(KEY, (255 * crops[:, :1]).astype(np.uint8))
    with pytest.raises(ValueError, match="this View has move before its crop"):
        BUSY(KEY, crops[:, :1])
    # A shift without a crop of its own is one of the crop.
    shifted = View(size=12, pad=2)(KEY, crops[:, :1])
    np.testing.assert_array_equal(shifted, View(size=12, pad=2)(KEY, IMAGES))
