"""Temporal ensembling: consistency with the average of each sample's own past predictions.

Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017.
https://arxiv.org/abs/1610.02242

    L = 1 / n sum over labeled x of -log z(x)_y
        + w(s) / (C n) sum over unlabeled x_i of |z(x_i) - z~_i|^2,
    Z_i <- alpha Z_i + (1 - alpha) z(x_i),    z~_i = Z_i / (1 - alpha^t_i),

with z the prediction in training, for a view under dropout, n the unlabeled rows of a batch
and t_i the number of epochs that contained x_i. z~_i has no gradient, and no weight while
t_i = 0. The unlabeled stream contains the labeled samples too, so that they agree with
their past as well. The paper moves Z at the end of an epoch, with a count of epochs; here a
row is read, then moved, when its sample is seen. The two are equal, because a shuffled
epoch contains each sample at most once, except for samples that an epoch leaves out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, on_update
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.nets import Net
from jssl.ops.memory import Ensemble, ensemble_init, ensemble_read, ensemble_write
from jssl.ops.ramps import sigmoid_rampup


class State(NamedTuple):
    learner: Learner
    ensemble: Ensemble  # Z and t of each unlabeled sample
    count: jax.Array  # updates of the weights


def temporal_ensembling(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    size: int,
    weight: float = 20.0,
    ramp: int = 1000,
    decay: float = 0.6,
    divisor: str = "batch",
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Semi-supervised learning with an ensemble of the network's past predictions.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of all weights. The paper: Adam, whose rate rises with w.
      augment: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does.
      size: unlabeled samples, which their "index" numbers.
      weight: w after the ramp; the paper's w_max times the fraction of labeled samples.
      ramp: steps of the sigmoid ramp of w.
      decay: alpha.
      divisor: of the labeled term, "batch" (the unlabeled rows, which are the paper's
        batch) or "labeled" (the labeled ones).
      prepare: batch -> x, the network's input outside training (normalization, a crop).

    Raises:
      ValueError: a size below 1, a decay outside [0, 1), or an unknown divisor.
    """
    if size < 1 or not 0 <= decay < 1:
        raise ValueError(
            f"temporal_ensembling: size must be at least 1 and decay at least 0 and below "
            f"1, got {size} and {decay}"
        )
    if divisor not in ("batch", "labeled"):
        raise ValueError(
            f"temporal_ensembling: divisor must be batch or labeled, got {divisor!r}"
        )

    def init(key, batch):
        x = first_row(prepare(part(batch, "labeled")))
        learner = fresh(tx, *net.init(key, x))
        out, _ = jax.eval_shape(net.apply, learner.params, learner.stats, x)
        ensemble = ensemble_init(size, out["logits"].shape[1])
        return State(learner, ensemble, jnp.zeros((), jnp.int32))

    def loss(params, stats, views, labels, targets, known, w, keys):
        out, stats = net.apply(params, stats, views, train=True, keys=keys)
        logits, n = out["logits"], len(labels)
        each = optax.softmax_cross_entropy_with_integer_labels(logits[:n], labels)
        supervised = each.sum() / (n if divisor == "labeled" else len(targets))
        z = jax.nn.softmax(logits[n:])
        agreed = (known * jnp.square(z - targets).mean(1)).mean()
        value = supervised + w * agreed
        return value, (
            stats,
            {
                "loss": value,
                "labeled": supervised,
                "unlabeled": agreed,
                "weight": w,
                "with_target": known.mean(),
                "accuracy": (logits[:n].argmax(-1) == labels).mean(),
                "z": z,
            },
        )

    def step(key, state, batch):
        learner, ensemble, count = state
        labels, index = batch["labeled"]["label"], batch["unlabeled"]["index"]
        views = augment(key, part(batch, "labeled", "unlabeled"))
        targets, known = ensemble_read(ensemble, index, decay)
        w, keys = weight * sigmoid_rampup(count, ramp), noise_keys(key)
        given = views, labels, targets, known, w, keys
        learner, metrics = minimize(tx, loss, learner, *given)
        ensemble = ensemble_write(ensemble, index, metrics.pop("z"), decay)
        count = on_update(state.learner, learner, count + 1, count)
        return State(learner, ensemble, count), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    return Method(init, step, embed)
