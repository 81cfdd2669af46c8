"""The knobs of images: any folder of photographs is read by any small config."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from jssl import config, views
from jssl.data import Crops, dataset
from jssl.knobs import (
    CroppedImages,
    Data,
    FewLabels,
    Images,
    Run,
    Small,
    ViewedImages,
    WeakAndStrong,
)
from jssl.method import field
from jssl.papers import UCF101, ImageNet, ThirteenLayers

ROOT = Path(__file__).parent.parent
KEY = jax.random.key(0)


def photographs(folder, sizes):
    """Parts of two photographs, as JPEGs of the given sizes (width, height)."""
    whole = [Image.fromarray(x) for x in load_sample_images().images]
    for i, (w, h) in enumerate(sizes):
        x, y = 7 * i % (640 - w), 5 * i % (427 - h)
        path = folder / ("temple", "flower")[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        whole[i % 2].crop((x, y, x + w, y + h)).save(path)
    return f"folder:{folder}"


MIXED = [(60 + 9 * (i % 11), 80 + 5 * (i % 7)) for i in range(60)]


def test_photographs_of_mixed_size_are_cut_and_it_is_said(tmp_path, caplog):
    with caplog.at_level("INFO"):
        train = Data(source=photographs(tmp_path, MIXED)).load(Run())
    assert train.image_shape == (32, 32, 3)
    wanted = "60 images of 60x80 to 150x105, cut to 32x32 centers; 48 train, 6 val, 6 test"
    assert f"folder:{tmp_path}: {wanted}" in caplog.text


def test_the_cut_divides_into_patches(tmp_path):
    name = photographs(tmp_path, MIXED)
    assert Images(source=name).load(Run(), patch=7).side == 28
    assert Images(source=name, size=48).load(Run(), patch=8).side == 48
    with pytest.raises(ValueError, match="of 32x32 .* of 7: give size=28 or patch=4"):
        Images(source=name, size=32).load(Run(), patch=7)
    with pytest.raises(ValueError, match="of 8x8 .* patches of 7: give size=7 or patch=4"):
        Data(source="digits").load(Run(), patch=7)


def test_size_channels_and_reading_reach_the_loader(tmp_path):
    name = photographs(tmp_path, MIXED)
    images = Data(source=name, size=20, channels=1, reading="resident=0;flat=True")
    train = images.load(Run())
    assert train.image_shape == (20, 20, 1)
    assert train.table is None
    assert train.classes == 0
    with pytest.raises(ValueError, match="reading must be NAME=VALUE.*, got 'flat'"):
        Data(source=name, reading="flat").load(Run())


def test_a_corrupt_picture_is_skipped_where_it_is_asked_for(tmp_path):
    name = photographs(tmp_path, MIXED)
    (tmp_path / "temple" / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="x.jpg cannot be read .* corrupt=skip"):
        for part in ("train", "val", "test"):
            Data(source=name).load(Run()).split(part)
    train = Data(source=name, corrupt="skip").load(Run())
    assert sum(len(train.split(part)) for part in train.split_names()) == 60
    with pytest.raises(ValueError, match=r"load\('digits'\): .*'corrupt'"):
        Data(source="digits", corrupt="skip").load(Run())


def test_oblong_pictures_are_kept_or_refused_with_the_size_to_give(tmp_path):
    name = photographs(tmp_path, [(70, 42)] * 30)
    assert Images(source=name).load(Run(), patch=7).image_shape == (42, 70, 3)
    images = ViewedImages(source=name)
    with pytest.raises(ValueError, match="70x42 pixels, and squares .* size=42"):
        images.augment(images.load(Run()))


def test_the_recipe_is_that_of_the_colors():
    gray, color = (ViewedImages(source=x) for x in ("digits", "photos"))
    assert gray.recipe_of(gray.load(Run())) == views.recipe("digits", size=8)
    assert color.recipe_of(color.load(Run())) == views.recipe("photos", size=32)
    asked = ViewedImages(source="photos", recipe="byol_cifar", size=40)
    assert asked.recipe_of(asked.load(Run())) == views.recipe(
        "byol_cifar", size=40, statistics=None
    )


def test_multi_crop_has_groups_of_views_of_one_size_in_multiples_of_the_patch():
    images = CroppedImages(source="digits", batch=16)
    train = images.load(Run())
    batch = {"image": jnp.ones((16, 8, 8, 1))}
    seen = jax.eval_shape(images.augment(train, patch=2), KEY, batch)
    assert [x.shape for x in seen] == [(16, 2, 8, 8, 1), (16, 2, 4, 4, 1)]
    (both,) = jax.eval_shape(replace(images, recipe="digits").augment(train), KEY, batch)
    assert both.shape == (16, 2, 8, 8, 1)
    photos = CroppedImages(source="photos")
    sizes = [view.size for view in photos.recipe_of(photos.load(Run()), patch=8)]
    assert sizes == [32, 32, 16, 16]
    odd = views.resized(views.recipe("dino"), 28, patch=4)  # 96 / 224 of 28 pixels is 12
    assert [view.size for view in odd] == [28] * 2 + [12] * 8
    with pytest.raises(ValueError, match="patches of 8 leave no smaller size .* of 8"):
        images.augment(train, patch=8)


def test_multi_crop_of_photographs_is_cut_on_the_device():
    images = ImageNet(source="blank:imagenet2012", batch=4, workers=0, whole=False)
    train, augment, prepare = images.cropped(Run(), "dinov2", patch=14)
    batch = {"image": jnp.ones((4, 256, 256, 3))}
    seen = jax.eval_shape(augment, KEY, batch)
    assert [x.shape for x in seen] == [(4, 2, 224, 224, 3), (4, 8, 98, 98, 3)]
    assert prepare(batch).shape == (4, 224, 224, 3)
    (both,) = jax.eval_shape(images.cropped(Run(), "dino_two_views")[1], KEY, batch)
    assert both.shape == (4, 2, 224, 224, 3)
    with pytest.raises(ValueError, match="multi-crop needs whole=False: .*stored=256"):
        replace(images, whole=True).cropped(Run(), "dino")


@pytest.mark.parametrize(
    "file", sorted(ROOT.glob("experiments/*.py")), ids=lambda f: f.stem
)
def test_every_config_of_pictures_has_the_knobs_that_read_them(file):
    for name in config.functions(file):
        knobs = config.schema(config.functions(file)[name])
        if "tokens" in knobs:  # of text
            assert {"source", "vocabulary", "tokenizer", "length", "reading"} <= set(knobs)
        elif "source" in knobs:
            assert {"size", "stored"} & set(knobs)
            assert {"channels", "corrupt", "workers", "reading"} <= set(knobs)


def test_photos_views_keep_the_colors_of_most_pictures_and_their_size():
    image = np.stack([x[:64, :64] for x in load_sample_images().images])
    both = views.multi_view(
        jax.random.key(0), np.float32(image) / 255, views.recipe("photos", size=48)
    )
    assert both.shape == (2, 2, 48, 48, 3)
    assert np.isfinite(both).all()
    assert not np.allclose(both[:, 0], both[:, 1], atol=0.05)


def test_weak_and_strong_views_are_those_of_the_colors():
    for source, name, fill in (
        ("digits", "fixmatch_digits", 0.0),
        ("photos", "fixmatch", 0.5),
    ):
        images = WeakAndStrong(source=source, shift=1.0)
        train = images.load(Run())
        changes = dict(size=train.side, shift=1.0, pad=0, statistics=None)
        weak, strong = views.recipe(name, **changes)
        strong = replace(strong, erase_fill=fill)
        batch = {"image": jnp.full((4, *train.image_shape), 0.7)}
        looks = [look(jax.random.key(1), batch) for look in images.weak_and_strong(train)]
        wanted = [view(jax.random.key(1), batch["image"]) for view in (weak, strong)]
        np.testing.assert_array_equal(looks, wanted)
    with pytest.raises(ValueError, match="a weak and a strong view, .* got 'simclr'"):
        WeakAndStrong(source="photos", recipe="simclr").weak_and_strong(train)


def test_few_labels_have_the_rates_of_mixmatch_and_vat():
    train = FewLabels(source="digits", batch=100).load(Run())
    steps = train.steps(9)

    def moved(step, **knobs):
        """The update at a step, for a gradient of 1 always."""
        few = FewLabels(source="digits", batch=100, epochs=9, lr=0.1, **knobs)
        tx, params = few.adam(train), {"kernel": jnp.zeros(())}
        state, grads = tx.init(params), {"kernel": jnp.ones(())}
        state = optax.tree.set(state, count=jnp.int32(step))
        return float(tx.update(grads, state, params)[0]["kernel"])

    first = {name: moved(0, schedule=name) for name in ("cosine", "constant", "late")}
    np.testing.assert_allclose(list(first.values()), -0.1, rtol=1e-4)
    whole = moved(steps * 5 // 6, schedule="constant")
    np.testing.assert_allclose(
        moved(steps * 5 // 6, schedule="late") / whole, 0.5, atol=2 / (steps / 3)
    )
    np.testing.assert_allclose(
        moved(steps // 2, schedule="cosine") / moved(steps // 2, schedule="constant"),
        0.5,
        atol=2 / steps,
    )
    np.testing.assert_allclose(
        moved(0, schedule="constant", shrink=0.5), -0.1 * (1 - 0.05), rtol=1e-4
    )
    with pytest.raises(ValueError, match="schedule must be one of 'cosine', 'constant'"):
        moved(0, schedule="step")


def test_crops_are_of_data_that_have_whole_photographs():
    """And val is trained on in ImageNet's configs, as in the papers, unless held out."""
    crops = Crops(count=2, size=32)
    small = ImageNet(source="photos", stored=32, batch=16, workers=0)
    assert "crops" not in small.load(Run(), crops=crops).shapes()
    large = replace(small, source="blank:imagenet2012")
    train = large.load(Run(), crops=crops)
    assert train.shapes()["crops"].shape == (16, 2, 32, 32, 3)
    assert (len(train), train.split_words("val")) == (1_281_167, "val (trained on)")
    assert len(replace(large, hold_out=True).load(Run())) == 1_271_167
    assert len(Images(source="digits").load(Run())) == 1_077
    assert len(Images(source="digits", hold_out=False).load(Run())) == 1_437


