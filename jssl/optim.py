"""Learning-rate schedules and optax transformations shared by pre-training papers."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


def warmup_cosine(peak: float, warmup: int, steps: int, end: float = 0.0) -> optax.Schedule:
    """Linear warm-up to `peak` in `warmup` steps, then cosine decay to `end`.

    >>> schedule = warmup_cosine(1.0, warmup=2, steps=6)
    >>> [round(float(schedule(i)), 3) for i in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]

    A warm-up as long as the training or longer is cut, so that the last step has `peak`.
    """
    warmup = max(min(warmup, steps - 1), 0)
    start = 0.0 if warmup else peak
    return optax.warmup_cosine_decay_schedule(start, peak, warmup, max(steps, 1), end)


def falling(peak: float, steps: int, falls: Mapping[float, float]) -> optax.Schedule:
    """A rate that is multiplied by falls[share] from each share of the steps on.

    >>> schedule = falling(1.0, steps=10, falls={0.6: 0.1, 0.8: 0.5})
    >>> [round(float(schedule(i)), 3) for i in (0, 6, 7, 9)]
    [1.0, 0.1, 0.1, 0.05]
    """
    at = {round(share * steps): factor for share, factor in falls.items()}
    return optax.piecewise_constant_schedule(peak, at)


def scale_by_rate(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Multiplies updates by minus the learning rate, and keeps it in the state.

    `optax.scale_by_learning_rate` whose rate `jssl.learner.rates` finds, for the log.
    """
    scale = partial(optax.scale_by_learning_rate, flip_sign=True)
    return optax.inject_hyperparams(scale)(learning_rate=learning_rate)


def adamw(
    lr: float,
    steps: int,
    *,
    warmup: float = 0.05,
    decay: float = 1e-4,
    b2: float = 0.999,
) -> optax.GradientTransformation:
    """AdamW with linear warm-up and cosine decay to 0.

    Args:
      lr: peak of the learning rate.
      steps: of the whole training.
      warmup: fraction of the steps in which the rate climbs.
      decay: of the weights, matrices only.
      b2: decay of the second moment.
    """
    schedule = warmup_cosine(lr, int(warmup * steps), steps)
    return optax.chain(
        optax.scale_by_adam(b2=b2),
        optax.add_decayed_weights(decay, matrices),
        scale_by_rate(schedule),
    )


def decayed_sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    decay: float,
    momentum: float = 0.9,
    nesterov: bool = False,
    mask: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """SGD with momentum, where the decay is added to the gradient.

    It is that of all weights, or of those where `mask` of the weights is True.
    """
    trace = optax.trace(momentum, nesterov) if momentum else optax.identity()
    return optax.chain(
        optax.add_decayed_weights(decay, mask), trace, scale_by_rate(learning_rate)
    )


def decayed_adam(
    learning_rate: optax.ScalarOrSchedule, *, decay: float
) -> optax.GradientTransformation:
    """Adam, where the decay is added to the gradient of all weights but biases and norms.

    This is the weight decay of Caffe and of `torch.optim.Adam`; that of `adamw` is
    decoupled from the gradient's moments.
    """
    return optax.chain(
        optax.add_decayed_weights(decay, matrices),
        optax.scale_by_adam(),
        scale_by_rate(learning_rate),
    )


def matrices(params):
    """Weight-decay mask: True for leaves of two or more axes, no biases and norms."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def kernels(params):
    """Weight-decay mask: True for leaves named "kernel", no biases, norms and tokens."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key == "kernel", params
    )


def shrink(
    rate: optax.ScalarOrSchedule, mask: Callable[[Any], Any] = kernels
) -> optax.GradientTransformation:
    """Weight decay after the step: w <- (1 - rate) (w + u); place it after the optimizer.

    MixMatch's released code has 0.02 times the learning rate, for kernels.

    Args:
      rate: fraction of the weights that is lost in a step.
      mask: params -> a tree of booleans, True where the weights decay.

    >>> tx = shrink(0.5, mask=lambda params: params > 0)
    >>> updates, _ = tx.update(2.0, tx.init(1.0), 1.0)    # 1 + 2, halved
    >>> float(1.0 + updates)
    1.5
    """

    def init(params):
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("shrink needs the weights: tx.update(grads, opt, params)")
        lost = rate(state.count) if callable(rate) else rate
        updates = jax.tree.map(
            lambda u, w, decays: u - lost * (w + u) if decays else u,
            updates,
            params,
            mask(params),
        )
        return updates, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)


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
        found = _matching("held", where, params)
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
            _matching("held", where, updates),
        )
        return moves, HeldState(optax.safe_increment(state.count), inner)

    return optax.GradientTransformation(init, update)


