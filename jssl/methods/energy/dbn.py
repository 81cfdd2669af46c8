"""Deep belief network: a stack of RBMs, fine-tuned by the up-down algorithm.

Hinton, Osindero and Teh, "A Fast Learning Algorithm for Deep Belief Nets", Neural
Computation 18, 2006, https://doi.org/10.1162/neco.2006.18.7.1527

The layers are first trained as RBMs, each on the mean activations of those below (`rbm` and
`above`); `stacked` combines them to a network with R = G = W. A step is then contrastive
wake-sleep, for each directed layer l:

    wake    h_l ~ q, upwards from the image; update of the generative weights G:
            r = h_{l-1} - sigmoid(b_l + h_l G_l^T),    G_l += lr r^T h_l / n
    top     CD-k in the top RBM, starting at the end of the wake phase
    sleep   h_{l-1} ~ p, downwards from the end of the chain; of the recognition weights R:
            r = h_l - sigmoid(a_l + h_{l-1} R_l),      R_l += lr h_{l-1}^T r / n

Departure: no label units in the visible layer of the top RBM; training uses no labels, and
the representation is the mean activation of the top hidden layer.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, descend, fresh, on_update
from jssl.losses.energy import cd_gradients
from jssl.method import Above, Method, Prepare, field, first_row
from jssl.methods.energy.rbm import flat
from jssl.ops.belief import DBN, Layer, ancestral, down, generate, stacked, up
from jssl.ops.gibbs import RBM, free_energy, hidden_mean, sample_hidden, visible_mean
from jssl.pictures import Grid


class State(NamedTuple):
    learner: Learner  # params: a DBN
    count: jax.Array  # updates of the weights


def machines(state: Any) -> list[RBM]:
    """The RBMs in the state of a greedy stack, lowest first."""
    if isinstance(state, Above):
        return [*machines(state.below), *machines(state.own)]
    return [state.learner.weights]


def wake_sleep(key, dbn: DBN, v, k=1, mean=True):
    """Contrastive wake-sleep: gradients to descend, and the states of both phases.

    Args:
      key: of all draws.
      dbn: the network.
      v: [n, v], numbers between 0 and 1 are means.
      k: Gibbs sweeps of the top RBM; may be traced.
      mean: True ends the sleep phase in the mean of v, as the data are means; else in a
        sample.

    Returns:
      The gradients (a DBN), and the states (v, h_1, ..., h_{L-1}) of wake and of sleep.
    """
    wake, chain, sleep = jax.random.split(key, 3)
    awake = [v]
    for at, layer in zip(jax.random.split(wake, len(dbn.lower)), dbn.lower, strict=True):
        awake.append(sample_hidden(at, layer.upward, awake[-1]))
    top, last = cd_gradients(chain, dbn.top, awake[-1], k)
    asleep = ancestral(sleep, dbn, last, mean)
    lower = []
    for i, layer in enumerate(dbn.lower):
        generated = visible_mean(layer.downward, awake[i + 1]) - awake[i]  # [n, v]
        recognized = hidden_mean(layer.upward, asleep[i]) - asleep[i + 1]  # [n, h]
        lower.append(
            Layer(
                r=asleep[i].T @ recognized / len(v),
                a=recognized.mean(0),
                g=generated.T @ awake[i + 1] / len(v),
                b=generated.mean(0),
            )
        )
    return DBN(tuple(lower), top), tuple(awake), asleep


def dbn(
    hidden: Sequence[int],
    tx: optax.GradientTransformation,
    *,
    steps: int,
    sweeps: Sequence[int] = (3, 6, 10),
    mean: bool = True,
    scale: float = 0.01,
    prepare: Prepare = field("image", flat),
    dreams: int = 200,
    made: str = "image",
) -> Method[State]:
    """Up-down fine-tuning of a deep belief network.

    Args:
      hidden: units of each hidden layer, two or more.
      tx: optimizer of all weights.
      steps: of training, for `sweeps`.
      sweeps: values of k of the top RBM, for equal parts of training.
      mean: True ends the sleep phase in the mean of v.
      scale: standard deviation of initial weights, unless replaced by trained RBMs.
      prepare: batch -> rows [n, v] in [0, 1].
      dreams: Gibbs sweeps of the top RBM before a sample.
      made: name of the generated field, if it has v numbers.
    """

    def init(key, batch):
        widths = (first_row(prepare(batch)).shape[1], *hidden)
        first = [
            RBM(scale * jax.random.normal(at, shape), *map(jnp.zeros, shape))
            for at, *shape in zip(
                jax.random.split(key, len(hidden)), widths[:-1], widths[1:], strict=True
            )
        ]
        return State(fresh(tx, stacked(first)), jnp.zeros((), jnp.int32))

    def step(key, state, batch):
        net, v = state.learner.params, prepare(batch)
        part = state.count * len(sweeps) // steps
        k = jnp.asarray(sweeps)[jnp.minimum(part, len(sweeps) - 1)]
        grads, awake, asleep = wake_sleep(key, net, v, k, mean)
        means = up(net, v)
        gap = free_energy(net.top, awake[-1]) - free_energy(net.top, asleep[-1])
        named = hidden_mean(net.lower[0].upward, asleep[0])
        metrics = {
            "reconstruction": jnp.square(down(net, means[-1]) - v).mean(),
            "recognition": jnp.square(named - asleep[1]).mean(),  # of sleep samples
            "free_energy_gap": gap.mean(),
            "active": means[-1].mean(),
        }
        learner = descend(tx, state.learner, grads)
        count = on_update(state.learner, learner, state.count + 1, state.count)
        return State(learner, count), metrics

    def embed(state, batch):
        net, v = state.learner.weights, prepare(batch)
        means = up(net, v)
        seen = down(net, means[-1])
        return {"h": means[-1], "layers": means, "reconstruction": seen, "input": v}

    def render(key, state, batch, collect):
        net = state.learner.weights
        if made not in batch or net.lower[0].g.shape[0] != batch[made][0].size:
            return {}
        lengths = (1, 10, 100, 1000)
        shape = batch[made].shape[1:]
        rows = [generate(key, net, 8, k).reshape(-1, *shape) for k in lengths]
        headings = ("1 sweep", *(f"{k} sweeps" for k in lengths[1:]))
        return {"dreams": Grid(jnp.stack(rows, 1), headings)}

    def dreamt(key, state, batch):
        net, n = state.learner.weights, len(batch["index"])
        if made not in batch or net.lower[0].g.shape[0] != batch[made][0].size:
            return {}
        return {made: generate(key, net, n, dreams).reshape(n, *batch[made].shape[1:])}

    return Method(init, step, embed, render=render, generate=dreamt)
