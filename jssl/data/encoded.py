"""Encoded images in any storage, held in memory or decoded one by one."""

import collections
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from jssl.data.crops import Crops, Key
from jssl.data.decoding import check_shape, fit, fit_all, measure, picture, read, upright
from jssl.data.fields import Cropped, Dataset, Field, Labels
from jssl.data.logged import warn_once
from jssl.data.records import Records
from jssl.data.splits import completed, counted_words, fingerprint, rare

RESIDENT = 512 * 2**20  # bytes: larger splits are not held in memory
LARGE = 128  # pixels: larger images are cut, where a cut is given
_MEASURED = 4096  # images at most whose sizes are looked at


class Shelf(ABC):
    """The encoded images of one split in a storage: a folder, a table, tar files.

    Shelves are sent to worker processes: what is open is no attribute of them.

    Attributes:
      labels: int32 [n], or None.
      identity: strings that change if the images change.
    """

    labels: np.ndarray | None
    identity: Sequence[str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, row: int) -> str:
        """Name of an image in messages: of its file, or of its place in one."""

    @abstractmethod
    def open(self, row: int) -> Any:
        """Path, open file, or uint8 array [h, w, c] of an image; must be thread-safe."""

    def label(self, row: int) -> int:
        """Class number of an image."""
        return 0 if self.labels is None else int(self.labels[row])

    @property
    def has_labels(self) -> bool:
        """True if there is a label; labels of -1 are none."""
        return self.labels is not None and bool((self.labels >= 0).any())


