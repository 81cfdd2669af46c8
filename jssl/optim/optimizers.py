"""Optimizers of papers: Adam, SGD and momentum, with their weight decay."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.optim.parts import held
from jssl.optim.paths import kernels, matrices
from jssl.optim.schedules import scale_by_rate, warmup_cosine


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


class MomentumState(NamedTuple):
    """State of `momentum`: step count and velocity."""

    count: jax.Array
    velocity: Any


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
