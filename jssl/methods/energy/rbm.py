"""Restricted Boltzmann machine, trained by contrastive divergence.

    E(v, h) = -b v - a h - v W h,    p(v, h) = exp(-E(v, h)) / Z

The gradient of the log-likelihood is <v h> under the data minus <v h> under the model; the
latter is estimated by k sweeps of Gibbs sampling from the data (CD-k: Hinton, "Training
Products of Experts by Minimizing Contrastive Divergence", Neural Computation 2002,
https://doi.org/10.1162/089976602760128018) or from persistent chains (PCD: Tieleman, ICML
2008, https://doi.org/10.1145/1390156.1390290). Recipe: Hinton, "A Practical Guide to
Training Restricted Boltzmann Machines", 2010.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, descend, fresh
from jssl.losses.energy import cd_gradients, pcd_gradients
from jssl.method import Method, Prepare, field, first_row
from jssl.ops.gibbs import (
    RBM,
    Units,
    free_energy,
    gibbs,
    hidden_mean,
    sample_hidden,
    visible_mean,
)
from jssl.pictures import Grid


class State(NamedTuple):
    learner: Learner  # params: an RBM
    chains: jax.Array  # [m, v] of PCD; unused in CD


def flat(images):
    """Images [n, ...] as rows [n, v]."""
    return images.reshape(len(images), -1)


def rbm(
    hidden: int,
    tx: optax.GradientTransformation,
    *,
    k: int = 1,
    chains: int = 0,
    visible: Units = "bernoulli",
    units: Units = "bernoulli",
    mean: bool = True,
    scale: float = 0.01,
    frequency: jax.Array | None = None,
    prepare: Prepare = field("image", flat),
    sweeps: int = 200,
    made: str = "image",
) -> Method[State]:
    """Training by CD-k or, with chains, PCD.

    Args:
      hidden: number of hidden units.
      tx: optimizer of all weights; weight decay should apply to W only.
      k: Gibbs sweeps per step.
      chains: number of persistent chains; 0: CD, from the data.
      visible: kind of the visible units: "bernoulli" or, for data of mean 0 and variance 1,
        "gaussian".
      units: kind of the hidden units.
      mean: True propagates the mean of v, as in Hinton's recipe; CD only.
      scale: standard deviation of the initial weights.
      frequency: [v], frequency of ones of each pixel, whose log-odds are the initial
        visible biases; None: biases 0.
      prepare: batch -> rows [n, v].
      sweeps: Gibbs sweeps before a sample, from the chains of PCD or random bits.
      made: name of the generated field, if it has v numbers.
    """

    def init(key, batch):
        width = first_row(prepare(batch)).shape[1]
        weights, points = jax.random.split(key)
        w = scale * jax.random.normal(weights, (width, hidden))
        b = jnp.zeros(width)
        if frequency is not None:
            p = jnp.clip(frequency, 0.01, 0.99)
            b = jnp.log(p / (1 - p))
        first = RBM(w, b, jnp.zeros(hidden))
        start = jax.random.uniform(points, (chains, width)) if chains else jnp.zeros(1)
        return State(fresh(tx, first), start.round())

    def step(key, state, batch):
        v, machine = prepare(batch), state.learner.params
        if chains:
            grads, at = pcd_gradients(key, machine, v, state.chains, k, visible, units)
        else:
            grads, model = cd_gradients(key, machine, v, k, visible, units, mean)
            at = state.chains
        up = hidden_mean(machine, v, units)
        seen = visible_mean(machine, up, visible)
        gap = free_energy(machine, v, visible, units).mean()
        gap -= free_energy(machine, at if chains else model, visible, units).mean()
        metrics = {
            "reconstruction": jnp.square(v - seen).mean(),
            "free_energy_gap": gap,
            "active": up.mean(),
        }
        return State(descend(tx, state.learner, grads), at), metrics

    def embed(state, batch):
        return {"h": hidden_mean(state.learner.weights, prepare(batch), units)}

    def render(key, state, batch, collect):
        machine, v = state.learner.weights, prepare(batch)[:8]
        if made not in batch or v[0].size != batch[made][0].size:
            return {}
        moments = []
        for length in (0, 1, 10, 100):
            key, at = jax.random.split(key)
            v = gibbs(at, machine, v, length, visible, units)
            shown = visible_mean(machine, sample_hidden(at, machine, v, units), visible)
            moments.append(v if length == 0 else shown)
        shown = jnp.stack(moments, 1).reshape(len(v), -1, *batch[made].shape[1:])
        headings = ("start", "1 sweep", "11 sweeps", "111 sweeps")
        return {"Gibbs chains": Grid(jnp.clip(shown, 0, 1), headings)}

    def generate(key, state, batch):
        machine, n = state.learner.weights, len(batch["index"])
        width = machine.w.shape[0]
        if made not in batch or width != batch[made][0].size:
            return {}
        start, draw, last = jax.random.split(key, 3)
        if chains:
            v = state.chains[jax.random.randint(start, (n,), 0, chains)]
        else:
            v = jax.random.bernoulli(start, 0.5, (n, width)).astype(machine.w.dtype)
        v = gibbs(draw, machine, v, sweeps, visible, units)
        seen = visible_mean(machine, sample_hidden(last, machine, v, units), visible)
        return {made: seen.reshape(n, *batch[made].shape[1:])}

    return Method(init, step, embed, render=render, generate=generate)
