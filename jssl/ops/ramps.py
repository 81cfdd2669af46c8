r"""Ramps: schedules of loss weights and thresholds during training.

Early predictions are unreliable targets: the weight of an unlabeled loss rises from 0 to
1 over the first `length` steps, and may decrease over the last.
`step` is a number or a traced scalar, in the units of `length` (steps or epochs).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike


def linear_rampup(
    step: ScalarLike, length: ScalarLike, start: ScalarLike = 0
) -> Float[Array, ""]:
    r"""Linear ramp-up: 0 up to `start`, then t / length, and 1 from start + length on.

    Times 3, with start 100 and length 500 in epochs, it is the weight of Lee 2013,
    "Pseudo-Label", eq. 16.

    >>> [float(3 * linear_rampup(t, 500, start=100)) for t in (99, 100, 350, 600)]
    [0.0, 0.0, 1.5, 3.0]
    """
    return _share(_real(step) - _real(start), length)


def sigmoid_rampup(step: ScalarLike, length: ScalarLike) -> Float[Array, ""]:
    r"""Gaussian ramp-up, from e^-5 at step 0 to 1 at `length`.

    .. math:: e^{-5 (1 - t)^2}, \qquad t = \mathrm{clip}(step / length, 0, 1)

    Laine and Aila 2017, "Temporal Ensembling". https://arxiv.org/abs/1610.02242

    >>> print(f"{sigmoid_rampup(0, 80):.4f} {sigmoid_rampup(80, 80):.4f}")  # e^-5, 1
    0.0067 1.0000
    """
    return jnp.exp(-5 * (1 - _share(step, length)) ** 2)


def cosine_rampdown(step: ScalarLike, length: ScalarLike) -> Float[Array, ""]:
    r"""Cosine ramp-down: half a period, from 1 at step 0 to 0 at `length`.

    .. math:: (1 + \cos \pi t) / 2

    >>> print(f"{cosine_rampdown(20, 40):.4f}")
    0.5000
    """
    return (1 + jnp.cos(jnp.pi * _share(step, length, empty=0))) / 2


def gaussian_rampdown(
    step: ScalarLike, total: ScalarLike, length: ScalarLike
) -> Float[Array, ""]:
    r"""Gaussian ramp-down: 1 until the last `length` of `total` steps, then to 3.7e-6.

    .. math:: e^{-12.5 (1 - r)^2}, \qquad r = \mathrm{clip}((total - step)/length, 0, 1)

    Laine and Aila 2017, "Temporal Ensembling". https://arxiv.org/abs/1610.02242

    >>> [f"{gaussian_rampdown(step, 300, 50):.2e}" for step in (250, 300)]
    ['1.00e+00', '3.73e-06']
    """
    return jnp.exp(-12.5 * (1 - _share(_real(total) - _real(step), length)) ** 2)


def fixmatch_cosine(step: ScalarLike, total: ScalarLike) -> Float[Array, ""]:
    r"""Learning rate factor of UDA and FixMatch: cosine decay that ends at 0.195.

    .. math:: \cos(7 \pi t / 16), \qquad t = step / total

    Sohn et al. 2020, "FixMatch". https://arxiv.org/abs/2001.07685

    >>> print(f"{fixmatch_cosine(0, 10):.5f} {fixmatch_cosine(10, 10):.5f}")
    1.00000 0.19509
    """
    return jnp.cos(7 * jnp.pi / 16 * _share(step, total))


def tsa_threshold(
    step: ScalarLike, total: ScalarLike, classes: int, schedule: str = "linear"
) -> Float[Array, ""]:
    r"""Confidence above which training-signal annealing drops a labeled sample.

    .. math:: \eta = a (1 - 1/c) + 1/c, \qquad
              a = t,\ e^{5 (t - 1)} \text{ or } 1 - e^{-5 t}, \quad t = step / total

    for the schedules "linear", "exp" (for few labels, which overfit early) and "log".

    Xie et al. 2020, "Unsupervised Data Augmentation", section 3.
    https://arxiv.org/abs/1904.12848

    Raises:
      ValueError: when the schedule is none of the three.

    >>> print(f"{tsa_threshold(500, 1000, classes=10):.2f}")    # 0.5 * 0.9 + 0.1
    0.55
    """
    t = _share(step, total)
    growth = {"linear": t, "exp": jnp.exp(5 * (t - 1)), "log": 1 - jnp.exp(-5 * t)}
    if schedule not in growth:
        raise ValueError(
            f"tsa_threshold: schedule must be one of {', '.join(growth)}, got {schedule!r}"
        )
    return growth[schedule] * (1 - 1 / classes) + 1 / classes


def _real(x):
    return jnp.asarray(x, jnp.result_type(float))


def _share(step, length, empty=1):
    """step / length clipped to [0, 1]; `empty` where length is 0 or less."""
    step, length = _real(step), _real(length)
    some = length > 0
    return jnp.where(some, jnp.clip(step / jnp.where(some, length, 1), 0, 1), empty)
