"""Training on all published images: hold_out=False."""

import logging

import numpy as np
import pytest
from held import assert_val_is_added, images

from jssl.data import Crops, apart, load, pair, subset
from jssl.data.logged import inform_once


@pytest.mark.parametrize(("name", "published"), [("digits", 1_437), ("mnist", 4_000)])
def test_val_of_the_fixed_splits_is_added(name, published):
    assert_val_is_added(name, published)


def test_an_npz_with_a_test_trains_on_all_of_its_train(tmp_path):
    bits = np.random.default_rng(0)
    image = bits.integers(0, 256, (60, 4, 4, 1), np.uint8)
    held = {"x_train": image[:40], "y_train": np.arange(40) % 2}
    held |= {"x_test": image[40:], "y_test": np.arange(20) % 2}
    np.savez(tmp_path / "x.npz", **held)
    _, whole = assert_val_is_added(f"npz:{tmp_path / 'x.npz'}", 40)
    assert "40 train, 4 val (trained on), 20 test" in whole.summary
    np.savez(tmp_path / "y.npz", **held, x_val=image[:8], y_val=np.arange(8) % 2)
    published = load(f"npz:{tmp_path / 'y.npz'}", 4, hold_out=False)
    assert (len(published), published.includes) == (40, {})


def test_a_test_that_is_cut_from_train_is_never_trained_on(tmp_path):
    bits = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", image=bits.integers(0, 256, (50, 4, 4, 1), np.uint8))
    _, whole = assert_val_is_added(f"npz:{tmp_path / 'x.npz'}", 45)
    test = {x.tobytes() for x in images(whole.split("test"))}
    assert not test & {x.tobytes() for x in images(whole)}


def test_a_validation_set_that_is_judged_leaves_all_of_train(tmp_path):
    """As ImageNet: val is judged as test, and a part of train is val."""
    bits = np.random.default_rng(0)
    image = bits.integers(0, 256, (70, 4, 4, 1), np.uint8)
    label = np.arange(70) % 2
    held = {"x_train": image[:50], "y_train": label[:50]}
    np.savez(tmp_path / "x.npz", **held, x_val=image[50:], y_val=label[50:])
    _, whole = assert_val_is_added(f"npz:{tmp_path / 'x.npz'}", 50)
    assert [len(whole.split(x)) for x in ("val", "test")] == [5, 20]
    assert any("val is part of train" in line for line in whole.warnings)


def test_a_limit_includes_val_only_if_it_reaches_it():
    short, long = (load("digits", 4, limit=n, hold_out=False) for n in (1_077, 1_080))
    assert not short.includes
    assert long.includes["val"].tolist() == [1_077, 1_078, 1_079]
    assert len(apart(long)) == 1_077
    assert apart(short) is short
    picked = subset(long, [1_079, 3, 1_077])
    assert picked.includes["val"].tolist() == [0, 2]


def test_a_pair_includes_what_its_parts_include():
    train = load("digits", 4, hold_out=False)
    few = subset(train, [3, 1, 5, 8])
    assert not few.includes
    assert pair(labeled=few, unlabeled=train).includes.keys() == {"val"}
    assert pair(labeled=train, unlabeled=few).includes.keys() == {"val"}


def test_data_with_splits_of_their_own_say_that_nothing_changes(caplog):
    inform_once.cache_clear()
    with caplog.at_level(logging.INFO, "jssl"):
        whole, held = (load("photos", 4, hold_out=x) for x in (False, True))
    assert whole.digest == held.digest
    assert not whole.includes
    assert "photos: hold_out=False has no effect" in caplog.text


@pytest.mark.parametrize(
    ("name", "held", "whole", "test"),
    [
        ("imagenet2012", 1_271_167, 1_281_167, 50_000),
        ("cifar10", 45_000, 50_000, 10_000),
    ],
)
def test_blank_images_have_the_splits_of_the_real_ones(name, held, whole, test):
    for hold_out, count in ((True, held), (False, whole)):
        train = load(f"blank:{name}", 128, hold_out=hold_out, size=8)
        sizes = {part: len(train.split(part)) for part in train.split_names()}
        assert sizes == {"train": count, "val": whole - held, "test": test}
        assert bool(train.includes) != hold_out
    assert load("blank:cifar10", 128, hold_out=False).steps(1) == 390


def test_blank_images_have_the_side_of_the_real_ones():
    assert load("blank:cifar10", 128).image_shape == (32, 32, 3)
    assert load("blank:imagenet2012", 128).image_shape == (256, 256, 3)


def test_blank_images_of_other_numbers_crops_and_sizes_have_other_digests():
    every = [
        load(name, 4, **knobs).digest
        for name, knobs in (
            ("blank:cifar10", {}),
            ("blank:cifar10", {"hold_out": False}),
            ("blank:cifar10", {"size": 16}),
            ("blank:cifar10", {"crops": Crops()}),
            ("blank:100x10", {}),
        )
    ]
    assert len(set(every)) == len(every)
