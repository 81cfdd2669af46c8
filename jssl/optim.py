"""Schedules, and the optax transformations that pre-training papers share."""

import re
from collections.abc import Callable

import jax
import optax


def warmup_cosine(peak: float, warmup: int, steps: int, end: float = 0.0) -> optax.Schedule:
    """Linearly up to `peak` in `warmup` steps, then down half a cosine to `end`.

    >>> schedule = warmup_cosine(1.0, warmup=2, steps=6)
    >>> [round(float(schedule(i)), 3) for i in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    start = 0.0 if warmup else peak
    return optax.warmup_cosine_decay_schedule(
        start, peak, warmup, max(steps, warmup + 1), end
    )


def matrices(params):
    """True for the leaves that weight decay concerns: those of two axes or more."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def kernels(params):
    """True for the leaves called "kernel": no biases, norms, nor learned tokens."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key == "kernel", params
    )


def scale_by_layer(
    decay: float, layers: int, layer: Callable[[str], int]
) -> optax.GradientTransformation:
    """Multiplies updates by decay^(layers - layer(path)): deeper layers move more.

    It belongs after the adaptive transformation: Adam undoes a scaling of gradients.
    Clark et al. 2020, https://arxiv.org/abs/2003.10555; Bao et al. 2021,
    https://arxiv.org/abs/2106.08254

    Args:
      decay: the factor between neighbours; 1 changes nothing.
      layers: the number of the last layer, whose factor is 1.
      layer: "encoder/block3/fc1/kernel" -> its layer's number, from 0.

    >>> scale = scale_by_layer(0.5, 2, lambda path: int(path[-1]))
    >>> grads = {"w0": 1.0, "w2": 1.0}
    >>> scale.update(grads, scale.init(grads))[0]
    {'w0': 0.25, 'w2': 1.0}
    """

    def factor(path, update):
        where = jax.tree_util.keystr(path, simple=True, separator="/")
        return update * decay ** (layers - layer(where))

    def update(updates, state, params=None):
        return jax.tree_util.tree_map_with_path(factor, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def vit_layer(depth: int) -> Callable[[str], int]:
    """Numbers a ViT's leaves: what comes before the blocks 0, block i i + 1, the rest
    depth + 1.

    >>> [vit_layer(12)(p) for p in ("encoder/cls", "encoder/block0/fc1", "head/bias")]
    [0, 1, 13]
    """

    def layer(path):
        block = re.search(r"encoder/block(\d+)/", path)
        if block:
            return int(block[1]) + 1
        return 0 if re.search("encoder/(embedding|cls)", path) else depth + 1

    return layer
