"""Pictures in folders, with labels (a folder a class) or without."""

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

RESIDENT = 512 * 2**20  # bytes: a split that takes more is not held in memory
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".webp")
_SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Files(Records):
    """Picture files of one split, read one by one.

    Attributes:
      root: the folder they are in.
      names: of the files, from there.
      labels: int32 [n], or None.
      size: side of the square they are fitted to, or None.
      shape: (h, w, c) of each, once fitted.
      corrupt: "refuse" raises at a file that cannot be read; "skip" logs its name and
        leaves it out of a `table`. Read one by one, as in a stream, the next file that
        can be read stands in for it, so that the order stays a function of the step.
    """

    root: Path
    names: list[str]
    labels: np.ndarray | None
    size: int | None
    shape: tuple[int, ...]
    corrupt: str

    @property
    def digest(self) -> str:
        """Of names and shape: the pictures themselves are too many to hash."""
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
        """The picture in a row; None if it is corrupt and to be skipped."""
        path = self.root / self.names[row]
        image = _decoded(path, self.size, self.shape[-1], self.corrupt)
        if image is not None and image.shape != self.shape:
            raise ValueError(
                f"{path} has shape {image.shape} where others have {self.shape}; "
                f"size=32, say, makes them alike"
            )
        return image

    def table(self) -> dict[str, np.ndarray]:
        """All that are sound, in memory."""
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(self.read, range(len(self))))
        rows = [i for i, image in enumerate(images) if image is not None]
        if not rows:
            raise _all_corrupt(self.root, self.names)
        return {"image": np.stack([images[i] for i in rows])} | self._label(rows)

    def _label(self, rows):
        return {} if self.labels is None else {"label": self.labels[rows]}


def _decoded(path, size, channels, corrupt):
    try:
        return decode(path, path, size, channels)
    except ValueError as reason:
        if corrupt == "refuse":
            raise ValueError(f"{reason}; corrupt='skip' goes on without it") from reason
        _complain(str(reason))
        return None


@functools.cache  # once a file, not once an epoch
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
    """Loads a folder of pictures.

    If every picture lies in a sub-folder, the first of its folders is its class, and
    classes are numbered in the order of their names. On top there may be train/, val/
    and test/. Without them a tenth each becomes val and test; if val/ alone is missing,
    a tenth of train becomes val.

    Args:
      path: of the folder.
      size: side of the square that pictures are fitted to; None takes them as they
        are, if they are all alike.
      channels: 1 (grey) or 3 (colour).
      corrupt: "refuse" or "skip", as in `Files`.
      resident: a split of more bytes than this is streamed from disk.
    """
    check_shape(size, channels)
    if corrupt not in ("refuse", "skip"):
        raise ValueError(f"corrupt must be 'refuse' or 'skip', got {corrupt!r}")
    root = Path(path).expanduser()
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}")
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
    """The pictures below a folder, as sorted names from there."""
    names = sorted(
        (Path(where) / file).relative_to(root).as_posix()
        for where, _, files in os.walk(root, followlinks=True)
        for file in files
        if file.lower().endswith(_SUFFIXES) and not file.startswith(".")
    )
    if not names:
        raise ValueError(f"{root} holds no pictures ({', '.join(_SUFFIXES)})")
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
    return ValueError(f"not one of the {len(names)} pictures in {root} is sound")