def clip_each(most: float) -> optax.GradientTransformation:
    """Clips the gradient of each weight array to a Euclidean norm of `most`; 0: never.

    DINO's and iBOT's released codes clip each array, not all together as
    `optax.clip_by_global_norm`.

    >>> tx = clip_each(1.0)
    >>> tx.update({"a": jnp.array([3.0, 4.0]), "b": jnp.array([0.5])}, ())[0]
    {'a': Array([0.6, 0.8], dtype=float32), 'b': Array([0.5], dtype=float32)}
    """

    def clipped(u):
        length = jnp.linalg.norm(u.ravel())
        return u * jnp.where(length > most, most / jnp.maximum(length, most), 1.0)

    def update(updates, state, params=None):
        return (jax.tree.map(clipped, updates) if most else updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def cosine(start: float, end: float, steps: int) -> optax.Schedule:
    """Half a cosine from `start` to `end`, up or down: of weight decay, for example.

    >>> [round(float(cosine(0.04, 0.4, 10)(i)), 3) for i in (0, 5, 10, 11)]
    [0.04, 0.22, 0.4, 0.4]
    """

    def schedule(count):
        done = jnp.clip(count / max(steps, 1), 0, 1)
        return end + (start - end) * (1 + jnp.cos(jnp.pi * done)) / 2

    return schedule


def distillation_adamw(
    learning_rate: optax.ScalarOrSchedule,
    decay: optax.ScalarOrSchedule,
    *,
    freeze: int,
    clip: float = 3.0,
    last: str = "head/last",
) -> optax.GradientTransformation:
    """AdamW of DINO and iBOT: clipped gradients, decay by a schedule, a late last layer.

    Args:
      decay: of all matrices, tokens and positions; none of biases and norms.
      freeze: updates before the first of the head's last layer.
      clip: largest norm of the gradient of each array; 0: any.
      last: regex searched in the paths of the weights.

    Raises:
      ValueError: in `init`, if no path matches `last`.
    """
    return optax.chain(
        clip_each(clip),
        held(optax.scale_by_adam(), last, freeze),
        optax.add_decayed_weights(decay, matrices),
        scale_by_rate(learning_rate),
        held(optax.identity(), last, freeze),
    )


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
        return update * decay ** (layers - layer(_path(path)))

    def update(updates, state, params=None):
        return jax.tree_util.tree_map_with_path(factor, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def vit_layer(depth: int) -> Callable[[str], int]:
    """Layer index of a ViT's weights by path, for `scale_by_layer`.

    0 for the embedding, i + 1 for block i, depth + 1 for all others.

    >>> [vit_layer(12)(p) for p in ("encoder/cls", "encoder/block0/fc1", "head/bias")]
    [0, 1, 13]
    """

    def layer(path):
        block = re.search(r"encoder/block(\d+)/", path)
        if block:
            return int(block[1]) + 1
        return 0 if re.search("encoder/(embedding|cls|positions)", path) else depth + 1

    return layer


def lars(
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    trust: float = 0.001,
    rate_in_momentum: bool = False,
    unscaled: str = "",
    clip: bool = False,
    vectors: float = 1.0,
) -> optax.GradientTransformation:
    r"""LARS: step sizes proportional to each layer's weight norm, for very large batches.

    .. math:: g' = g + \lambda w, \qquad \rho = \eta \lVert w \rVert / \lVert g' \rVert

    then, with the learning rate inside the momentum (SimCLR; `optax.lars`)
    v <- beta v + lr rho g', w <- w - v, and with it outside (BYOL, Barlow Twins, VICReg,
    MoCo v3) v <- beta v + rho g', w <- w - lr v. The two differ when the learning rate
    changes. Biases and norms, i.e. all vectors, have neither weight decay nor rho.

    You, Gitman and Ginsburg 2017, https://arxiv.org/abs/1708.03888

    Args:
      weight_decay: lambda.
      trust: eta.
      rate_in_momentum: whether the learning rate is inside the momentum.
      unscaled: regex searched in the paths of the weights, e.g. "^head/" for a new head:
        those that match have rho = 1, i.e. SGD with momentum, and decay as before. With
        rho a new head moves by a thousandth of its length per unit of the learning rate.

      clip: whether lr rho is at most lr, as in solo-learn's settings for CIFAR-10, where
        eta is 0.02.
      vectors: factor of the learning rate of biases and norms; 0.024 in Barlow Twins.

    Raises:
      ValueError: in `init`, if no path matches `unscaled`.
    """
    scale, trace = scale_by_rate(learning_rate), optax.trace(momentum)

    def scaled(params):
        if not unscaled:
            return matrices(params)
        found = _matching("lars", unscaled, params)
        return jax.tree.map(lambda x, out: x.ndim > 1 and not out, params, found)

    ratio = (
        clipped_trust_ratio(learning_rate, trust)
        if clip
        else optax.scale_by_trust_ratio(trust_coefficient=trust)
    )
    return optax.chain(
        optax.add_decayed_weights(weight_decay, matrices),
        optax.masked(ratio, scaled),
        *((scale, trace) if rate_in_momentum else (trace, scale)),
        *([] if vectors == 1 else [optax.masked(optax.scale(vectors), _vectors)]),
    )


def _vectors(params):
    """Mask: True for biases and norms."""
    return jax.tree.map(lambda x: x.ndim <= 1, params)


def clipped_trust_ratio(
    learning_rate: optax.ScalarOrSchedule, trust: float
) -> optax.GradientTransformation:
    r"""LARC's ratio, :math:`\min(\eta \lVert w \rVert / (\lVert u \rVert lr), 1)`, a leaf.

    Before the learning rate, the step of a leaf is thus never longer than that of SGD.

    >>> tx = clipped_trust_ratio(0.1, trust=0.02)
    >>> w, u = jnp.array([3.0, 4.0]), jnp.array([0.0, 2.0])    # 0.02 * 5 / (2 * 0.1) = 0.5
    >>> tx.update(u, tx.init(w), w)[0].round(6).tolist()
    [0.0, 1.0]
    """

    def init(params):
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate

        def scaled(u, w):
            length = jnp.linalg.norm(u) * rate
            ratio = trust * jnp.linalg.norm(w) / jnp.where(length > 0, length, 1.0)
            return u * jnp.where((length > 0) & (ratio > 0), jnp.minimum(ratio, 1.0), 1.0)

        after = optax.ScaleByScheduleState(optax.safe_increment(state.count))
        return jax.tree.map(scaled, updates, params), after

    return optax.GradientTransformation(init, update)


def momentum(decay: float | optax.Schedule) -> optax.GradientTransformation:
    """Momentum whose decay may follow a schedule: v <- decay_t v + u.

    Placed after the learning rate it is Hinton's momentum on velocities, whose decay is
    0.5 at first and 0.9 later.

    >>> tx = momentum(lambda step: 0.5 * step)
    >>> state = tx.init(0.0)
    >>> for _ in range(3):
    ...     velocity, state = tx.update(1.0, state)
    >>> float(velocity)    # 1, then 0.5 * 1 + 1, then 1 * 1.5 + 1
    2.5
    """
    if not callable(decay):
        return optax.trace(decay)

    def init(params):
        velocity = jax.tree.map(jnp.zeros_like, params)
        return MomentumState(jnp.zeros((), jnp.int32), velocity)

    def update(updates, state, params=None):
        kept = decay(state.count)
        velocity = jax.tree.map(lambda v, u: kept * v + u, state.velocity, updates)
        return velocity, MomentumState(state.count + 1, velocity)

    return optax.GradientTransformation(init, update)


def rbm_sgd(lr: float, steps: int, *, decay: float) -> optax.GradientTransformation:
    """SGD for RBMs: momentum 0.5 for a twelfth of the steps, then 0.9; matrices decay.

    Hinton 2010, "A Practical Guide to Training Restricted Boltzmann Machines", sections 9
    and 10.
    """
    return optax.chain(
        optax.add_decayed_weights(decay, matrices),
        scale_by_rate(lr),
        momentum(optax.piecewise_constant_schedule(0.5, {steps // 12: 1.8})),
    )


class MomentumState(NamedTuple):
    """State of `momentum`: step count and velocity."""

    count: jax.Array
    velocity: Any


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
        _matching("unit_rows", where, params)
        return optax.EmptyState()

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("unit_rows needs the weights: tx.update(grads, opt, params)")

        def bound(path, update, weight):
            if not re.search(where, _path(path)):
                return update
            after = weight + update
            length = jnp.linalg.norm(after, axis=-1, keepdims=True)
            return after / jnp.maximum(length, jnp.finfo(after.dtype).tiny) - weight

        return jax.tree_util.tree_map_with_path(bound, updates, params), state

    return optax.GradientTransformation(init, update)


def _matching(owner, where, params):
    """A tree of booleans: True for weights whose path matches the regex `where`.

    Raises:
      ValueError: no path matches; the message begins with `owner`.
    """
    found = jax.tree_util.tree_map_with_path(
        lambda path, _: bool(re.search(where, _path(path))), params
    )
    if not any(jax.tree.leaves(found)):
        paths = [_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        raise ValueError(
            f"{owner}: no weight matches {where!r}; there are {', '.join(paths)}"
        )
    return found


def _path(path):
    """The path of a leaf, as "decoder/dense0/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
