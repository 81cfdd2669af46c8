"""UDA: agreement of a strong view with the sharpened prediction for a weak view.

Xie, Dai, Hovy, Luong and Le, "Unsupervised Data Augmentation for Consistency Training",
NeurIPS 2020. https://arxiv.org/abs/1904.12848

    L = mean over labeled x that are not yet known of H(y, p(weak(x)))
        + w mean over all unlabeled u of 1[max q >= tau] KL(q_T || p(strong(u))),
    q = softmax(z(weak(u))), q_T = softmax(z(weak(u)) / T), both without a gradient.

With training-signal annealing a labeled x is known, and left out, where p(y | x) exceeds a
threshold that rises from 1 / C to 1 during training; without it none is left out. Views
are of one pass, as in FixMatch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, on_update, whole_batches
from jssl.losses.consistency import annealed_cross_entropy
from jssl.losses.consistency import uda as confident_divergence
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.methods.semisupervised.fixmatch import in_one_pass, three_views
from jssl.nets import Net
from jssl.ops.ramps import tsa_threshold


class State(NamedTuple):
    learner: Learner
    count: jax.Array  # updates of the weights


def uda(
    net: Net,
    tx: optax.GradientTransformation,
    weak: Augment,
    strong: Augment,
    *,
    weight: float = 1.0,
    threshold: float = 0.8,
    temperature: float = 0.4,
    annealing: str = "",
    steps: int = 0,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Semi-supervised learning by consistency under strong distortions.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of all weights.
      weak: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does.
      strong: the same, of stronger distortions.
      weight: w.
      threshold: tau, of the prediction before it is sharpened.
      temperature: T.
      annealing: course of the training-signal annealing, "linear", "exp" or "log"; empty:
        none, as in the paper's runs on images.
      steps: length of the annealing.
      prepare: batch -> x, the network's input outside training (normalization, a crop).

    Raises:
      ValueError: annealing of no steps, or an unknown one; in `init`, annealing with
        accumulated gradients.
    """
    if annealing:
        tsa_threshold(0, 1, 2, annealing)
        if steps < 1:
            raise ValueError(f"uda: annealing needs steps of at least 1, got {steps}")

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))
        if annealing:  # its mean is over as many rows as are left
            learner = whole_batches("uda", learner)
        return State(learner, jnp.zeros((), jnp.int32))

    def loss(params, stats, views, labels, count, keys):
        (known, sure, seen), stats = in_one_pass(net, params, stats, views, keys)
        agreed, parts = confident_divergence(sure, seen, threshold, temperature)
        metrics = {
            "unlabeled": agreed,
            "confident": parts["mask"].mean(),
            "accuracy": (known.argmax(-1) == labels).mean(),
        }
        if annealing:
            most = tsa_threshold(count, steps, known.shape[1], annealing)
            taught = annealed_cross_entropy(known, labels, most)
            metrics["annealing"] = most
        else:
            taught = optax.softmax_cross_entropy_with_integer_labels(known, labels).mean()
        value = taught + weight * agreed
        return value, (stats, metrics | {"loss": value, "labeled": taught})

    def step(key, state, batch):
        views = three_views(key, weak, strong, batch)
        rest = batch["labeled"]["label"], state.count, noise_keys(key)
        learner, metrics = minimize(tx, loss, state.learner, views, *rest)
        count = on_update(state.learner, learner, state.count + 1, state.count)
        return State(learner, count), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    return Method(init, step, embed)
