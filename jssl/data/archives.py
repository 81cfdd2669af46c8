"""The official binary archives of CIFAR-10, CIFAR-100 and STL-10."""

import dataclasses
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jssl.data.arrays import tabled
from jssl.data.decoding import check_shape, fit_all
from jssl.data.fields import Dataset


def cifar10(
    where: str = "",
    /,
    *,
    size: int | None = None,
    channels: int | None = None,
    hold_out: bool = True,
) -> Dataset:
    """60,000 images of 32 x 32 in 10 classes: 45,000 train, 5,000 val, 10,000 test.

    A record is a label and 3,072 bytes, [3, 32, 32]. val is a stratified tenth of the
    published training images, and with hold_out=False part of all 50,000 in train.

    Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html

    Args:
      where: cifar-10-binary.tar.gz, or the folder with it, or with its files.
      size: side of the images in pixels; None: 32.
      channels: 1 (gray) or 3 (color).
      hold_out: as in `splits.completed`.

    Raises:
      ValueError: the files are missing, or of another size.
    """
    parts = [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"]
    told = "batches.meta.txt"
    return _cifar(where, "cifar-10", parts, 1, told, size, channels, hold_out)


def cifar100(
    where: str = "",
    /,
    *,
    size: int | None = None,
    channels: int | None = None,
    hold_out: bool = True,
    coarse: bool = False,
) -> Dataset:
    """60,000 images of 32 x 32 in 100 classes: 45,000 train, 5,000 val, 10,000 test.

    A record is a coarse label, a fine label and 3,072 bytes, [3, 32, 32].

    Args:
      where: cifar-100-binary.tar.gz, or the folder with it, or with its files.
      size, channels, hold_out: as in `cifar10`.
      coarse: True takes the 20 superclasses as labels.

    Raises:
      ValueError: the files are missing, or of another size.
    """
    parts, names = (["train.bin"], ["test.bin"]), "coarse" if coarse else "fine"
    told = f"{names}_label_names.txt"
    column = 0 if coarse else 1
    return _cifar(where, "cifar-100", parts, 2, told, size, channels, hold_out, column)


def _cifar(where, kind, parts, ahead, told, size, channels, hold_out, column=0):
    check_shape(size, channels)
    read = _reader(where, kind, parts[0][0], told)
    tables = {}
    for part, files in zip(("train", "test"), parts, strict=True):
        raw = np.concatenate([_records(read, x, ahead + 3072) for x in files])
        image = raw[:, ahead:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        label = raw[:, column].astype(np.int32)
        tables[part] = {"image": fit_all(image, size, channels), "label": label}
    classes = tuple(read(told).decode().split())
    return tabled(f"{kind}, {where}", tables, classes, hold_out)


def stl10(
    where: str = "",
    /,
    *,
    size: int | None = None,
    channels: int | None = None,
    hold_out: bool = True,
) -> Dataset:
    """13,000 images of 96 x 96 in 10 classes: 4,500 train, 500 val, 8,000 test.

    The 100,000 images without labels are the split "unlabeled", if its file is in the
    folder; it is mapped, not read. An image is [3, 96, 96], each channel column by column.

    Coates, Lee and Ng 2011, https://cs.stanford.edu/~acoates/stl10

    Args:
      where: stl10_binary.tar.gz, or the folder with it, or with its files.
      size: side of the images in pixels; None: 96.
      channels: 1 (gray) or 3 (color).
      hold_out: as in `splits.completed`.

    Raises:
      ValueError: the files are missing, or of another size.
    """
    check_shape(size, channels)
    read = _reader(where, "stl10", "train_X.bin", "class_names.txt")

    def images(raw):
        return fit_all(_upright(raw), size, channels)

    tables = {
        part: {
            "image": images(_records(read, f"{part}_X.bin", 3 * 96 * 96)),
            "label": _records(read, f"{part}_y.bin", 1)[:, 0].astype(np.int32) - 1,
        }
        for part in ("train", "test")
    }
    classes = tuple(read("class_names.txt").decode().split())
    found = tabled(f"stl10, {where}", tables, classes, hold_out)
    held = [x / "unlabeled_X.bin" for x in _folders(Path(where).expanduser(), "stl10")]
    held = [x for x in held if x.is_file()]
    if not held:
        return found

    def unlabeled() -> Mapping[str, np.ndarray]:
        raw = np.memmap(held[0], np.uint8, "r")
        return {"image": images(raw[: len(raw) // 27648 * 27648].reshape(-1, 27648))}

    splits = {**found.splits, "unlabeled": unlabeled}
    return dataclasses.replace(found, splits=splits)


def _upright(raw):
    return raw.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)


def _records(read, name, length):
    raw = np.frombuffer(read(name), np.uint8)
    if not len(raw) or len(raw) % length:
        raise ValueError(
            f"{name} is truncated or corrupt: {len(raw)} bytes are no whole number of "
            f"records of {length}"
        )
    return raw.reshape(-1, length)


def _folders(root, kind):
    below = {"cifar-10": "cifar-10-batches-bin", "cifar-100": "cifar-100-binary"}
    return [root, root / below.get(kind, "stl10_binary")]


def _reader(where, kind, first, told):
    """A function from the name of a file of the archive to its bytes."""
    if not where:
        short = kind.replace("-", "")
        raise ValueError(
            f"{short} needs a folder, {short}:FOLDER, with the binary archive that its "
            f"authors publish; or tfds:{short}, if it is prepared"
        )
    root = Path(where).expanduser()
    name = "stl10_binary.tar.gz" if kind == "stl10" else f"{kind}-binary.tar.gz"
    for folder in _folders(root, kind):
        if (folder / first).is_file() and (folder / told).is_file():
            return lambda file: _bytes(folder / file)
    packed = root if root.is_file() else root / name
    pickled = [root / "data_batch_1", root / "meta", *root.glob("cifar-10*-p*")]
    if "python" in packed.name or any(x.exists() for x in pickled):
        raise ValueError(
            f"{where} is the version for Python, of pickles, which can run any code and "
            f"are not read: take the binary version, {name}"
        )
    if not packed.is_file():
        raise ValueError(
            f"{where} has neither {name} nor, unpacked, {first} and {told}: give the "
            f"folder of the archive that its authors publish"
        )
    held = _unpacked(packed)
    if missing := {first, told} - set(held):
        raise ValueError(f"{packed} is not {name}: it has no {min(missing)}")
    return held.__getitem__


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as reason:
        raise ValueError(f"{path} cannot be read: {reason}") from reason


def _unpacked(packed: Path) -> Mapping[str, bytes]:
    """Names and contents of an archive, without the 2.7 GB of STL-10's unlabeled images."""
    found = {}
    try:
        with tarfile.open(packed) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content and not member.name.endswith("unlabeled_X.bin"):
                    found[Path(member.name).name] = content.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as reason:
        raise ValueError(f"{packed} cannot be read: {reason}") from reason
    return found
