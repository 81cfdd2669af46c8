"""Loaders of npz archives and of IDX files, the format of MNIST."""

import gzip
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from jssl.data.decoding import check_shape, fit_all
from jssl.data.fields import Dataset, Labels, check_channels_last
from jssl.data.splits import completed, counted_words, rare


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


def npz(
    path: str,
    /,
    *,
    size: int | None = None,
    channels: int | None = None,
    hold_out: bool = True,
) -> Dataset:
    """Loads an npz file.

    It contains `image` [n, h, w] or [n, h, w, c] and optionally `label` [n], of which a
    tenth each becomes val and test; or `x_train`, `y_train` and the same for test and val;
    splits that are missing, or have no labels, are cut as in `splits.completed`. Images are
    bytes, or numbers in [0, 1]. Labels that are all -1 are none. `hold_out` is as in
    `splits.completed`.

    Raises:
      ValueError: the file cannot be read, or its arrays are not as above, or not of one
        shape.
    """
    check_shape(size, channels)
    try:
        with Path(path).expanduser().open("rb") as file:
            held = dict(np.load(file, allow_pickle=False))
    except Exception as reason:  # of zipfile, zlib, struct, ast, tokenize ...
        raise ValueError(f"{path} cannot be read as npz: {reason}") from reason
    keys = {"train": ("image", "label")}
    if "image" not in held:
        keys = {part: (f"x_{part}", f"y_{part}") for part in ("train", "val", "test")}
    tables = {
        part: _table(f"{path}: {x}", held[x], f"{path}: {y}", held.get(y), size, channels)
        for part, (x, y) in keys.items()
        if x in held
    }
    if "train" not in tables:
        raise ValueError(
            f"{path} must contain image or x_train, got {', '.join(held) or 'none'}"
        )
    return tabled(path, tables, hold_out=hold_out)


def tabled(
    name: str,
    tables: Mapping[str, Mapping[str, np.ndarray]],
    classes: Sequence[str] = (),
    hold_out: bool = True,
) -> Dataset:
    """A data set of arrays in memory, `image` and optionally `label`, with all splits.

    Args:
      name: of the data, in errors.
      tables: by split.
      classes: names of the classes.
      hold_out: as in `splits.completed`.

    Raises:
      ValueError: images of two shapes, or more classes in a split than in train.
    """
    train = tables["train"]
    shape = train["image"].shape[1:]
    for part, table in tables.items():
        if table["image"].shape[1:] != shape:
            raise ValueError(
                f"{name}: images of {part} are {list(table['image'].shape[1:])}, those of "
                f"train {list(shape)}; give a size, e.g. size={min(shape[:2])}"
            )
    labels = train.get("label")
    count = 0 if labels is None else max(int(labels.max()) + 1, len(classes))
    for part, table in tables.items():
        if count and "label" in table and table["label"].max() >= count:
            raise ValueError(
                f"{name}: labels of {part} are up to {table['label'].max()}, those of "
                f"train up to {count - 1}"
            )
    sizes = {part: len(table["image"]) for part, table in tables.items()}
    labeled = {part: "label" in table for part, table in tables.items()}
    parts, includes, told = completed(sizes, labeled, labels, hold_out)
    splits = {
        part: {x: array if rows is None else array[rows] for x, array in held.items()}
        for part, (whole, rows) in parts.items()
        for held in [tables[whole]]
    }
    kinds = {part: x["label"] for part, x in splits.items() if "label" in x and count}
    numbers = counted_words({part: len(x["image"]) for part, x in splits.items()}, includes)
    h, w = shape[:2]
    summary = f"{sum(sizes.values()):,} images of {w}x{h}; {numbers}"
    return Dataset(
        splits,
        count,
        {"label": Labels(tuple(classes))},
        summary=f"{summary}; {count} classes" if count else f"{summary}; no labels",
        warnings=(*told, *rare(kinds, classes)),
        includes=includes,
    )


def _table(x, image, y, label, size, channels):
    image = image if image.ndim == 4 else image[..., None]
    if image.ndim != 4 or not image.size:
        raise ValueError(f"{x} must be [n, h, w, c], got {list(image.shape)}")
    check_channels_last(x, image.shape)
    table = {"image": fit_all(as_bytes(x, image), size, channels)}
    if label is None:
        return table
    label = label[:, 0] if label.ndim == 2 and label.shape[1] == 1 else label
    if label.shape != image.shape[:1] or label.dtype.kind not in "iu":
        raise ValueError(
            f"{y} must be int[{len(image)}] from 0, got {label.dtype}{list(label.shape)}"
        )
    if (label == -1).all():
        return table
    if label.min() < 0:
        raise ValueError(
            f"{y} must be class numbers from 0, but {(label < 0).sum()} of {len(label)} "
            f"are negative, down to {label.min()}; leave these rows out, or all labels"
        )
    if label.max() >= 2**31 - 1:
        raise ValueError(f"{y} must be class numbers, got up to {label.max()}")
    return table | {"label": label.astype(np.int32)}


def as_bytes(name: str, image: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Integers from 0 to 255, or floats from 0 to 1, as uint8.

    >>> as_bytes("mine", np.array([0.0, 0.5, 1.0])).tolist()    # 127.5 rounds to even
    [0, 128, 255]
    """
    if image.dtype.kind not in "fiu":
        raise ValueError(f"{name}: images must be numbers, got {image.dtype}")
    top = 1 if image.dtype.kind == "f" else 255
    if not (image.min() >= 0 and image.max() <= top):
        raise ValueError(
            f"{name}: images must be integers in [0, 255] or floats in [0, 1], got "
            f"{image.dtype} from {image.min()} to {image.max()}"
        )
    return np.rint(image * 255).astype(np.uint8) if top == 1 else image.astype(np.uint8)
