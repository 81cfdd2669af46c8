"""VICReg: two views agree, while every feature varies and no two say the same.

Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization for
Self-Supervised Learning", ICLR 2022. https://arxiv.org/abs/2105.04906

    L = lambda s(z_1, z_2) + mu (v(z_1) + v(z_2)) / 2 + nu (c(z_1) + c(z_2))

s the mean squared difference, v how far the deviations of the features fall short of 1,
c the squares of their covariances. Agreement alone puts all images on one point, which v
forbids; they may still lie on one line, which c forbids. v is halved as in the released
code, not as in the paper.
"""

import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize
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
    """Pulls two views together, with the batch's statistics held in place.

    Args:
      net: images -> {"h": [n, d], "z": [n, k]}; the paper's k is four times its d.
      tx: moves all weights. The paper uses LARS.
      augment: draws two views of each image, [n, 2, ...], normalised as `prepare` does.
      invariance: lambda.
      variance: mu; 0 shows the complete collapse that it prevents.
      covariance: nu; 0 shows the dimensional collapse that it prevents.
      prepare: what the network sees of an image outside training.
    """
    weights = dict(invariance=invariance, variance=variance, covariance=covariance)

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))))

    def loss(params, stats, views):
        # One after the other: each view has batch statistics of its own.
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
        return {"covariances of z": covariances(embed(state, batch)["z"])}

    return Method(init, step, embed, render=render)


def covariances(z, shown=256) -> Grid:
    """Sizes of the first features' covariances, 0 black; at best the diagonal alone."""
    return Grid(jnp.abs(jnp.cov(z[:, :shown].T)).clip(0, 1)[None, None, :, :, None])
