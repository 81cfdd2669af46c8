"""A Source is one split of a data set, and yields it batch by batch for ever.

The global order is a pure function of (seed, step). Epoch e visits the rows as in

    default_rng((seed, e)).permutation(size),    e = step // (size // batch),

and drops what is left over. Each of H processes reads its own contiguous 1/H of the
rows of every global batch. No iterator is ever saved: the step says where to go on,
on whatever number of processes.
"""

import dataclasses
import functools
import itertools
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Int

from jssl.data.fields import KNOWN, Field, Image, Labels
from jssl.data.splits import fingerprint

Batch = dict[str, Any]  # name -> array; name -> Batch where sources are nested


class Records(ABC):
    """Rows that are read one by one, being too many for memory.

    Attributes:
      digest: fingerprint of the content.
      labels: int32 [n], every row's label, or None.
    """

    digest: str
    labels: np.ndarray | None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, row: int) -> Mapping[str, Any]:
        """The fields of a row; any number of threads may ask at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """One split of a data set. `dataclasses.replace` makes another.

    Attributes:
      name: the data set and the split: "mnist/train".
      size: how many rows the split has.
      batch: rows of one global batch.
      seed: of the order.
      classes: how many there are; 0 where no labels are known.
      labeled: whether `stream` carries "label". `scan` always does if it is known.
      table: the split as arrays, "label" included if known, when it is small enough
        to live on a device; a training batch is the fields of `shapes()` at the rows
        that `indices` yields. None where the rows are read from `records`.
      records: the rows of a split that is not held in memory.
      digest: fingerprint of the content.
      siblings: opens each split of the data set by its name.
      threads: that read records.
      workers: processes that read records; 0 reads in this one.
      fields: the `Field` of each column; columns of known names need none.
      context: arrays that every batch carries whole: a corpus, one graph, a recording. They
        are replicated on all devices; rows are positions in them.
      passes: "shuffled" epochs, or "once": rows in their order, each met once.
      license: of the data.
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

    def __post_init__(self):
        if self.batch < 1:
            raise ValueError(f"{self.name}: batch must be positive, got {self.batch}")
        if self.passes not in ("shuffled", "once"):
            raise ValueError(
                f'{self.name}: passes must be "shuffled" or "once", got {self.passes!r}'
            )
        targets = any(map(self._is_target, self.table or ()))
        if self.labeled and not self.classes and not targets:
            raise ValueError(f"{self.name} has no labels; labeled=True asks for them")

    def field_of(self, name: str) -> Field:
        """The field of a column: the source's own, that of a known name, or numbers."""
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
        """Rows [n, d] of a decoded batch without a network; None: there are none."""
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
    def plain_name(self) -> str:
        """`raw pixels` where all columns but targets are images, else `raw input`."""
        inputs = (name for name in self._row() if not self._is_target(name))
        pixels = all(isinstance(self.field_of(name), Image) for name in inputs)
        return "raw pixels" if pixels else "raw input"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, or their numbers."""
        found = getattr(self.field_of("label"), "names", ())
        return found or tuple(map(str, range(self.classes)))

    def steps(self, epochs: int | float) -> int:
        """The steps of so many epochs, rounded; at least 1.

        Raises:
          ValueError: more than one epoch of rows that are met once.
        """
        if self.passes == "once" and epochs > 1:
            raise ValueError(
                f"{self.name} is read once: epochs must be at most 1, got {epochs:g}"
            )
        return max(1, round(epochs * self._per_epoch()))

    def shapes(self) -> dict[str, Any]:
        """Shape and dtype of one global training batch, as `stream` yields it."""
        shapes = self.row_shapes()
        return {name: shapes[name] for name in (*self._fields(), "index")}

    def row_shapes(self) -> dict[str, Any]:
        """Shape and dtype of one global batch of `scan`."""
        row = self._row() | {"index": np.zeros((), np.int32)}
        return {
            name: jax.ShapeDtypeStruct((self.batch, *x.shape), x.dtype)
            for name, x in row.items()
        }

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image, (h, w, c)."""
        return self.row_shapes()["image"].shape[1:]

    @property
    def side(self) -> int:
        """Height of the images, in pixels."""
        return self.image_shape[0]

    def indices(self, start: int = 0, order=None) -> Iterator[Batch]:
        """The rows that `stream` would read, without reading them."""
        return map(
            partial(_read, {}, (), self._rows(order), local_rows(self.batch)),
            range(start, sys.maxsize),
        )

    def stream(self, start: int = 0, order=None) -> Iterator[Batch]:
        """This process's rows of every global batch from step `start` on, for ever.

        Args:
          start: the step of the first batch.
          order: int [M], a sequence of rows to follow, round and round, in place of
            the shuffled epochs: step s takes order[(s * batch + i) % M].
        """
        return self._run(self._rows(order), self._fields(), start, sys.maxsize)

    def scan(self) -> Iterator[Batch]:
        """One pass over the rows as they stand; the last batch repeats the last row."""
        rows = partial(_ordered, self.size, self.batch)
        return self._run(rows, tuple(self._row()), 0, -(-self.size // self.batch))

    def column(self, name: str) -> np.ndarray:
        """A field of every row, in order, in every process; `scan` gives each its share."""
        if self.table is not None:
            return self.table[name]
        rows = partial(_ordered, self.size, self.batch)
        parts = self._run(rows, (name,), 0, -(-self.size // self.batch), slice(None))
        return np.concatenate([part[name] for part in parts])[: self.size]

    def at(self, rows) -> Batch:
        """The columns of some rows, undecoded, those that stay on the host included."""
        rows = np.asarray(rows)
        if self.table is not None:
            return {name: array[rows] for name, array in self.table.items()}
        read = [self.records[int(i)] for i in rows]
        return {name: np.stack([row[name] for row in read]) for name in read[0]}

    def split(self, name: str) -> "Source":
        """Another split of the same data set, with the same batch."""
        if name == self.name.rpartition("/")[2].partition("[")[0]:
            return self
        if name not in self.siblings:
            known = ", ".join(self.siblings) or "no others"
            raise ValueError(f"{self.name} has no split {name!r}; it has {known}")
        names = ("batch", "seed", "classes", "labeled", "threads", "workers")
        same = {name: getattr(self, name) for name in names}
        return dataclasses.replace(self.siblings[name](), **same)

    def labels(self) -> Int[np.ndarray, " n"]:
        """The class number of every row, in order.

        Raises:
          ValueError: no labels, or targets that are no class numbers [n].
        """
        held = self.table is not None
        labels = self.table.get("label") if held else self.records.labels
        if labels is None:
            raise ValueError(f"{self.name} has no labels")
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError(
                f"{self.name}: label is {labels.dtype}{list(labels.shape)}, no class "
                f'numbers [n]; targets("label") gives it as it is'
            )
        return labels

    def targets(self, name: str = "label") -> np.ndarray:
        """A target of every row, in order: classes [n], tags [n, l], poses [n, d] ...

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
        """The shape of a row of each column that is a target: () for class numbers."""
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
        return {name: x for name, x in row.items() if not self.field_of(name).on_host}

    def _fields(self):
        return tuple(x for x in self._row() if self.labeled or not self._is_target(x))

    def _per_epoch(self):
        if self.size < self.batch:
            raise ValueError(
                f"{self.name} has {self.size} rows, fewer than a batch of {self.batch}"
            )
        return self.size // self.batch

    def _rows(self, order):
        """step -> the rows of its global batch."""
        if self.passes == "once":
            if order is not None:
                raise ValueError(f"{self.name} is read once, in its own order")
            return partial(_once, self.name, self.size, self.batch)
        if order is None:
            self._per_epoch()
            return partial(_shuffled, self.size, self.batch, self.seed)
        order = np.asarray(order)
        check_rows(f"{self.name}: order", order, self.size)
        return partial(_followed, order, self.batch)

    def _run(self, rows, fields, start, stop, mine=None):
        # Resolved here, since worker processes are outside the mesh.
        data = self.records if self.table is None else self.table
        read = partial(_read, data, fields, rows, mine or local_rows(self.batch))
        if self.table is None:
            return _prefetched(read, start, stop, self.threads, self.workers)
        return map(read, range(start, stop))


def check_rows(name: str, rows: np.ndarray, size: int) -> None:
    """Raises unless `rows` is a list of rows from 0 to size - 1, and not empty."""
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: rows must be int[m], m > 0, got {rows.dtype}{list(rows.shape)}"
        )
    if rows.min() < 0 or rows.max() >= size:
        raise ValueError(
            f"{name}: rows must be 0 to {size - 1}, got {rows.min()} to {rows.max()}"
        )


def process() -> tuple[int, int]:
    """Which process this is, and of how many."""
    return jax.process_index(), jax.process_count()


def local_rows(batch: int) -> slice:
    """This process's contiguous rows of a global batch."""
    this, count = process()
    if batch % count:
        raise ValueError(f"a batch of {batch} does not divide among {count} processes")
    n = batch // count
    return slice(this * n, (this + 1) * n)


@functools.lru_cache(maxsize=8)  # threads read the end of an epoch and the next at once
def _permutation(size, seed, epoch):
    return np.random.default_rng((seed, epoch)).permutation(size)


def _shuffled(size, batch, seed, step):
    epoch, i = divmod(step, size // batch)
    return _permutation(size, seed, epoch)[i * batch : (i + 1) * batch]


def _once(name, size, batch, step):
    if (step + 1) * batch > size:
        raise ValueError(f"{name} has no rows left at step {step}: it is read once")
    return step * batch + np.arange(batch)


def _followed(order, batch, step):
    return order[(step * batch + np.arange(batch)) % len(order)]


def _ordered(size, batch, step):
    return np.minimum(step * batch + np.arange(batch), size - 1)


def _read(data, fields, rows, mine, step):
    index = rows(step)[mine]
    if isinstance(data, Mapping):
        batch = {name: data[name][index] for name in fields}
    else:
        records = [data[int(i)] for i in index]
        batch = {name: np.stack([row[name] for row in records]) for name in fields}
    return batch | {"index": index.astype(np.int32)}


def _prefetched(read, start, stop, threads, workers):
    """read(start), read(start + 1), ...: in order, but read ahead of time by grain."""
    import grain

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    steps = grain.MapDataset.range(start, stop).map(read).to_iter_dataset(options)
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():  # grain's workers ask for their flags
            flags.FLAGS.mark_as_parsed()
        steps = steps.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    with closing(iter(steps)) as batches:
        yield from batches


def dataset(
    name: str,
    splits: Mapping[str, Any],
    batch: int,
    *,
    split: str = "train",
    classes: int | None = None,
    fields: Mapping[str, Field] = {},
    context: Mapping[str, Any] = {},
    **knobs: Any,
) -> Source:
    """Creates a Source over arrays of any kind.

    Args:
      name: of the data set.
      splits: for each split, columns of equal length, among them, where it is known,
        "label" int [n]; or `Records`; or a function that returns either, which is called
        when the split is first needed. "index" is reserved.
      batch: rows of one global batch.
      split: the one to return; the others are its `split(name)`.
      classes: number of classes; None counts up to the largest label of an array.
      fields: of the columns and of the context, by name; images, videos, audio and labels
        are known by the names "image", "video", "audio", "label".
      context: arrays that every batch carries whole.
      **knobs: other attributes of `Source`.

    Raises:
      ValueError: columns of different lengths, or not as their field wants them.

    >>> digits = {"image": np.zeros((6, 8, 8, 1), np.uint8)}
    >>> source = dataset("mine", {"train": digits}, batch=2)
    >>> source.steps(epochs=2), next(source.scan())["index"].tolist()
    (6, [0, 1])
    """
    if split not in splits:
        raise ValueError(f"{name} has no split {split!r}; it has {', '.join(splits)}")

    @functools.cache
    def held(which):
        data = splits[which]
        return data() if callable(data) else data

    def opened(which):
        data = held(which)
        found = {"name": f"{name}/{which}", "batch": batch, "siblings": siblings}
        if isinstance(data, Mapping):
            table = _table(f"{name}/{which}", data, fields, context)
            found |= {"table": table, "size": len(next(iter(table.values())))}
            digest = fingerprint(*itertools.chain(*sorted(table.items())))
            known = _classes(table.get("label"))
        else:
            found |= {"records": data, "size": len(data)}
            digest, known = data.digest, 0
        if context:
            digest = fingerprint(digest, *itertools.chain(*sorted(context.items())))
        known = known if classes is None else classes
        found |= {"digest": digest, "fields": fields, "context": context}
        return Source(classes=known, **found, **knobs)

    siblings = {which: partial(opened, which) for which in splits}
    return opened(split)


def _classes(label):
    """One more than the largest class number; 0 for targets of other kinds."""
    classified = label is not None and label.ndim == 1 and label.dtype.kind in "iu"
    return int(label.max()) + 1 if classified else 0


def _table(name, columns, fields, context):
    """The columns, once checked."""
    lengths = {key: len(array) for key, array in columns.items()}
    if len(set(lengths.values())) != 1 or not all(lengths.values()):
        raise ValueError(f"{name}: fields must be equally long, got {lengths}")
    taken = {"index", *context} & set(columns)
    if taken:
        raise ValueError(
            f"{name}: no column may be called {min(taken)!r}, the name of "
            f"{'row numbers' if 'index' in taken else 'a context array'}"
        )
    for key, array in columns.items():
        kind = fields.get(key) or KNOWN.get(key) or Field()
        kind.check(f"{name}: {key}", array)
    label = columns.get("label")
    classified = label is not None and isinstance(
        fields.get("label", KNOWN["label"]), Labels
    )
    return dict(columns) | ({"label": label.astype(np.int32)} if classified else {})
