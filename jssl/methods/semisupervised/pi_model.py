"""Pi-model: consistency of two passes of one network, each with its own noise.

Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017.
https://arxiv.org/abs/1610.02242

    L = 1 / n sum over labeled x of -log z(x)_y
        + w(s) / (C n) sum over all x of |z(x) - z'(x)|^2,

with z and z' the predictions for two views of x under two draws of dropout, and n the rows
of the whole batch. The gradient flows through both; with `symmetric=False` z' is held
fixed, as in later re-implementations. w rises as exp(-5 (1 - t)^2), and is 0 at first: the
network would otherwise settle on one prediction for all samples. Running statistics are
those of the first pass.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, on_update
from jssl.losses.consistency import softmax_squared_error
from jssl.method import Augment, Method, Prepare, field, first_row, part, view
from jssl.nets import Net
from jssl.ops.ramps import sigmoid_rampup


class State(NamedTuple):
    learner: Learner
    count: jax.Array  # updates of the weights


def pi_model(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    weight: float = 20.0,
    ramp: int = 1000,
    wait: int = 0,
    symmetric: bool = True,
    divisor: str = "batch",
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Semi-supervised learning by the agreement of two passes.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of all weights. The paper: Adam, whose rate rises with w.
      augment: (key, batch) -> two views of each row, [n, 2, ...], normalized as `prepare`
        does.
      weight: w after the ramp; the paper's w_max times the fraction of labeled samples.
      ramp: steps of the sigmoid ramp of w.
      wait: first steps, in which w is 0; an epoch in the paper.
      symmetric: whether the gradient flows through both passes.
      divisor: of the labeled term, "batch" (all rows) or "labeled" (the labeled ones).
      prepare: batch -> x, the network's input outside training (normalization, a crop).

    Raises:
      ValueError: an unknown divisor.
    """
    if divisor not in ("batch", "labeled"):
        raise ValueError(f"pi_model: divisor must be batch or labeled, got {divisor!r}")

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))
        return State(learner, jnp.zeros((), jnp.int32))

    def loss(params, stats, views, labels, w, one, two):
        out, moved = net.apply(params, stats, view(views, 0), train=True, keys=one)
        other, _ = net.apply(params, stats, view(views, 1), train=True, keys=two)
        logits = out["logits"][: len(labels)]
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        rows = len(labels) if divisor == "labeled" else len(out["logits"])
        known = each.sum() / rows
        agreed = softmax_squared_error(out["logits"], other["logits"], symmetric)
        value = known + w * agreed
        return value, (
            moved,
            {
                "loss": value,
                "labeled": known,
                "unlabeled": agreed,
                "weight": w,
                "accuracy": (logits.argmax(-1) == labels).mean(),
            },
        )

    def step(key, state, batch):
        look, one, two = jax.random.split(key, 3)
        views = augment(look, part(batch, "labeled", "unlabeled"))
        rise = sigmoid_rampup(state.count, ramp)
        w = weight * jnp.where(state.count < wait, 0, rise)
        keys = noise_keys(one), noise_keys(two)
        labels = batch["labeled"]["label"]
        learner, metrics = minimize(tx, loss, state.learner, views, labels, w, *keys)
        count = on_update(state.learner, learner, state.count + 1, state.count)
        return State(learner, count), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    return Method(init, step, embed)