@pytest.mark.parametrize("strides", [(2, 2), (0, 1, 2), (1.5, 1, 2)])
def test_strides_are_one_positive_number_for_each_width(strides):
    with pytest.raises(ValueError, match="one positive number for each of the 3 widths"):
        Small(strides=strides).encoder()
    assert Small(strides=(1, 2, 2)).encoder().strides == (1, 2, 2)


def thirteen(**knobs):
    """The setting of "Temporal Ensembling" for 600 ramps from left to right, its source."""
    image = np.broadcast_to(np.arange(32, dtype=np.uint8), (600, 32, 32))[..., None]
    table = {"image": image, "label": np.arange(600) % 10}
    train = dataset("toy", {"train": table}, 100)
    return ThirteenLayers(**(dict(epochs=300.0, batch=100, labels=6) | knobs)), train


def test_rate_and_momentum_have_the_ramps_of_temporal_ensembling():
    """Of 300 epochs, 80 rise and 50 fall."""
    images, train = thirteen()
    tx, w = images.adam(train), {"w": jnp.zeros(())}
    found = []
    for epoch in (0, 40, 80, 250, 275, 300):
        state = jax.tree.map_with_path(
            lambda path, x, at=6 * epoch: (
                jnp.int32(at) if getattr(path[-1], "name", "") == "count" else x
            ),
            tx.init(w),
        )
        found.append(tx.update(w, state, w)[1].hyperparams)
    rate = 0.003 * np.exp([-5, -1.25, 0, 0, -12.5 / 4, -12.5])
    np.testing.assert_allclose([x["learning_rate"] for x in found], rate, rtol=1e-4)
    late = np.exp([0, 0, 0, 0, -12.5 / 4, -12.5])
    np.testing.assert_allclose([x["b1"] for x in found], 0.5 + 0.4 * late, rtol=1e-4)
    assert images.rise(train) == 6 * 80
    assert images.known(train) == 0.1


