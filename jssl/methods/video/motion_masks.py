"""Motion masks: segmentation of one frame into what moves, as seen in optical flow.

Pathak, Girshick, Dollar, Darrell and Hariharan, "Learning Features by Watching Objects
Move", CVPR 2017. https://arxiv.org/abs/1612.06370

    s = sigmoid((|flow - A (x, y, 1)| - tau) / delta),    A the dominant affine motion
    m = 1 where s > 0.7;    v = 0 where 0.4 <= s <= 0.7, else 1
    L = sum v (log(1 + e^l) - m l) / sum v,    l = net(frame)

The flow is an automatic annotator: it exists in training only. The network sees a single
frame, so it has to recognize what tends to move. The paper segments videos by uNLC.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.dense import mask_cross_entropy
from jssl.method import Augment, Method, Prepare, first_row
from jssl.nets import Net
from jssl.ops.flow import motion_mask
from jssl.ops.means import masked_mean
from jssl.pictures import Grid, in_range


def motion_masks(
    net: Net,
    tx: optax.GradientTransformation,
    flow: Prepare,
    augment: Augment | None = None,
    *,
    prepare: Prepare,
    threshold: float = 0.5,
    softness: float = 0.1,
    low: float = 0.4,
    high: float = 0.7,
) -> Method[Learner]:
    """Prediction of motion masks from one frame.

    Args:
      net: frames [n, h, w, c] -> {"cells": logits [n, g, g, 1], "h": [n, d]}. Masks are
        those of g x g cells.
      tx: optimizer of all weights.
      flow: batch -> flow [n, h, w, 2] of these frames to the next, in pixels (x, y).
      augment: (key, batch) -> frames in training, whose pixels stay in their places; None:
        `prepare`.
      prepare: batch -> frames [n, h, w, c].
      threshold: tau, motion relative to the camera in pixels.
      softness: delta, in pixels.
      low: s up to which a cell is background.
      high: s from which a cell is foreground.
    """

    look = augment or (lambda key, batch: prepare(batch))

    def targets(batch, cells):
        return motion_mask(
            flow(batch),
            threshold=threshold,
            softness=softness,
            low=low,
            high=high,
            cells=cells,
        )

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))))

    def loss(params, stats, frames, batch, keys):
        out, stats = net.apply(params, stats, frames, train=True, keys=keys)
        logits = out["cells"][..., 0]
        mask, valid = targets(batch, logits.shape[1])
        value = mask_cross_entropy(logits, mask, valid)
        right = masked_mean(((logits > 0) == (mask > 0)).astype(value.dtype), valid)
        seen = {"cell_accuracy": right, "foreground": masked_mean(mask, valid)}
        return value, (stats, seen | {"loss": value, "valid": valid.mean()})

    def step(key, state, batch):
        frames = look(key, batch)
        return minimize(tx, loss, state, frames, dict(batch), noise_keys(key))

    def embed(state, batch):
        out = dict(net.apply(state.weights, state.stats, prepare(batch))[0])
        return out | {"mask": jax.nn.sigmoid(out.pop("cells")[..., 0])}

    def render(key, state, batch, collect):
        rows = {name: x[:8] for name, x in batch.items()}
        frames, mask = prepare(rows), embed(state, rows)["mask"]
        label, valid = targets(rows, mask.shape[1])
        gray = lambda x: jnp.broadcast_to(
            jax.image.resize(x, frames.shape[:3], "nearest")[..., None], frames.shape
        )
        label = jnp.where(valid > 0, label, 0.5)
        images = jnp.stack([in_range(frames), gray(label), gray(mask)], 1)
        headings = ("frame", "mask from flow (gray: none)", "predicted")
        return {"motion masks": Grid(images, headings)}

    return Method(init, step, embed, render=render)
