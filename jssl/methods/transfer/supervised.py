"""Supervised learning of classes, tags, spans or numbers.

It is the reference of all results, and the fine-tuning stage of other methods. With soft
targets (mixup, cutmix) and smoothing s, target t becomes (1 - s) t + s / classes. Szegedy
et al. 2016, https://arxiv.org/abs/1512.00567
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.crf import crf_log_likelihood


def cross_entropy(out, y):
    """Softmax cross entropy of out["logits"] [n, classes] against probabilities y."""
    logits = out["logits"]
    value = optax.softmax_cross_entropy(logits, y).mean()
    right = (logits.argmax(-1) == y.argmax(-1)).mean()
    return value, {"loss": value, "accuracy": right}


def tag_cross_entropy(out, y):
    """Cross entropy of out["logits"] [n, l, tags] against tags y [n, l]; y < 0: ignored."""
    logits, known = out["logits"], y >= 0
    each = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(y, 0))
    count = jnp.maximum(known.sum(), 1)
    value = (each * known).sum() / count
    right = ((logits.argmax(-1) == y) & known).sum() / count
    return value, {"loss": value, "accuracy": right}


def tag_likelihood(out, y):
    """Negative log-likelihood of tags y [n, l] of a CRF (conditional random field).

    Its scores are out["logits"] [n, l, tags] and out["chain"], see `jssl.ops.crf`; the
    loss is a mean of rows, the accuracy of single tags. y < 0: no member of the chain.
    """
    value = -crf_log_likelihood(out["logits"], out["chain"], y).mean()
    return value, {"loss": value, "accuracy": tag_cross_entropy(out, y)[1]["accuracy"]}


def span_cross_entropy(out, y):
    """Cross entropy of start and end: out["logits"] [n, l, 2] against y [n, 2].

    The mean is over the rows that have the span; others have y < 0. Devlin et al. 2019,
    https://arxiv.org/abs/1810.04805, section 4.2.
    """
    logits, known = out["logits"], (y >= 0).all(-1)
    safe = jnp.maximum(y, 0)
    each = optax.softmax_cross_entropy_with_integer_labels(logits, safe, axis=1).mean(-1)
    count = jnp.maximum(known.sum(), 1)
    value = (each * known).sum() / count
    right = ((logits.argmax(1) == y).all(-1) & known).sum() / count
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
    """Supervised prediction of a target: a class, tags, a span, numbers.

    Args:
      net: x -> {"h": [n, d], ...} with the outputs that `error` uses.
      tx: optimizer of all weights.
      classes: number of classes of a target int [n], which is converted to probabilities;
        None: the target is passed to `error` unchanged.
      augment: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does;
        None: `prepare`.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
      target: batch -> y, with rows first.
      error: (out, y) -> (loss, metrics).
      mix: (key, x, y) -> (x, y): mixup or cutmix, of classes.
      smoothing: fraction of each target spread over all classes.
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
        keys = noise_keys(drop_key) | {"drop_path": drop_key}
        return minimize(tx, loss, state, x, y, keys)

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    return Method(init, step, embed)
