"""Composite sources: several streams side by side, and several batches per step."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import jax
import numpy as np

from jssl.data.source import Batch, Source
from jssl.data.splits import fingerprint
from jssl.data.subsets import subset


class _Around(Source):
    """A source with training batches of its own; its rows are those of `main`."""

    main: Source

    def decode(self, batch: Batch, context: Batch = {}) -> Batch:
        """The batch that a method receives: decoded columns and the whole context."""
        return self.main.decode(batch, context)

    def decoded_context(self) -> Batch:
        """The context as methods receive it, on the default device."""
        return self.main.decoded_context()

    def row_shapes(self) -> dict[str, Any]:
        """Shape and dtype of one global batch of `scan`."""
        return self.main.row_shapes()

    def scan(self) -> Iterator[Batch]:
        """One ordered pass over the rows, in plain batches."""
        return self.main.scan()

    def column(self, name: str) -> np.ndarray:
        """A column of all rows, in order."""
        return self.main.column(name)

    def at(self, rows) -> Batch:
        """Columns of some rows, undecoded."""
        return self.main.at(rows)

    def split(self, name: str) -> Source:
        """Another split of the rows, in plain batches."""
        return self.main.split(name)

    def split_names(self) -> tuple[str, ...]:
        """Names of all splits of the rows."""
        return self.main.split_names()

    def has_labels(self, split: str = "") -> bool:
        """True if a split of the rows has labels."""
        return self.main.has_labels(split)

    def labels(self) -> np.ndarray:
        """Class numbers of all rows, in order."""
        return self.main.labels()

    def targets(self, name: str = "label") -> np.ndarray:
        """A target column of all rows, in order."""
        return self.main.targets(name)

    def _row(self):
        return self.main._row()


class Pair(_Around):
    """Nested batches, {name: batch of that source}; other members are those of `main`."""

    parts: Mapping[str, Source]

    def __init__(self, main: str, parts: Mapping[str, Source]):
        tables = {name: part.table for name, part in parts.items()}
        vars(self).update(
            vars(parts[main]),
            main=parts[main],
            parts=parts,
            labeled=True,
            table=None if None in tables.values() else tables,
            records=None,
            digest=fingerprint(*(part.digest for part in parts.values())),
            context=_merged(part.context for part in parts.values()),
            includes={
                k: x
                for part in (*parts.values(), parts[main])
                for k, x in part.includes.items()
            },
            skipped={
                f"{name} {k}": x
                for name, part in parts.items()
                for k, x in part.skipped.items()
            },
        )

    def decode(self, batch: Batch, context: Batch = {}) -> Batch:
        """Decodes nested batches and adds the context; flat batches are those of `main`."""
        if "index" in batch:
            return self.main.decode(batch, context)
        nested = {name: self.parts[name].decode(x) for name, x in batch.items()}
        return nested | dict(context)

    def decoded_context(self) -> Batch:
        """The context of all parts, as methods receive it."""
        return {k: x for p in self.parts.values() for k, x in p.decoded_context().items()}

    def shapes(self) -> dict[str, Any]:
        """Shape and dtype of one global training batch, as `stream` yields it."""
        return {name: part.shapes() for name, part in self.parts.items()}

    def initial_shapes(self) -> dict[str, Any]:
        """Shape and dtype of a batch that a method is initialized on."""
        return {name: part.initial_shapes() for name, part in self.parts.items()}

    def indices(self, start: int = 0, order=None) -> Iterator[Batch]:
        """The rows that `stream` would read, without reading them."""
        return self._together("indices", start, order)

    def stream(self, start: int = 0, order=None) -> Iterator[Batch]:
        """All streams side by side; `order` is the main one's."""
        return self._together("stream", start, order)

    def _together(self, method, start, order):
        streams = [
            getattr(part, method)(start, order if part is self.main else None)
            for part in self.parts.values()
        ]
        return (
            dict(zip(self.parts, batches, strict=True))
            for batches in zip(*streams, strict=True)
        )


