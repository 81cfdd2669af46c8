"""Pseudo-labels: the predicted classes of unlabeled samples, learned as if they were true.

Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural
Networks", ICML workshop 2013.

    L = mean over labeled x of -log p_y(x)
        + w(s) mean over unlabeled u of 1[max_c p_c(u) >= tau] (-log p_y'(u)),
    y' = argmax_c p_c(u), computed anew in each step, without gradient,
    w(s) = 0 before T1, then linear to w at T2.

Lee has tau = 0. The mean is over all unlabeled rows, confident or not. The entropy of
unlabeled predictions is the limit of soft labels, and may be added or take their place:

    + w_ent(s) mean over u of H(p(u)),    w_ent(s) with the same ramp.

Grandvalet and Bengio, "Semi-supervised learning by entropy minimization", NeurIPS 2004.
Labeled and unlabeled rows have a pass each; running statistics are those of the labeled
one, as in MixMatch's released code of this method.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, on_update
from jssl.losses.consistency import entropy
from jssl.losses.consistency import pseudo_label as cross_entropy_of_confident
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.nets import Net
from jssl.ops.ramps import linear_rampup


class State(NamedTuple):
    learner: Learner
    count: jax.Array  # updates of the weights


def pseudo_label(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    weight: float = 1.0,
    threshold: float = 0.95,
    start: int = 0,
    ramp: int = 1000,
    entropy_weight: float = 0.0,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Semi-supervised learning with pseudo-labels, entropy minimization, or both.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of all weights. If its chain ends in `ema_weights`, averaged weights
        make the final predictions.
      augment: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does;
        the pseudo-label is that of the same view.
      weight: w after the ramp; 3 in the paper, 0 for entropy minimization alone.
      threshold: tau.
      start: T1, steps before the ramp; 100 epochs in the paper.
      ramp: T2 - T1, steps of the linear ramp; 500 epochs in the paper.
      entropy_weight: w_ent after the ramp.
      prepare: batch -> x, the network's input outside training (normalization, a crop).

    Raises:
      ValueError: a threshold outside [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"pseudo_label: threshold must be from 0 to 1, got {threshold}")

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))
        return State(learner, jnp.zeros((), jnp.int32))

    def loss(params, stats, views, labels, rise, one, two):
        n = len(labels)
        out, moved = net.apply(params, stats, views[:n], train=True, keys=one)
        other, _ = net.apply(params, stats, views[n:], train=True, keys=two)
        logits = out["logits"]
        known = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        guessed, guess = cross_entropy_of_confident(other["logits"], threshold)
        unsure = entropy(other["logits"])
        value = known + rise * (weight * guessed + entropy_weight * unsure)
        return value, (
            moved,
            {
                "loss": value,
                "labeled": known,
                "unlabeled": guessed,
                "entropy": unsure,
                "weight": rise * weight,
                "confident": guess["mask"].mean(),
                "accuracy": (logits.argmax(-1) == labels).mean(),
            },
        )

    def step(key, state, batch):
        look, one, two = jax.random.split(key, 3)
        views = augment(look, part(batch, "labeled", "unlabeled"))
        rise = linear_rampup(state.count, ramp, start)
        keys = noise_keys(one), noise_keys(two)
        labels = batch["labeled"]["label"]
        learner, metrics = minimize(tx, loss, state.learner, views, labels, rise, *keys)
        count = on_update(state.learner, learner, state.count + 1, state.count)
        return State(learner, count), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    return Method(init, step, embed)
