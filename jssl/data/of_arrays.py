"""Sources of arrays of any kind, or of records."""

import functools
import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from jssl.data.fields import KNOWN, Field, Labels
from jssl.data.source import Batch, Source
from jssl.data.splits import fingerprint


def dataset(
    name: str,
    splits: Mapping[str, Any],
    batch: int,
    *,
    split: str = "train",
    classes: int | None = None,
    fields: Mapping[str, Field] = {},
    context: Mapping[str, Any] = {},
    includes: Mapping[str, np.ndarray] = {},
    **knobs: Any,
) -> Source:
    """Creates a Source from arrays of any kind.

    Args:
      name: of the data set.
      splits: for each split, columns of equal length, with "label" int [n] if there are
        classes; or `Records`; or a function that returns either, called when the split is
        first used. "index" is reserved.
      batch: rows of one global batch.
      split: name of the split to return; others are opened by `Source.split`.
      classes: number of classes; None: largest label of an array + 1.
      fields: `Field`s of columns and context, by name; columns named "image", "video",
        "audio" and "label" have default fields.
      context: arrays that are part of every batch as a whole.
      includes: places of rows of "train" that are in another split too, by that split.
      **knobs: other attributes of `Source`.

    Raises:
      ValueError: columns of different lengths, or invalid for their field.

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
        found: Batch = {"name": f"{name}/{which}", "batch": batch, "siblings": siblings}
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
        found |= {"includes": includes if which == "train" else {}}
        return Source(classes=known, **found, **knobs)

    siblings = {which: partial(opened, which) for which in splits}
    return opened(split)


def _classes(label):
    """Largest class number + 1; 0 for other kinds of targets."""
    classified = label is not None and label.ndim == 1 and label.dtype.kind in "iu"
    return int(label.max()) + 1 if classified else 0


def _table(name, columns, fields, context):
    """The columns, validated."""
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