class Minibatches(_Around):
    """k batches per step, [k, n, ...]; other members are those of the source."""

    batch_axis: ClassVar[int] = 1

    k: int

    def __init__(self, source: Source, k: int):
        vars(self).update(vars(source), main=source, k=k)

    def steps(self, epochs: int | float) -> int:
        """Number of steps of `epochs` epochs, rounded; at least 1."""
        return max(1, round(epochs * self.main.steps(1) / self.k))

    def shapes(self) -> dict[str, Any]:
        """Shape and dtype of one global training batch, as `stream` yields it."""
        return self._thick(self.main.shapes())

    def initial_shapes(self) -> dict[str, Any]:
        """Shape and dtype of a batch that a method is initialized on."""
        return self._thick(self.main.initial_shapes())

    def _thick(self, shapes):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((self.k, *x.shape), x.dtype), shapes
        )

    def indices(self, start: int = 0, order=None) -> Iterator[Batch]:
        """The rows that `stream` would read, without reading them."""
        return self._stacked(self.main.indices(start * self.k, order))

    def stream(self, start: int = 0, order=None) -> Iterator[Batch]:
        """Step s takes the source's batches s * k to s * k + k - 1."""
        return self._stacked(self.main.stream(start * self.k, order))

    def _stacked(self, batches):
        while True:
            step = itertools.islice(batches, self.k)
            yield jax.tree.map(lambda *x: np.stack(x), *step)


def pair(*, main: str = "", **sources: Source) -> Pair:
    """Combines the batches of several sources: {name: batch}.

    Semi-supervised learning has `labeled` and `unlabeled` sources, domain adaptation
    `source` and `target`. Epochs, splits and the rows to evaluate are those of the main
    source. The seeds of the others are shifted, so that a data set paired with itself does
    not have equal batches; a source smaller than its batch is repeated until it fills one,
    as in FixMatch (Sohn et al., NeurIPS 2020, https://arxiv.org/abs/2001.07685). A source
    named "labeled" includes targets, one named "unlabeled" does not; others are unchanged.

    Args:
      main: name of the main source; empty: the last.
      **sources: two or more plain sources. Their context arrays are merged into the nested
        batch, under their own names.

    Raises:
      ValueError: fewer than two plain sources, an unknown main source, or one name for two
        different context arrays.
    """
    if len(sources) < 2 or any(type(source) is not Source for source in sources.values()):
        raise ValueError(
            "pair needs two or more plain sources; for k batches per step use "
            "minibatches(pair(...), k)"
        )
    main = main or list(sources)[-1]
    if main not in sources:
        raise ValueError(f"pair: main must be {' or '.join(sources)}, got {main!r}")
    carries, parts, shift = {"labeled": True, "unlabeled": False}, {}, 0
    for name, source in sources.items():
        shift += name != main
        parts[name] = dataclasses.replace(
            source,
            labeled=carries.get(name, source.labeled),
            seed=source.seed + (shift if name != main else 0),
        )
        if name != main and source.size < source.batch:
            times = -(-source.batch // source.size)
            parts[name] = subset(parts[name], np.tile(np.arange(source.size), times))
    return Pair(main, parts)


def _merged(contexts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One mapping of all context arrays."""
    found: dict[str, Any] = {}
    for context in contexts:
        for name, x in context.items():
            if not np.array_equal(found.setdefault(name, x), x):
                raise ValueError(f"pair: two sources have different arrays {name!r}")
    return found


def minibatches(source: Source, k: int) -> Minibatches:
    """Stacks k batches per step, [k, n, ...], e.g. for several updates of a critic.

    A mesh shards axis 1, which is `batch_axis`.

    Raises:
      ValueError: k is below 1, or the source has context.
    """
    if k < 1:
        raise ValueError(f"minibatches: k must be positive, got {k}")
    if source.context:
        raise ValueError("minibatches: sources with context cannot be stacked")
    return Minibatches(source, k)
