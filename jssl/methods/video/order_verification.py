"""Shuffle and Learn: verification of the temporal order of three frames.

Misra, Zitnick and Hebert, "Shuffle and Learn: Unsupervised Learning using Temporal Order
Verification", ECCV 2016. https://arxiv.org/abs/1603.08561

    L = mean over videos of -log p(y | x_1, x_2, x_3)

Of frames a < b < c < d < e, the triple is b, c, d (y = 1) or b, a, d or b, e, d (y = 0),
forward or backward: the outer frames are the same, so that the one in the middle decides.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row, fold, of_frames
from jssl.nets import Net
from jssl.ops.frame_order import (
    draw_quintuples,
    frame_differences,
    frames_at,
    verification_tuples,
)
from jssl.ops.verification import area_under_curve, balanced_accuracy
from jssl.pictures import Grid, in_range


def order_verification(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    spread: int,
    gap: int = 1,
    negatives: float = 0.75,
    prepare: Prepare = field("video"),
) -> Method[Learner]:
    """Verification of temporal order.

    Most tuples are out of order: "auc" and "balanced_accuracy" are 0.5 without learning,
    where the accuracy is `negatives`. "h" is the mean over frames and "frames" the last
    maps of each, of the shared encoder.

    Args:
      net: frames [n, 3, h, w, c] -> {"logits": [n, 2]}, which should encode each frame
        separately before it compares them; its function `alone`, frames [m, h, w, c] ->
        {"h": [m, d]}, is the encoder.
      tx: optimizer of all weights. The paper: SGD, momentum 0.9.
      augment: (key, batch) -> one view of each video, [n, t, h, w, c]; None: `prepare`.
      spread: largest distance of the outer frames, in frames. 60 in the paper.
      gap: least distance of a from b, and of e from d. 15 in the paper.
      negatives: fraction of tuples out of order.
      prepare: batch -> x, videos outside training.

    Raises:
      ValueError: a fraction of negatives that leaves out a class; when traced, videos with
        too few frames.
    """
    if not 0 < negatives < 1:
        raise ValueError(
            f"order_verification: negatives must be between 0 and 1, got {negatives}"
        )
    look = augment or (lambda key, batch: prepare(batch))

    def drawn(key, videos):
        """Frames [n, 3, ...] of each video, and 1 for those in order."""
        five, three = jax.random.split(key)
        places = draw_quintuples(five, frame_differences(videos), spread, gap)
        chosen, y = verification_tuples(three, places, negatives)
        return frames_at(videos, chosen), y

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))[:, :3]))

    def loss(params, stats, frames, y, keys):
        out, stats = net.apply(params, stats, frames, train=True, keys=keys)
        logits, ordered = out["logits"], y == 1
        value = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        metrics = {
            "loss": value,
            "auc": area_under_curve(logits[:, 1] - logits[:, 0], ordered),
            "balanced_accuracy": balanced_accuracy(logits.argmax(-1) == y, ordered),
        }
        return value, (stats, metrics)

    def step(key, state, batch):
        view, draw = jax.random.split(key)
        frames, y = drawn(draw, look(view, batch))
        return minimize(tx, loss, state, frames, y, noise_keys(key))

    def embed(state, batch):
        videos = prepare(batch)
        out, _ = net.apply(state.weights, state.stats, fold(videos), method="alone")
        return of_frames(out, len(videos))

    def render(key, state, batch, collect):
        videos = prepare(batch)
        if videos.shape[-1] not in (1, 3):
            return {}
        frames, y = drawn(key, videos)
        logits = net.apply(state.weights, state.stats, frames)[0]["logits"]
        order = jnp.argsort(y, stable=True)
        best = jnp.concatenate([order[:4], order[::-1][:4]])  # four of each, if there are
        framed = jnp.pad(
            in_range(frames), [(0, 0)] * 2 + [(1, 1)] * 2 + [(0, 0)], constant_values=-1
        )
        probability = jax.nn.softmax(logits)[:, 1].reshape(-1, 1, 1, 1, 1)
        framed = jnp.where(framed < 0, probability, framed)
        title = "triples out of order, then in order; border: probability of order"
        return {title: Grid(framed[best], ("first", "middle", "last"))}

    return Method(init, step, embed, render=render)
