"""Folders of image files, with labels (one folder per class) or without."""

import functools
import logging
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from jssl.data.decoding import check_shape, decode
from jssl.data.fields import Dataset, Labels
from jssl.data.source import Records
from jssl.data.splits import fingerprint, tenths

RESIDENT = 512 * 2**20  # bytes: larger splits are not held in memory
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".webp")
_SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Files(Records):
    """Image files of one split, read one by one.

    Attributes:
      root: folder of the files.
      names: paths of the files, relative to the folder.
      labels: int32 [n], or None.
      size: side of the square that images are fitted to, or None.
      shape: (h, w, c) of each fitted image.
      corrupt: "refuse" raises an error for a file that cannot be read; "skip" logs its name
        and omits it from a `table`. In a stream it is replaced by the next readable file,
        so that the order remains a function of the step.
    """

    root: Path
    names: list[str]
    labels: np.ndarray | None
    size: int | None
    shape: tuple[int, ...]
    corrupt: str

    @property
    def digest(self) -> str:
        """Fingerprint of names and shape, since hashing all images would take too long."""
        return fingerprint(str(self.shape), *self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        for i in chain(range(row, len(self)), range(row)):
            image = self.read(i)
            if image is not None:
                return {"image": image} | self._label(i)
        raise _all_corrupt(self.root, self.names)

    def read(self, row: int) -> np.ndarray | None:
        """Decodes the image of a row; None if it is corrupt and skipped."""
        path = self.root / self.names[row]
        image = _decoded(path, self.size, self.shape[-1], self.corrupt)
        if image is not None and image.shape != self.shape:
            raise ValueError(
                f"{path} has shape {image.shape}, others have {self.shape}; give a size, "
                f"e.g. size=32"
            )
        return image

    def table(self) -> dict[str, np.ndarray]:
        """Reads all valid images into memory."""
        with ThreadPoolExecutor() as pool:
            images = enumerate(pool.map(self.read, range(len(self))))
            sound = {row: image for row, image in images if image is not None}
        if not sound:
            raise _all_corrupt(self.root, self.names)
        return {"image": np.stack([*sound.values()])} | self._label([*sound])

    def _label(self, rows):
        return {} if self.labels is None else {"label": self.labels[rows]}


def _decoded(path, size, channels, corrupt):
    try:
        return decode(path, path, size, channels)
    except ValueError as reason:
        if corrupt == "refuse":
            raise ValueError(f"{reason}; corrupt='skip' skips such files") from reason
        _complain(str(reason))
        return None


@functools.cache  # one message per file, not per epoch
def _complain(reason):
    _log.warning("skipped: %s", reason)


def folder(
    path: str,
    /,
    *,
    size: int | None = None,
    channels: int = 3,
    corrupt: str = "refuse",
    resident: int = RESIDENT,
) -> Dataset:
    """Loads a folder of images.

    If every image is in a subfolder, the first folder of its path is its class, and classes
    are numbered in the order of their names. The top level may consist of train/, val/ and
    test/. Without them a tenth of the images each becomes val and test; if only val/ is
    missing, a tenth of train becomes val.

    Args:
      path: of the folder.
      size: side of the square that images are fitted to; None keeps the size, which must
        then be the same for all.
      channels: 1 (gray) or 3 (color).
      corrupt: "refuse" or "skip", as in `Files`.
      resident: splits of more bytes than this are streamed from disk.

    Raises:
      ValueError: no such folder, no images, or images that cannot be read.
    """
    check_shape(size, channels)
    if corrupt not in ("refuse", "skip"):
        raise ValueError(f"corrupt must be 'refuse' or 'skip', got {corrupt!r}")
    root = Path(path).expanduser()
    if not root.is_dir():
        raise ValueError(f"no such folder {root}")
    roots = {part: root / x for x, part in _SPLITS.items() if (root / x).is_dir()}
    missing = [] if "val" in roots else ["val"]
    if "train" not in roots:
        roots, missing = {"train": root}, ["val", "test"]

    names = {part: _listed(where) for part, where in roots.items()}
    classes = _classes(names["train"])
    labels = {part: _labels(roots[part], names[part], classes) for part in roots}
    every = {part: np.arange(len(names[part])) for part in roots}
    cuts = tenths(len(names["train"]), labels["train"], *missing)
    splits = {}
    for part, rows in (every | cuts).items():
        whole = part if part in roots else "train"
        files = [names[whole][i] for i in rows]
        kinds = None if labels[whole] is None else labels[whole][rows]
        splits[part] = partial(
            _opened, roots[whole], files, kinds, size, channels, corrupt, resident
        )
    return Dataset(splits, len(classes), {"label": Labels(tuple(classes))})


def _listed(root):
    """Sorted relative paths of the images below a folder."""
    names = sorted(
        (Path(where) / file).relative_to(root).as_posix()
        for where, _, files in os.walk(root, followlinks=True)
        for file in files
        if file.lower().endswith(_SUFFIXES) and not file.startswith(".")
    )
    if not names:
        raise ValueError(f"{root} contains no images ({', '.join(_SUFFIXES)})")
    return names


def _classes(names):
    if not all("/" in name for name in names):
        return []
    return sorted({name.partition("/")[0] for name in names})


def _labels(root, names, classes):
    if not classes:
        return None
    number = {name: i for i, name in enumerate(classes)}
    kinds = [name.partition("/")[0] for name in names]
    strange = sorted(set(kinds) - set(number))
    if strange:
        raise ValueError(f"{root / strange[0]} is not a class of train: {classes}")
    return np.array([number[kind] for kind in kinds], np.int32)


def _opened(root, names, labels, size, channels, corrupt, resident):
    shape = (size, size, channels) if size else _first(root, names, channels, corrupt)
    files = Files(root, names, labels, size, shape, corrupt)
    return files.table() if len(files) * math.prod(shape) <= resident else files


def _first(root, names, channels, corrupt):
    for name in names:
        image = _decoded(root / name, None, channels, corrupt)
        if image is not None:
            return image.shape
    raise _all_corrupt(root, names)


def _all_corrupt(root, names):
    return ValueError(f"none of the {len(names)} images in {root} can be read")
