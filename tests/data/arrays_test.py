import gzip

import numpy as np
import pytest

from jssl.data import load
from jssl.data.arrays import idx

SQUARES = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])  # [2, 3]
PACKED = gzip.compress(SQUARES, mtime=0)  # the ids of tests must not tell the time


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_are_read_gzipped_or_not(pack, tmp_path):
    (tmp_path / "x").write_bytes(pack(SQUARES))
    np.testing.assert_array_equal(idx(tmp_path / "x"), [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            SQUARES[:-1],
            r"x is truncated or corrupt: its header has shape \(2, 3\), 6 values",
        ),
        (SQUARES + b"7", "but there are 7"),
        (SQUARES[:9], "x is not an IDX file of bytes"),
        (b"", "x is not an IDX file of bytes: it starts with b''"),
        (b"\0\0\x0d" + SQUARES[3:], "x is not an IDX file of bytes"),
        (PACKED[:-9], "x cannot be read"),
        (PACKED[:10] + b"garbage", "x cannot be read"),
    ],
)
def test_a_corrupt_idx_file_is_named(content, message, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        idx(tmp_path / "x")


def test_a_missing_idx_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="nothing cannot be read"):
        idx(tmp_path / "nothing")


def saved(path, **arrays):
    np.savez(path / "x.npz", **arrays)
    return f"npz:{path / 'x.npz'}"


def test_an_npz_of_images_and_labels_is_cut_in_tenths(tmp_path):
    image = np.arange(40, dtype=np.uint8).reshape(40, 1, 1)
    label = np.arange(40) // 4 % 2
    train = load(saved(tmp_path, image=image, label=label), 4, labeled=True)
    parts = [train.split(part) for part in ("train", "val", "test")]
    assert [part.size for part in parts] == [32, 4, 4]
    assert train.classes == 2
    pixel = np.concatenate([part.table["image"].ravel() for part in parts])
    np.testing.assert_array_equal(np.sort(pixel), np.arange(40))
    for part in parts:
        pixel = part.table["image"].ravel()
        np.testing.assert_array_equal(part.labels(), pixel // 4 % 2)
        assert part.labels().mean() == 0.5


def test_an_npz_may_hold_its_own_splits(tmp_path):
    x = np.zeros((20, 2, 2, 3), np.uint8)
    y = np.arange(20)[:, None] % 5  # a column, as Keras has it
    name = saved(tmp_path, x_train=x, y_train=y, x_test=x[:7], y_test=y[:7])
    train = load(name, 4)
    assert [train.split(part).size for part in ("train", "val", "test")] == [18, 2, 7]
    np.testing.assert_array_equal(train.split("test").labels(), y[:7, 0])
    with pytest.raises(ValueError, match="no split 'x'; it has train, val, test"):
        train.split("x")


def test_an_npz_without_a_labeled_test_judges_val(tmp_path):
    x, y = np.zeros((20, 2, 2, 3), np.uint8), np.arange(20) % 2
    own = dict(x_train=x, y_train=y, x_val=x[:3] + 9, y_val=y[:3])
    hidden = dict(x_test=x[:4], y_test=np.full(4, -1))
    for more in ({}, hidden):
        train = load(saved(tmp_path, **own, **more), 4)
        assert [len(train.split(part)) for part in ("train", "val", "test")] == [18, 2, 3]
        assert (train.split("test").table["image"] == 9).all()
        assert train.has_labels("test")
    assert set(train.split_names()) == {"train", "test_unlabeled", "test", "val"}
    assert not train.has_labels("test_unlabeled")
    assert train.warnings[0] == "test has no labels, and is set aside as test_unlabeled"


def test_floats_from_nought_to_one_become_bytes(tmp_path):
    image = np.full((10, 1, 1), 0.2)
    assert (load(saved(tmp_path, image=image), 4).table["image"] == 51).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(3)}, "must contain image or x_train, got a"),
        ({"x_test": np.zeros((3, 1, 1))}, "must contain image or x_train, .* x_test"),
        ({"image": np.full((3, 1, 1), 1.5)}, r"in \[0, 1\], got float64 from 1.5"),
        ({"image": np.full((3, 1, 1), np.nan)}, r"floats in \[0, 1\], got float64"),
        ({"image": np.full((3, 1, 1), 256)}, r"got int64 from 256 to 256"),
        ({"image": np.zeros(3)}, r"image must be \[n, h, w, c\], got \[3, 1\]"),
        (
            {"image": np.zeros((3, 1, 1)), "label": np.arange(2)},
            r"label must be int\[3\] from 0, got int64\[2\]",
        ),
        (
            {"image": np.zeros((3, 1, 1)), "label": np.zeros(3)},
            r"label must be int\[3\] from 0, got float64\[3\]",
        ),
        ({"image": np.array([{}])}, r"x.npz cannot be read as npz"),
        (
            {"image": np.zeros((60, 1, 1)), "label": np.arange(60) - 3},
            "label must be class numbers from 0, but 3 of 60 are negative, down to -3",
        ),
        (
            {"image": np.zeros((60, 3, 32, 32))},
            r"\[60, 3, 32, 32\] has its channels first: x.transpose\(0, 2, 3, 1\)",
        ),
        (
            {"x_train": np.zeros((20, 4, 4, 3)), "x_test": np.zeros((3, 5, 4, 3))},
            r"images of test are \[5, 4, 3\], those of train \[4, 4, 3\]; give a size",
        ),
        (
            {
                "x_train": np.zeros((20, 4, 4)),
                "y_train": np.arange(20) % 3,
                "x_test": np.zeros((3, 4, 4)),
                "y_test": np.array([0, 1, 7]),
            },
            "labels of test are up to 7, those of train up to 2",
        ),
    ],
)
def test_an_npz_of_something_else_is_refused(arrays, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load(saved(tmp_path, **arrays), 1)


def test_a_file_that_is_no_npz_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.npz cannot be read as npz"):
        load(f"npz:{tmp_path}/none.npz", 1)
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match="x.npz cannot be read as npz"):
        load(f"npz:{tmp_path}/x.npz", 1)
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(ValueError, match="x.npy cannot be read as npz"):
        load(f"npz:{tmp_path}/x.npy", 1)
