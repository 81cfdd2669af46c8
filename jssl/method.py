"""What a method is: pure functions over one state."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

State = TypeVar("State")
Batch = Mapping[str, Any]  # arrays by name; nests: batch["labeled"]["image"]
Metrics = Mapping[str, jax.Array]  # scalars by name: "disc/loss"
Augment = Callable[[jax.Array, jax.Array], jax.Array]  # (key, images) -> views
Collect = Callable[..., Any]  # (fn, *args, split="train") -> fn(*args, batch), all rows


class Grid(NamedTuple):
    """Pictures for the report.

    Attributes:
      images: [rows, columns, h, w, c] in [0, 1], c 1 or 3.
      columns: a heading for each column, or none.
    """

    images: Any
    columns: tuple[str, ...] = ()


def tiled(filters, columns=16) -> Grid:
    """Filters [d, h, w, c], each stretched to [0, 1], in full rows of `columns`.

    Channels that make no colour, neither one nor three, stand one after the other.
    """
    if filters.shape[-1] not in (1, 3):
        filters = jnp.moveaxis(filters, -1, 1).reshape(-1, *filters.shape[1:3], 1)
    columns = min(columns, len(filters))
    low = filters.min((1, 2, 3), keepdims=True)
    high = filters.max((1, 2, 3), keepdims=True)
    shown = (filters - low) / jnp.maximum(high - low, 1e-12)
    rows = len(filters) // columns
    return Grid(shown[: rows * columns].reshape(rows, columns, *filters.shape[1:]))


def neighbors(images, h, queries=8, shown=7) -> Grid:
    """The first of images [n, h, w, c], each beside those whose h [n, d] is nearest."""
    h = h / jnp.maximum(jnp.linalg.norm(h, axis=1, keepdims=True), 1e-12)
    order = jnp.argsort(-h[:queries] @ h.T, axis=1)[:, : shown + 1]  # itself comes first
    return Grid(images[order], ("query", *[f"nearest {i + 1}" for i in range(shown)]))


def identity(images):
    """Images as they are."""
    return images


def unchanged(key, state, collect):
    """The refresh of a method that needs none."""
    del key, collect
    return state, None


def nothing(key, state, batch, collect):
    """The pictures of a method that draws none."""
    del key, state, batch, collect
    return {}


class Method(NamedTuple, Generic[State]):
    """A way to learn a representation, as pure functions of its state.

    Images reach a method as floats in [0, 1], whatever travelled.

    Attributes:
      init: (key, batch) -> state. Uses the batch for its shapes only.
      step: (key, state, batch) -> (state, metrics). One update. The loop compiles it.
      embed: (state, batch) -> {"h": [n, d], ...}. "h" is what every eval judges; row i
        must not depend on row j. Other names: z, tokens, logits; layers, a tuple of maps
        [n, h, w, c], of which evals call the last one maps.
      refresh: (key, state, collect) -> (state, order). Between epochs, free to read all
        the data: cluster labels, a memory bank. `order`, if not None, is the sequence of
        sample indices that the stream follows until the next refresh.
      render: (key, state, batch, collect) -> {name: Grid | text}. The same key each time.
    """

    init: Callable[[jax.Array, Batch], State]
    step: Callable[[jax.Array, State, Batch], tuple[State, Metrics]]
    embed: Callable[[State, Batch], Mapping[str, Any]]
    refresh: Callable[[jax.Array, State, Collect], tuple[State, Any]] = unchanged
    render: Callable[[jax.Array, State, Batch, Collect], Mapping[str, Any]] = nothing


class Above(NamedTuple):
    """The state of a method that learns from what a lower one embeds.

    Attributes:
      below: the lower method's state, which never moves.
      own: the upper method's.
    """

    below: Any
    own: Any


def above(lower: Method, upper: Method) -> Method[Above]:
    """`upper`, with `lower`'s representation h [n, d] for images: a greedy stack's layer.

    Its stage needs the lower one's state, frozen from then on: start=beneath("layer1").

    It stacks: the lower method may itself stand above another.
    """

    def lifted(below, batch):
        h = jax.lax.stop_gradient(lower.embed(below, batch)["h"])
        return dict(batch) | {"image": h}

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
    """The start of a stage `above` another, whose final state it takes."""
    return lambda state, done: state._replace(below=done[stage])
