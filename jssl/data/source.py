"""Sources: splits of a data set, as endless streams of batches.

The global order is a pure function of (seed, step). Epoch e visits the rows in the order

    default_rng((seed, e)).permutation(size),    e = step // (size // batch),

without the last, incomplete batch. Each of H processes reads a contiguous 1/H of the rows
of every global batch. No state of an iterator is saved: a run resumes from the number of
the step, on any number of processes. Random crops at position r of the global batch are a
function of (seed, step, r).
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Int

from jssl.data.fields import KNOWN, Field, Image, Index, Tokens
from jssl.data.records import Records, some_labels
from jssl.data.rows import (
    check_rows,
    followed,
    local_rows,
    once,
    ordered,
    prefetched,
    read_batch,
    shuffled,
)
from jssl.data.splits import trained

Batch = dict[str, Any]  # name -> array; name -> Batch where sources are nested


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """One split of a data set; modified by `dataclasses.replace`.

    Attributes:
      name: of the data set and the split: "mnist/train".
      size: number of rows.
      batch: rows of one global batch.
      seed: of the order.
      classes: number of classes; 0 if there are no labels.
      labeled: True includes targets in `stream`. `scan` always includes them.
      table: the split as arrays, with targets, if it is small enough for device memory; a
        training batch is the fields of `shapes()` at the rows that `indices` yields. None
        if rows are read from `records`.
      records: the rows of a split that is not held in memory.
      digest: fingerprint of the content.
      siblings: functions that open the splits of the data set, by name.
      threads: number of threads that read records.
      workers: number of processes that read records; 0 reads in the main process.
      fields: the `Field` of each column; columns with default names need none.
      context: arrays that are part of every batch as a whole: a corpus, one graph, a
        recording. They are replicated on all devices; rows are positions in them.
      passes: "shuffled" epochs, or "once": rows in their order, each used once.
      license: of the data.
      summary: a line that says what was found.
      warnings: lines on departures from what a user may expect.
      includes: places of rows that are in another split too, by that split: of train with
        hold_out=False, whose val is for choosing only.
      skipped: names of the images that could not be read so far, by split and row, if these
        are passed over; it grows as images are read, except by worker processes.
      files: contents of text files by name, such as a tokenizer, which a run keeps.
    """

    batch_axis: ClassVar[int] = 0  # of the fields of a training batch

    name: str
    size: int
    batch: int
    seed: int = 0
    classes: int = 0
    labeled: bool = False
    table: Mapping[str, Any] | None = field(default=None, repr=False)
    records: Records | None = field(default=None, repr=False)
    digest: str = ""
    siblings: Mapping[str, Callable] = field(default_factory=dict, repr=False)
    threads: int = 8
    workers: int = 0
    fields: Mapping[str, Field] = field(default_factory=dict, repr=False)
    context: Mapping[str, Any] = field(default_factory=dict, repr=False)
    passes: str = "shuffled"
    license: str = ""
    summary: str = ""
    warnings: tuple[str, ...] = ()
    includes: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    skipped: Mapping[str, Mapping[int, str]] = field(default_factory=dict, repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.size

    def __post_init__(self):
        if self.batch < 1:
            raise ValueError(f"{self.name}: batch must be positive, got {self.batch}")
        if self.passes not in ("shuffled", "once"):
            raise ValueError(
                f'{self.name}: passes must be "shuffled" or "once", got {self.passes!r}'
            )
        if self.seed < 0:
            raise ValueError(f"{self.name}: seed must not be negative, got {self.seed}")
        targets = any(map(self._is_target, self.table or ()))
        if self.labeled and not self.classes and not targets:
            raise ValueError(
                f"{self.name} has no labels, which are needed here: give labeled data, or "
                f"an experiment that learns without labels"
            )

    def field_of(self, name: str) -> Field:
        """The field of a column: from `fields`, else the default of its name."""
        return self.fields.get(name) or KNOWN.get(name) or Field()

    def decode(self, batch: Batch, context: Batch = {}) -> Batch:
        """The batch that a method receives: decoded columns, and the context whole.

        Args:
          batch: as `stream` or `scan` yields it.
          context: as `decoded_context` gives it.
        """
        decoded = {name: self.field_of(name).decode(x) for name, x in batch.items()}
        return decoded | dict(context)

    def decoded_context(self) -> Batch:
        """The context as methods receive it, on the default device."""
        return {
            name: self.field_of(name).decode(jax.numpy.asarray(x))
            for name, x in self.context.items()
        }

    def plain(self, batch: Batch) -> Any | None:
        """Raw features [n, d] of a decoded batch; None if no column has any."""
        masks = {getattr(self.field_of(name), "mask", None) for name in batch}
        skipped = {"index", *masks, *self.context}
        parts = [
            self.field_of(name).plain(x, batch)
            for name, x in batch.items()
            if name not in skipped and not self._is_target(name)
        ]
        rows = [x for x in parts if x is not None]
        return jax.numpy.concatenate(rows, 1) if len(rows) > 1 else (rows or [None])[0]

    @property
    def data_name(self) -> str:
        """Name of the data set, without the split: "mnist", "folder:/my/images"."""
        return self.name.rpartition("/")[0] or self.name

    @property
    def plain_name(self) -> str:
        """ "raw pixels" if all columns except targets are images, else "raw input".

        Of images that are averaged with the number of cells: "raw pixels, 16x16".
        """
        row = self._row()
        inputs = {name: x for name, x in row.items() if not self._is_target(name)}
        fields = [self.field_of(name) for name in inputs]
        pixels = all(type(field) is Image for field in fields)
        sizes = {
            "x".join(map(str, size[-2:]))
            for field, x in zip(fields, inputs.values(), strict=True)
            if isinstance(field, Image) and (size := field.raw_size(np.shape(x)))
        }
        return ", ".join(["raw pixels" if pixels else "raw input", *sorted(sizes)])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, else their numbers."""
        found = getattr(self.field_of("label"), "names", ())
        return found or tuple(map(str, range(self.classes)))

    @property
    def readable(self) -> int:
        """Number of rows, without those of records that could not be read so far."""
        return self.size - (len(self.records.skipped) if self.records else 0)

    @property
    def unreadable(self) -> list[str]:
        """Names of the images of all splits that could not be read so far."""
        found = (name for part in self.skipped.values() for _, name in sorted(part.items()))
        return list(dict.fromkeys(found))

    def steps(self, epochs: int | float) -> int:
        """Number of steps of `epochs` epochs, rounded; at least 1.

        Raises:
          ValueError: more than one epoch, and passes="once".
        """
        if self.passes == "once" and epochs > 1:
            raise ValueError(
                f"{self.name} is read once: epochs must be at most 1, got {epochs:g}"
            )
        return max(1, round(epochs * self._per_epoch()))

    def shapes(self) -> dict[str, Any]:
        """Shape and dtype of one global training batch, as `stream` yields it."""
        return self._shapes(self._training_row())

    def initial_shapes(self) -> dict[str, Any]:
        """The columns of `shapes`, and those that only `scan` has, without targets.

        A method is initialized on such a batch. The columns differ where training batches
        have crops in place of images.
        """
        return self._shapes(self._inputs(self._row()) | self._training_row())

    def row_shapes(self) -> dict[str, Any]:
        """Shape and dtype of one global batch of `scan`."""
        return self._shapes(self._row())

    def _shapes(self, row):
        return {
            name: jax.ShapeDtypeStruct((self.batch, *x.shape), x.dtype)
            for name, x in (row | {"index": np.zeros((), np.int32)}).items()
        }

    @property
    def row_tokens(self) -> int:
        """Tokens of a row, if it is text; else 0."""
        count = 0
        for name, x in self._row().items():
            kind = self.field_of(name)
            if isinstance(kind, Index) and isinstance(kind.kind, Tokens):
                count += max(kind.length, 1)
            elif isinstance(kind, Tokens):
                count += np.size(x)
        return count

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image, (h, w, c)."""
        return self.row_shapes()["image"].shape[1:]

    @property
    def side(self) -> int:
        """Side of the square images, in pixels.

        Raises:
          ValueError: the images are not square.
        """
        h, w, _ = self.image_shape
        if h != w:
            raise ValueError(
                f"{self.name} has images of {w}x{h} pixels, and squares are needed: give "
                f"a size, e.g. size={min(h, w)}"
            )
        return h

    def indices(self, start: int = 0, order=None) -> Iterator[Batch]:
        """Row numbers of the batches of `stream`, without reading them."""
        return map(
            partial(read_batch, {}, (), self._rows(order), local_rows(self.batch)),
            range(start, sys.maxsize),
        )

    def stream(self, start: int = 0, order=None) -> Iterator[Batch]:
        """This process's rows of every global batch from step `start` on, endlessly.

        Args:
          start: step of the first batch.
          order: int [M], a cyclic sequence of rows in place of shuffled epochs: step s
            takes order[(s * batch + i) % M].
        """
        fields = tuple(self._training_row())
        return self._run(self._rows(order), fields, start, sys.maxsize, seed=self.seed)

    def scan(self) -> Iterator[Batch]:
        """One ordered pass over the rows; the last batch is padded with the last row."""
        rows = partial(ordered, self.size, self.batch)
        return self._run(rows, tuple(self._row()), 0, -(-self.size // self.batch))

    def column(self, name: str) -> np.ndarray:
        """A column of all rows, in order, in every process."""
        if self.table is not None:
            return self.table[name]
        rows = partial(ordered, self.size, self.batch)
        parts = self._run(rows, (name,), 0, -(-self.size // self.batch), slice(None))
        return np.concatenate([part[name] for part in parts])[: self.size]

    def at(self, rows) -> Batch:
        """Columns of some rows, undecoded, including columns that stay on the host."""
        rows = np.asarray(rows)
        if self.table is not None:
            return {name: array[rows] for name, array in self.table.items()}
        read = [self.records[int(i)] for i in rows]
        return {name: np.stack([row[name] for row in read]) for name in read[0]}

    def split(self, name: str) -> "Source":
        """Another split of the same data set, with the same settings."""
        if name == self.name.rpartition("/")[2].partition("[")[0]:
            return self
        if name not in self.siblings:
            known = ", ".join(self.siblings) or "no others"
            raise ValueError(f"{self.name} has no split {name!r}; it has {known}")
        names = ("batch", "seed", "classes", "labeled", "threads", "workers")
        same = {name: getattr(self, name) for name in names}
        return dataclasses.replace(self.siblings[name](), **same)

    def split_words(self, name: str) -> str:
        """A split in words: "val", or "val (trained on)" if its rows are in this one."""
        return f"{name}{trained(name, self.includes)}"

    def split_names(self) -> tuple[str, ...]:
        """Names of all splits of the data set, this one first.

        >>> from jssl.data import dataset
        >>> data = {"image": np.zeros((6, 8, 8, 1), np.uint8)}
        >>> dataset("mine", {"val": data, "train": data}, batch=2).split_names()
        ('train', 'val')
        """
        this = self.name.rpartition("/")[2].partition("[")[0]
        return (this, *(name for name in self.siblings if name != this))

    def has_labels(self, split: str = "") -> bool:
        """True if a split (empty: this one) has labels; labels of -1 are none.

        The split is opened, but images of records are not read.

        Raises:
          ValueError: no such split.
        """
        found = self.split(split) if split else self
        if found.table is None:
            return found.records.has_labels
        return some_labels(found.table.get("label"))

    def labels(self) -> Int[np.ndarray, " n"]:
        """Class numbers of all rows, in order.

        Raises:
          ValueError: no labels, or labels that are not class numbers [n].
        """
        held = self.table is not None
        labels = self.table.get("label") if held else self.records.labels
        if labels is None:
            raise ValueError(f"{self.name} has no labels")
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError(
                f"{self.name}: label must be class numbers int[n], got "
                f'{labels.dtype}{list(labels.shape)}; targets("label") returns it unchanged'
            )
        return labels

    def targets(self, name: str = "label") -> np.ndarray:
        """A target column of all rows, in order: classes [n], tags [n, l], poses [n, d] ...

        Raises:
          ValueError: no such column.
        """
        if name == "label" and self.table is None and self.records.labels is not None:
            return self.records.labels
        known = self.table if self.table is not None else self.records[0]
        if name not in known:
            what = "labels" if name == "label" else f"column {name!r}"
            raise ValueError(f"{self.name} has no {what}; it has {', '.join(known)}")
        return self.column(name)

    def target_columns(self) -> dict[str, tuple[int, ...]]:
        """Shape of a row of each target column: () for class numbers."""
        row = self._row()
        return {name: np.shape(x) for name, x in row.items() if self._is_target(name)}

    def _is_target(self, name):
        return name == "label" or self.field_of(name).is_target

    def _row(self):
        """The first row, without the columns that stay on the host."""
        if self.table is None:
            row = self.records[0]
        else:
            row = {name: array[0] for name, array in self.table.items()}
        return self._sent(row)

    def _training_row(self):
        """The first row as training batches have it."""
        if self.table is None:
            return self._inputs(self._sent(self.records.draw(0, (self.seed, 0, 0))))
        return self._inputs(self._row())

    def _sent(self, row):
        return {name: x for name, x in row.items() if not self.field_of(name).on_host}

    def _inputs(self, row):
        """The columns of training batches: all if labeled, else without targets."""
        return {k: x for k, x in row.items() if self.labeled or not self._is_target(k)}

    def _per_epoch(self):
        if self.size < self.batch:
            raise ValueError(
                f"{self.name} has {self.size} rows, fewer than a batch of {self.batch}"
            )
        return self.size // self.batch

    def _rows(self, order):
        """A function from a step to the rows of its global batch."""
        if self.passes == "once":
            if order is not None:
                raise ValueError(f"{self.name} is read once, in its own order")
            return partial(once, self.name, self.size, self.batch)
        if order is None:
            self._per_epoch()
            return partial(shuffled, self.size, self.batch, self.seed)
        order = np.asarray(order)
        check_rows(f"{self.name}: order", order, self.size)
        return partial(followed, order, self.batch)

    def _run(self, rows, fields, start, stop, mine=None, seed=None):
        # Resolved here, since worker processes are outside the mesh.
        data = self.records if self.table is None else self.table
        mine = mine or local_rows(self.batch)
        read = partial(read_batch, data, fields, rows, mine, seed=seed)
        if self.table is None:
            return prefetched(read, start, stop, self.threads, self.workers)
        return map(read, range(start, stop))
