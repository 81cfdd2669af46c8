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
from jssl.ops.mixing import interleave, mixmatch_batch
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
    mixed: str = "all",
    averaged: bool = False,
    interleaved: bool = False,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Semi-supervised learning with pseudo-labels and mixup.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of all weights. The released code: Adam of constant rate, then
        `optim.shrink` of the kernels by 0.02 times this rate.
      augment: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does;
        unlabeled rows are repeated k times.
      weight: w after the ramp.
      ramp: steps of the linear ramp of w.
      k: views of an unlabeled image.
      temperature: T.
      alpha: parameter of the Beta distribution of mixing coefficients; 0: no mixup.
      mixed: rows that are mixed, an ablation of the paper: see `ops.mixing.mixmatch_batch`.
      averaged: guess by averaged weights, another ablation; needs `ema_weights` in `tx`.
      interleaved: batch statistics of the released code: of each view for its guess, then
        of each of k + 1 batches of interleaved mixed rows, the first of which updates the
        running statistics. False: of all views, and of all mixed rows.
      prepare: batch -> x, the network's input outside training (normalization, a crop).

    Raises:
      ValueError: in `init`, if `interleaved` and there are not as many labeled as unlabeled
        rows in a batch.
    """

    def init(key, batch):
        sizes = [len(batch[name]["index"]) for name in ("labeled", "unlabeled")]
        if interleaved and sizes[0] != sizes[1]:
            raise ValueError(
                f"mixmatch: interleaved batches need as many labeled as unlabeled rows, "
                f"got {sizes[0]} and {sizes[1]}: change one of them, or interleaved=False"
            )
        learner = fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))
        return State(learner, jnp.zeros((), jnp.int32))

    def passes(params, stats, batches, key):
        """Logits of each batch, and the running statistics after the first."""
        outs = [
            net.apply(params, stats, x, train=True, keys={"dropout": drop})
            for x, drop in zip(batches, jax.random.split(key, len(batches)), strict=True)
        ]
        return [out["logits"] for out, _ in outs], outs[0][1]

    def of_views(params, stats, u, key):
        """Logits [n k, classes] of all views [n k, ...]."""
        if interleaved:
            each = [u[i::k] for i in range(k)]
            logits, _ = passes(params, stats, each, key)
            return jnp.stack(logits, 1).reshape(len(u), -1)
        return net.apply(params, stats, u, train=True, keys={"dropout": key})[0]["logits"]

    def of_mixed(params, stats, x, u, key):
        """Logits of mixed labeled rows and views, and the new running statistics."""
        if interleaved:
            batches = interleave([x, *(u[i::k] for i in range(k))])
            logits, stats = passes(params, stats, batches, key)
            known, *unknown = interleave(logits)
            return known, jnp.stack(unknown, 1).reshape(len(u), -1), stats
        mixed, keys = jnp.concatenate([x, u]), {"dropout": key}
        out, stats = net.apply(params, stats, mixed, train=True, keys=keys)
        return *jnp.split(out["logits"], [len(x)]), stats

    def loss(params, stats, x, p, u, q, w, key):
        known, unknown, stats = of_mixed(params, stats, x, u, key)
        value, parts = cross_entropy_and_squared_error(known, p, unknown, q, w)
        return value, (stats, parts | {"loss": value, "weight": w})

    def step(key, state, batch):
        look, mix, noise, other = jax.random.split(key, 4)
        learner, labeled = state.learner, batch["labeled"]
        n, many = len(labeled["label"]), len(batch["unlabeled"]["index"])
        repeated = jax.tree.map(lambda x: jnp.repeat(x, k, axis=0), batch["unlabeled"])
        both = part(dict(batch) | {"unlabeled": repeated}, "labeled", "unlabeled")
        x, u = jnp.split(augment(look, both), [n])
        guesser = learner.weights if averaged else learner.params
        guessed = jax.nn.softmax(of_views(guesser, learner.stats, u, noise))
        q = guess_labels(guessed.reshape(many, k, -1), temperature)
        p = jax.nn.one_hot(labeled["label"], q.shape[1], dtype=q.dtype)
        u = u.reshape(many, k, *u.shape[1:])
        (x, p), (u, mixed_q) = mixmatch_batch(mix, x, p, u, q, alpha, mixed)
        w = weight * linear_rampup(state.count, ramp)
        learner, metrics = minimize(tx, loss, learner, x, p, u, mixed_q, w, other)
        metrics["certainty"] = q.max(1).mean()
        count = on_update(state.learner, learner, state.count + 1, state.count)
        return State(learner, count), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    return Method(init, step, embed)
