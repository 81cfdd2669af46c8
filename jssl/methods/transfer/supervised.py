"""Supervised learning: cross entropy with the labels that other methods do without.

It is the reference beside every number here, and the stage that fine-tunes what another
method has learned. With soft targets (mixup, cutmix) and smoothing s, target t becomes
(1 - s) t + s / classes. Szegedy et al. 2016, https://arxiv.org/abs/1512.00567
"""

from collections.abc import Callable

import jax
import optax

from jssl.learner import Learner, fresh, minimize
from jssl.method import Augment, Method, identity, tiled
from jssl.nets import Net


def supervised(
    net: Net,
    tx: optax.GradientTransformation,
    classes: int,
    augment: Augment | None = None,
    *,
    prepare: Callable = identity,
    mix: Callable | None = None,
    smoothing: float = 0.0,
) -> Method[Learner]:
    """Learns to name the label.

    Args:
      net: images -> {"logits": [n, classes], "h": [n, d], ...}.
      tx: moves all weights.
      classes: how many there are.
      augment: draws the view of each image that the network trains on, normalised as
        `prepare` does. None: `prepare` alone.
      prepare: what the network sees of an image outside training: normalisation, a crop.
      mix: (key, images, targets) -> (images, targets): mixup or cutmix.
      smoothing: share of each target spread over all classes.
    """

    look = augment or (lambda key, images: prepare(images))

    def init(key, batch):
        return fresh(tx, *net.init(key, prepare(batch["image"][:1])))

    def loss(params, stats, images, targets, keys):
        out, stats = net.apply(params, stats, images, train=True, keys=keys)
        logits = out["logits"]
        value = optax.softmax_cross_entropy(logits, targets).mean()
        right = (logits.argmax(-1) == targets.argmax(-1)).mean()
        return value, (stats, {"loss": value, "accuracy": right})

    def step(key, state, batch):
        view_key, mix_key, drop_key = jax.random.split(key, 3)
        images = look(view_key, batch["image"])
        targets = jax.nn.one_hot(batch["label"], classes, dtype=images.dtype)
        if mix is not None:
            images, targets = mix(mix_key, images, targets)
        targets = optax.smooth_labels(targets, smoothing)
        keys = {"drop_path": drop_key}
        return minimize(tx, loss, state, images, targets, keys)

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch["image"]))[0]

    def render(key, state, batch, collect):
        filters, _ = net.apply(state.weights, state.stats, method="filters")
        return {"first-layer filters": tiled(filters)}

    return Method(init, step, embed, render=render)
