"""BYOL: prediction of the target network's projection of the other view.

Grill, Strub, Altche, Tallec, Richemond et al., "Bootstrap Your Own Latent", NeurIPS 2020.
https://arxiv.org/abs/2006.07733

    L = |unit(p_1) - unit(z'_2)|^2 + |unit(p_2) - unit(z'_1)|^2,
    target <- m target + (1 - m) online,    m from m_0 to 1 along a cosine,

with z' of the target network, which has no gradient.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, on_update, without_predictor
from jssl.losses.siamese import byol_regression
from jssl.method import Augment, Method, Prepare, field, first_row, view
from jssl.nets import Net
from jssl.ops.ema import cosine_momentum, ema
from jssl.ops.vectors import unit


class Target(NamedTuple):
    """The averaged encoder and projector, with their own batch statistics."""

    params: Any
    stats: Any


class State(NamedTuple):
    online: Learner
    target: Target
    count: jax.Array  # updates of the online network


def byol(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    steps: int,
    momentum: float = 0.996,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Self-prediction with a momentum target.

    Args:
      net: x -> {"h": [n, d], "z": [n, k], "p": [n, k]}; its method `project` ends at z, its
        predictor is named "predictor". Without a predictor the representation collapses.
      tx: optimizer of the online network. The paper uses LARS.
      augment: (key, batch) -> two views of each row, [n, 2, ...], normalized as `prepare`
        does.
      steps: updates of training, after which the momentum is 1.
      momentum: m_0.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    def init(key, batch):
        online = fresh(tx, *net.init(key, first_row(prepare(batch))))
        target = Target(*without_predictor(online))
        return State(online, target, jnp.zeros((), jnp.int32))

    def project(target, images):
        out, stats = net.apply(*target, images, train=True, method="project")
        return out["z"], target._replace(stats=stats)

    def loss(params, stats, views, targets):
        one, stats = net.apply(params, stats, view(views, 0), train=True)
        two, stats = net.apply(params, stats, view(views, 1), train=True)
        first, second = (out.get("p", out["z"]) for out in (one, two))
        value = byol_regression(first, targets[1]) + byol_regression(second, targets[0])
        spread = unit(one["z"]).std(0).mean() * jnp.sqrt(one["z"].shape[1])
        return value, (stats, {"loss": value, "z_spread": spread})  # 1 healthy, 0 collapse

    def step(key, state, batch):
        views = augment(key, batch)
        first, target = project(state.target, view(views, 0))
        second, target = project(target, view(views, 1))
        online, metrics = minimize(tx, loss, state.online, views, (first, second))
        m = cosine_momentum(state.count, steps, momentum)
        moved = ema(target.params, without_predictor(online)[0], m), state.count + 1
        still = target.params, state.count
        params, count = on_update(state.online, online, moved, still)
        return State(online, target._replace(params=params), count), metrics

    def embed(state, batch):
        online = state.online
        return net.apply(online.weights, online.stats, prepare(batch))[0]

    return Method(init, step, embed)
