"""Relative depth: the order of depths that parallax shows, predicted from one frame.

Jiang, Larsson, Maire, Shakhnarovich and Learned-Miller, "Self-Supervised Relative Depth
Learning for Urban Scene Understanding", ECCV 2018. https://arxiv.org/abs/1712.04850

    Z = |(-f U + x W, -f V + y W)| / |flow - rotational flow(omega)|
    p = rank of Z among the valid pixels of the image / their number
    L = mean of |net(frame) - p| over valid pixels

for a camera that translates by (U, V, W) and turns by omega. The scale of Z is that of the
translation, which is unknown, and percentiles do not depend on it. Pixels of hardly any
flow and objects that move on their own are not valid.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses import dense
from jssl.method import Augment, Method, Prepare, first_row
from jssl.nets import Net
from jssl.ops.parallax import (
    estimate_translation,
    percentile_normalize,
    rotational_flow,
)
from jssl.ops.parallax import relative_depth as depth_from_flow
from jssl.pictures import Grid, in_range


def relative_depth(
    net: Net,
    tx: optax.GradientTransformation,
    flow: Prepare,
    focal: float,
    augment: Augment | None = None,
    *,
    prepare: Prepare,
    translation: Prepare | None = None,
    rotation: Prepare | None = None,
    least: float = 0.05,
    agree: float = 0.95,
    tolerance: float = 0.03,
) -> Method[Learner]:
    """Prediction of percentiles of depth from one frame.

    Args:
      net: frames [n, h, w, c] -> {"cells": [n, g, g, 1], "h": [n, d]}; g divides h and w,
        which are equal.
      tx: optimizer of all weights.
      flow: batch -> flow [n, h, w, 2] of these frames to the next, in pixels (x, y).
      focal: length f, in pixels.
      augment: (key, batch) -> frames in training, whose pixels stay in their places; None:
        `prepare`.
      prepare: batch -> frames [n, h, w, c].
      translation: batch -> (U, V, W) [n, 3] of any length; None: estimated from the flow.
      rotation: batch -> omega [n, 3] in radians; None: 0.
      least: smallest flow of valid pixels, in pixels.
      agree: least cosine of the angle between the flow and that of a static world.
      tolerance: relative difference of depths that count as equal.

    Raises:
      ValueError: when traced, if g does not divide the side of the frames.
    """

    look = augment or (lambda key, batch: prepare(batch))

    def targets(batch, cells):
        seen = flow(batch)
        h, w = seen.shape[1:3]
        if h != w or h % cells:
            raise ValueError(
                f"relative_depth: the {cells} x {cells} predictions must divide square "
                f"frames, got {h} x {w} pixels: choose other strides or widths"
            )
        if rotation is not None:
            seen = seen - rotational_flow(rotation(batch), focal, h, w)
        direction = translation(batch) if translation else estimate_translation(seen, focal)
        z, valid = depth_from_flow(seen, direction, focal, least=least, agree=agree)
        every = h // cells  # the pixel in the middle of each cell
        z, valid = (x[:, every // 2 :: every, every // 2 :: every] for x in (z, valid))
        return percentile_normalize(z, valid, tolerance=tolerance), valid

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))))

    def loss(params, stats, frames, batch, keys):
        out, stats = net.apply(params, stats, frames, train=True, keys=keys)
        pred = out["cells"][..., 0]
        target, valid = targets(batch, pred.shape[1])
        value = dense.relative_depth(pred, target, valid)
        return value, (stats, {"loss": value, "valid": valid.mean()})

    def step(key, state, batch):
        frames = look(key, batch)
        return minimize(tx, loss, state, frames, dict(batch), noise_keys(key))

    def embed(state, batch):
        out = dict(net.apply(state.weights, state.stats, prepare(batch))[0])
        return out | {"depth": out.pop("cells")[..., 0]}

    def render(key, state, batch, collect):
        rows = {name: x[:8] for name, x in batch.items()}
        frames, pred = prepare(rows), embed(state, rows)["depth"]
        target, valid = targets(rows, pred.shape[1])
        gray = lambda x: jnp.broadcast_to(
            jax.image.resize(x, frames.shape[:3], "nearest")[..., None], frames.shape
        )
        known = jnp.where(valid, target, 0)
        images = jnp.stack([in_range(frames), gray(known), gray(jnp.clip(pred, 0, 1))], 1)
        headings = ("frame", "from flow (0: none)", "predicted")
        return {"percentiles of depth, far is bright": Grid(images, headings)}

    return Method(init, step, embed, render=render)