@dataclass(frozen=True, eq=False)
class Encoded(Records):
    """Images of one split, decoded one by one.

    Attributes:
      shelf: that has the images.
      rows: int [n] of the shelf; None: all.
      size: side of the square that images are fitted to, or None.
      shape: (h, w, c) of each fitted image.
      corrupt: "refuse" raises an error for an image that cannot be read; "skip" logs its
        name and omits it from a `table`. In a stream it is replaced by the next readable
        image, so that the order remains a function of the step.
      labeled: True if there are labels.
      crops: of the whole photograph, which training batches have in place of `image`.
      skipped: names of rows that could not be read so far.
    """

    shelf: Shelf
    rows: np.ndarray | None
    size: int | None
    shape: tuple[int, ...]
    corrupt: str = "refuse"
    labeled: bool = False
    crops: Crops | None = None
    skipped: dict[int, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Fingerprint of the shelf's identity and the shape; hashing images is too slow."""
        cut = [] if self.crops is None else [self.crops.identity]
        whole = fingerprint(*self.shelf.identity, str(self.shape), *cut)
        return whole if self.rows is None else fingerprint(whole, self.rows)

    def __len__(self) -> int:
        return len(self.shelf) if self.rows is None else len(self.rows)

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        return self._next("image", row, self.read)

    def draw(self, row: int, key: Key) -> Mapping[str, Any]:
        """The columns of a row of a training batch: `crops` in place of `image`."""
        if self.crops is None:
            return self[row]
        return self._next("crops", row, partial(self.cut, crops=self.crops, key=key))

    @property
    def labels(self) -> np.ndarray | None:
        """Labels of all rows, or None."""
        labels = self.shelf.labels if self.labeled else None
        return labels if labels is None or self.rows is None else labels[self.rows]

    @property
    def has_labels(self) -> bool:
        """True if there is a label; labels of -1 are none."""
        return self.labeled and self.shelf.has_labels

    def name(self, row: int) -> str:
        """Name of an image, as in messages."""
        return self.shelf.name(self._place(row))

    def read(self, row: int) -> np.ndarray | None:
        """Decodes the image of a row; None if it is corrupt and skipped."""
        image = self._decoded(row, partial(_fitted, self.size, self.shape[-1]))
        if image is not None and image.shape != self.shape:
            raise ValueError(
                f"{self.name(row)} has shape {image.shape}, others have {self.shape}; give "
                f"a size, e.g. size=32"
            )
        return image

    def cut(self, row: int, crops: Crops, key: Key) -> np.ndarray | None:
        """Cuts crops of the image of a row; None if it is corrupt and skipped."""

        def cut(found):
            whole = picture(found) if isinstance(found, np.ndarray) else found
            return crops.cut(upright(whole, self.shape[-1]), key)

        return self._decoded(row, cut)

    def table(self) -> dict[str, np.ndarray]:
        """Reads all valid images into memory."""
        with ThreadPoolExecutor() as pool:
            images = enumerate(pool.map(self.read, range(len(self))))
            sound = {row: image for row, image in images if image is not None}
        if not sound:
            raise _none_readable(self)
        table = {"image": np.stack([*sound.values()])}
        labels = self.labels
        return table if labels is None else table | {"label": labels[[*sound]]}

    def _next(self, name, row, get):
        """The columns of a row, or of the next one that can be read."""
        for i in chain(range(row, len(self)), range(row)):
            found = get(i)
            if found is not None:
                return {name: found} | self._label(i)
        raise _none_readable(self)

    def _decoded(self, row, use):
        """use(array or Pillow image) of a row; None if it is corrupt and skipped."""
        place = self._place(row)
        try:
            found, name = self.shelf.open(place), self.shelf.name(place)
            return use(found) if isinstance(found, np.ndarray) else read(found, name, use)
        except ValueError as reason:
            if self.corrupt == "refuse":
                raise ValueError(f"{reason}; corrupt=skip skips such files") from reason
            self.skipped[row] = self.name(row).rstrip(",")
            warn_once(f"skipped: {reason}")
            return None

    def _label(self, row):
        if not self.labeled:
            return {}
        return {"label": np.int32(self.shelf.label(self._place(row)))}

    def _place(self, row):
        return row if self.rows is None else int(self.rows[row])


def _fitted(size, channels, found):
    if isinstance(found, np.ndarray):
        return fit_all(found[None], size, channels)[0]
    return fit(found, size, channels)


def _none_readable(records):
    return ValueError(
        f"none of the {len(records)} images can be read, from {records.name(0)} on"
    )


def encoded(
    shelves: Mapping[str, Shelf],
    names: Sequence[str],
    *,
    classes: int | None = None,
    size: int | None = None,
    channels: int = 3,
    corrupt: str = "refuse",
    resident: int = RESIDENT,
    cut: int | None = None,
    passed: Mapping[str, int] = {},
    stratify: bool = True,
    license: str = "",
    hold_out: bool = True,
    crops: Crops | None = None,
) -> Dataset:
    """A data set of images in any storage.

    Without a split "test" that has labels, "val" is judged in its place, and "val" is cut
    from "train" (`splits.completed`).

    Args:
      shelves: by split; "train" is required.
      names: of the classes.
      classes: number of classes; None: of their names; 0: unlabeled.
      size: side of the square that images are fitted to; None keeps the size, which must
        then be the same for all.
      channels: 1 (gray) or 3 (color).
      corrupt: "refuse" or "skip", as in `Encoded`.
      resident: splits of more bytes than this are streamed; so is train with `crops`, or
        with hold_out=False and corrupt="skip", since a table has other row numbers.
      cut: the size, if none is given and images have several sizes, or more than 128
        pixels along a side.
      passed: counts of what was passed over, by reason.
      stratify: False cuts splits without regard to labels, which reads none.
      license: of the images.
      hold_out: as in `splits.completed`.
      crops: cut on the host from the whole photograph, by which training batches have
        `crops` uint8 [n, count, size, size, c] in place of `image`; the training split is
        then streamed. None: training batches have `image`, whose square is all that crops
        on the device see, but which is decoded faster.

    Raises:
      ValueError: knobs out of range; no train; images of several sizes and no size or cut.
    """
    check_knobs(size, channels, corrupt)
    if "train" not in shelves:
        raise ValueError(f"it has no split train, only {', '.join(shelves) or 'none'}")
    count = len(names) if classes is None else classes
    labeled = {x: bool(count) and shelf.has_labels for x, shelf in shelves.items()}
    count = count if labeled["train"] else 0
    counted = bool(count) and stratify
    labels = {
        x: shelf.labels if counted and labeled[x] else None for x, shelf in shelves.items()
    }
    for part, held in labels.items():
        if held is not None and held.min() < 0:
            raise ValueError(
                f"{(held < 0).sum():,} of {len(held):,} images of {part} have no label; "
                f"leave them out, or all labels"
            )
    sizes = {x: len(shelf) for x, shelf in shelves.items()}
    parts, includes, told = completed(sizes, labeled, labels["train"], hold_out)
    size, shape, extent = _shape(shelves, size, channels, cut)
    splits, kinds = {}, {}
    skipped: dict[str, dict[int, str]] = {part: {} for part in parts}
    for part, (whole, rows) in parts.items():
        has = labeled["train"] and labeled[whole]
        cut = crops if part == "train" else None
        shelf, lost = shelves[whole], skipped[part]
        records = Encoded(shelf, rows, size, shape, corrupt, has, cut, lost)
        fixed = cut or (part == "train" and includes and corrupt == "skip")
        splits[part] = partial(_opened, records, 0 if fixed else resident)
        held = labels[whole]
        if held is not None and has:
            kinds[part] = held if rows is None else held[rows]
    numbers = {x: len(shelves[w]) if r is None else len(r) for x, (w, r) in parts.items()}
    words = [extent, counted_words(numbers, includes)]
    apart = {part: held for part, held in kinds.items() if part not in includes}
    words += [_classes_told(names, count, apart)]
    if passed:
        each = ", ".join(f"{n:,} {why}" for why, n in sorted(passed.items()))
        words += [f"passed over: {each}"]
    if crops:
        words += [f"{crops.count} x {crops.size}x{crops.size} crops of whole images"]
    fields: dict[str, Field] = {"label": Labels(tuple(names))}
    return Dataset(
        splits,
        count,
        fields | ({"crops": Cropped()} if crops else {}),
        license=license,
        summary="; ".join(words),
        warnings=(*told, *rare(kinds, names)),
        includes=includes,
        skipped=skipped,
    )


def check_knobs(size: int | None, channels: int | None, corrupt: str) -> None:
    """Raises ValueError unless the knobs of `encoded` are valid."""
    check_shape(size, channels)
    if corrupt not in ("refuse", "skip"):
        raise ValueError(f"corrupt must be 'refuse' or 'skip', got {corrupt!r}")


def _opened(records, resident):
    large = len(records) * math.prod(records.shape) > resident
    return records if large else records.table()


def _classes_told(names, count, kinds):
    if not count:
        return "no labels"
    if not kinds:
        return f"{count:,} classes"
    every = np.concatenate([*kinds.values()])
    counts = np.bincount(every, minlength=count)
    shown = [f"{name} {n:,}" for name, n in zip(names, counts, strict=False)][:10]
    more = f" and {count - 10:,} more" if count > 10 else ""
    noun = "class" if count == 1 else "classes"
    return f"{count:,} {noun}: {', '.join(shown)}{more}" if shown else f"{count:,} {noun}"


def _shape(shelves, size, channels, cut):
    """Size, shape (h, w, c) of all fitted images, and words for it."""
    total = sum(map(len, shelves.values()))
    if size is not None:
        words = f"{total:,} images, cut to {size}x{size} centers"
        return size, (size, size, channels), words
    sides = _sides(shelves, total)
    least, most = (f(sides, key=math.prod) for f in (min, max))
    extent = "x".join(map(str, least))
    if least != most or len(sides) > 1:
        extent += f" to {'x'.join(map(str, most))}"
    words = f"{total:,} images of {extent}"
    many = len(sides) > 1
    if cut is not None and (many or max(least) > LARGE):
        return cut, (cut, cut, channels), f"{words}, cut to {cut}x{cut} centers"
    if many:
        raise ValueError(
            f"images of {len(sides)} sizes, {extent} pixels: give a size, e.g. size=32"
        )
    return None, (least[1], least[0], channels), words


def _sides(shelves, total) -> collections.Counter:
    """Counts of (width, height), of at most `_MEASURED` images, evenly spread."""
    places = [(shelf, row) for shelf in shelves.values() for row in _spread(shelf, total)]

    def side(place):
        shelf, row = place
        try:
            found, name = shelf.open(row), shelf.name(row)
            if isinstance(found, np.ndarray):
                return found.shape[1::-1]
            return measure(found, name)
        except ValueError as reason:
            return reason

    with ThreadPoolExecutor() as pool:
        seen = list(pool.map(side, places))
    sides = collections.Counter(x for x in seen if not isinstance(x, ValueError))
    if not sides:
        raise ValueError(f"none of the {total:,} images can be read: {seen[0]}")
    return sides


def _spread(shelf, total):
    n = max(1, min(len(shelf), round(_MEASURED * len(shelf) / total)))
    return [i * len(shelf) // n for i in range(n)]


def stamp(path: str | Path) -> str:
    """Size and time of modification of a file, for an identity."""
    found = os.stat(path)
    return f"{found.st_size} {found.st_mtime_ns}"
