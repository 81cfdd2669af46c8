"""Optax transformations that treat some weights in their own way, told by their paths."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.optim.paths import matching, path_of


def all_but(name: str, tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Applies `tx` to all weights except those with `name` in their path, which are frozen.

    Frozen weights have no optimizer moments and no weight decay.
    """

    def labels(params):
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "still" if name in jax.tree_util.keystr(path) else "moved",
            params,
        )

    return optax.multi_transform({"moved": tx, "still": optax.set_to_zero()}, labels)


class HeldState(NamedTuple):
    """State of `held`: update count, and that of the transformation."""

    count: jax.Array
    inner: Any


def held(
    tx: optax.GradientTransformation, where: str, steps: int
) -> optax.GradientTransformation:
    """Applies `tx`, from update number `steps` on to weights whose path matches `where`.

    Before that these have no update, and `tx` its initial state for them, as if there were
    no gradients: Adam's moments and bias correction start then. At the end of a chain,
    around `optax.identity()`, it also stops the weight decay in front of it. DINO's last
    layer is fixed for an epoch: Caron et al. 2021, https://arxiv.org/abs/2104.14294

    Args:
      tx: without schedules, which would be late for these weights.
      where: regex searched in the paths of the weights, e.g. "head/last".
      steps: number of updates without them.

    Raises:
      ValueError: in `init`, if no path matches.

    >>> tx, params = held(optax.trace(0.5), "last", 2), {"first": 0.0, "last": 0.0}
    >>> state = tx.init(params)
    >>> for _ in range(3):
    ...     updates, state = tx.update({"first": 1.0, "last": 1.0}, state)
    >>> float(updates["first"]), float(updates["last"])    # 1 + 0.5 + 0.25, and 1
    (1.75, 1.0)
    """

    def labels(params):
        found = matching("held", where, params)
        return jax.tree.map(lambda late: "late" if late else "now", found)

    parts = optax.multi_transform({"now": tx, "late": tx}, labels)

    def init(params):
        return HeldState(jnp.zeros((), jnp.int32), parts.init(params))

    def update(updates, state, params=None):
        waits = state.count < steps
        moves, inner = parts.update(updates, state.inner, params)
        pause = lambda new, old: jnp.where(waits, old, new)
        late = jax.tree.map(
            pause, inner.inner_states["late"], state.inner.inner_states["late"]
        )
        inner = inner._replace(inner_states=dict(inner.inner_states) | {"late": late})
        moves = jax.tree.map(
            lambda u, late: pause(u, jnp.zeros_like(u)) if late else u,
            moves,
            matching("held", where, updates),
        )
        return moves, HeldState(optax.safe_increment(state.count), inner)

    return optax.GradientTransformation(init, update)


class ThawState(NamedTuple):
    """State of `chain_thaw`: update count, and that of the transformation."""

    count: jax.Array
    inner: Any


def chain_thaw(
    tx: optax.GradientTransformation, layers: Sequence[str], steps: int
) -> optax.GradientTransformation:
    """Chain-thaw: trains one layer after another alone, then all weights together.

    `steps` updates train the weights whose path matches layers[0], as many those of
    layers[1], and so on; all later ones train all weights. `tx` has its initial state
    whenever the layer changes, and must not move weights without gradients.

    Felbo et al. 2017, section 3.3, https://arxiv.org/abs/1708.00524: the new layer first,
    then the others from the first to the last.

    Args:
      tx: of the weights that are trained.
      layers: regexes searched in the paths of the weights, e.g. "^head", in turn.
      steps: number of updates of each layer.

    Raises:
      ValueError: in `init`, if a regex matches no path.

    >>> tx, params = chain_thaw(optax.sgd(-1.0), ["b", "a"], 1), {"a": 0.0, "b": 0.0}
    >>> state = tx.init(params)
    >>> for _ in range(3):
    ...     moves, state = tx.update({"a": 1.0, "b": 1.0}, state, params)
    ...     print(float(moves["a"]), float(moves["b"]))
    0.0 1.0
    1.0 0.0
    1.0 1.0
    """

    def init(params):
        for where in layers:
            matching("chain_thaw", where, params)
        return ThawState(jnp.zeros((), jnp.int32), tx.init(params))

    def update(updates, state, params=None):
        phase = state.count // steps
        changes = (state.count % steps == 0) & (phase <= len(layers))
        start = tx.init(updates if params is None else params)
        inner = jax.tree.map(lambda a, b: jnp.where(changes, a, b), start, state.inner)

        def thawed(tree):
            def one(path, x):
                own = [bool(re.search(where, path_of(path))) for where in layers]
                return x * jnp.array([*own, True])[jnp.minimum(phase, len(layers))]

            return jax.tree_util.tree_map_with_path(one, tree)

        moves, inner = tx.update(thawed(updates), inner, params)
        return thawed(moves), ThawState(optax.safe_increment(state.count), inner)

    return optax.GradientTransformation(init, update)


def scale_by_layer(
    decay: float, layers: int, layer: Callable[[str], int]
) -> optax.GradientTransformation:
    """Layer-wise learning-rate decay: scales updates by decay^(layers - layer(path)).

    Place it after the adaptive transformation: Adam cancels a scaling of gradients.
    Clark et al. 2020, https://arxiv.org/abs/2003.10555; Bao et al. 2021,
    https://arxiv.org/abs/2106.08254

    Args:
      decay: ratio between consecutive layers; 1 has no effect.
      layers: index of the last layer, whose factor is 1.
      layer: "encoder/block3/fc1/kernel" -> index of its layer, from 0.

    >>> scale = scale_by_layer(0.5, 2, lambda path: int(path[-1]))
    >>> grads = {"w0": 1.0, "w2": 1.0}
    >>> scale.update(grads, scale.init(grads))[0]
    {'w0': 0.25, 'w2': 1.0}
    """

    def factor(path, update):
        return update * decay ** (layers - layer(path_of(path)))

    def update(updates, state, params=None):
        return jax.tree_util.tree_map_with_path(factor, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def unit_rows(where: str) -> optax.GradientTransformation:
    """Normalizes the rows of some kernels [m, d] to length 1; the last of a chain.

    After each update u, w + u is divided by its row norms. Sparse coding needs this: with
    an unconstrained decoder, a code half as long reconstructs as well through rows twice
    as long, so a penalty on the code has no effect.

    Args:
      where: regex searched in the paths of the weights, e.g. "decoder/dense0/kernel".

    Raises:
      ValueError: if no path matches.

    >>> tx = unit_rows("w")
    >>> params, updates = {"w": jnp.array([[1.0, 0.0]])}, {"w": jnp.array([[-1.0, 2.0]])}
    >>> updates, _ = tx.update(updates, tx.init(params), params)
    >>> optax.apply_updates(params, updates)["w"]    # (0, 2) / 2
    Array([[0., 1.]], dtype=float32)
    """

    def init(params):
        matching("unit_rows", where, params)
        return optax.EmptyState()

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("unit_rows needs the weights: tx.update(grads, opt, params)")

        def bound(path, update, weight):
            if not re.search(where, path_of(path)):
                return update
            after = weight + update
            length = jnp.linalg.norm(after, axis=-1, keepdims=True)
            return after / jnp.maximum(length, jnp.finfo(after.dtype).tiny) - weight

        return jax.tree_util.tree_map_with_path(bound, updates, params), state

    return optax.GradientTransformation(init, update)
