r"""Deep belief networks: directed layers below a restricted Boltzmann machine.

.. math:: p(v, h_1, \dots, h_L) = p(v | h_1) \cdots p(h_{L-2} | h_{L-1}) \,
          p_\text{RBM}(h_{L-1}, h_L)

with units of 0 and 1. The model generates downwards, with weights G; separate weights R
infer the layers upwards, one at a time:

.. math:: p(h_{l-1} | h_l) = \sigma(b_l + h_l G_l^\top), \qquad
          q(h_l | h_{l-1}) = \sigma(a_l + h_{l-1} R_l), \qquad h_0 = v

Only the top two layers are undirected, so Gibbs sampling is needed only there.

Hinton, Osindero and Teh, "A Fast Learning Algorithm for Deep Belief Nets", Neural
Computation 18, 2006. https://doi.org/10.1162/neco.2006.18.7.1527
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, ScalarLike

from jssl.ops.gibbs import (
    RBM,
    check,
    free_energy,
    gibbs,
    hidden_mean,
    sample_hidden,
    sample_visible,
    visible_mean,
)
from jssl.ops.precision import widen
from jssl.ops.shapes import expect


class Layer(NamedTuple):
    """Recognition and generative weights between two layers of units.

    Attributes:
      r: [v, h] recognition weights, upwards.
      a: [h] recognition biases.
      g: [v, h] generative weights, downwards.
      b: [v] generative biases.
    """

    r: Float[Array, "v h"]
    a: Float[Array, " h"]
    g: Float[Array, "v h"]
    b: Float[Array, " v"]

    @property
    def upward(self) -> RBM:
        """The recognition weights as an RBM, for `hidden_mean` and `sample_hidden`."""
        return RBM(self.r, self.b, self.a)

    @property
    def downward(self) -> RBM:
        """The generative weights as an RBM, for `visible_mean` and `sample_visible`."""
        return RBM(self.g, self.b, self.a)


class DBN(NamedTuple):
    """A deep belief network.

    Attributes:
      lower: the directed layers, starting at the pixels; at least one.
      top: the RBM on top of them.
    """

    lower: tuple[Layer, ...]
    top: RBM


def stacked(rbms: Sequence[RBM]) -> DBN:
    """Stack greedily trained RBMs to a deep belief network: R = G = W in all but the last.

    Each RBM's visible units are the hidden units of the previous one.

    Raises:
      ValueError: when there are fewer than two, or their sizes do not match.

    >>> one, two = (RBM(jnp.ones(s), *map(jnp.zeros, s)) for s in ((4, 3), (3, 2)))
    >>> dbn = stacked([one, two])
    >>> dbn.lower[0].g.shape, dbn.top.w.shape
    ((4, 3), (3, 2))
    """
    if len(rbms) < 2:
        raise ValueError(f"stacked: rbms must be at least two, got {len(rbms)}")
    for rbm in rbms:
        check("stacked", rbm)
    for i, (below, above) in enumerate(pairwise(rbms)):
        if len(below.a) != len(above.b):
            raise ValueError(
                f"stacked: RBM {i} has {len(below.a)} hidden units and RBM {i + 1} has "
                f"{len(above.b)} visible ones; the numbers must be equal"
            )
    lower = tuple(Layer(rbm.w, rbm.a, rbm.w, rbm.b) for rbm in rbms[:-1])
    return DBN(lower, RBM(*rbms[-1]))


def up(dbn: DBN, v: Float[Array, "n v"]) -> tuple[Float[Array, "n _"], ...]:
    """Mean-field recognition: the means of h_1 ... h_L, each given the means below.

    >>> rbm = RBM(jnp.zeros((2, 2)), jnp.zeros(2), jnp.zeros(2))
    >>> [h.tolist() for h in up(stacked([rbm, rbm]), jnp.ones((1, 2)))]
    [[[0.5, 0.5]], [[0.5, 0.5]]]
    """
    means = []
    for rbm in (*(layer.upward for layer in dbn.lower), dbn.top):
        v = hidden_mean(rbm, v)
        means.append(v)
    return tuple(means)


def down(dbn: DBN, h: Float[Array, "n h"]) -> Float[Array, "n v"]:
    """Mean-field generation: the mean of v, each layer given the means above.

    >>> rbm = RBM(jnp.zeros((2, 2)), jnp.array([99.0, -99.0]), jnp.zeros(2))
    >>> down(stacked([rbm, rbm]), jnp.ones((1, 2))).tolist()
    [[1.0, 0.0]]
    """
    h = visible_mean(dbn.top, h)
    for layer in reversed(dbn.lower):
        h = visible_mean(layer.downward, h)
    return h


def ancestral(
    key: jax.Array, dbn: DBN, h: Float[Array, "n h"], mean: bool = True
) -> tuple[Float[Array, "n _"], ...]:
    """Ancestral sampling given the penultimate layer's h: (v, h_1, ..., h_{L-1} = h).

    Args:
      key: PRNG key.
      dbn: the network.
      h: states of the penultimate layer.
      mean: return the mean of v given h_1 instead of a sample.

    >>> rbm = RBM(jnp.zeros((2, 2)), jnp.array([99.0, -99.0]), jnp.zeros(2))
    >>> v, h = ancestral(jax.random.key(0), stacked([rbm, rbm]), jnp.ones((1, 2)))
    >>> v.tolist()
    [[1.0, 0.0]]
    """
    states = [h]
    keys = jax.random.split(key, len(dbn.lower))
    for i, layer in reversed(list(enumerate(dbn.lower))):
        if mean and i == 0:
            states.append(visible_mean(layer.downward, states[-1]))
        else:
            states.append(sample_visible(keys[i], layer.downward, states[-1]))
    return tuple(reversed(states))


def generate(
    key: jax.Array, dbn: DBN, n: int, sweeps: int | Int[Array, ""]
) -> Float[Array, "n v"]:
    """Samples of the model: Gibbs sweeps in the top RBM, then one pass down.

    The chains start at uniform random bits and need many sweeps to reach the model's
    distribution. Returns the mean of v, which is smoother to look at than a sample.

    Raises:
      ValueError: when n is not positive.

    >>> rbm = RBM(jnp.zeros((2, 2)), jnp.array([99.0, -99.0]), jnp.zeros(2))
    >>> generate(jax.random.key(0), stacked([rbm, rbm]), n=1, sweeps=1).tolist()
    [[1.0, 0.0]]
    """
    if n < 1:
        raise ValueError(f"generate: n must be positive, got {n}")
    first, chain, last = jax.random.split(key, 3)
    start = jax.random.bernoulli(first, 0.5, (n, len(dbn.top.b)))
    h = gibbs(chain, dbn.top, start.astype(dbn.top.b.dtype), sweeps)
    return ancestral(last, dbn, h)[0]


def bound(
    key: jax.Array,
    dbn: DBN,
    v: Float[Array, "n v"],
    log_z: ScalarLike,
    samples: int = 1,
) -> Float[Array, " n"]:
    r"""Lower bound of log p(v), estimated by samples from the recognition weights.

    .. math:: \mathbb{E}_q \Big[ \sum_{l=1}^{L-1} \log p(h_{l-1} | h_l)
              - \log q(h_l | h_{l-1}) \Big] - \mathbb{E}_q F(h_{L-1}) - \log Z

    F and Z are those of the top RBM. The mean over samples is unbiased for the bound.

    Args:
      key: PRNG key.
      dbn: the network.
      v: samples of 0s and 1s.
      log_z: log Z of the top RBM: `partition.log_partition` or, for a large one,
        `annealed_log_partition`, whose error adds to the bound's.
      samples: samples per row.

    Raises:
      ValueError: when shapes differ, v is not floating, or samples is not positive.

    Hinton, Osindero and Teh 2006, section 4.

    >>> rbm = RBM(jnp.zeros((2, 2)), jnp.zeros(2), jnp.zeros(2))
    >>> nats = bound(jax.random.key(0), stacked([rbm, rbm]), jnp.ones((1, 2)), jnp.log(16))
    >>> print(f"{nats[0]:.4f}")    # two fair coins: -2 log 2
    -1.3863
    """
    expect("bound", v=(v, "n v"))
    if samples < 1:
        raise ValueError(f"bound: samples must be positive, got {samples}")

    def once(key):
        low, nats = v, 0.0
        for at, layer in zip(jax.random.split(key, len(dbn.lower)), dbn.lower, strict=True):
            high = sample_hidden(at, layer.upward, low)
            nats += _log_bernoulli(low, layer.b[None] + high @ layer.g.T)
            nats -= _log_bernoulli(high, layer.a[None] + low @ layer.r)
            low = high
        return nats - free_energy(dbn.top, low)

    draws = jax.lax.map(once, jax.random.split(key, samples))  # [samples, n]
    return draws.mean(0) - log_z


def _log_bernoulli(x, logits):
    """log p(x) of rows of units, given their logits: [n]."""
    x, logits = widen(x, logits)
    return (x * logits - jnp.logaddexp(logits, 0)).sum(-1)
