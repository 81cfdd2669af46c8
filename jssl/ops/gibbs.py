r"""Restricted Boltzmann machines: energies, conditionals and Gibbs sampling.

A layer of visible and one of hidden units, with weights between but not within layers:

.. math:: E(v, h) = E_b(v) + E_a(h) - v W h^\top, \qquad p(v, h) = e^{-E(v, h)} / Z

A Bernoulli layer (0s and 1s) has E_b(v) = -b.v, a Gaussian one (of unit variance)
E_b(v) = |v - b|^2 / 2. Given one layer, the units of the other are independent, so a
Gibbs sweep samples each layer at once. Standardize the data of Gaussian layers.

Smolensky 1986; Hinton, "Training Products of Experts by Minimizing Contrastive
Divergence", Neural Computation 14, 2002. https://doi.org/10.1162/089976602760128018
Welling, Rosen-Zvi and Hinton, "Exponential Family Harmoniums with an Application to
Information Retrieval", NIPS 2004, for Gaussian layers.
"""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jssl.ops.precision import widen
from jssl.ops.shapes import expect

Units = Literal["bernoulli", "gaussian"]


class RBM(NamedTuple):
    """The weights, and one bias per unit.

    Attributes:
      w: [v, h] weights.
      b: [v] visible biases.
      a: [h] hidden biases. (Some papers swap the letters a and b.)
    """

    w: Float[Array, "v h"]
    b: Float[Array, " v"]
    a: Float[Array, " h"]


def flipped(rbm: RBM) -> RBM:
    """The same RBM with visible and hidden layer exchanged.

    >>> flipped(RBM(jnp.ones((4, 3)), jnp.zeros(4), jnp.ones(3))).b.tolist()
    [1.0, 1.0, 1.0]
    """
    return RBM(rbm.w.T, rbm.a, rbm.b)


def energy(
    rbm: RBM,
    v: Float[Array, "n v"],
    h: Float[Array, "n h"],
    visible: Units = "bernoulli",
    hidden: Units = "bernoulli",
) -> Float[Array, " n"]:
    """E(v, h) of each pair.

    >>> rbm = RBM(jnp.full((2, 1), 3.0), jnp.array([1.0, 2.0]), jnp.array([5.0]))
    >>> energy(rbm, jnp.array([[1.0, 0.0]]), jnp.ones((1, 1))).tolist()  # -(3 + 1 + 5)
    [-9.0]
    """
    check("energy", rbm, visible, hidden, v=(v, "n v"), h=(h, "n h"))
    *rbm, v, h = widen(*rbm, v, h)
    rbm = RBM(*rbm)
    own = _own_energy(visible, v, rbm.b) + _own_energy(hidden, h, rbm.a)
    return own - (v @ rbm.w * h).sum(-1)


def free_energy(
    rbm: RBM,
    v: Float[Array, "n v"],
    visible: Units = "bernoulli",
    hidden: Units = "bernoulli",
) -> Float[Array, " n"]:
    r"""Free energy F(v) = -log sum_h exp(-E(v, h)), so that p(v) = exp(-F(v)) / Z.

    .. math:: F(v) = E_b(v) - \sum_j \log(1 + e^{a_j + (v W)_j})

    for Bernoulli hidden units; for Gaussian ones the sum is of
    x_j a_j + x_j^2 / 2 + log(2 pi) / 2, with x = v W.

    Hinton 2010, "A Practical Guide to Training Restricted Boltzmann Machines",
    section 16. https://www.cs.toronto.edu/~hinton/absps/guideTR.pdf

    Raises:
      ValueError: when shapes differ, an argument is not floating, or both layers are
        Gaussian (Z need not be finite then).

    >>> rbm = RBM(jnp.zeros((2, 3)), jnp.array([1.0, 2.0]), jnp.zeros(3))
    >>> print(f"{free_energy(rbm, jnp.ones((1, 2)))[0]:.4f}")    # -(1 + 2) - 3 log 2
    -5.0794
    """
    check("free_energy", rbm, visible, hidden, v=(v, "n v"))
    w, b, a, v = widen(*rbm, v)
    x = v @ w
    if hidden == "bernoulli":
        nats = jax.nn.softplus(x + a[None])
    else:
        nats = x * (a[None] + 0.5 * x) + 0.5 * math.log(2 * math.pi)
    return _own_energy(visible, v, b) - nats.sum(-1)


def hidden_mean(
    rbm: RBM, v: Float[Array, "n v"], hidden: Units = "bernoulli"
) -> Float[Array, "n h"]:
    """Mean of h given v: sigmoid(a + v W), or a + v W for Gaussian units.

    >>> rbm = RBM(jnp.zeros((2, 1)), jnp.zeros(2), jnp.zeros(1))
    >>> hidden_mean(rbm, jnp.ones((1, 2))).tolist()
    [[0.5]]
    """
    check("hidden_mean", rbm, hidden=hidden, v=(v, "n v"))
    w, _, a, v = widen(*rbm, v)
    drive = v @ w + a[None]
    return jax.nn.sigmoid(drive) if hidden == "bernoulli" else drive


