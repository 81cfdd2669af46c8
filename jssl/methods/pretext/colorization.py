r"""Colorization: classification of each cell's color, from lightness alone.

Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016.
https://arxiv.org/abs/1603.08511

    L = -1/(n h w) sum_{i,y,x} v(Z_iyx) sum_q Z_iyxq log softmax(f(L_i))_yxq,

with Z the soft code of a and b over Q bins of the ab plane, and weights v that make rare
colors as important as frequent ones:

    v = w_q at q = argmax Z,    w_q ~ ((1 - m) p_q + m / Q)^-1,    sum_q p_q w_q = 1,

for smoothed frequencies p of the colors of all training images. A prediction is the mean
color at a temperature T, between the mean (T = 1, desaturated) and the mode (T -> 0).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.reconstruction import rebalanced_cross_entropy, rebalancing_weights
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.cells import first_pixels
from jssl.ops.lab import (
    annealed_mean,
    colored,
    encode_ab,
    is_colored,
    lightness,
    nearest_bin,
    rgb_to_lab,
    smooth_prior,
)
from jssl.pictures import Grid

TEMPERATURES = (1.0, 0.38, 0.1)


class State(NamedTuple):
    learner: Learner
    prior: jax.Array  # [q], smoothed frequencies of the colors of the training images


def colorization(
    net: Net,
    tx: optax.GradientTransformation,
    bins: Float[np.ndarray, "q 2"],
    augment: Augment | None = None,
    *,
    neighbors: int = 5,
    sigma: float = 5.0,
    mix: float = 0.5,
    threshold: float = 5.0,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Classification of colors, rebalanced by their frequencies in the training images.

    The stage needs `refresh_every`, its number of steps: the frequencies are counted in
    `refresh`. Until then they are equal.

    Args:
      net: `lightness` [n, h, w, 1] -> {"cells": scores of colors [n, h/s, w/s, q], "h":
        [n, d]}. The color of a cell is that of its first pixel.
      tx: optimizer of all weights. The paper: Adam.
      bins: colors, see `jssl.ops.lab.ab_bins`.
      augment: (key, batch) -> one RGB view of each row, in [0, 1]; None: `prepare`.
      neighbors: bins of the soft code of a color; 5 in the paper, 10 in the released code.
      sigma: deviation of the Gaussians of soft codes and of the smoothing of frequencies.
      mix: fraction m of a uniform distribution in the frequencies; 1: no rebalancing.
      threshold: images without |a| or |b| above it are gray and not learned from.
      prepare: batch -> RGB images in [0, 1] outside training.
    """
    look = augment or (lambda key, batch: prepare(batch))
    bins = np.asarray(bins, np.float32)

    def init(key, batch):
        learner = fresh(tx, *net.init(key, lightness(first_row(prepare(batch)))))
        return State(learner, jnp.full(len(bins), 1 / len(bins), jnp.float32))

    def loss(params, stats, images, weights, keys):
        out, stats = net.apply(params, stats, lightness(images), train=True, keys=keys)
        ab = first_pixels(rgb_to_lab(images)[..., 1:], out["cells"].shape)
        target = encode_ab(ab, bins, neighbors, sigma)
        gate = is_colored(ab, threshold)
        value = rebalanced_cross_entropy(out["cells"], target, weights, gate)
        right = (out["cells"].argmax(-1) == target.argmax(-1)).mean()
        return value, (stats, {"loss": value, "color_accuracy": right})

    def step(key, state, batch):
        images, weights = look(key, batch), rebalancing_weights(state.prior, mix)
        keys = noise_keys(key)
        learner, metrics = minimize(tx, loss, state.learner, images, weights, keys)
        return state._replace(learner=learner), metrics

    def predict(state, images):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, lightness(images))[0]

    def embed(state, batch):
        images = prepare(batch)
        out = dict(predict(state, images))
        ab = annealed_mean(out.pop("cells"), bins)
        seen = colored(rgb_to_lab(images)[..., :1], ab)
        return out | {"input": images, "reconstruction": seen}

    def counts(state, batch):
        """Number of cells whose color is nearest to each bin, by image: uint16 [n, q]."""
        images = prepare(batch)
        shape = predict(state, images)["cells"].shape
        ab = first_pixels(rgb_to_lab(images)[..., 1:], shape)
        found = nearest_bin(ab, bins).reshape(len(images), -1)
        of_one = lambda x: jnp.bincount(x, length=len(bins))
        return jax.vmap(of_one)(found).astype(jnp.uint16)

    def refresh(key, state, collect):
        total = jnp.asarray(collect(counts, state).sum(0), state.prior.dtype)
        return state._replace(prior=smooth_prior(total, bins, sigma)), None

    def render(key, state, batch, collect):
        images = prepare(batch)[:8]
        light = rgb_to_lab(images)[..., :1]
        scores = predict(state, images)["cells"]
        gray = colored(light, 0 * scores[..., :2])
        seen = [colored(light, annealed_mean(scores, bins, t)) for t in TEMPERATURES]
        headings = ("gray", *(f"T = {t:g}" for t in TEMPERATURES), "original")
        return {
            "colors by temperature": Grid(jnp.stack([gray, *seen, images], 1), headings)
        }

    return Method(init, step, embed, refresh, render)
