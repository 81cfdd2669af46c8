"""Folders of image files, with labels (one folder per class) or without."""

import collections
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jssl.data.crops import Crops
from jssl.data.decoding import SUFFIXES
from jssl.data.encoded import RESIDENT, Shelf, check_knobs, encoded, stamp
from jssl.data.fields import Dataset
from jssl.data.walking import folders, listed

SPLITS = {
    **dict.fromkeys(("train", "training", "trn", "train_set", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "val_set", "valset"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "test_set", "testset"), "test"),
}
"""Splits, by the lower-case names that people give them."""


@dataclass(frozen=True, eq=False)
class Files(Shelf):
    """Image files of one split.

    Attributes:
      root: folder of the files.
      names: paths of the files, relative to the folder.
      labels: int32 [n], or None.
    """

    root: Path
    names: list[str]
    labels: np.ndarray | None

    @cached_property
    def identity(self) -> list[str]:
        """Names, sizes and times of modification."""
        return [f"{name} {stamp(self.root / name)}" for name in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        """The path of an image."""
        return str(self.root / self.names[row])

    def open(self, row: int) -> Path:
        """The path of an image."""
        return self.root / self.names[row]


def folder(
    path: str,
    /,
    *,
    size: int | None = None,
    channels: int = 3,
    corrupt: str = "refuse",
    resident: int = RESIDENT,
    cut: int | None = None,
    hold_out: bool = True,
    crops: Crops | None = None,
    flat: bool = False,
) -> Dataset:
    """Loads a folder of images.

    If every image is in a subfolder, the first folder of its path is its class, and classes
    are numbered in the order of their names. The top level may consist of the splits, under
    the names of `SPLITS` in any case; splits that are missing are cut, as in
    `splits.completed`. Hidden and system files are passed over, and each file is read once,
    however often it is linked.

    Args:
      path: of the folder.
      size, channels, corrupt, resident, cut, hold_out, crops: as in `encoded`.
      flat: True reads no labels, wherever the images are.

    Raises:
      ValueError: no such folder, no images, images beside class folders, classes that train
        has not, or images that cannot be read.
    """
    check_knobs(size, channels, corrupt)
    root = Path(path).expanduser()
    if not root.is_dir():
        raise ValueError(f"no such folder {root}")
    roots, passed = _roots(root)
    names = {}
    for part, where in roots.items():
        names[part], left = listed(where, SUFFIXES)
        passed += left
        if not names[part]:
            seen = ", ".join(f"{n} {why}" for why, n in left.items()) or "nothing"
            raise ValueError(
                f"{where} contains no images ({', '.join(SUFFIXES)}), but {seen}"
            )
    sorted_ = {part: not flat and _sorted(roots[part], names[part]) for part in roots}
    classes = sorted({x.partition("/")[0] for x in names["train"]})
    classes = classes if sorted_["train"] else []
    shelves = {
        part: Files(
            where,
            names[part],
            _labels(where, names[part], classes) if classes and sorted_[part] else None,
        )
        for part, where in roots.items()
    }
    return encoded(
        shelves,
        classes,
        size=size,
        channels=channels,
        corrupt=corrupt,
        resident=resident,
        cut=cut,
        hold_out=hold_out,
        crops=crops,
        passed=passed,
    )


def _roots(root):
    """Folders of the splits, and counts of what is beside them."""
    passed: collections.Counter[str] = collections.Counter()
    below = folders(root)
    if len(below) == 1 and not _pictures(root):
        inner = [x for x in folders(below[0]) if SPLITS.get(x.name.lower()) == "train"]
        if inner:  # the one folder of an unpacked archive
            return _roots(below[0])
    parts = collections.defaultdict(list)
    for each in below:
        parts[SPLITS.get(each.name.lower(), "")].append(each)
    others = parts.pop("", [])
    double = [each for each in parts.values() if len(each) > 1]
    if "train" not in parts:
        if parts and (len(parts) > 1 or not others):
            names = ", ".join(x.name for each in parts.values() for x in each)
            raise ValueError(
                f"{root} has {names} and no train: name the folder of training images train"
            )
        return {"train": root}, passed
    if double:
        raise ValueError(
            f"{root} has both {double[0][0].name} and {double[0][1].name}: keep one"
        )
    for each in others:
        passed[f"in {each.name}/"] += len(listed(each, SUFFIXES)[0])
    passed["beside the splits"] += len(_pictures(root))
    return {part: each[0] for part, each in parts.items()}, +passed


def _pictures(folder):
    return [x for x in folder.iterdir() if x.suffix.lower() in SUFFIXES and x.is_file()]


def _sorted(root, names):
    """True if all images are in folders, False if none is in the top folder alone."""
    loose = [name for name in names if "/" not in name]
    if loose and len(loose) < len(names):
        raise ValueError(
            f"{root} has {len(loose)} images beside its folders of images, e.g. "
            f"{loose[0]}: move them into the folders of their classes, or give flat=True "
            f"to read all without labels"
        )
    return not loose


def _labels(root, names, classes):
    number = {name: i for i, name in enumerate(classes)}
    kinds = [name.partition("/")[0] for name in names]
    strange = sorted(set(kinds) - set(number))
    if strange:
        raise ValueError(f"{root / strange[0]} is not a class of train: {classes}")
    return np.array([number[kind] for kind in kinds], np.int32)
