"""Order prediction network: sorting of shuffled frames.

Lee, Huang, Singh and Yang, "Unsupervised Representation Learning by Sorting Sequences",
ICCV 2017. https://arxiv.org/abs/1708.01246

    L = mean over videos of -log p(y | x_{P_y(1)}, ..., x_{P_y(k)})

with P_1 ... P_{k!/2} the permutations of k frames, of which one of each two reversals is a
class, since forward and backward motion are often equally plausible; the tuple is reversed
in half of the rows.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row, fold, of_frames
from jssl.nets import Net
from jssl.ops.frame_order import (
    crop_frames,
    draw_frames,
    frame_differences,
    frames_at,
    keep_one_channel,
    order_classes,
)
from jssl.ops.puzzles import shuffle, unshuffle
from jssl.pictures import Grid, in_range


def order_prediction(
    net: Net,
    tx: optax.GradientTransformation,
    size: int,
    augment: Augment | None = None,
    *,
    spread: int,
    jitter: int,
    count: int = 4,
    split_channels: bool = True,
    prepare: Prepare = field("video"),
) -> Method[Learner]:
    """Classification of the order of frames.

    Frames and the place of their crops are drawn where much moves. "h" is the mean over
    frames and "frames" the last maps of each, of the shared encoder on
    central crops.

    Args:
      net: frames [n, count, size, size, c] -> {"logits": [n, count! / 2]}, which should
        encode each frame separately before it compares them; its function `alone`, frames
        [m, size, size, c] -> {"h": [m, d]}, is the encoder.
      tx: optimizer of all weights. The paper: SGD, momentum 0.9.
      size: side in pixels of the crops of frames. 80 in the paper.
      augment: (key, batch) -> one view of each video, [n, t, h, w, c]; None: `prepare`.
      spread: largest distance of the last frame from the first, in frames.
      jitter: largest shift in pixels of each frame's crop, against the drift of positions
        as a cue. 5 in the paper.
      count: number of frames. 4 in the paper.
      split_channels: replace the channels of each frame by a random one of them, against
        color as a cue.
      prepare: batch -> x, videos outside training.

    Raises:
      ValueError: fewer than three frames; when traced, videos that are too short or small.
    """
    if count < 3:
        raise ValueError(
            f"order_prediction: count must be at least 3, since two frames have no order "
            f"up to reversal, got {count}"
        )
    known = jnp.asarray(order_classes(count))
    look = augment or (lambda key, batch: prepare(batch))

    def central(batch):
        return crop_frames(prepare(batch), size)

    def drawn(key, videos):
        """Frames [n, count, ...] of each video, in order."""
        draw, place, channel = jax.random.split(key, 3)
        places = draw_frames(draw, frame_differences(videos), count, spread)
        frames = frames_at(videos, places)
        motion = jnp.abs(frames[:, 1:] - frames[:, :-1]).mean((1, 4))  # [n, h, w]
        frames = crop_frames(frames, size, place, jitter, motion)
        return keep_one_channel(channel, frames, 2) if split_channels else frames

    def shuffled(key, frames):
        """Frames in one of the known orders, its class, and True if that is reversed."""
        draw, turn = jax.random.split(key)
        y = jax.random.randint(draw, (len(frames),), 0, len(known))
        back = jax.random.bernoulli(turn, 0.5, (len(frames), 1))
        order = jnp.where(back, known[y][:, ::-1], known[y])
        return shuffle(frames, order), y, back

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(central(batch))[:, :count]))

    def loss(params, stats, frames, y, keys):
        out, stats = net.apply(params, stats, frames, train=True, keys=keys)
        logits = out["logits"]
        value = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        right = (logits.argmax(-1) == y).mean()
        return value, (stats, {"loss": value, "order_accuracy": right})

    def step(key, state, batch):
        view, draw, mix = jax.random.split(key, 3)
        frames, y, _ = shuffled(mix, drawn(draw, look(view, batch)))
        return minimize(tx, loss, state, frames, y, noise_keys(key))

    def embed(state, batch):
        videos = central(batch)
        out, _ = net.apply(state.weights, state.stats, fold(videos), method="alone")
        return of_frames(out, len(videos))

    def render(key, state, batch, collect):
        videos = prepare(batch)[:8]
        if videos.shape[-1] not in (1, 3):
            return {}
        draw, mix = jax.random.split(key)
        frames = drawn(draw, videos)
        given, _, back = shuffled(mix, frames)
        guessed = net.apply(state.weights, state.stats, given)[0]["logits"].argmax(-1)
        forward = jnp.where(back[..., None, None, None], given[:, ::-1], given)
        sorted_ = unshuffle(forward, known[guessed])
        shown = jnp.concatenate([given, sorted_, frames], 1)
        heads = [f"{x} {i + 1}" for x in ("given", "sorted", "true") for i in range(count)]
        title = "shuffled frames, as sorted, and in order"
        return {title: Grid(in_range(shown), tuple(heads))}

    return Method(init, step, embed, render=render)
