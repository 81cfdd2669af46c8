"""FixMatch: confident pseudo-labels of a weak view, learned on a strong view.

Sohn, Berthelot, Li, Zhang, Carlini, Cubuk, Kurakin, Zhang and Raffel, "FixMatch:
Simplifying Semi-Supervised Learning with Consistency and Confidence", NeurIPS 2020.
https://arxiv.org/abs/2001.07685

    L = mean over labeled x of H(y, p(weak(x)))
        + w mean over all unlabeled u of 1[max q >= tau] H(argmax q, p(strong(u))),
    q = p(weak(u)), without a gradient.

Labeled, weak and strong views are one batch, of one pass and of the same batch statistics;
the released code interleaves them only to share them among its devices. Pseudo-labels are
of the current weights; if the chain `tx` ends in `ema_weights`, averaged weights make the
final predictions.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.consistency import fixmatch as confident_cross_entropy
from jssl.method import Augment, Batch, Method, Prepare, field, first_row, part
from jssl.nets import Net


def three_views(key: jax.Array, weak: Augment, strong: Augment, batch: Batch) -> tuple:
    """Weak views of labeled rows [m, ...] and unlabeled ones [n, ...], and strong ones."""
    one, two = jax.random.split(key)
    both = weak(one, part(batch, "labeled", "unlabeled"))
    known, unknown = jnp.split(both, [len(batch["labeled"]["label"])])
    return known, unknown, strong(two, part(batch, "unlabeled"))


def in_one_pass(
    net: Net, params: Any, stats: Any, views: tuple, keys: dict
) -> tuple[list[jax.Array], Any]:
    """Logits of `three_views`, by one pass of all, and the running statistics after it."""
    known, weak, _ = views
    x = jnp.concatenate(views)
    out, stats = net.apply(params, stats, x, train=True, keys=keys)
    return jnp.split(out["logits"], [len(known), len(known) + len(weak)]), stats


def fixmatch(
    net: Net,
    tx: optax.GradientTransformation,
    weak: Augment,
    strong: Augment,
    *,
    weight: float = 1.0,
    threshold: float = 0.95,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Semi-supervised learning with confident pseudo-labels.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of all weights. The paper: SGD with Nesterov momentum, whose rate falls
        by `fixmatch_cosine`.
      weak: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does.
      strong: the same, of stronger distortions.
      weight: w.
      threshold: tau.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))

    def loss(params, stats, views, labels, keys):
        (known, sure, seen), stats = in_one_pass(net, params, stats, views, keys)
        taught = optax.softmax_cross_entropy_with_integer_labels(known, labels).mean()
        agreed, parts = confident_cross_entropy(sure, seen, threshold)
        value = taught + weight * agreed
        return value, (
            stats,
            {
                "loss": value,
                "labeled": taught,
                "unlabeled": agreed,
                "confident": parts["mask"].mean(),
                "accuracy": (known.argmax(-1) == labels).mean(),
            },
        )

    def step(key, state, batch):
        views = three_views(key, weak, strong, batch)
        labels = batch["labeled"]["label"]
        return minimize(tx, loss, state, views, labels, noise_keys(key))

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    return Method(init, step, embed)
