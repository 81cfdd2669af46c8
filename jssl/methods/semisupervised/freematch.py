"""FreeMatch: FixMatch with thresholds from the predictions themselves, and class fairness.

Wang, Chen, Heng, Hou, Fan, Wu, Wang, Savvides, Shinozaki, Raj, Schiele and Xie, "FreeMatch:
Self-adaptive Thresholding for Semi-supervised Learning", ICLR 2023.
https://arxiv.org/abs/2205.07246

    tau <- m tau + (1 - m) mean max q,     q = p(weak(u)), without a gradient,
    p <- m p + (1 - m) mean q,     h <- m h + (1 - m) histogram of argmax q,
    tau(c) = tau p(c) / max p,     all from 1 / C on,
    L = labeled + w_u FixMatch's unlabeled term with tau(argmax q) + w_f L_f.

L_f = sum_c a_c log b_c, with a of p and h and b of the strong views, is minimized as it
stands (`jssl.losses.class_fairness`): it is negative, and spreads the predictions over
classes. The averages are updated before a step uses them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jssl.learner import Learner, fresh, minimize, noise_keys, whole_batches
from jssl.losses.consistency import class_fairness
from jssl.losses.consistency import fixmatch as confident_cross_entropy
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.methods.semisupervised.fixmatch import in_one_pass, three_views
from jssl.nets import Net
from jssl.ops.ema import ema


class Averages(NamedTuple):
    """Running averages of the predictions for weak views."""

    confidence: jax.Array  # tau, []
    p: jax.Array  # [classes]
    h: jax.Array  # [classes]

    @property
    def thresholds(self) -> jax.Array:
        """tau(c), [classes]."""
        return self.confidence * self.p / self.p.max()


class State(NamedTuple):
    learner: Learner
    averages: Averages


def freematch(
    net: Net,
    tx: optax.GradientTransformation,
    weak: Augment,
    strong: Augment,
    *,
    weight: float = 1.0,
    fairness: float = 0.01,
    momentum: float = 0.999,
    bounds: tuple[float, float] = (0.0, 1.0),
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Semi-supervised learning with pseudo-labels and self-adaptive thresholds.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of all weights.
      weak: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does.
      strong: the same, of stronger distortions.
      weight: w_u.
      fairness: w_f.
      momentum: m.
      bounds: least and largest tau; the paper has 0.9 and 0.95 for SVHN.
      prepare: batch -> x, the network's input outside training (normalization, a crop).

    Raises:
      ValueError: bounds that are not 0 <= least <= largest <= 1; in `init`, an optimizer
        that accumulates gradients.
    """
    if not 0 <= bounds[0] <= bounds[1] <= 1:
        raise ValueError(f"freematch: bounds must be a range in [0, 1], got {bounds}")

    def init(key, batch):
        x = first_row(prepare(part(batch, "labeled")))
        learner = whole_batches("freematch", fresh(tx, *net.init(key, x)))
        out, _ = jax.eval_shape(net.apply, learner.params, learner.stats, x)
        classes = out["logits"].shape[1]
        dtype = jnp.promote_types(out["logits"].dtype, jnp.float32)
        even = jnp.full(classes, 1 / classes, dtype)
        return State(learner, Averages(jnp.clip(even[0], *bounds), even, even))

    def followed(averages, logits):
        q = jax.nn.softmax(logits)
        picked = jax.nn.one_hot(q.argmax(-1), q.shape[1])
        now = Averages(q.max(-1).mean(), q.mean(0), picked.mean(0))
        averages = ema(averages, lax.stop_gradient(now), momentum)
        return averages._replace(confidence=jnp.clip(averages.confidence, *bounds))

    def loss(params, stats, views, labels, averages, keys):
        (known, sure, seen), stats = in_one_pass(net, params, stats, views, keys)
        taught = optax.softmax_cross_entropy_with_integer_labels(known, labels).mean()
        averages = followed(averages, sure)
        own = averages.thresholds[sure.argmax(-1)]
        agreed, parts = confident_cross_entropy(sure, seen, own)
        fair = class_fairness(seen, parts["mask"], averages.p, averages.h)
        value = taught + weight * agreed + fairness * fair
        return value, (
            stats,
            {
                "loss": value,
                "labeled": taught,
                "unlabeled": agreed,
                "fairness": fair,
                "confident": parts["mask"].mean(),
                "threshold": averages.confidence,
                "least_threshold": averages.thresholds.min(),
                "accuracy": (known.argmax(-1) == labels).mean(),
                "averages": averages,
            },
        )

    def step(key, state, batch):
        views = three_views(key, weak, strong, batch)
        rest = batch["labeled"]["label"], state.averages, noise_keys(key)
        learner, metrics = minimize(tx, loss, state.learner, views, *rest)
        return State(learner, metrics.pop("averages")), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    return Method(init, step, embed)
