"""VideoMAE: reconstruction of masked cubes of a video, hidden at the same places in time.

Tong, Song, Wang and Wang, "VideoMAE: Masked Autoencoders are Data-Efficient Learners for
Self-Supervised Video Pre-Training", NeurIPS 2022. https://arxiv.org/abs/2203.12602

    L = mean over masked cubes l of |pred_l - t_l|^2 / k

with t the k numbers of a cube, standardized in each channel by mean and deviation of the
cube. Neighboring frames are alike, so a masked cube could be copied from the same place a
moment earlier: 90 % of the places are masked, and with "tube" the same ones in all frames.
The decoder predicts masked cubes only.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row, identity
from jssl.nets import Net
from jssl.ops.masking import take_tokens, video_masking
from jssl.ops.patches import (
    denormalize_cubes,
    normalize_cubes,
    patchify_video,
    unpatchify_video,
)
from jssl.pictures import Grid


def videomae(
    net: Net,
    tx: optax.GradientTransformation,
    cube: tuple[int, int],
    augment: Augment | None = None,
    *,
    prepare: Prepare = field("video"),
    frames: Prepare = identity,
    mask: float = 0.9,
    masking: str = "tube",
    norm_pixels: bool = True,
) -> Method[Learner]:
    """Reconstruction of masked cubes.

    Args:
      net: (videos, keep, hidden) -> predicted cubes `hidden`; its method `encode` embeds
        whole videos.
      tx: optimizer of all weights.
      cube: frames of a cube, and its side in pixels, as in the network.
      augment: (key, batch) -> one view of each row, normalized as `prepare` does, the same
        for all frames; None: `prepare`.
      prepare: batch -> x, the network's input outside training.
      frames: x -> the frames in [0, 1] that are predicted, the inverse of the
        normalization.
      mask: fraction of the cubes that are masked.
      masking: the masked places: "tube", "frame" or "random", see `video_masking`.
      norm_pixels: True standardizes each channel of the target of each cube.
    """

    look = augment or (lambda key, batch: prepare(batch))
    size = cube[0], cube[1], cube[1]

    def draw(key, videos):
        n, t, h, w, _ = videos.shape
        places = (h // cube[1]) * (w // cube[1])
        return video_masking(key, n, (t // cube[0], places), mask, masking)

    def targets(videos):
        cubes = patchify_video(frames(videos), size)
        return normalize_cubes(cubes, videos.shape[-1]) if norm_pixels else cubes

    def init(key, batch):
        videos = first_row(prepare(batch))
        drawn = draw(key, videos)
        return fresh(tx, *net.init(key, videos, drawn.keep, drawn.hidden))

    def loss(params, stats, videos, drawn, keys):
        hidden = drawn.hidden
        pred, stats = net.apply(
            params, stats, videos, drawn.keep, hidden, train=True, keys=keys
        )
        value = jnp.square(pred - take_tokens(targets(videos), hidden)).mean()
        return value, (stats, {"loss": value})

    def step(key, state, batch):
        view_key, mask_key, drop_key = jax.random.split(key, 3)
        videos = look(view_key, batch)
        keys = noise_keys(drop_key)
        return minimize(tx, loss, state, videos, draw(mask_key, videos), keys)

    def embed(state, batch):
        videos = prepare(batch)
        return net.apply(state.weights, state.stats, videos, method="encode")[0]

    def render(key, state, batch, collect):
        videos = prepare(batch)[:4]
        if videos.shape[-1] not in (1, 3):
            return {}
        drawn = draw(key, videos)
        cubes = patchify_video(frames(videos), size)
        inputs = videos, drawn.keep, drawn.hidden
        pred, _ = net.apply(state.weights, state.stats, *inputs)
        back = jnp.argsort(jnp.concatenate([drawn.keep, drawn.hidden], 1), axis=1)
        seen = jnp.zeros((*drawn.keep.shape, pred.shape[2]), pred.dtype)
        pred = take_tokens(jnp.concatenate([seen, pred], 1), back)
        if norm_pixels:  # drawn with the true moments of each cube
            pred = denormalize_cubes(pred, cubes, videos.shape[-1])
        hidden = drawn.mask[..., None]
        rows = (
            cubes,
            jnp.where(hidden, 0.5, cubes),
            jnp.where(hidden, pred, cubes),
        )
        shown = [unpatchify_video(x, size, videos.shape[1:4]) for x in rows]
        shown = jnp.clip(jnp.stack(shown, 1), 0, 1)  # [n, 3, t, h, w, c]
        heads = tuple(f"frame {i + 1}" for i in range(videos.shape[1]))
        images = shown.reshape(-1, *videos.shape[1:])
        return {"videos, masked videos and reconstructions": Grid(images, heads)}

    return Method(init, step, embed, render=render)
