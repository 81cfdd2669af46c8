"""MixMatch: guess a label for each unlabelled image, then mix everything with everything.

Berthelot, Carlini, Goodfellow, Papernot, Oliver and Raffel, "MixMatch: A Holistic Approach
to Semi-Supervised Learning", NeurIPS 2019. https://arxiv.org/abs/1905.02249

    q = sharpen(mean over k views of p(view_k(u)), T), one guess for all views of u,
    X', U' = labelled and unlabelled views, each mixed with one of a shuffle of all,
    L = mean over X' of H(y, p(x)) + w(s) mean over U' and classes of (q - p(u))^2.

No gradient flows through q. The guesses come from the current weights; a chain of `tx`
that ends in `ema_weights` gives the average which predicts in the end.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize
from jssl.losses.consistency import mixmatch as cross_entropy_and_squared_error
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.nets import Net
from jssl.ops.mixing import mixmatch_batch
from jssl.ops.ramps import linear_rampup
from jssl.ops.targets import guess_labels


class State(NamedTuple):
    learner: Learner
    count: jax.Array  # steps taken


def mixmatch(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    weight: float = 75.0,
    ramp: int = 16384,
    k: int = 2,
    temperature: float = 0.5,
    alpha: float = 0.75,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Learns from few labels, and from its guesses.

    Args:
      net: images -> {"logits": [n, classes], "h": [n, d]}.
      tx: moves all weights.
      augment: draws one view of each image, [n, ...], normalised as `prepare` does; an
        unlabelled image is given to it k times.
      weight: w after the ramp.
      ramp: steps in which w rises along a line.
      k: views of an unlabelled image.
      temperature: T.
      alpha: of the Beta distribution that the shares of a mixture come from.
      prepare: what the network sees of an image outside training.
    """

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))
        return State(learner, jnp.zeros((), jnp.int32))

    # One pass of all mixed rows, which move the running statistics once. The authors make
    # k + 1 passes of interleaved rows, so that each has the statistics of the whole.
    def loss(params, stats, x, p, u, q, w, keys):
        mixed = jnp.concatenate([x, u])
        out, stats = net.apply(params, stats, mixed, train=True, keys=keys)
        known, unknown = jnp.split(out["logits"], [len(x)])
        value, parts = cross_entropy_and_squared_error(known, p, unknown, q, w)
        return value, (stats, parts | {"loss": value, "weight": w})

    def step(key, state, batch):
        look, mix, noise, other = jax.random.split(key, 4)
        learner, labeled = state.learner, batch["labeled"]
        n, many = len(labeled["label"]), len(batch["unlabeled"]["index"])
        repeated = jax.tree.map(lambda x: jnp.repeat(x, k, axis=0), batch["unlabeled"])
        both = part(dict(batch) | {"unlabeled": repeated}, "labeled", "unlabeled")
        x, u = jnp.split(augment(look, both), [n])
        keys = {"dropout": noise}
        out, _ = net.apply(learner.params, learner.stats, u, train=True, keys=keys)
        guessed = jax.nn.softmax(out["logits"])
        q = guess_labels(guessed.reshape(many, k, -1), temperature)
        p = jax.nn.one_hot(labeled["label"], q.shape[1], dtype=q.dtype)
        u = u.reshape(many, k, *u.shape[1:])
        (x, p), (u, mixed_q) = mixmatch_batch(mix, x, p, u, q, alpha)
        w, keys = weight * linear_rampup(state.count, ramp), {"dropout": other}
        learner, metrics = minimize(tx, loss, learner, x, p, u, mixed_q, w, keys)
        metrics["certainty"] = q.max(1).mean()
        return State(learner, state.count + 1), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    return Method(init, step, embed)
