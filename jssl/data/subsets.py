"""Subsets of rows, and few labels drawn class by class."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jssl.data.source import Records, Source, check_rows
from jssl.data.splits import fingerprint, ranks, shuffled


@dataclass(frozen=True, eq=False)
class Chosen(Records):
    """Selected rows of records, in the given order."""

    records: Records
    rows: np.ndarray

    @property
    def digest(self) -> str:
        return fingerprint(self.records.digest, self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        return self.records[int(self.rows[row])]

    def draw(self, row: int, key: tuple[int, int, int]) -> Mapping[str, Any]:
        return self.records.draw(int(self.rows[row]), key)

    @property
    def labels(self) -> np.ndarray | None:
        labels = self.records.labels
        return None if labels is None else labels[self.rows]

    @property
    def has_labels(self) -> bool:
        return self.records.has_labels

    @property
    def skipped(self) -> Mapping[int, str]:
        lost = self.records.skipped
        return {i: lost[row] for i, row in enumerate(self.rows.tolist()) if row in lost}


def subset(source: Source, rows, **changes: Any) -> Source:
    """A source of selected rows, in the given order.

    Its "index" numbers these rows from 0; its other splits are unchanged.

    Args:
      source: the whole split.
      rows: int [m].
      **changes: other attributes of the result.
    """
    rows = np.asarray(rows)
    check_rows(f"subset of {source.name}", rows, source.size)
    picked: dict[str, Any] = {"digest": fingerprint(source.digest, rows), "size": len(rows)}
    if source.table is None:
        picked |= {"records": Chosen(source.records, rows)}  # type: ignore[arg-type]
    else:
        picked |= {"table": {name: x[rows] for name, x in source.table.items()}}
    places = {part: np.isin(rows, held) for part, held in source.includes.items()}
    picked["includes"] = {k: np.flatnonzero(x) for k, x in places.items() if x.any()}
    changes = {"name": f"{source.name}[{len(rows)}]"} | picked | changes
    return dataclasses.replace(source, **changes)


def apart(source: Source) -> Source:
    """The rows that are in no other split; the source itself if all are.

    Evals fit on these, so that they choose on a val that they have not seen.
    """
    if not source.includes:
        return source
    shared = np.concatenate([*source.includes.values()])
    rows = np.setdiff1d(np.arange(source.size), shared)
    return subset(source, rows, name=source.name)


def drawn(source: Source, rows: int) -> Source:
    """At most `rows` rows of every split, drawn without regard to labels.

    >>> from jssl.data import dataset
    >>> few = drawn(dataset("mine", {"train": {"x": np.arange(9)}}, batch=2), 4)
    >>> few.size, few.split_names()
    (4, ('train',))
    """

    def some(split):
        chosen = np.sort(shuffled(split.size, seed=0)[:rows])
        return subset(split, chosen, name=split.name)

    others = {name: lambda at=name: some(source.split(at)) for name in source.siblings}
    return dataclasses.replace(some(source), siblings=others)


def columns(source: Source, *names: str) -> Source:
    """The same rows with some of their columns, of those that there are.

    Raises:
      ValueError: rows that are not held in memory, or none of the columns.

    >>> from jssl.data import dataset
    >>> whole = dataset("mine", {"train": {"x": np.arange(9), "y": np.ones(9)}}, batch=2)
    >>> list(columns(whole, "x").row_shapes())
    ['x', 'index']
    """
    table = source.table or {}
    kept = {name: table[name] for name in names if name in table}
    if not kept:
        raise ValueError(f"{source.name} has no table with a column {' or '.join(names)}")
    others = {
        name: lambda at=name: columns(source.split(at), *names) for name in source.siblings
    }
    digest = fingerprint(source.digest, *kept)
    return dataclasses.replace(source, table=kept, siblings=others, digest=digest)


def labels_per_class(source: Source, per_class: int, seed: int = 0) -> Source:
    """A subset with the same number of labeled rows of every class.

    For one seed the subsets are nested (1 per class within 4 within 10 ...), and the rows
    of the smaller come first in the larger.

    Raises:
      ValueError: a class has fewer rows, or `per_class` is below 1.
    """
    labels = source.labels()
    counts = np.bincount(labels, minlength=source.classes)
    if per_class < 1 or counts.min() < per_class:
        raise ValueError(
            f"labels_per_class: per_class must be 1 to {counts.min()}, the rows of class "
            f"{counts.argmin()} in {source.name}, got {per_class}"
        )
    rank = ranks(labels, seed)
    rows = np.lexsort((labels, rank))[: per_class * source.classes]
    return subset(source, rows, labeled=True)
