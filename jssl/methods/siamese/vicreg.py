"""VICReg: invariance to views, with variance and covariance regularization.

Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization for
Self-Supervised Learning", ICLR 2022. https://arxiv.org/abs/2105.04906

    L = lambda s(z_1, z_2) + mu (v(z_1) + v(z_2)) / 2 + nu (c(z_1) + c(z_2))

with s the mean squared difference, v the hinge of standard deviations below 1, and c the
squared covariances. Invariance alone leads to complete collapse, which v prevents, and to
dimensional collapse, which c prevents. v is halved as in the released code, not as in the
paper.
"""

import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, whole_batches
from jssl.losses.redundancy import vicreg_terms
from jssl.method import Augment, Method, Prepare, field, first_row, view
from jssl.nets import Net
from jssl.pictures import Grid


def vicreg(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Invariance of two views, with variance and covariance regularization.

    Args:
      net: x -> {"h": [n, d], "z": [n, k]}; k = 4 d in the paper.
      tx: optimizer of all weights. The paper uses LARS.
      augment: (key, batch) -> two views of each row, [n, 2, ...], normalized as `prepare`
        does.
      invariance: lambda.
      variance: mu; 0 leads to complete collapse.
      covariance: nu; 0 leads to dimensional collapse.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """
    weights = dict(invariance=invariance, variance=variance, covariance=covariance)

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(batch))))
        return whole_batches("vicreg", learner)

    def loss(params, stats, views):
        # One after the other, with separate batch statistics for each view.
        one, stats = net.apply(params, stats, view(views, 0), train=True)
        two, stats = net.apply(params, stats, view(views, 1), train=True)
        terms = vicreg_terms(one["z"], two["z"])
        value = sum(weight * terms[name] for name, weight in weights.items())
        return value, (stats, {"loss": value} | terms)

    def step(key, state, batch):
        return minimize(tx, loss, state, augment(key, batch))

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    def render(key, state, batch, collect):
        z = embed(state, batch)["z"]
        return {"covariances of z": covariances(z)} if len(z) > 1 else {}

    return Method(init, step, embed, render=render)


def covariances(z, shown=256) -> Grid:
    """Absolute covariances of the first features; ideally a diagonal matrix."""
    return Grid(jnp.abs(jnp.cov(z[:, :shown].T)).clip(0, 1)[None, None, :, :, None])
