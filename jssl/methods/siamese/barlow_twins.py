"""Barlow Twins: features equal in two views and uncorrelated with each other.

Zbontar, Jing, Misra, LeCun and Deny, "Barlow Twins: Self-Supervised Learning via Redundancy
Reduction", ICML 2021. https://arxiv.org/abs/2103.03230

    C = correlation of the features of z_1 with those of z_2, over the batch
    L = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2

Invariance alone is reached by one feature, repeated, which the second term prevents. There
are no negatives, and no predictor, target network or stop-gradient.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, whole_batches
from jssl.losses.redundancy import barlow_twins as redundancy_reduction
from jssl.losses.redundancy import cross_correlation
from jssl.method import Augment, Method, Prepare, field, first_row, view
from jssl.nets import Net
from jssl.pictures import Grid


def barlow_twins(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    lam: float = 0.0051,
    scale: float = 1.0,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Cross-correlation of two views, driven to the identity.

    Args:
      net: x -> {"h": [n, d], "z": [n, k]}; k = 4 d in the paper. z is standardized in the
        loss, so that it needs no bias and no norm.
      tx: optimizer of all weights. The paper uses LARS, with a smaller rate for vectors.
      augment: (key, batch) -> two views of each row, [n, 2, ...], normalized as `prepare`
        does.
      lam: lambda; 0 leads to redundant features.
      scale: factor of the whole loss; 0.1 in solo-learn's settings for small images.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(batch))))
        return whole_batches("barlow_twins", learner)

    def loss(params, stats, views):
        # One after the other, with separate batch statistics for each view.
        one, stats = net.apply(params, stats, view(views, 0), train=True)
        two, stats = net.apply(params, stats, view(views, 1), train=True)
        value = scale * redundancy_reduction(one["z"], two["z"], lam)
        return value, (stats, {"loss": value} | agreement(one["z"], two["z"]))

    def step(key, state, batch):
        return minimize(tx, loss, state, augment(key, batch))

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    def render(key, state, batch, collect):
        views = augment(key, batch)
        each = [net.apply(state.weights, state.stats, view(views, i))[0] for i in (0, 1)]
        one, two = (out["z"][:, :256] for out in each)
        c = jnp.abs(cross_correlation(one, two)).clip(0, 1)
        return {"correlations of two views": Grid(c[None, None, :, :, None])}

    return Method(init, step, embed, render=render)


def agreement(a, b) -> dict[str, jax.Array]:
    """The mean of C_ii, 1 at best, and the RMS of C_ij, 0 at best, of [n, k] and [n, k]."""
    c = cross_correlation(*jax.lax.stop_gradient((a, b)))
    own, d = jnp.diag(c), len(c)
    rest = (jnp.square(c).sum() - jnp.square(own).sum()) / max(d * (d - 1), 1)
    return {"invariance": own.mean(), "redundancy": jnp.sqrt(jnp.maximum(rest, 0))}
