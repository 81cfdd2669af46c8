"""A stage on its mesh: the compiled functions of its method, and what evals see of it.

The state is one pytree: born sharded, donated to each step. Step i gets fold_in(key, i).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jssl import sharding
from jssl.config import Stage
from jssl.data import Source
from jssl.evals import doctor
from jssl.method import identity


class Engine:
    """The compiled functions of a stage on its mesh.

    Args:
      stage: what is to be trained.
      devices: for the mesh; None: all there are.
    """

    def __init__(self, stage: Stage, devices: Sequence | None = None):
        self.stage = stage
        self.mesh = sharding.make_mesh(stage.mesh, devices)
        for field in jax.tree.leaves(stage.data.shapes()):  # two streams have two sizes
            sharding.check_divides(field.shape[stage.data.batch_axis], self.mesh)
        names = ("init", "step", "refresh", "render")
        keys = jax.random.split(jax.random.key(stage.seed), len(names))
        self.keys = dict(zip(names, keys, strict=True))
        self.batch = jax.eval_shape(decode, stage.data.shapes())
        state = jax.eval_shape(stage.method.init, self.keys["init"], self.batch)
        rows = jax.eval_shape(decode, stage.data.row_shapes())
        seen = jax.eval_shape(stage.method.embed, state, rows)
        check_rows(seen, stage.data.batch)  # mistakes show before work
        shardings = sharding.infer(state, self.mesh, stage.rules)
        self.shapes = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            state,
            shardings,
        )
        self.shardings = shardings
        self.everywhere = sharding.replicated(self.mesh)
        self.own = partial(copied, shardings=shardings)

    def begin(self, done) -> Any:
        """The state before the first step, with earlier stages' weights if it has them."""

        def init(key):
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self.batch)
            return self.stage.method.init(key, zeros)

        state = jax.jit(init, out_shardings=self.shardings)(self.keys["init"])
        return self.own(self.stage.start(state, done)) if self.stage.start else state

    @cached_property
    def table(self) -> Any:
        """The training split on the device, if it is small; else nothing."""
        table = self.stage.data.table
        return (
            None
            if table is None
            else jax.device_put(_like(table, self.stage.data.shapes()), self.everywhere)
        )

    @cached_property
    def _advance(self):
        def one(key, table, state, item):
            step, batch = item
            batch = decode(batch if table is None else look_up(table, batch))
            return self.stage.method.step(jax.random.fold_in(key, step), state, batch)

        def advance(state, key, table, step, batches):
            count = len(jax.tree.leaves(batches)[0])
            if count > 1:
                items = step + jnp.arange(count), batches
                return jax.lax.scan(partial(one, key, table), state, items)
            state, metrics = one(key, table, state, (step, row(batches, 0)))
            return state, jax.tree.map(lambda x: x[None], metrics)

        outputs = (self.shardings, self.everywhere)
        return jax.jit(advance, donate_argnums=0, out_shardings=outputs)

    def advance(self, state, step, batches) -> tuple[Any, dict[str, jax.Array]]:
        """Some steps in one dispatch; metrics come as [steps]."""
        return self._advance(state, self.keys["step"], self.table, np.int32(step), batches)

    def traced(self) -> jax.stages.Traced:
        """One step, ready to be lowered and compiled, with nothing placed anywhere."""
        data, axis = self.stage.data, 1 + self.stage.data.batch_axis
        table = data.table and _like(data.table, data.shapes())
        batch = data.shapes()
        if table is not None:
            batch = jax.eval_shape(lambda: next(data.indices()))
        shaped = lambda x, sharding, *front: jax.ShapeDtypeStruct(
            (*front, *x.shape), x.dtype, sharding=sharding
        )
        whole = partial(jax.tree.map, partial(shaped, sharding=self.everywhere))
        rows = sharding.rows(self.mesh, axis)
        some = jax.tree.map(lambda x: shaped(x, rows, 1), batch)
        step = jax.ShapeDtypeStruct((), jnp.int32)
        key = jax.eval_shape(lambda: jax.random.key(0))
        return self._advance.trace(self.shapes, key, whole(table), step, some)

    def batches(self, begin, order):
        """From step `begin` on, the batches of each dispatch, placed: [steps, n, ...]."""
        data, stage = self.stage.data, self.stage
        stream = (data.stream if self.table is None else data.indices)(begin, order)
        for step in range(begin, stage.steps, stage.dispatch):
            count = min(stage.dispatch, stage.steps - step)
            some = [next(stream) for _ in range(count)]
            yield sharding.place(stacked(some), self.mesh, 1 + data.batch_axis)

    def due(self, period, step) -> bool:
        """Whether something with this period falls on this step."""
        whole = -(-period // self.stage.dispatch) * self.stage.dispatch
        return bool(period) and step % whole == 0

    def refresh(self, state, step):
        key = jax.random.fold_in(self.keys["refresh"], step)
        state, order = self.stage.method.refresh(key, state, self.collect)
        return self.own(state), None if order is None else np.asarray(order)

    def collect(self, fn, *args, split="train") -> Any:
        """fn(*args, batch) for every row of a split, in order, as numpy on every host."""
        return self.over(self.stage.data.split(split), fn, *args)

    def over(self, source, fn, *args) -> Any:
        """fn(*args, batch) for every row of a source, in order, as numpy on every host."""
        each = self._compiled(fn)
        parts = [
            jax.device_get(each(args, sharding.place(batch, self.mesh)))
            for batch in source.scan()
        ]
        check_rows(parts[0], source.batch)
        return jax.tree.map(lambda *x: np.concatenate(x)[: source.size], *parts)

    def _compiled(self, fn):
        """Compiles fn(*args, batch) once, however often it is collected."""
        known = self.__dict__.setdefault("_known", {})
        if fn not in known:
            known[fn] = jax.jit(
                lambda args, batch: fn(*args, decode(batch)), out_shardings=self.everywhere
            )
        return known[fn]

    @cached_property
    def _embed(self):
        """(name, then) -> then(embedding of that name), compiled; XLA drops the others."""

        def make(wanted):
            name, then = wanted

            def embed(state, batch):
                outputs = with_maps(self.stage.method.embed(state, batch))
                if name not in outputs:
                    known = ", ".join(outputs)
                    raise ValueError(f"embed gives no {name!r}; it gives {known}")
                return then(outputs[name])

            return embed

        return _Table(make)

    def evaluate(self, state, *, final: bool) -> tuple[dict, dict, dict]:
        """The numbers of all evals, the doctor's, and their pictures."""
        features = Features(self, state)
        scores, signs, pictures = {}, {}, {}
        if self.stage.steps:
            split = self._at_hand("test" if final else "val")
            signs = doctor.examine(features, split)
            pictures["spectrum"] = doctor.spectrum(features, split)
        for evaluate in self.stage.evals.values():
            for name, value in evaluate(features, final).items():
                (scores if isinstance(value, Real) else pictures)[name] = value
        return {name: float(score) for name, score in scores.items()}, signs, pictures

    def _at_hand(self, split):
        """This split, or the training one where the data have no other."""
        try:
            self.stage.data.split(split)
        except ValueError:
            return "train"
        return split

    def render(self, state) -> Mapping[str, Any]:
        """The method's own pictures, on the first rows of the test split."""
        source = self.stage.data.split(self._at_hand("test"))
        batch = sharding.place(next(source.scan()), self.mesh)
        draw = partial(self.stage.method.render, collect=self.collect)
        pictures = draw(self.keys["render"], state, decode(batch))
        return jax.device_get(pictures)


class Features:
    """What an eval sees: the representation of every row of a split, and the labels."""

    def __init__(self, engine: Engine, state: Any):
        self.engine, self.state = engine, state
        self.seen: dict[Any, Any] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What embed gives, and "maps" where its last layer has places."""
        rows = jax.eval_shape(decode, self.engine.stage.data.row_shapes())
        method, shapes = self.engine.stage.method, self.engine.shapes
        return tuple(with_maps(jax.eval_shape(method.embed, shapes, rows)))

    def __call__(self, split: str, name: str = "h", then: Callable = identity) -> Any:
        """What embed calls `name`, of every row; `then` makes less of it on the device."""
        if (split, name, then) not in self.seen:
            embed = self.engine._embed[name, then]
            found = self.engine.collect(embed, self.state, split=split)
            self.seen[split, name, then] = found
        return self.seen[split, name, then]

    def of(self, images: np.ndarray, name: str = "h", then: Callable = identity) -> Any:
        """The same of other images [n, h, w, c], floats in [0, 1]."""
        batch, table = self.engine.stage.data.batch, {"image": np.asarray(images)}
        source = Source(name="other images", size=len(images), batch=batch, table=table)
        return self.engine.over(source, self.engine._embed[name, then], self.state)

    def network(self, name: str = "h") -> tuple[Callable, Any]:
        """(apply, state): apply(state, images [n, h, w, c]) is what embed calls `name`."""

        def apply(state, images):
            index = jnp.arange(len(images), dtype=jnp.int32)
            return self.engine.stage.method.embed(
                state, {"image": images, "index": index}
            )[name]

        return apply, self.state

    def start(self) -> Any:
        """The state before the first step."""
        return self.engine.begin({}) if not self.engine.stage.start else self.state

    def images(self, split: str) -> np.ndarray:
        """The images themselves, in [0, 1]."""
        return self.engine.collect(pictured, split=split)

    def labels(self, split: str) -> np.ndarray:
        return self.engine.stage.data.split(split).labels()


class _Table(dict):
    """A dict that makes what is missing."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def __missing__(self, name):
        self[name] = self.make(name)
        return self[name]


def copied(state: Any, shardings: Any = None) -> Any:
    """A copy to be donated: a state that holds one array twice cannot be."""
    return jax.jit(partial(jax.tree.map, jnp.copy), out_shardings=shardings)(state)


def stacked(batches: list[Any]) -> Any:
    """Batches on a new first axis; a single one is not copied."""
    if len(batches) == 1:
        return jax.tree.map(lambda x: x[None], batches[0])
    return jax.tree.map(lambda *x: np.stack(x), *batches)


def decode(batch: Any) -> Any:
    """Raw bytes, as they travel, become numbers in [0, 1]; the rest stays."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x, batch
    )


def look_up(table: Any, batch: Any) -> Any:
    """The rows that batch["index"] names, in every table of a nest."""
    if "index" not in batch:
        return {name: look_up(table[name], part) for name, part in batch.items()}
    return {name: column[batch["index"]] for name, column in table.items()} | dict(batch)


def with_maps(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """What embed gave, and its last layer as "maps" if that is [n, h, w, d]."""
    layers = outputs.get("layers", ())
    there = bool(layers) and layers[-1].ndim == 4
    return ({"maps": layers[-1]} if there else {}) | dict(outputs)


def check_rows(outputs: Any, batch: int) -> None:
    """Raises ValueError unless every leaf has a row for each of a batch."""
    for x in jax.tree.leaves(outputs):
        if x.shape[:1] != (batch,):
            raise ValueError(
                f"what is seen of a batch of {batch} must have a row for each, got "
                f"{x.dtype}{list(x.shape)}"
            )


def pictured(batch: Any) -> Any:
    """A batch's images."""
    return batch["image"]


def _like(table, shapes):
    """Of a table, the fields that a training batch has."""
    return {
        name: _like(column, shapes[name]) if isinstance(column, Mapping) else column
        for name, column in table.items()
        if name in shapes
    }


def row(tree: Any, i: int) -> Any:
    """Row i of every leaf."""
    return jax.tree.map(lambda x: x[i], tree)
