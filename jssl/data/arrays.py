"""Loaders of npz archives and of IDX files, the format of MNIST."""

import gzip
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from jssl.data.decoding import check_shape, fit_all
from jssl.data.fields import Dataset
from jssl.data.splits import tenths


def idx(path: str | Path) -> UInt8[np.ndarray, "..."]:
    """Reads an IDX file of bytes, gzipped or not.

    The file consists of 0, 0, 8 (unsigned bytes), the number of axes, the length of each
    axis as a big-endian 32-bit integer, and the values in C order.
    LeCun, Cortes and Burges, "The MNIST database of handwritten digits".

    Raises:
      ValueError: the file is missing, corrupt or truncated.
    """
    try:
        raw = Path(path).read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as reason:
        raise ValueError(f"{path} cannot be read: {reason}") from reason
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08" or len(raw) < 4 + 4 * raw[3]:
        raise ValueError(f"{path} is not an IDX file of bytes: it starts with {raw[:4]!r}")
    shape = tuple(np.frombuffer(raw, ">u4", count=raw[3], offset=4).tolist())
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])
    if len(values) != math.prod(shape):
        raise ValueError(
            f"{path} is truncated or corrupt: its header has shape {shape}, "
            f"{math.prod(shape)} values, but there are {len(values)}"
        )
    return values.reshape(shape)


def npz(path: str, /, *, size: int | None = None, channels: int | None = None) -> Dataset:
    """Loads an npz file.

    It contains `image` [n, h, w] or [n, h, w, c] and optionally `label` [n], of which a
    tenth each becomes val and test; or `x_train`, `y_train` and the same for test and
    optionally val (default: a tenth of train). Images are bytes, or numbers in [0, 1].

    Raises:
      ValueError: the file cannot be read, or its arrays are not as above.
    """
    check_shape(size, channels)
    try:
        with Path(path).expanduser().open("rb") as file:
            held = dict(np.load(file, allow_pickle=False))
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as reason:
        raise ValueError(f"{path} cannot be read as npz: {reason}") from reason
    keys = {"train": ("image", "label")}
    if "image" not in held:
        keys = {part: (f"x_{part}", f"y_{part}") for part in ("train", "val", "test")}
    tables = {
        part: _table(path, held[x], held.get(y), size, channels)
        for part, (x, y) in keys.items()
        if x in held
    }
    if "train" not in tables:
        raise ValueError(
            f"{path} must contain image or x_train, got {', '.join(held) or 'none'}"
        )
    return _completed(tables, missing=("val", "test") if "image" in held else ("val",))


def _completed(tables, missing):
    train = tables["train"]
    label = train.get("label")
    missing = [part for part in missing if part not in tables]
    cuts = tenths(len(train["image"]), label, *missing)
    splits = tables | {
        part: {name: array[rows] for name, array in train.items()}
        for part, rows in cuts.items()
    }
    return Dataset(splits, 0 if label is None else int(label.max()) + 1)


def _table(path, image, label, size, channels):
    image = image if image.ndim == 4 else image[..., None]
    if image.ndim != 4 or not len(image):
        raise ValueError(f"{path}: image must be [n, h, w, c], got {list(image.shape)}")
    table = {"image": fit_all(as_bytes(path, image), size, channels)}
    if label is None:
        return table
    label = label[:, 0] if label.ndim == 2 and label.shape[1] == 1 else label
    right = label.shape == image.shape[:1] and label.dtype.kind in "iu"
    if not right or label.min() < 0:
        raise ValueError(
            f"{path}: label must be int[{len(image)}] from 0, got "
            f"{label.dtype}{list(label.shape)}"
        )
    return table | {"label": label.astype(np.int32)}


def as_bytes(name: str, image: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Integers from 0 to 255, or floats from 0 to 1, as uint8.

    >>> as_bytes("mine", np.array([0.0, 0.5, 1.0])).tolist()    # 127.5 rounds to even
    [0, 128, 255]
    """
    top = 1 if image.dtype.kind == "f" else 255
    if image.dtype.kind not in "fiu" or not (image.min() >= 0 and image.max() <= top):
        raise ValueError(
            f"{name}: images must be integers in [0, 255] or floats in [0, 1], got "
            f"{image.dtype} from {image.min()} to {image.max()}"
        )
    return np.rint(image * 255).astype(np.uint8) if top == 1 else image.astype(np.uint8)
