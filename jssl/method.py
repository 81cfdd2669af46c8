"""The interface of a learning method: pure functions over one state.

Standard output names of `embed`; a method may have others:

    h               [n, d], the representation that is evaluated
    z, p            [n, k], projection and prediction
    logits          [n, classes]
    prototypes      [n, k], scores of prototypes or clusters
    layers          a tuple of maps [n, h, w, d], tokens [n, l, d] or frames [n, t, h, w, d]
    frames          maps [n, t, h, w, d] or rows [n, t, d] of the frames of a video, each
                    computed from one frame alone
    maps            the last of the layers, if it is [n, h, w, d] or [n, t, h, w, d];
                    derived by evals
    tokens          [n, l, d]
    attention       a tuple of probabilities [n, heads, 1 + l, 1 + l]
    input           the target of `reconstruction`, of the same shape
    reconstruction  [n, ...]

"h/text", "z/image": outputs of one of several towers.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

State = TypeVar("State")
Batch = Mapping[str, Any]  # arrays by name; nests: batch["labeled"]["image"]
Metrics = Mapping[str, jax.Array]  # scalars by name: "disc/loss"
Augment = Callable[[jax.Array, Batch], Any]  # (key, batch) -> x, rows first, views second
Prepare = Callable[[Batch], Any]  # batch -> x, rows first
Collect = Callable[..., Any]  # (fn, *args, split="train") -> fn(*args, batch), all rows


class Init(Protocol):
    """Creates the first state; uses the batch for its shapes only."""

    def __call__(self, key: jax.Array, batch: Batch, /) -> Any: ...


class Step(Protocol):
    """Makes one update: returns the next state and metrics."""

    def __call__(self, key: jax.Array, state: Any, batch: Batch, /) -> tuple[Any, Any]: ...


class Embed(Protocol):
    """Computes outputs by name, "h" among them; row i must not depend on other rows."""

    def __call__(self, state: Any, batch: Batch, /) -> Mapping[str, Any]: ...


class Refresh(Protocol):
    """Updates a state between epochs from all the data: cluster labels, a memory bank.

    The second result, if not None, is the sequence of row numbers that the stream follows
    until the next refresh.
    """

    def __call__(self, key: jax.Array, state: Any, collect: Collect, /) -> tuple: ...


class Render(Protocol):
    """Draws method-specific pictures (`jssl.pictures`), with the same key each time."""

    def __call__(
        self, key: jax.Array, state: Any, batch: Batch, collect: Collect, /
    ) -> Mapping[str, Any]: ...


class Generate(Protocol):
    """Generates one sample per row of the batch, by field: {"image": [n, h, w, c]}.

    The fields of a row are the conditions of its sample: a label, a caption, a prefix, a
    low-resolution image. A method with none uses their shapes only. `jssl.sample` replaces
    fields ("label"), and adds "like", samples to start from, with "strength" [n], the
    fraction of noise that is added to them, in [0, 1].
    """

    def __call__(self, key: jax.Array, state: Any, batch: Batch, /) -> dict[str, Any]: ...


def identity(x):
    """Returns its argument."""
    return x


def field(name: str, then: Callable = identity) -> Prepare:
    """A function from a batch to one of its fields, with `then` applied.

    >>> field("image", lambda x: 2 * x)({"image": jnp.ones(3)}).tolist()
    [2.0, 2.0, 2.0]
    """
    return lambda batch: then(batch[name])


def first_row(x: Any) -> Any:
    """The first row of every leaf, [1, ...]."""
    return jax.tree.map(lambda leaf: leaf[:1], x)


def view(views: Any, i: int) -> Any:
    """View number i of every row: [n, v, ...] -> [n, ...], in every leaf."""
    return jax.tree.map(lambda leaf: leaf[:, i], views)


def fold(views: Any) -> Any:
    """Views [n, v, ...] as rows [n v, ...], in every leaf; views of a row are adjacent.

    Views of different sizes are a tuple of such arrays.
    """
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), views)


def of_frames(outputs: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Outputs of a frame encoder for videos, from those of all their frames [n t, ...].

    "h" is the mean over the frames, "frames" their last maps, or their h if there are none.

    Args:
      outputs: "h" [n t, d] and, if any, "layers", maps [n t, h, w, d].
      rows: n.

    >>> out = of_frames({"h": jnp.arange(6.0).reshape(6, 1)}, rows=2)
    >>> out["h"].tolist(), out["frames"].shape
    ([[1.0], [4.0]], (2, 3, 1))
    """
    apart = lambda x: x.reshape(rows, -1, *x.shape[1:])
    h = apart(outputs["h"])
    if not outputs.get("layers"):
        return {"h": h.mean(1), "frames": h}
    layers = tuple(map(apart, outputs["layers"]))
    return {"h": h.mean(1), "frames": layers[-1], "layers": layers}


