from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.views import (
    CIFAR10,
    CIFAR10_PIXELS,
    IMAGENET,
    IMAGENET_SWAV,
    LAB,
    RECIPES,
    Statistics,
    augment,
    crop_of,
    multi_crop,
    multi_view,
    on,
    recipe,
)
from jssl.views.randaugment import OPERATIONS, TONES

STRONG, WEAK, FULL_HUE = (0.8, 0.8, 0.8, 0.2), (0.4, 0.4, 0.4, 0.1), (0.4,) * 4
BYOL, NONE = (0.4, 0.4, 0.2, 0.1), (0.0,) * 4

# name, which views, size, area, flip, jitter, strength, grey, blur, solarize
TABLE = [
    ("simclr", "01", 224, (0.08, 1), 0.5, 0.8, STRONG, 0.2, 0.5, 0),
    ("simclr_v2", "01", 224, (0.08, 1), 0.5, 0.8, STRONG, 0.2, 0.5, 0),
    ("simclr_cifar", "01", 32, (0.08, 1), 0.5, 0.8, WEAK, 0.2, 0, 0),
    ("npid", "0", 224, (0.2, 1), 0.5, 1, FULL_HUE, 0.2, 0, 0),
    ("moco_v1", "01", 224, (0.2, 1), 0.5, 1, FULL_HUE, 0.2, 0, 0),
    ("moco_v2", "01", 224, (0.2, 1), 0.5, 0.8, WEAK, 0.2, 0.5, 0),
    ("simsiam", "01", 224, (0.2, 1), 0.5, 0.8, WEAK, 0.2, 0.5, 0),
    ("byol", "0", 224, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 1, 0),
    ("byol", "1", 224, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 0.1, 0.2),
    ("barlow_twins", "0", 224, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 1, 0),
    ("barlow_twins", "1", 224, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 0.1, 0.2),
    ("vicreg", "0", 224, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 1, 0),
    ("vicreg", "1", 224, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 0.1, 0.2),
    ("moco_v3", "0", 224, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 1, 0),
    ("moco_v3", "1", 224, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 0.1, 0.2),
    ("moco_v3_resnet", "0", 224, (0.2, 1), 0.5, 0.8, BYOL, 0.2, 1, 0),
    ("moco_v3_resnet", "1", 224, (0.2, 1), 0.5, 0.8, BYOL, 0.2, 0.1, 0.2),
    ("swav", "01", 224, (0.14, 1), 0.5, 0.8, STRONG, 0.2, 0.5, 0),
    ("swav", "234567", 96, (0.05, 0.14), 0.5, 0.8, STRONG, 0.2, 0.5, 0),
    ("swav_cifar", "01", 32, (0.08, 1), 0.5, 0.8, STRONG, 0.2, 0.5, 0),
    ("dino", "0", 224, (0.4, 1), 0.5, 0.8, BYOL, 0.2, 1, 0),
    ("dino", "1", 224, (0.4, 1), 0.5, 0.8, BYOL, 0.2, 0.1, 0.2),
    ("dino", "23456789", 96, (0.05, 0.4), 0.5, 0.8, BYOL, 0.2, 0.5, 0),
    ("ibot", "0", 224, (0.4, 1), 0.5, 0.8, BYOL, 0.2, 1, 0),
    ("ibot", "1", 224, (0.4, 1), 0.5, 0.8, BYOL, 0.2, 0.1, 0.2),
    ("ibot", "23456789", 96, (0.05, 0.4), 0.5, 0.8, BYOL, 0.2, 0.5, 0),
    ("ibot_small", "0", 224, (0.25, 1), 0.5, 0.8, BYOL, 0.2, 1, 0),
    ("ibot_small", "1", 224, (0.25, 1), 0.5, 0.8, BYOL, 0.2, 0.1, 0.2),
    ("ibot_small", "23456789ab", 96, (0.05, 0.25), 0.5, 0.8, BYOL, 0.2, 0.5, 0),
    ("lejepa", "01", 224, (0.3, 1), 0.5, 0.8, BYOL, 0.2, 0.5, 0.2),
    ("lejepa", "234567", 98, (0.05, 0.3), 0.5, 0.8, BYOL, 0.2, 0.5, 0.2),
    ("lejepa_imagenette", "0123", 224, (0.08, 1), 0.5, 0.8, STRONG, 0.2, 0.5, 0.2),
    ("dinov2", "0", 224, (0.32, 1), 0.5, 0.8, BYOL, 0.2, 1, 0),
    ("dinov2", "1", 224, (0.32, 1), 0.5, 0.8, BYOL, 0.2, 0.1, 0.2),
    ("dinov2", "23456789", 96, (0.05, 0.32), 0.5, 0.8, BYOL, 0.2, 0.5, 0),
    ("dino_resnet", "0", 224, (0.14, 1), 0.5, 0.8, BYOL, 0.2, 1, 0),
    ("dino_resnet", "1", 224, (0.14, 1), 0.5, 0.8, BYOL, 0.2, 0.1, 0.2),
    ("dino_resnet", "23456789", 96, (0.05, 0.14), 0.5, 0.8, BYOL, 0.2, 0.5, 0),
    ("dino_two_views", "0", 224, (0.14, 1), 0.5, 0.8, BYOL, 0.2, 1, 0),
    ("dino_two_views", "1", 224, (0.14, 1), 0.5, 0.8, BYOL, 0.2, 0.1, 0.2),
    ("wmse", "01", 32, (0.2, 1), 0.5, 0.8, WEAK, 0.1, 0, 0),
    ("ijepa", "0", 224, (0.3, 1), 0, 0, NONE, 0, 0, 0),
    ("cmc", "0", 224, (0.08, 1), 0.5, 0, NONE, 0, 0, 0),
    ("cmc_alexnet", "0", 224, (0.2, 1), 0.5, 0, NONE, 0, 0, 0),
    ("simsiam_cifar", "01", 32, (0.2, 1), 0.5, 0.8, WEAK, 0.2, 0, 0),
    ("moco_cifar", "01", 32, (0.2, 1), 0.5, 0.8, WEAK, 0.2, 0, 0),
    ("vicreg_cifar", "01", 32, (0.2, 1), 0.5, 0.8, BYOL, 0.2, 0, 0.1),
    ("byol_cifar", "0", 32, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 0, 0),
    ("byol_cifar", "1", 32, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 0, 0.2),
    ("barlow_twins_cifar", "0", 32, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 0, 0),
    ("barlow_twins_cifar", "1", 32, (0.08, 1), 0.5, 0.8, BYOL, 0.2, 0, 0.2),
    ("mae", "0", 224, (0.2, 1), 0.5, 0, NONE, 0, 0, 0),
    ("mae_finetune", "0", 224, (0.08, 1), 0.5, 0, NONE, 0, 0, 0),
    ("rotnet", "0", 32, None, 0.5, 0, NONE, 0, 0, 0),
    ("mixmatch", "0", 32, None, 0.5, 0, NONE, 0, 0, 0),
    ("mean_teacher", "0", 32, None, 0.5, 0, NONE, 0, 0, 0),
    ("mean_teacher_convnet", "0", 32, None, 0.5, 0, NONE, 0, 0, 0),
    ("vat", "0", 32, None, 0.5, 0, NONE, 0, 0, 0),
    ("fixmatch", "01", 32, None, 0.5, 0, NONE, 0, 0, 0),
    ("fixmatch_digits", "01", 28, None, 0, 0, NONE, 0, 0, 0),
    ("digits", "01", 28, (0.3, 1), 0, 0.8, (0.4, 0.4, 0, 0), 0, 0.3, 0),
    ("garments", "01", 28, (0.3, 1), 0.5, 0.8, (0.4, 0.4, 0, 0), 0, 0.3, 0),
    ("photos", "01", 32, (0.2, 1), 0.5, 0.8, WEAK, 0.2, 0.3, 0),
    ("digits_multicrop", "01", 28, (0.4, 1), 0, 0.8, (0.4, 0.4, 0, 0), 0, 0.3, 0),
    ("digits_multicrop", "23", 14, (0.1, 0.4), 0, 0.8, (0.4, 0.4, 0, 0), 0, 0.3, 0),
    ("garments_multicrop", "01", 28, (0.4, 1), 0.5, 0.8, (0.4, 0.4, 0, 0), 0, 0.3, 0),
    ("garments_multicrop", "23", 14, (0.1, 0.4), 0.5, 0.8, (0.4, 0.4, 0, 0), 0, 0.3, 0),
    ("cifar_multicrop", "01", 32, (0.4, 1), 0.5, 0.8, WEAK, 0.2, 0, 0),
    ("cifar_multicrop", "23", 16, (0.1, 0.4), 0.5, 0.8, WEAK, 0.2, 0, 0),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{row[1]}")
def test_a_recipe_is_its_row_of_the_published_table(row):
    name, indices, *values = row
    fields = ("size", "area", "flip", "jitter", "strength", "gray", "blur", "solarize")
    for i in indices:
        view = recipe(name)[int(i, 16)]
        assert [getattr(view, field) for field in fields] == values
        assert view.ratio == (3 / 4, 4 / 3)


def test_the_table_above_is_of_every_view_of_every_recipe():
    rows = {(name, int(i, 16)) for name, indices, *_ in TABLE for i in indices}
    assert rows == {(name, i) for name, views in RECIPES.items() for i in range(len(views))}


def test_interpolation_is_that_of_the_released_code():
    bicubic = ("simclr", "byol", "barlow_twins", "vicreg", "dino", "mae", "mae_finetune")
    bilinear = ("moco_v1", "moco_v2", "moco_v3", "simsiam", "swav")
    for names, method in ((bicubic, "bicubic"), (bilinear, "bilinear")):
        assert {view.method for name in names for view in recipe(name)} == {method}


OWN = {
    "digits", "garments", "photos", "digits_multicrop", "garments_multicrop",
    "cifar_multicrop", "fixmatch_digits",
}  # fmt: skip
SMALL = {name for name, views in RECIPES.items() if views[0].size <= 32}


def test_normalization_is_that_of_the_released_code():
    none = OWN | {"simclr", "simclr_v2", "simclr_cifar", "mean_teacher_convnet", "vat"}
    shifted = {"rotnet", "mean_teacher"}
    solo = {"byol_cifar", "barlow_twins_cifar", "vicreg_cifar", "swav_cifar"}
    wanted = {
        **dict.fromkeys(set(RECIPES) - SMALL, IMAGENET),
        **dict.fromkeys(SMALL, CIFAR10),
        **dict.fromkeys(shifted | solo, CIFAR10_PIXELS),
        **dict.fromkeys(none),
        "swav": IMAGENET_SWAV,
        "mixmatch": Statistics((0.5,), (0.5,)),
        "fixmatch": Statistics((0.5,), (0.5,)),
        "cmc": LAB,
        "cmc_alexnet": LAB,
    }
    for name, views in RECIPES.items():
        assert {view.statistics for view in views} == {wanted[name]}, name


def test_color_jitter_is_that_of_the_released_code():
    tensorflow, scaled = {"simclr", "byol"}, {"simclr_v2", "simclr_cifar"}
    for name, views in RECIPES.items():
        wanted = "tensorflow" if name in tensorflow else "torchvision"
        wanted = "simclr_v2" if name in scaled else wanted
        assert {view.jitter_style for view in views} == {wanted}, name


def test_the_border_of_the_blur_is_that_of_the_released_code():
    wanted = dict.fromkeys(
        ("moco_v2", "moco_v3", "moco_v3_resnet", "simsiam", "barlow_twins", "vicreg",
         "dino", "dino_resnet", "dino_two_views", "ibot", "ibot_small", "dinov2",
         "swav_cifar"),
        "edge",
    )  # fmt: skip
    wanted |= {"swav": "reflect"}
    seven = {"lejepa": "reflect", "lejepa_imagenette": "reflect"}
    for name, views in RECIPES.items():
        for view in views:
            if view.blur:
                assert view.blur_border == (wanted | seven).get(name, "zero"), name
                # Pillow's blur is not truncated, and OpenCV's has 23 taps at any size.
                radius = 3 if name in seven else 11 if name in wanted else None
                assert view.blur_radius == radius, name


def test_shifts_are_by_whole_pixels_with_the_border_of_the_released_code():
    wanted = {
        "rotnet": (4, "fill"),
        "mixmatch": (4, "reflect"),
        "fixmatch": (4, "reflect"),
        "mean_teacher": (4, "reflect"),
        "mean_teacher_convnet": (2, "reflect"),
        "vat": (2, "fill"),
    }
    shifts = {"digits": 3, "digits_multicrop": 3, "fixmatch_digits": 2}
    for name, views in RECIPES.items():
        for view in views:
            assert (view.pad, view.pad_mode) == wanted.get(name, (0, "fill"))
            assert view.shift == shifts.get(name, 0) and view.fill == 0


def test_shrinking_averages_at_imagenet_size_only():
    for views in RECIPES.values():
        for view in views:
            assert view.antialias == (view.size >= 96)


def test_npid_turns_images_gray_before_it_jitters_them():
    for name, views in RECIPES.items():
        for view in views:
            first = view.order.index("gray") < view.order.index("jitter")
            assert first == (name in ("npid", "moco_v1"))


def test_w_mse_crops_what_it_has_jittered():
    for name, views in RECIPES.items():
        for view in views:
            crop, gray = view.order.index("crop"), view.order.index("gray")
            assert (gray < crop) == (name == "wmse")


def test_digits_turn_and_shift_but_never_flip():
    for name in ("digits", "digits_multicrop"):
        for view in recipe(name):
            assert (view.flip, view.rotate, view.shift) == (0, 15, 3)
            assert view.sigma == (0.1, 1.0)
    assert all(view.sigma == (0.1, 2.0) for view in recipe("simclr"))


def test_cmc_sees_lab():
    assert [view.lab for view in recipe("cmc")] == [True]


def test_fine_tuning_mae_is_randaugment_and_erasing_with_noise():
    (view,) = recipe("mae_finetune")
    assert view.randaugment == (2, 9.0, 0.5)
    assert (view.erase, view.erase_fill) == (0.25, "noise")


def test_fixmatch_adds_two_operations_and_a_square_of_half_the_side_to_the_weak_view():
    """RANDOM_POLICY_OPS and AugmentPoolRAMC of google-research/fixmatch."""
    weak, strong = recipe("fixmatch")
    assert replace(strong, randaugment=None, erase=0.0, erase_side=0.0) == weak
    n, magnitude, std, fill, probability, operations, translate = strong.randaugment
    assert (n, magnitude, std, fill, probability) == (2, 10, float("inf"), 0.5, 0.5)
    assert len(operations) == 14
    assert set(OPERATIONS) - set(operations) == {"invert", "solarize_add"}
    assert translate * 32 == 10
    assert (strong.erase, strong.erase_side, strong.erase_fill) == (1, 0.5, 0)


def test_strong_views_of_digits_keep_black_ground_black():
    weak, strong = recipe("fixmatch_digits")
    assert not weak.randaugment and not weak.erase
    assert not {*strong.randaugment.operations} & {*TONES, "identity", "saturation"}
    dark = strong(jax.random.key(0), jnp.zeros((64, 28, 28, 1)))
    np.testing.assert_array_equal(dark, 0)
    lit = strong(jax.random.key(0), jnp.ones((64, 28, 28, 1)))
    assert (np.asarray(lit) == 0).any((1, 2, 3)).all()  # the square, in every image


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_has_the_shapes_it_promises(name):
    channels = 1 if "digits" in name or "garments" in name else 3
    views = recipe(name)
    side = max(view.size for view in views)
    images = jax.ShapeDtypeStruct((4, side, side, channels), jnp.float32)
    x = jax.eval_shape(lambda key, x: multi_crop(key, x, views), jax.random.key(0), images)
    assert [v.shape for v in x] == [(4, v.size, v.size, channels) for v in views]


@pytest.mark.parametrize("name", ["digits", "byol_cifar"])
def test_views_stay_between_zero_and_one(name):
    channels = 3 if name == "byol_cifar" else 1
    images = np.random.default_rng(0).random((32, 28, 28, channels), np.float32)
    x = multi_view(jax.random.key(0), images, recipe(name, size=28, statistics=None))
    assert x.shape == (32, 2, 28, 28, channels)
    assert x.min() >= -1e-6 and x.max() <= 1 + 1e-6


def test_changes_reach_every_view():
    views = recipe("byol", size=64, noise=0.1)
    assert {(view.size, view.noise) for view in views} == {(64, 0.1)}
    assert [view.solarize for view in views] == [0.0, 0.2]


def test_an_unknown_recipe_suggests_the_closest():
    with pytest.raises(ValueError, match="no 'simclr_cifr' .*did you mean 'simclr_cifar'"):
        recipe("simclr_cifr")


@pytest.mark.parametrize("look", [multi_view, multi_crop])
def test_small_images_are_not_enlarged_in_silence(look):
    images = jnp.zeros((2, 32, 32, 3))
    with pytest.raises(ValueError, match=r"224 pixels .* of 32 .*recipe\(name, size=32\)"):
        look(jax.random.key(0), images, recipe("simclr"))
    views = multi_view(jax.random.key(0), images, recipe("simclr", size=32))
    assert views.shape == (2, 2, 32, 32, 3)


def test_crops_in_the_batch_take_the_place_of_the_views_own():
    rng = np.random.default_rng(0)
    batch = {"image": rng.random((4, 32, 32, 3), np.float32)}
    crops = {"crops": rng.random((4, 2, 32, 32, 3), np.float32)}
    look = augment("byol", size=32)
    key, views = jax.random.key(0), recipe("byol", size=32)
    np.testing.assert_array_equal(look(key, batch), multi_view(key, batch["image"], views))
    np.testing.assert_array_equal(
        look(key, batch | crops), multi_view(key, crops["crops"], views)
    )
    (single,) = recipe("mae", size=32)
    one = {"crops": crops["crops"][:, :1]}
    x = on(single)(key, batch | one)
    assert x.shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(x, single(key, one["crops"]))
    # Another column is not that of images.
    other = on(lambda key, x: x, "label")
    assert other(key, {"label": 1} | crops) == 1


def test_the_crops_of_recipes_that_a_loader_can_cut():
    assert crop_of(recipe("moco_v3_resnet")) == (
        2,
        224,
        (0.2, 1),
        (3 / 4, 4 / 3),
        "bilinear",
    )
    assert crop_of(recipe("mae", size=32)) == (1, 32, (0.2, 1), (3 / 4, 4 / 3), "bicubic")
    for name, reason in (
        ("swav", "must share size, area, ratio and method"),
        ("digits", "has move before its crop"),
        ("wmse", "has jitter, gray before its crop"),
        ("rotnet", "has no random crop"),
    ):
        with pytest.raises(ValueError, match=reason):
            crop_of(recipe(name))
    with pytest.raises(ValueError, match="at least one View"):
        crop_of(())
