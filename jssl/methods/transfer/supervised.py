"""Supervised learning: cross entropy with the labels that other methods do without.

It is the reference beside every number here, and the stage that fine-tunes what another
method has learned. With soft targets (mixup, cutmix) and smoothing s, target t becomes
(1 - s) t + s / classes. Szegedy et al. 2016, https://arxiv.org/abs/1512.00567
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net


def cross_entropy(out, y):
    """Softmax cross entropy of out["logits"] [n, classes] against probabilities y."""
    logits = out["logits"]
    value = optax.softmax_cross_entropy(logits, y).mean()
    right = (logits.argmax(-1) == y.argmax(-1)).mean()
    return value, {"loss": value, "accuracy": right}


def tag_cross_entropy(out, y):
    """Cross entropy of out["logits"] [n, l, tags] against tags y [n, l]; none below 0."""
    logits, known = out["logits"], y >= 0
    each = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(y, 0))
    count = jnp.maximum(known.sum(), 1)
    value = (each * known).sum() / count
    right = ((logits.argmax(-1) == y) & known).sum() / count
    return value, {"loss": value, "accuracy": right}


def span_cross_entropy(out, y):
    """Cross entropy of first and last place: out["logits"] [n, l, 2] against y [n, 2].

    Devlin et al. 2019, https://arxiv.org/abs/1810.04805, section 4.2.
    """
    logits = out["logits"]
    value = optax.softmax_cross_entropy_with_integer_labels(logits, y, axis=1).mean()
    right = (logits.argmax(1) == y).all(-1).mean()
    return value, {"loss": value, "accuracy": right}


def mean_squared_error(out, y):
    """Mean squared error of out["prediction"] against numbers y, both [n, k]."""
    value = jnp.square(out["prediction"] - y).mean()
    return value, {"loss": value}


def supervised(
    net: Net,
    tx: optax.GradientTransformation,
    classes: int | None = None,
    augment: Augment | None = None,
    *,
    prepare: Prepare = field("image"),
    target: Prepare = field("label"),
    error: Callable = cross_entropy,
    mix: Callable | None = None,
    smoothing: float = 0.0,
) -> Method[Learner]:
    """Learns to predict a target: a class, tags, a span, numbers.

    Args:
      net: x -> {"h": [n, d], ...} and what `error` reads.
      tx: moves all weights.
      classes: number of classes of a target int [n], which becomes probabilities; None: the
        target goes to `error` as it is.
      augment: (key, batch) -> x, the view that the network trains on, normalized as
        `prepare` does. None: `prepare` alone.
      prepare: batch -> x outside training: normalization, a crop.
      target: batch -> y, with a row for each of the batch.
      error: (out, y) -> (loss, metrics).
      mix: (key, x, y) -> (x, y): mixup or cutmix, of classes.
      smoothing: share of each target spread over all classes.
    """

    look = augment or (lambda key, batch: prepare(batch))

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))))

    def loss(params, stats, x, y, keys):
        out, stats = net.apply(params, stats, x, train=True, keys=keys)
        value, metrics = error(out, y)
        return value, (stats, metrics)

    def probabilities(key, x, y):
        floats = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)
        dtype = x.dtype if floats else jnp.float32
        y = jax.nn.one_hot(y, classes, dtype=dtype)  # type: ignore[arg-type]
        if mix is not None:
            x, y = mix(key, x, y)
        return x, optax.smooth_labels(y, smoothing)

    def step(key, state, batch):
        view_key, mix_key, drop_key = jax.random.split(key, 3)
        x, y = look(view_key, batch), target(batch)
        if classes is not None:
            x, y = probabilities(mix_key, x, y)
        return minimize(tx, loss, state, x, y, {"drop_path": drop_key})

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    return Method(init, step, embed)
