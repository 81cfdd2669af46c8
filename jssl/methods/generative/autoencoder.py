"""Autoencoder: reconstruction of the input through a narrow or sparse code.

    h = s(x W_e + b_e),    x^ = s(h W_d + b_d),    L = mean over samples of |x^ - x|^2

For a sparse code of any width, L has an additional weighted term

    mean over samples of sum_j |h_j|    or    sum_j KL(rho || q_j),

with q_j the average activation of unit j.

Rumelhart, Hinton and Williams, "Learning Internal Representations by Error Propagation",
1986, https://doi.org/10.21236/ADA164453. Sparsity: Olshausen and Field, Nature 381, 1996,
https://doi.org/10.1038/381607a0; Lee, Ekanadham and Ng, NIPS 2007; Ng, "Sparse
Autoencoder", CS294A notes, 2011 (with half the squared error).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.reconstruction import bernoulli_cross_entropy, squared_error
from jssl.losses.sparsity import average_activation, kl_sparsity, l1_sparsity
from jssl.method import Augment, Method, Prepare, field, first_row, identity
from jssl.nets import Net


class State(NamedTuple):
    learner: Learner
    active: jax.Array  # q [m]


def readout(error: str, output: str) -> Callable:
    """The function from logits to a reconstruction: sigmoid or identity.

    Raises:
      ValueError: unknown names, or cross entropy with a linear output.
    """
    if error not in ("squared", "cross_entropy") or output not in ("sigmoid", "linear"):
        raise ValueError(
            'error must be "squared" or "cross_entropy", and output "sigmoid" or '
            f'"linear"; got {error!r} and {output!r}'
        )
    if (error, output) == ("cross_entropy", "linear"):
        raise ValueError('error "cross_entropy" needs output "sigmoid", got "linear"')
    return jax.nn.sigmoid if output == "sigmoid" else identity


def autoencoder(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    error: str = "squared",
    sparsity: str = "",
    weight: float = 1.0,
    rho: float = 0.05,
    momentum: float = 0.0,
    output: str = "sigmoid",
    augment: Augment | None = None,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Reconstruction, optionally with a sparsity penalty.

    Args:
      net: x -> {"h": [n, m], "logits": shaped as x}. "kl" needs h in (0, 1).
      tx: optimizer of all weights. With "l1" it should end in `optim.unit_rows` of the
        decoder.
      error: "squared" or, for x in [0, 1], "cross_entropy".
      sparsity: "" (none), "l1" or "kl".
      weight: of the sparsity penalty.
      rho: target activation of a unit, for "kl".
      momentum: of the running average q; 0 takes the average of the batch, which should
        have 100 samples or more. Only the batch's share of q has a gradient: divide
        `weight` by 1 - momentum for the same strength.
      output: function from logits to a reconstruction, "sigmoid" or "linear".
      augment: (key, batch) -> one view of each row, which is reconstructed, normalized as
        `prepare` does; None: `prepare`.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    look = augment or (lambda key, batch: prepare(batch))
    restored = readout(error, output)
    if sparsity not in ("", "l1", "kl"):
        raise ValueError(f'sparsity must be "", "l1" or "kl", got {sparsity!r}')

    def init(key, batch):
        x = first_row(prepare(batch))
        learner = fresh(tx, *net.init(key, x))
        h = net.apply(learner.params, learner.stats, x)[0]["h"]
        return State(learner, jnp.full(h.shape[1:], rho, h.dtype))

    def loss(params, stats, x, q, keys):
        out, stats = net.apply(params, stats, x, train=True, keys=keys)
        h, reconstruction = out["h"], restored(out["logits"])
        if error == "squared":
            value = squared_error(reconstruction, x)
        else:
            value = bernoulli_cross_entropy(out["logits"], x)
        penalty = {}
        if sparsity == "l1":
            penalty = {"l1": l1_sparsity(h)}
        elif sparsity == "kl":
            penalty = {"kl": kl_sparsity(h, rho, q, momentum)}
        value += sum(weight * p for p in penalty.values())
        metrics = {"loss": value, "mse": jnp.square(reconstruction - x).mean(), **penalty}
        return value, (stats, metrics | {"active": average_activation(h, q, momentum)})

    def step(key, state, batch):
        x = look(key, batch)
        learner, metrics = minimize(
            tx, loss, state.learner, x, state.active, noise_keys(key)
        )
        q = metrics["active"]
        return State(learner, q), metrics | {"active": q.mean()}

    def apply(state, x):
        return net.apply(state.learner.weights, state.learner.stats, x)[0]

    def embed(state, batch):
        x = prepare(batch)
        out = apply(state, x)
        seen = restored(out["logits"])
        rows = {"input": x, "reconstruction": seen}
        return {"h": out["h"]} | {k: x.reshape(len(x), -1) for k, x in rows.items()}

    return Method(init, step, embed)
