"""SimSiam: prediction of one view's projection from the other's, with stop-gradient.

Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021.
https://arxiv.org/abs/2011.10566

    L = D(p_1, stop(z_2)) / 2 + D(p_2, stop(z_1)) / 2,    D = -cosine.

Without negatives or a momentum encoder: stop-gradient alone prevents collapse.
"""

import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize
from jssl.losses.siamese import negative_cosine
from jssl.method import Augment, Method, Prepare, field, first_row, view
from jssl.nets import Net
from jssl.ops.vectors import cosine, unit


def simsiam(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    prepare: Prepare = field("image"),
    stop_gradient: bool = True,
) -> Method[Learner]:
    """Siamese prediction with stop-gradient.

    Args:
      net: x -> {"h": [n, d], "z": [n, k], "p": [n, k]}.
      tx: optimizer of all weights; the paper keeps the predictor's learning rate constant.
      augment: (key, batch) -> two views of each row, [n, 2, ...], normalized as `prepare`
        does.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
      stop_gradient: False leads to collapse.
    """

    def distance(p, z):
        return negative_cosine(p, z) if stop_gradient else -cosine(p, z).mean()

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))))

    def loss(params, stats, views):
        # One after the other, with separate batch statistics for each view.
        one, stats = net.apply(params, stats, view(views, 0), train=True)
        two, stats = net.apply(params, stats, view(views, 1), train=True)
        value = (distance(one["p"], two["z"]) + distance(two["p"], one["z"])) / 2
        spread = unit(one["z"]).std(0).mean() * jnp.sqrt(one["z"].shape[1])
        return value, (stats, {"loss": value, "z_spread": spread})  # 1 healthy, 0 collapse

    def step(key, state, batch):
        return minimize(tx, loss, state, augment(key, batch))

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    return Method(init, step, embed)
