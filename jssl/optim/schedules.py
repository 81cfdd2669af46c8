"""Schedules of rates, and the transformation that applies one."""

from collections.abc import Mapping
from functools import partial

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


def cosine(start: float, end: float, steps: int) -> optax.Schedule:
    """Half a cosine from `start` to `end`, up or down: of weight decay, for example.

    >>> [round(float(cosine(0.04, 0.4, 10)(i)), 3) for i in (0, 5, 10, 11)]
    [0.04, 0.22, 0.4, 0.4]
    """

    def schedule(count):
        done = jnp.clip(count / max(steps, 1), 0, 1)
        return end + (start - end) * (1 + jnp.cos(jnp.pi * done)) / 2

    return schedule


def scale_by_rate(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Multiplies updates by minus the learning rate, and keeps it in the state.

    `optax.scale_by_learning_rate` whose rate `jssl.learner.rates` finds, for the log.
    """
    scale = partial(optax.scale_by_learning_rate, flip_sign=True)
    return optax.inject_hyperparams(scale)(learning_rate=learning_rate)
