"""Features of a trained method: its outputs for rows of the data, as input of evals."""

from collections.abc import Callable, Mapping
from functools import cached_property, wraps
from numbers import Real
from typing import Any, NamedTuple

import jax
import numpy as np

from jssl import sharding
from jssl.cluster import recorded
from jssl.data import Source, apart, subset
from jssl.engine import Engine
from jssl.evals import doctor
from jssl.exhibits import SHARED, drawn
from jssl.method import identity, no_samples
from jssl.pictures import Picture


class Features:
    """The outputs of a method in one state, and the targets, for rows of its data.

    Args:
      engine: of the stage.
      state: of its method.
      done: final states of earlier stages by name, for `start`; None if not available.
      limit: number of rows of a split, spread evenly; None: all.
    """

    def __init__(
        self,
        engine: Engine,
        state: Any,
        done: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ):
        self.engine, self.state, self.done, self.limit = engine, state, done, limit
        self.source: Source = engine.stage.data
        self._seen: dict[Any, Any] = {}
        self._apart: dict[str, Source] = {}
        self._limited: dict[str, Source] = {}
        self._functions = engine.functions

    def few(self, split: str, rows: int) -> "Features":
        """Features of at most `rows` rows of a split, evenly spread over it."""
        if self.split(split).size <= rows:
            return self
        return Features(self.engine, self.state, self.done, limit=rows)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Outputs of `embed`, with "maps" if its last layer has places."""
        method = self.engine.stage.method
        outputs = jax.eval_shape(method.embed, self.engine.shapes, self.engine.rows)
        return tuple(with_maps(outputs))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of the data, else their numbers."""
        return self.source.class_names

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns of a row."""
        return tuple(self.source.row_shapes())

    def __call__(
        self,
        split: str,
        name: str = "h",
        reduce: Callable = identity,
        rows: int | None = None,
    ) -> Any:
        """The output `name` of `embed` for the rows of a split, in order.

        Args:
          split: of the data.
          name: of the output.
          reduce: runs on the device first, e.g. to pool large maps before they are copied
            to the host.
          rows: number of first rows; None: all.
        """
        return self._collected((name, reduce), split, rows)

    def rows(self, split: str, rows: int | None = None) -> dict[str, Any]:
        """The decoded columns of the rows of a split, without the context."""
        return self._collected("rows", split, rows)

    def generated(self, split: str, rows: int | None = None) -> Mapping[str, Any]:
        """Samples by field, one per row of a split; empty if the method generates none."""
        if not self.generates:
            return {}
        return self._collected("generated", split, rows)

    @property
    def generates(self) -> bool:
        """True if the method has a `generate`."""
        return self.engine.stage.method.generate is not no_samples

    def of(self, rows: Mapping[str, Any], name: str = "h", reduce: Callable = identity):
        """The output `name` for other decoded rows, with the columns of the method."""
        return self.engine.over(self._others(rows), self._embed(name, reduce), self.state)

    def generated_of(self, rows: Mapping[str, Any], key: jax.Array) -> Mapping[str, Any]:
        """Samples by field, one per other decoded row, whose fields are its conditions."""
        fn, _, state = self._function("generated")
        return self.engine.over(self._others(rows), fn, key, state)

    def _others(self, rows):
        table = {k: np.asarray(x) for k, x in rows.items() if k != "index"}
        size, batch = len(next(iter(table.values()))), self.source.batch
        return Source(name="other rows", size=size, batch=batch, table=table)

    def network(self, name: str = "h") -> tuple[Callable, Any]:
        """(apply, state): apply(state, batch) is the output `name` for decoded rows."""
        embed, context = self.engine.stage.method.embed, self.engine.context
        return lambda state, batch: embed(state, dict(batch) | context)[name], self.state

    def start(self) -> Any:
        """The state before the first step.

        Raises:
          ValueError: the stage starts from earlier stages, whose states are not available.
        """
        if self.engine.stage.start and self.done is None:
            raise ValueError(
                f"the stage {self.engine.stage.name} starts from the states of earlier "
                f"stages, which are not available"
            )
        return self.engine.begin(self.done or {})

    def split(self, name: str) -> Source:
        """A split of the data, or evenly spaced rows of it if it exceeds the limit.

        Rows of train that are in val too are left out: evals that choose on val must not
        fit on it.
        """
        if name not in self._apart:
            self._apart[name] = apart(self.source.split(name))
        source = self._apart[name]
        if self.limit is None or source.size <= self.limit:
            return source
        if name not in self._limited:
            rows = np.linspace(0, source.size - 1, self.limit).astype(int)
            self._limited[name] = subset(source, rows)
        return self._limited[name]

    def labels(self, split: str) -> np.ndarray:
        """Class numbers [n] of a split."""
        return self.split(split).labels()

    def targets(self, split: str, name: str = "label") -> np.ndarray:
        """The column `name` of a split: classes [n], tags [n, l], poses [n, d] ..."""
        return self.split(split).targets(name)

    def shown(self, split: str, index: Any, columns: tuple[str, ...] = ()) -> dict:
        """Pictures, by field, of rows `index` [rows, columns] of a split."""
        source, index = self.split(split), np.asarray(index)
        read = source.at(index.ravel())
        found = {k: x for k, x in read.items() if not source.field_of(k).on_host}
        decoded = jax.device_get(source.decode(found)) | {
            k: x for k, x in read.items() if k not in found
        }
        whole = jax.device_get(self.engine.context)
        batch = {k: x.reshape(*index.shape, *x.shape[1:]) for k, x in decoded.items()}
        drawn = {
            name: source.field_of(name).shown(x, columns, whole | batch)
            for name, x in batch.items()
        }
        return {name: picture for name, picture in drawn.items() if picture is not None}

    def _collected(self, what, split, rows):
        """Collects and caches outputs; first rows are taken from more rows in the cache."""
        for (output, where, count), found in self._seen.items():
            enough = count is None or (rows is not None and rows <= count)
            if (output, where) == (what, split) and enough:
                return jax.tree.map(lambda x: x[:rows], found)
        fn, *args = self._function(what)
        found = self.engine.collect(fn, *args, split=self.split(split), rows=rows)
        self._seen[what, split, rows] = found
        return found

    def _function(self, what):
        if what == "rows":
            context = set(self.engine.context)
            if what not in self._functions:
                self._functions[what] = lambda batch: {
                    k: x for k, x in batch.items() if k not in context
                }
            return (self._functions[what],)
        if what == "generated":
            if what not in self._functions:
                generate = self.engine.stage.method.generate

                @wraps(generate)
                def keyed(key, state, batch):
                    return generate(
                        jax.random.fold_in(key, batch["index"][0]), state, batch
                    )

                self._functions[what] = keyed
            key = jax.random.fold_in(self.engine.keys["render"], 0)
            return self._functions[what], key, self.state
        return self._embed(*what), self.state

    def _embed(self, name, reduce):
        """(state, batch) -> reduce(output `name`); XLA drops the other outputs."""
        if (name, reduce) not in self._functions:

            def embed(state, batch):
                outputs = with_maps(self.engine.stage.method.embed(state, batch))
                if name not in outputs:
                    known = ", ".join(outputs)
                    raise ValueError(f"embed has no output {name!r}; it has {known}")
                return reduce(outputs[name])

            self._functions[name, reduce] = embed
        return self._functions[name, reduce]


class Evaluation(NamedTuple):
    """Results of the evals of a stage.

    Attributes:
      scores: metrics of the evals.
      signs: the doctor's numbers.
      pictures: of both.
      failed: errors, by the name of the eval.
      split: evaluated, "test" or "val".
    """

    scores: dict[str, float]
    signs: dict[str, float]
    pictures: dict[str, Picture]
    failed: dict[str, str]
    split: str


def evaluate(
    features: Features,
    *,
    final: bool,
    made: Callable[[dict[str, float]], Any] | None = None,
) -> Evaluation:
    """Applies a stage's evals, and the doctor's examination.

    Args:
      features: of the stage.
      final: True evaluates on test, at the end of the stage, else on val, by the evals that
        take seconds. Data without a labeled test split are always evaluated on val.
      made: called with the metrics of each eval as soon as they are computed.
    """
    stage = features.engine.stage
    last = final
    judges = {k: x for k, x in stage.evals.items() if last or getattr(x, "online", True)}
    final = last and final_split(features.source) == "test"
    found = Evaluation({}, {}, {}, {}, "test" if final else "val")
    seen = existing_split(features.source, found.split)
    if stage.steps:
        with recorded(found.failed, "doctor"):
            found.signs.update(doctor.examine(features, seen))  # type: ignore[arg-type]
        if last:
            with recorded(found.failed, "spectrum"):
                spectrum = doctor.spectrum(features, seen)  # type: ignore[arg-type]
                found.pictures.update({"spectrum": spectrum} if spectrum.ys else {})
    for name, judge in judges.items():
        with recorded(found.failed, name):
            results = judge(features, final)
            numbers = {k: float(x) for k, x in results.items() if isinstance(x, Real)}
            found.scores.update(numbers)
            found.pictures.update({k: x for k, x in results.items() if k not in numbers})
            if made and numbers:
                made(numbers)
    return found


def final_split(source: Source) -> str:
    """The split of the final evals: "test", or "val" if test is missing or has no targets.

    A test split without the labels of the training split, or with negative ones, counts as
    missing.
    """
    try:
        test = source.split("test")
        if source.classes and test.labels().min(initial=0) < 0:
            return "val"
    except ValueError:
        return "val"
    return "test"


def existing_split(source: Source, split: str) -> str:
    """`split` if the data set has it, else "train"."""
    try:
        source.split(split)
    except ValueError:
        return "train"
    return split


def render(features: Features) -> tuple[dict[str, Picture], dict[str, str]]:
    """Shared and method-specific pictures of the test split; the latter of a batch of rows
    drawn once and for all, as neighboring rows may be of one class or photograph.

    Returns:
      The pictures, and the errors of those that failed, by name.
    """
    engine = features.engine
    split = existing_split(features.source, "test")
    source = features.source.split(split)
    found, failed = drawn(SHARED, features, split)
    with recorded(failed, "pictures of the method"):
        shown = np.random.default_rng(0).permutation(source.size)[: source.batch]
        batch = sharding.place(next(subset(source, shown).scan()), engine.mesh)
        rows = features.source.decode(batch, engine.context)
        own = engine.stage.method.render(
            engine.keys["render"], features.state, rows, engine.collect
        )
        found |= jax.device_get(dict(own))
    return found, failed


def with_maps(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of `embed`, with its last layer as "maps" if that is [n, h, w, d], or
    [n, t, h, w, d] of clips."""
    layers = outputs.get("layers", ())
    there = bool(layers) and layers[-1].ndim in (4, 5)
    return ({"maps": layers[-1]} if there else {}) | dict(outputs)
