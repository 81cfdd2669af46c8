r"""Exponential moving averages of weights, and schedules of their momentum.

.. math:: \xi \leftarrow m \, \xi + (1 - m) \, \theta

Tarvainen and Valpola 2017, "Mean teachers", https://arxiv.org/abs/1703.01780; He et al.
2020, MoCo, https://arxiv.org/abs/1911.05722. The schedules: Grill et al. 2020, BYOL,
https://arxiv.org/abs/2006.07733 (cosine); Baevski et al. 2022, data2vec,
https://arxiv.org/abs/2202.03555 (linear); Tarvainen and Valpola (the warm-up).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree, ScalarLike

from jssl.ops.precision import widen


def ema(target: PyTree, online: PyTree, momentum: ScalarLike) -> PyTree:
    """Update an exponential moving average of the online weights, without gradient.

    One step of an average that the caller keeps, such as a target network. Within an optax
    chain, `jssl.learner.ema_weights` keeps the average of the trained weights.

    At momentum 1 the target is unchanged, at 0 it equals the online weights. Leaves that
    are not floating (counters) are copied. The target keeps its dtypes; keep it in
    float32, because bfloat16 rounds a step of 1 - 0.996 to 0.

    >>> print(ema({"w": jnp.array(0.0)}, {"w": jnp.array(8.0)}, momentum=0.75)["w"])
    2.0
    """

    def follow(old, new):
        old, new = lax.stop_gradient(jnp.asarray(old)), lax.stop_gradient(new)
        if not jnp.issubdtype(old.dtype, jnp.floating):
            return jnp.asarray(new, old.dtype)
        slow, fast = widen(old, new)
        m = jnp.asarray(momentum).astype(slow.dtype)
        return (m * slow + (1 - m) * fast).astype(old.dtype)

    return jax.tree.map(follow, target, online)


def cosine_momentum(
    step: ScalarLike, total: int, start: ScalarLike = 0.996
) -> Float[Array, ""]:
    r"""Cosine momentum schedule: from `start` at step 0 to 1 at step `total`.

    .. math:: m_t = 1 - (1 - m_0) (1 + \cos(\pi t / T)) / 2

    >>> [round(float(cosine_momentum(t, total=10, start=0.9)), 3) for t in (0, 5, 10)]
    [0.9, 0.95, 1.0]
    """
    return 1 - (1 - start) * (1 + jnp.cos(jnp.pi * _done(step, total))) / 2


def linear_momentum(
    step: ScalarLike, total: int, start: ScalarLike = 0.996, end: ScalarLike = 1.0
) -> Float[Array, ""]:
    """Linear momentum schedule: from `start` at step 0 to `end` from step `total` on.

    >>> [round(float(linear_momentum(t, total=10, start=0.9)), 3) for t in (0, 5, 20)]
    [0.9, 0.95, 1.0]
    """
    return start + (end - start) * _done(step, total)  # type: ignore[operator]


def ema_decay_warmup(step: ScalarLike, decay: ScalarLike) -> Float[Array, ""]:
    r"""Momentum warm-up at step s = 1, 2, ...: a plain mean at first, then `decay`.

    .. math:: m_s = \min\Big(1 - \frac{1}{s + 1},\ m\Big)

    While the first term is the smaller, the target is the arithmetic mean of all online
    weights so far, the first included; with m = 1 this holds for all steps.

    >>> [round(float(ema_decay_warmup(s, decay=0.7)), 3) for s in (1, 2, 3)]
    [0.5, 0.667, 0.7]
    """
    return jnp.minimum(1 - 1 / (jnp.asarray(step) + 1), decay)


def _done(step, total) -> Array:
    """Fraction of the run completed, from 0 to 1."""
    return jnp.clip(jnp.asarray(step) / total, 0, 1)
