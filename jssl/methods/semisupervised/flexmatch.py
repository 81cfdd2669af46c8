"""FlexMatch: FixMatch with a lower threshold for classes that are learned less well.

Zhang, Wang, Hou, Wu, Wang, Okumura and Shinozaki, "FlexMatch: Boosting Semi-Supervised
Learning with Curriculum Pseudo Labeling", NeurIPS 2021. https://arxiv.org/abs/2110.08263

    sigma(c) = unlabeled samples that were last predicted with max q >= tau as class c,
    beta(c) = sigma(c) / max(max sigma, samples never predicted so),
    tau(c) = tau beta(c) / (2 - beta(c)),

and FixMatch's loss with the threshold tau(argmax q) in place of tau. A table has the last
confident class of every unlabeled sample. Thresholds are those before a step; then the
table is written, by the constant tau.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.consistency import fixmatch as confident_cross_entropy
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.methods.semisupervised.fixmatch import in_one_pass, three_views
from jssl.nets import Net
from jssl.ops.targets import pseudo_labels

NEVER = -1


class State(NamedTuple):
    learner: Learner
    last: jax.Array  # int [size], the last confident class of each sample, or NEVER


def learning_status(last: jax.Array, classes: int, warmup: bool = True) -> jax.Array:
    """beta [classes]: confident samples of each class, as a fraction of the most.

    Args:
      last: int [size], the last confident class of each sample, or `NEVER`.
      classes: number of classes.
      warmup: count the samples that have none as one more class among the most, so that
        thresholds rise from 0.

    >>> last = jnp.array([0, 0, 0, 0, 1, NEVER, NEVER])
    >>> learning_status(last, 2).tolist()
    [1.0, 0.25]
    """
    counts = jnp.bincount(last + 1, length=classes + 1)
    most = counts.max() if warmup else counts[1:].max()
    return counts[1:] / jnp.maximum(most, 1)


def convex(beta: jax.Array) -> jax.Array:
    """The paper's mapping of learning status: beta / (2 - beta), from [0, 1] to [0, 1].

    >>> print(convex(jnp.array([0.0, 0.5, 1.0])).round(3))
    [0.    0.333 1.   ]
    """
    return beta / (2 - beta)


def flexmatch(
    net: Net,
    tx: optax.GradientTransformation,
    weak: Augment,
    strong: Augment,
    *,
    size: int,
    weight: float = 1.0,
    threshold: float = 0.95,
    warmup: bool = True,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Semi-supervised learning with pseudo-labels and thresholds of each class.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of all weights.
      weak: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does.
      strong: the same, of stronger distortions.
      size: unlabeled samples, which "index" numbers.
      weight: of the unlabeled term.
      threshold: tau.
      warmup: whether samples never predicted confidently hold the thresholds down.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """
    if size < 1:
        raise ValueError(f"flexmatch: size must be at least 1, got {size}")

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))
        return State(learner, jnp.full(size, NEVER, jnp.int32))

    def loss(params, stats, views, labels, last, keys):
        (known, sure, seen), stats = in_one_pass(net, params, stats, views, keys)
        taught = optax.softmax_cross_entropy_with_integer_labels(known, labels).mean()
        of_class = threshold * convex(learning_status(last, known.shape[1], warmup))
        agreed, parts = confident_cross_entropy(sure, seen, of_class[sure.argmax(-1)])
        value = taught + weight * agreed
        return value, (
            stats,
            {
                "loss": value,
                "labeled": taught,
                "unlabeled": agreed,
                "confident": parts["mask"].mean(),
                "least_threshold": of_class.min(),
                "largest_threshold": of_class.max(),
                "accuracy": (known.argmax(-1) == labels).mean(),
                "weak": sure,
            },
        )

    def step(key, state, batch):
        views = three_views(key, weak, strong, batch)
        rest = batch["labeled"]["label"], state.last, noise_keys(key)
        learner, metrics = minimize(tx, loss, state.learner, views, *rest)
        classes, sure = pseudo_labels(jax.nn.softmax(metrics.pop("weak")), threshold)
        places = jnp.where(sure > 0, batch["unlabeled"]["index"], size)
        last = state.last.at[places].set(classes, mode="drop")
        return State(learner, last), metrics | {"ever_confident": (last != NEVER).mean()}

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    return Method(init, step, embed)