def part(batch: Batch, *names: str) -> Batch:
    """A part of a nested batch, or the concatenation of several, with the context.

    Of several parts, only common fields are concatenated.
    """
    streams = [batch[name] for name in names]
    shared = [name for name in streams[0] if all(name in stream for stream in streams)]
    context = {name: x for name, x in batch.items() if not isinstance(x, Mapping)}
    if len(streams) == 1:
        return context | dict(streams[0])
    return context | {n: jnp.concatenate([s[n] for s in streams]) for n in shared}


def unchanged(key, state, collect):
    """The default refresh: leaves the state unchanged."""
    del key, collect
    return state, None


def nothing(key, state, batch, collect):
    """The default render: no pictures."""
    del key, state, batch, collect
    return {}


def no_samples(key, state, batch):
    """The default generate: no samples."""
    del key, state, batch
    return {}


def dispatched(fn):
    """Marks a `generate` that compiles its own parts and is called outside `jit`.

    For searches by gradients of convolutions, which XLA compiles for minutes where their
    steps are unrolled in one program, and runs slowly on CPU where they are a loop.
    """
    fn.dispatched = True
    return fn


class Method(NamedTuple, Generic[State]):
    """A learning method, as pure functions of its state.

    A batch contains the decoded fields of its rows (`jssl.data.fields`), "index" [n], and
    the whole context of its source.

    Attributes:
      init: (key, batch) -> state.
      step: (key, state, batch) -> (state, metrics).
      embed: (state, batch) -> {"h": [n, d], ...}.
      refresh: (key, state, collect) -> (state, order).
      render: (key, state, batch, collect) -> {name: picture}.
      generate: (key, state, batch) -> {field: [n, ...]}; may be `dispatched`.
    """

    init: Init
    step: Step
    embed: Embed
    refresh: Refresh = unchanged
    render: Render = nothing
    generate: Generate = no_samples


class Above(NamedTuple):
    """The state of a method that is trained on the embeddings of a lower one.

    Attributes:
      below: frozen state of the lower method.
      own: state of the upper method.
    """

    below: Any
    own: Any


def trained(state: Any) -> Any:
    """The part of a state that steps change: of a stack the uppermost."""
    return trained(state.own) if isinstance(state, Above) else state


def above(lower: Method, upper: Method) -> Method[Above]:
    """Stacks `upper` on `lower`, whose h [n, d] is added to the batch as "below".

    The upper method's `prepare` is `field("below")`. Its stage starts from the state of the
    lower one, which is then frozen:

        start=beneath("layer1")

    Stacks may be nested: the lower method may itself be a stack.
    """

    def lifted(below, batch):
        h = jax.lax.stop_gradient(lower.embed(below, batch)["h"])
        return dict(batch) | {"below": h}

    def init(key, batch):
        one, two = jax.random.split(key)
        below = lower.init(one, batch)
        return Above(below, upper.init(two, lifted(below, batch)))

    def step(key, state, batch):
        own, metrics = upper.step(key, state.own, lifted(state.below, batch))
        return state._replace(own=own), metrics

    def embed(state, batch):
        return upper.embed(state.own, lifted(state.below, batch))

    return Method(init, step, embed)


def beneath(stage: str) -> Callable[[Above, Mapping[str, Any]], Above]:
    """The `start` of a stage whose method is stacked on that of an earlier stage."""
    return lambda state, done: state._replace(below=done[stage])