def visible_mean(
    rbm: RBM, h: Float[Array, "n h"], visible: Units = "bernoulli"
) -> Float[Array, "n v"]:
    """Mean of v given h: sigmoid(b + h W^T), or b + h W^T for Gaussian units.

    >>> rbm = RBM(jnp.ones((2, 1)), jnp.array([0.0, 3.0]), jnp.zeros(1))
    >>> visible_mean(rbm, jnp.full((1, 1), 2.0), "gaussian").tolist()
    [[2.0, 5.0]]
    """
    check("visible_mean", rbm, visible, h=(h, "n h"))
    return hidden_mean(flipped(rbm), h, visible)


def sample_hidden(
    key: jax.Array, rbm: RBM, v: Float[Array, "n v"], hidden: Units = "bernoulli"
) -> Float[Array, "n h"]:
    """Sample h given v.

    >>> rbm = RBM(jnp.zeros((2, 2)), jnp.zeros(2), jnp.array([99.0, -99.0]))
    >>> sample_hidden(jax.random.key(0), rbm, jnp.ones((1, 2))).tolist()
    [[1.0, 0.0]]
    """
    mean = hidden_mean(rbm, v, hidden)
    if hidden == "bernoulli":
        h = jax.random.bernoulli(key, mean).astype(mean.dtype)
        return jnp.where(jnp.isnan(mean), mean, h)  # no draw is below nan
    return mean + jax.random.normal(key, mean.shape, mean.dtype)


def sample_visible(
    key: jax.Array, rbm: RBM, h: Float[Array, "n h"], visible: Units = "bernoulli"
) -> Float[Array, "n v"]:
    """Sample v given h.

    >>> rbm = RBM(jnp.zeros((2, 2)), jnp.array([99.0, -99.0]), jnp.zeros(2))
    >>> sample_visible(jax.random.key(0), rbm, jnp.ones((1, 2))).tolist()
    [[1.0, 0.0]]
    """
    check("sample_visible", rbm, visible, h=(h, "n h"))
    return sample_hidden(key, flipped(rbm), h, visible)


def gibbs(
    key: jax.Array,
    rbm: RBM,
    v: Float[Array, "n v"],
    k: int | Int[Array, ""] = 1,
    visible: Units = "bernoulli",
    hidden: Units = "bernoulli",
    mean: bool = False,
) -> Float[Array, "n v"]:
    """Run k Gibbs sweeps v -> h -> v, without gradient.

    Args:
      key: PRNG key.
      rbm: the model.
      v: states of the chains.
      k: number of sweeps, which may be traced; 0 returns v.
      visible: kind of the visible units.
      hidden: kind of the hidden units.
      mean: use the mean of v given h instead of a sample. Hinton's recipe for
        contrastive divergence; the chain then no longer samples from the model.

    >>> rbm = RBM(jnp.full((2, 1), 99.0), jnp.full(2, -50.0), jnp.full(1, -50.0))
    >>> gibbs(jax.random.key(0), rbm, jnp.array([[1.0, 0.0]]), k=1).tolist()
    [[1.0, 1.0]]
    """
    check("gibbs", rbm, visible, hidden, v=(v, "n v"))
    *rbm, v = jax.lax.stop_gradient(widen(*rbm, v))
    rbm = RBM(*rbm)

    def sweep(i, v):
        up, down = jax.random.split(jax.random.fold_in(key, i))
        h = sample_hidden(up, rbm, v, hidden)
        if mean:
            return visible_mean(rbm, h, visible)
        return sample_visible(down, rbm, h, visible)

    return jax.lax.fori_loop(0, k, sweep, v)


def check(
    function: str,
    rbm: RBM,
    visible: Units = "bernoulli",
    hidden: Units = "bernoulli",
    **arrays,
) -> None:
    """Check an RBM, the kinds of its units, and arrays (as `shapes.expect` does).

    >>> rbm = RBM(jnp.ones((4, 3)), jnp.ones(4), jnp.ones(3))
    >>> check("f", rbm, v=(jnp.ones((2, 3)), "n v"))
    Traceback (most recent call last):
    ValueError: f: v must be float[n, v=4], got float32[2, 3]
    """
    for kind in (visible, hidden):
        if kind not in ("bernoulli", "gaussian"):
            raise ValueError(
                f"{function}: units must be bernoulli or gaussian, got {kind!r}"
            )
    if visible == hidden == "gaussian":
        raise ValueError(
            f"{function}: visible and hidden units may not both be gaussian, because the "
            f"energy may be unbounded below; make one layer bernoulli"
        )
    w, b, a = rbm
    expect(function, w=(w, "v h"), b=(b, "v"), a=(a, "h"), **arrays)


def _own_energy(units, x, bias):
    """The energy of a layer's biases: [n]."""
    if units == "bernoulli":
        return -(x @ bias)
    return 0.5 * jnp.square(x - bias[None]).sum(-1)
