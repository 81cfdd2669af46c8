"""Subsets of rows, few labels drawn class by class, wrong labels, and foreign classes."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jssl.data.records import Records
from jssl.data.rows import check_rows
from jssl.data.source import Source
from jssl.data.splits import fingerprint, ranks, shuffled, stratified


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


@dataclass(frozen=True, eq=False)
class Relabeled(Records):
    """The same records with other labels."""

    records: Records
    labels: np.ndarray

    @property
    def digest(self) -> str:
        return fingerprint(self.records.digest, "relabeled", self.labels)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        return self._with_label(self.records[row], row)

    def draw(self, row: int, key: tuple[int, int, int]) -> Mapping[str, Any]:
        return self._with_label(self.records.draw(row, key), row)

    @property
    def skipped(self) -> Mapping[int, str]:
        return self.records.skipped

    def _with_label(self, fields, row):
        label = np.asarray(self.labels[row], np.asarray(fields["label"]).dtype)
        return dict(fields) | {"label": label}


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


def random_labels(source: Source, fraction: float, seed: int = 0) -> Source:
    """The same rows, with a fraction of their labels replaced by random ones.

    The number of replaced labels is exact, up to rounding; each is drawn from all classes,
    the right one among them. For one seed, those of a smaller fraction are replaced, by the
    same labels, for a larger one too. Other splits are unchanged.

    Laine and Aila 2017, "Temporal Ensembling", section 3.4.
    https://arxiv.org/abs/1610.02242

    Raises:
      ValueError: a fraction outside [0, 1].

    >>> from jssl.data import dataset
    >>> table = {"x": np.arange(8), "label": np.zeros(8, int)}
    >>> noisy = random_labels(dataset("mine", {"train": table}, batch=2), 1.0)
    >>> len(noisy.labels())
    8
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"random_labels: fraction must be from 0 to 1, got {fraction}")
    labels = source.labels().copy()
    rows = shuffled(len(labels), seed)[: round(fraction * len(labels))]
    drawn = np.random.PCG64([seed, 1]).random_raw(len(labels))  # the same in every NumPy
    labels[rows] = (drawn % np.uint64(source.classes))[rows]
    digest = fingerprint(source.digest, "relabeled", labels)
    if source.table is None:
        changed: dict[str, Any] = {"records": Relabeled(source.records, labels)}  # type: ignore[arg-type]
    else:
        changed = {"table": dict(source.table) | {"label": labels}}
    return dataclasses.replace(source, digest=digest, **changed)


def first_classes(source: Source, classes: int) -> Source:
    """The rows of the first classes, of every split that has labels.

    Raises:
      ValueError: not 1 to all classes.

    >>> from jssl.data import dataset
    >>> table = {"x": np.arange(6), "label": np.arange(6) % 3}
    >>> two = first_classes(dataset("mine", {"train": table}, batch=2), 2)
    >>> two.table["x"].tolist(), two.classes
    ([0, 1, 3, 4], 2)
    """
    if not 1 <= classes <= source.classes:
        raise ValueError(
            f"first_classes: classes must be 1 to {source.classes}, those of "
            f"{source.name}, got {classes}"
        )

    def of(split):
        if not split.has_labels():
            return split
        rows = np.flatnonzero(split.labels() < classes)
        return subset(split, rows, name=split.name, classes=classes)

    others = {name: lambda at=name: of(source.split(at)) for name in source.siblings}
    return dataclasses.replace(of(source), siblings=others)


def with_foreign(source: Source, classes: int, mismatch: float, seed: int = 0) -> Source:
    """Unlabeled rows of which an exact fraction is of other classes than the first ones.

    The number of rows is that of the smaller group, of the first classes or the others, so
    that it is the same for every fraction; both parts are stratified by class. All other
    splits, and "train", which labels are drawn from, have the first classes alone.

    Oliver et al. 2018, "Realistic Evaluation of Deep Semi-Supervised Learning Algorithms",
    section 4.4. https://arxiv.org/abs/1804.09170

    Args:
      source: the training split.
      classes: number of the labeled classes, the first of all.
      mismatch: fraction of the rows whose class is another.
      seed: of the choice of rows.

    Raises:
      ValueError: no other classes, or a fraction outside [0, 1].
    """
    if not 1 <= classes < source.classes or not 0 <= mismatch <= 1:
        raise ValueError(
            f"with_foreign: classes must be 1 to {source.classes - 1}, fewer than those of "
            f"{source.name}, and mismatch from 0 to 1, got {classes} and {mismatch}"
        )
    labels = source.labels()
    groups = np.flatnonzero(labels < classes), np.flatnonzero(labels >= classes)
    total = min(map(len, groups))
    foreign = round(mismatch * total)
    chosen = [
        rows[stratified(labels[rows], seed)[:count]]
        for rows, count in zip(groups, (total - foreign, foreign), strict=True)
    ]
    known = first_classes(source, classes)
    return subset(
        source,
        np.sort(np.concatenate(chosen)),
        name=f"{source.data_name}/unlabeled",
        classes=classes,
        siblings={**known.siblings, "train": lambda: known},
    )
