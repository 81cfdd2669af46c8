"""Sources made of sources: labelled beside unlabelled batches, and several at once."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import numpy as np

from jssl.data.source import Batch, Source
from jssl.data.splits import fingerprint
from jssl.data.subsets import subset


class Pair(Source):
    """Batches {"labeled": ..., "unlabeled": ...}; the rest is the latter's."""

    def __init__(self, labeled: Source, unlabeled: Source):
        both = {"labeled": labeled, "unlabeled": unlabeled}
        tables = {name: source.table for name, source in both.items()}
        vars(self).update(
            vars(unlabeled),
            parts=both,
            labeled=True,
            table=None if None in tables.values() else tables,
            records=None,
            digest=fingerprint(labeled.digest, unlabeled.digest),
        )

    def shapes(self) -> dict[str, Any]:
        """Shape and dtype of one global training batch, as `stream` yields it."""
        return {name: source.shapes() for name, source in self.parts.items()}

    def row_shapes(self) -> dict[str, Any]:
        """Shape and dtype of one global batch of `scan`."""
        return self.parts["unlabeled"].row_shapes()

    def indices(self, start: int = 0, order=None) -> Iterator[Batch]:
        """The rows that `stream` would read, without reading them."""
        few, many = self.parts.values()
        return _together(few.indices(start), many.indices(start, order))

    def stream(self, start: int = 0, order=None) -> Iterator[Batch]:
        """Both streams side by side; `order` is the unlabelled one's."""
        few, many = self.parts.values()
        return _together(few.stream(start), many.stream(start, order))

    def scan(self) -> Iterator[Batch]:
        """One ordered pass over the unlabelled source, in plain batches."""
        return self.parts["unlabeled"].scan()

    def column(self, name: str) -> np.ndarray:
        """A field of every row of the unlabelled source."""
        return self.parts["unlabeled"].column(name)

    def split(self, name: str) -> Source:
        """A split of the unlabelled source, in plain batches."""
        return self.parts["unlabeled"].split(name)

    def labels(self) -> np.ndarray:
        """The unlabelled source's labels, if they are known after all."""
        return self.parts["unlabeled"].labels()


def _together(few, many):
    return ({"labeled": a, "unlabeled": b} for a, b in zip(few, many, strict=True))


class Minibatches(Source):
    """k fresh batches a step, [k, n, ...]; all else is the source's own."""

    batch_axis: ClassVar[int] = 1

    def __init__(self, source: Source, k: int):
        vars(self).update(vars(source), source=source, k=k)

    def steps(self, epochs: int | float) -> int:
        """The steps of so many epochs, rounded; at least 1."""
        return max(1, round(epochs * self.source.steps(1) / self.k))

    def shapes(self) -> dict[str, Any]:
        """Shape and dtype of one global training batch, as `stream` yields it."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((self.k, *x.shape), x.dtype),
            self.source.shapes(),
        )

    def row_shapes(self) -> dict[str, Any]:
        """Shape and dtype of one global batch of `scan`."""
        return self.source.row_shapes()

    def indices(self, start: int = 0, order=None) -> Iterator[Batch]:
        """The rows that `stream` would read, without reading them."""
        return self._stacked(self.source.indices(start * self.k, order))

    def stream(self, start: int = 0, order=None) -> Iterator[Batch]:
        """Step s takes the source's batches s * k to s * k + k - 1."""
        return self._stacked(self.source.stream(start * self.k, order))

    def scan(self) -> Iterator[Batch]:
        """One ordered pass, in plain batches."""
        return self.source.scan()

    def column(self, name: str) -> np.ndarray:
        """A field of every row, in order."""
        return self.source.column(name)

    def split(self, name: str) -> Source:
        """A split of the source, in plain batches."""
        return self.source.split(name)

    def labels(self) -> np.ndarray:
        """The label of every row, in order."""
        return self.source.labels()

    def _stacked(self, batches):
        while True:
            step = itertools.islice(batches, self.k)
            yield jax.tree.map(lambda *x: np.stack(x), *step)


def pair(*, labeled: Source, unlabeled: Source) -> Pair:
    """Labelled and unlabelled batches side by side, for semi-supervised learning.

    An epoch is the unlabelled one's. The labelled stream carries labels and is shuffled
    by the next seed, so that a data set beside itself is not met twice in one step. A
    labelled set smaller than its batch is repeated until it fills one, as FixMatch does
    (Sohn et al., NeurIPS 2020, https://arxiv.org/abs/2001.07685).
    """
    if type(labeled) is not Source or type(unlabeled) is not Source:
        raise ValueError(
            "pair: wants two plain sources; for k batches a step, minibatches(pair(...), k)"
        )
    seed = labeled.seed + 1
    labeled = dataclasses.replace(labeled, labeled=True, seed=seed)
    if labeled.size < labeled.batch:
        times = -(-labeled.batch // labeled.size)
        labeled = subset(labeled, np.tile(np.arange(labeled.size), times))
    return Pair(labeled, dataclasses.replace(unlabeled, labeled=False))


def minibatches(source: Source, k: int) -> Minibatches:
    """k fresh batches a step, as [k, n, ...]: several updates of a critic, say.

    A mesh shards axis 1, as `batch_axis` says.
    """
    if k < 1:
        raise ValueError(f"minibatches: k must be positive, got {k}")
    return Minibatches(source, k)
