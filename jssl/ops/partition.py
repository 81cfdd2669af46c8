r"""Partition function of restricted Boltzmann machines, exact or by annealing.

.. math:: p(v) = e^{-F(v)} / Z, \qquad Z = \sum_v e^{-F(v)}

Enumeration runs over the smaller layer. Annealed importance sampling runs chains from an
RBM without weights, whose Z is known, through intermediate ones to the target, and
weights each chain; the mean weight is an unbiased estimate of the ratio of the two Zs.

Neal, "Annealed importance sampling", Statistics and Computing 11, 2001.
https://arxiv.org/abs/physics/9803008
Salakhutdinov and Murray, "On the Quantitative Analysis of Deep Belief Networks",
ICML 2008. https://doi.org/10.1145/1390156.1390266
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from jssl.ops.gibbs import (
    RBM,
    Units,
    check,
    flipped,
    free_energy,
    gibbs,
    sample_visible,
)
from jssl.ops.precision import widen

_LARGEST = 20  # units: a million states


def log_partition(
    rbm: RBM, visible: Units = "bernoulli", hidden: Units = "bernoulli"
) -> Float[Array, ""]:
    """Exact log Z, by summing over all states of the smaller Bernoulli layer.

    Raises:
      ValueError: when that layer has more than 20 units: use `annealed_log_partition`.

    >>> rbm = RBM(jnp.zeros((2, 3)), jnp.zeros(2), jnp.zeros(3))
    >>> print(f"{log_partition(rbm):.4f}")    # 2^5 states of energy 0: 5 log 2
    3.4657
    """
    check("log_partition", rbm, visible, hidden)
    if visible == "gaussian" or (hidden == "bernoulli" and len(rbm.a) < len(rbm.b)):
        rbm, visible, hidden = flipped(rbm), hidden, visible
    units = len(rbm.b)
    if units > _LARGEST:
        raise ValueError(
            f"log_partition: 2**{units} states are too many to sum over (at most "
            f"2**{_LARGEST}); use annealed_log_partition"
        )
    width = 2 ** min(units, 12)

    @jax.checkpoint
    def total(start):
        number = start + jnp.arange(width)
        states = (number[:, None] >> jnp.arange(units)[None]) & 1  # [width, units]
        return logsumexp(-free_energy(rbm, states.astype(rbm.b.dtype), visible, hidden))

    return logsumexp(jax.lax.map(total, jnp.arange(0, 2**units, width)))


def log_likelihood(
    rbm: RBM,
    v: Float[Array, "n v"],
    visible: Units = "bernoulli",
    hidden: Units = "bernoulli",
) -> Float[Array, " n"]:
    """Exact log p(v), for RBMs small enough for `log_partition`.

    Its gradient is the one that contrastive divergence approximates.

    >>> rbm = RBM(jnp.zeros((2, 3)), jnp.zeros(2), jnp.zeros(3))
    >>> print(f"{log_likelihood(rbm, jnp.ones((1, 2)))[0]:.4f}")    # -2 log 2
    -1.3863
    """
    log_z = log_partition(rbm, visible, hidden)
    return -free_energy(rbm, v, visible, hidden) - log_z


class Annealed(NamedTuple):
    """An estimate of log Z.

    Attributes:
      log_z: log of the mean weight: unbiased for Z, biased low for log Z.
      low: log of the mean weight minus three standard errors, -inf if that is negative.
      high: log of the mean weight plus three standard errors.
      effective: effective sample size, at most the number of runs.
      log_weights: [runs] log weight of each chain.
    """

    log_z: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    effective: Float[Array, ""]
    log_weights: Float[Array, " runs"]


def annealed_log_partition(
    key: jax.Array,
    rbm: RBM,
    betas: Float[Array, " k"],
    runs: int = 100,
    base: Float[Array, " v"] | None = None,
    visible: Units = "bernoulli",
) -> Annealed:
    r"""Estimate log Z of an RBM of any size, by annealed importance sampling.

    .. math:: \log w = \sum_k F_{k-1}(v_{k-1}) - F_k(v_{k-1}), \qquad
              \log Z \approx \log Z_0 + \log \frac{1}{\text{runs}} \sum e^{\log w}

    The intermediate RBMs have weights beta W and biases (1 - beta) base + beta b and
    beta a; each v_k takes one Gibbs sweep of RBM k.

    Args:
      key: PRNG key.
      rbm: the model, with Bernoulli hidden units.
      betas: inverse temperatures, increasing from 0 to 1; a thousand or more, dense near
        1, for large RBMs.
      runs: number of chains.
      base: visible biases at beta = 0, e.g. the log odds of the training data's mean;
        those of `rbm` by default.
      visible: kind of the visible units.

    Raises:
      ValueError: when shapes are wrong, or there are fewer than two betas or one run.

    >>> rbm = RBM(jnp.zeros((2, 3)), jnp.zeros(2), jnp.zeros(3))
    >>> key, betas = jax.random.key(0), jnp.array([0.0, 1.0])
    >>> print(f"{annealed_log_partition(key, rbm, betas).log_z:.4f}")    # 5 log 2
    3.4657
    """
    name = "annealed_log_partition"
    check(name, rbm, visible, betas=(betas, "k"), base=(base, "v"))
    if len(betas) < 2 or runs < 1:
        raise ValueError(
            f"{name}: needs at least 2 betas and 1 run, got {len(betas)} and {runs}"
        )
    w, b, a, base, betas = widen(*rbm, rbm.b if base is None else base, betas)

    def between(beta):
        return RBM(beta * w, (1 - beta) * base + beta * b, beta * a)

    def anneal(state, step):
        v, log_weight = state
        key, before, after = step
        nearer = between(after)
        log_weight += free_energy(between(before), v, visible)
        log_weight -= free_energy(nearer, v, visible)
        return (gibbs(key, nearer, v, 1, visible), log_weight), None

    first, rest = jax.random.split(key)
    h = jnp.zeros((runs, len(a)), b.dtype)
    v = sample_visible(first, between(0.0), h, visible)
    keys = jax.random.split(rest, len(betas) - 1)
    start = (v, jnp.zeros(runs, b.dtype))
    (_, log_weights), _ = jax.lax.scan(anneal, start, (keys, betas[:-1], betas[1:]))
    return _summary(log_weights, _log_partition_of_base(base, len(a), visible))


def _log_partition_of_base(base, hidden, visible):
    """log Z without weights: that of the visible layer, plus log 2 per hidden unit."""
    if visible == "bernoulli":
        nats = jax.nn.softplus(base).sum()
    else:
        nats = 0.5 * len(base) * math.log(2 * math.pi)
    return nats + hidden * math.log(2)


def _summary(log_weights, log_z0):
    top = log_weights.max()
    weights = jnp.exp(log_weights - top)
    mean = weights.mean()
    error = 3 * weights.std() / math.sqrt(len(weights))
    log_z0 += top
    return Annealed(
        log_z=log_z0 + jnp.log(mean),
        low=log_z0 + jnp.log(jnp.maximum(mean - error, 0)),
        high=log_z0 + jnp.log(mean + error),
        effective=jnp.square(weights.sum()) / jnp.square(weights).sum(),
        log_weights=log_weights,
    )