def test_both_views_of_an_image_are_flipped_together_and_shifted_apart():
    images, train = thirteen(noise=0.0)
    batch = {"image": jnp.asarray(train.table["image"][:64], jnp.float32)}
    x = images.looks(field("image"), 2)(jax.random.key(0), batch)
    assert x.shape == (64, 2, 32, 32, 1)
    rising = np.sign(x[:, :, 16, 20, 0] - x[:, :, 16, 10, 0])
    np.testing.assert_array_equal(rising[:, 0], rising[:, 1])
    assert 16 < (rising[:, 0] > 0).sum() < 48
    shift = x[:, 0, 16, 16, 0] - x[:, 1, 16, 16, 0]
    assert len(np.unique(shift)) > 5
    plain = thirteen(noise=0.0, flip=0.0)[0].looks(field("image"))(jax.random.key(0), batch)
    assert plain.shape == (64, 32, 32, 1)
    assert (plain[:, 16, 20, 0] > plain[:, 16, 10, 0]).all()


def test_without_whitening_each_image_has_mean_0_and_deviation_1():
    images, train = thirteen(whiten=False)
    x = images.prepare(train)({"image": jnp.asarray(train.table["image"][:2], jnp.float32)})
    np.testing.assert_allclose(x.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std((1, 2, 3)), 1, rtol=1e-4)


def test_views_of_clips_are_normalized_and_may_have_whole_frames_of_half_the_size():
    videos = jax.random.uniform(KEY, (2, 6, 16, 16, 3))
    clips, batch = UCF101(size=16, crop=8, flip=0.0), {"video": videos}
    means = videos.reshape(2, 6, 8, 2, 8, 2, 3).mean((3, 5))
    augment, prepare = clips.looks(4, reduce=2)
    mean, std = (np.float32(x) for x in views.IMAGENET)
    whole = (means - mean) / std
    np.testing.assert_allclose(prepare(batch), whole, atol=1e-5)
    for row, seen in zip(whole, augment(KEY, batch), strict=True):
        errors = [np.abs(row[i : i + 4] - seen).max() for i in range(3)]
        assert min(errors) < 1e-5
    np.testing.assert_allclose(clips.whole(batch), (videos - mean) / std, atol=1e-5)
    corner = clips.looks()[1](batch)
    np.testing.assert_allclose(corner, clips.whole(batch)[:, :, 4:12, 4:12], atol=1e-6)
