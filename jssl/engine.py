"""Engine: the compiled functions of a stage on its mesh.

The state is one pytree, created sharded and donated to each step. Step i has the key
fold_in(key, i).
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jssl import sharding
from jssl.config import Stage
from jssl.data import Source
from jssl.learner import rates
from jssl.method import identity, trained


class Engine:
    """The compiled functions of a stage on its mesh.

    Args:
      stage: the stage to train.
      devices: of the mesh; None: all devices.
    """

    def __init__(self, stage: Stage, devices: Sequence | None = None):
        self.stage = stage
        self.mesh = sharding.make_mesh(stage.mesh, devices)
        for field in jax.tree.leaves(stage.data.shapes()):  # streams may differ in size
            sharding.check_divides(field.shape[stage.data.batch_axis], self.mesh)
        names = ("init", "step", "refresh", "render")
        keys = jax.random.split(jax.random.key(stage.seed), len(names))
        self.keys = dict(zip(names, keys, strict=True))
        context = jax.eval_shape(stage.data.decoded_context)
        initial = stage.data.initial_shapes()
        self.batch = jax.eval_shape(stage.data.decode, initial, context)
        self.rows = jax.eval_shape(stage.data.decode, stage.data.row_shapes(), context)
        state = jax.eval_shape(stage.method.init, self.keys["init"], self.batch)
        seen = jax.eval_shape(stage.method.embed, state, self.rows)
        check_rows(seen, stage.data.batch)  # fail early
        shardings = sharding.infer(state, self.mesh, stage.rules)
        self.shapes = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            state,
            shardings,
        )
        self.shardings = shardings
        self.everywhere = sharding.replicated(self.mesh)
        self.copied = partial(copied, shardings=shardings)
        self.functions: dict[Any, Callable] = {}  # of a batch; cached for compilation
        self._programs: dict[Any, Callable] = {}

    def begin(self, done) -> Any:
        """The initial state, with weights of earlier stages if the stage has a `start`."""

        def init(key):
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self.batch)
            return self.stage.method.init(key, zeros)

        state = jax.jit(init, out_shardings=self.shardings)(self.keys["init"])
        return self.copied(self.stage.start(state, done)) if self.stage.start else state

    @cached_property
    def _all_finite(self):
        floats = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)
        return jax.jit(
            lambda leaves: jnp.array(
                [jnp.isfinite(x).all() for x in leaves if floats(x)]
            ).all()
        )

    def is_finite(self, state: Any) -> bool:
        """True if no floating-point leaf of a state contains NaN or infinity."""
        return bool(self._all_finite(jax.tree.leaves(state)))

    @cached_property
    def table(self) -> Any:
        """The training split on the device, if it is small; else None."""
        table = self.stage.data.table
        return (
            None
            if table is None
            else jax.device_put(_like(table, self.stage.data.shapes()), self.everywhere)
        )

    @cached_property
    def context(self) -> Any:
        """The decoded context, replicated on all devices."""
        return jax.device_put(self.stage.data.decoded_context(), self.everywhere)

    @cached_property
    def _advance(self):
        def one(key, held, state, item):
            (table, context), (step, batch) = held, item
            batch = batch if table is None else look_up(table, batch)
            batch = self.stage.data.decode(batch, context)
            key = jax.random.fold_in(key, step)
            state, metrics = self.stage.method.step(key, state, batch)
            return state, metrics | rates(trained(state))

        def advance(state, key, held, step, batches):
            count = len(jax.tree.leaves(batches)[0])
            if count > 1:
                items = step + jnp.arange(count), batches
                return jax.lax.scan(partial(one, key, held), state, items)
            state, metrics = one(key, held, state, (step, row(batches, 0)))
            return state, jax.tree.map(lambda x: x[None], metrics)

        outputs = (self.shardings, self.everywhere)
        return jax.jit(advance, donate_argnums=0, out_shardings=outputs)

    def advance(self, state, step, batches) -> tuple[Any, dict[str, jax.Array]]:
        """Runs several steps in one dispatch; metrics are [steps]."""
        held = self.table, self.context
        return self._advance(state, self.keys["step"], held, np.int32(step), batches)

    def traced(self) -> jax.stages.Traced:
        """A traced step, to be lowered and compiled, from shapes only."""
        data, axis = self.stage.data, 1 + self.stage.data.batch_axis
        table = data.table and _like(data.table, data.shapes())
        batch = data.shapes()
        if table is not None:
            batch = jax.eval_shape(lambda: next(data.indices()))
        shaped = lambda x, sharding, *front: jax.ShapeDtypeStruct(
            (*front, *x.shape), x.dtype, sharding=sharding
        )
        whole = partial(jax.tree.map, partial(shaped, sharding=self.everywhere))
        held = whole(table), whole(jax.eval_shape(data.decoded_context))
        rows = sharding.rows(self.mesh, axis)
        some = jax.tree.map(lambda x: shaped(x, rows, 1), batch)
        step = jax.ShapeDtypeStruct((), jnp.int32)
        key = jax.eval_shape(lambda: jax.random.key(0))
        return self._advance.trace(self.shapes, key, held, step, some)

    def batches(self, begin, order):
        """Batches of each dispatch from step `begin` on, sharded: [steps, n, ...]."""
        data, stage = self.stage.data, self.stage
        stream = (data.stream if self.table is None else data.indices)(begin, order)
        for step in range(begin, stage.steps, stage.dispatch):
            count = min(stage.dispatch, stage.steps - step)
            some = [next(stream) for _ in range(count)]
            yield sharding.place(stacked(some), self.mesh, 1 + data.batch_axis)

    def is_due(self, period, step) -> bool:
        """True if an action with this period is due at this step."""
        whole = -(-period // self.stage.dispatch) * self.stage.dispatch
        return bool(period) and step % whole == 0

    def refresh(self, state, step):
        key = jax.random.fold_in(self.keys["refresh"], step)
        state, order = self.stage.method.refresh(key, state, self.collect)
        return self.copied(state), None if order is None else np.asarray(order)

    def collect(
        self, fn, *args, split: str | Source = "train", rows: int | None = None
    ) -> Any:
        """fn(*args, batch) for the rows of a split, in order, as numpy on every host.

        Args:
          fn: (*args, batch) -> a tree of arrays with rows first.
          split: of the stage's data: a name, or rows of it as a source.
          rows: number of first rows; None: all.
        """
        source = split if isinstance(split, Source) else self.stage.data.split(split)
        return self._over(source, self._compiled(fn, self.stage.data.decode), args, rows)

    def over(self, source: Source, fn, *args) -> Any:
        """`collect` for all rows of a source with decoded columns."""
        compiled = self._compiled(fn, lambda batch, context: dict(batch) | dict(context))
        return self._over(source, compiled, args, None)

    def _over(self, source, compiled, args, rows):
        size = source.size if rows is None else min(rows, source.size)
        batches = itertools.islice(source.scan(), -(-size // source.batch))
        found: Any = None
        for i, batch in enumerate(batches):
            part = compiled(args, sharding.place(batch, self.mesh), self.context)
            part = jax.device_get(part)
            if found is None:
                check_rows(part, source.batch)
                # Parts that are joined at the end would take the memory twice.
                empty = lambda x: np.empty((size, *x.shape[1:]), x.dtype)
                found = jax.tree.map(empty, part)
            jax.tree.map(partial(_fill, i * source.batch), found, part)
        return found

    def _compiled(self, fn, decode):
        """Compiles fn(*args, batch), cached by fn; of a `dispatched` one only its ends."""
        key = fn, decode == self.stage.data.decode
        if key not in self._programs:
            compiled = partial(jax.jit, out_shardings=self.everywhere)
            if getattr(fn, "dispatched", False):
                decoded, whole = jax.jit(decode), compiled(identity)
                self._programs[key] = lambda args, batch, context: whole(
                    fn(*args, decoded(batch, context))
                )
            else:
                self._programs[key] = compiled(
                    lambda args, batch, context: fn(*args, decode(batch, context))
                )
        return self._programs[key]


def copied(state: Any, shardings: Any = None) -> Any:
    """A copy for donation, which fails for a state that contains an array twice."""
    return jax.jit(partial(jax.tree.map, jnp.copy), out_shardings=shardings)(state)


def _fill(begin: int, whole: np.ndarray, part: np.ndarray) -> None:
    """Writes rows into an array, as far as it goes."""
    rows = whole[begin : begin + len(part)]
    rows[:] = part[: len(rows)]


def stacked(batches: list[Any]) -> Any:
    """Stacks batches on a new first axis, without copying a single one."""
    if len(batches) == 1:
        return jax.tree.map(lambda x: x[None], batches[0])
    return jax.tree.map(lambda *x: np.stack(x), *batches)


def look_up(table: Any, batch: Any) -> Any:
    """The rows batch["index"] of a table, or of each table of nested batches."""
    if "index" not in batch:
        return {name: look_up(table[name], part) for name, part in batch.items()}
    return {name: column[batch["index"]] for name, column in table.items()} | dict(batch)


def check_rows(outputs: Any, batch: int) -> None:
    """Raises ValueError unless every leaf has `batch` rows."""
    for x in jax.tree.leaves(outputs):
        if x.shape[:1] != (batch,):
            raise ValueError(
                f"outputs for a batch of {batch} must have {batch} rows, got "
                f"{x.dtype}{list(x.shape)}"
            )


def _like(table, shapes):
    """The fields of a table that training batches have."""
    return {
        name: _like(column, shapes[name]) if isinstance(column, Mapping) else column
        for name, column in table.items()
        if name in shapes
    }


def row(tree: Any, i: int) -> Any:
    """Row i of every leaf."""
    return jax.tree.map(lambda x: x[i], tree)
