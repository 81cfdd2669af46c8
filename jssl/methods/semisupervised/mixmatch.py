"""MixMatch: sharpened pseudo-labels for unlabeled images, and mixup with labeled ones.

Berthelot, Carlini, Goodfellow, Papernot, Oliver and Raffel, "MixMatch: A Holistic Approach
to Semi-Supervised Learning", NeurIPS 2019. https://arxiv.org/abs/1905.02249

    q = sharpen(mean over k views of p(view_k(u)), T), one pseudo-label for all views of u,
    X', U' = labeled and unlabeled views, each mixed with a random one of all,
    L = mean over X' of H(y, p(x)) + w(s) mean over U' and classes of (q - p(u))^2.

No gradient flows through q. Pseudo-labels are computed with the current weights; if the
chain `tx` ends in `ema_weights`, averaged weights make the final predictions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, on_update
from jssl.losses.consistency import mixmatch as cross_entropy_and_squared_error
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.nets import Net
from jssl.ops.mixing import mixmatch_batch
from jssl.ops.ramps import linear_rampup
from jssl.ops.targets import guess_labels


class State(NamedTuple):
    learner: Learner
    count: jax.Array  # updates of the weights


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
    """Semi-supervised learning with pseudo-labels and mixup.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of all weights.
      augment: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does;
        unlabeled rows are repeated k times.
      weight: w after the ramp.
      ramp: steps of the linear ramp of w.
      k: views of an unlabeled image.
      temperature: T.
      alpha: parameter of the Beta distribution of mixing coefficients.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))
        return State(learner, jnp.zeros((), jnp.int32))

    # One pass of all mixed rows, with one update of running statistics. The authors make
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
        count = on_update(state.learner, learner, state.count + 1, state.count)
        return State(learner, count), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    return Method(init, step, embed)
