"""Knobs of clips, and of the optical flow that pretext tasks learn from."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from jssl import views
from jssl.config import one_of
from jssl.data import Source
from jssl.method import Augment, Prepare, field
from jssl.ops.flow import block_matching_flow, lucas_kanade

ESTIMATORS = {"blocks": block_matching_flow, "lucas_kanade": lucas_kanade}


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Optical flow between the frames of clips.

    Attributes:
      flow: Optical flow: exact (a column of the data, as of scenes), or estimated from
        frames, by blocks (block matching, in whole pixels) or lucas_kanade; empty: exact
        where the data have it, else blocks.
    """

    flow: str = ""

    def of(self, train: Source) -> Prepare:
        """batch -> the flow from each frame to the next, [n, t - 1, h, w, 2], in pixels.

        Raises:
          ValueError: the data have no clips of two frames, or no exact flow.
        """
        known = "flow" in in_motion(train).row_shapes()
        kind = self.flow or ("exact" if known else "blocks")
        estimate = one_of("flow", kind, {"exact": None} | ESTIMATORS)
        if estimate is None and not known:
            raise ValueError(
                f"{train.data_name} has no exact flow: give flow=lucas_kanade, or a source "
                f"that has it, such as scenes"
            )
        return field("flow") if estimate is None else partial(_estimated, estimate)

    def first_of(self, train: Source) -> Prepare:
        """batch -> the flow from the first frame to the second, [n, h, w, 2]; as `of`."""
        flow = self.of(train)
        return lambda batch: flow(_first_two(batch))[:, 0]


def in_motion(train: Source, frames: int = 2, color: bool = False) -> Source:
    """A source, after a check that it has clips of so many frames.

    Args:
      train: the source.
      frames: least number of frames.
      color: True for frames of three channels.

    Raises:
      ValueError: it has no column video, or shorter clips, or gray ones.
    """
    video = train.row_shapes().get("video")
    t, *_, channels = (0, 0) if video is None else video.shape[1:]
    if t < frames or (color and channels != 3):
        wanted = f"clips of {frames} frames or more" + (" in color" if color else "")
        there = "none" if video is None else f"{t} frames of {channels} channels"
        raise ValueError(
            f"{train.data_name} must have {wanted}, as column video, got {there}: give "
            f"another data set, such as source=bouncing_digits, or reading=frames={frames}"
        )
    return train


def first_frame(batch: Any) -> Any:
    """The first frame of each clip, [n, h, w, c]."""
    return batch["video"][:, 0]


def jittered(strength: float) -> Augment:
    """(key, batch) -> first frames, with random brightness, contrast and saturation."""
    jitter = (strength, strength, strength, 0.0)

    def look(key, batch):
        frames = first_frame(batch)
        keys = jax.random.split(key, len(frames))
        change = lambda key, image: views.color_jitter(key, image, *jitter)
        return jax.vmap(change)(keys, frames)

    return look


def _first_two(batch):
    """The columns of the flow and the frames, up to the second frame."""
    return {name: batch[name][:, :2] for name in ("video", "flow") if name in batch}


def _estimated(estimate, batch):
    video = batch["video"]
    n, t, h, w, c = video.shape
    pairs = (x.reshape(-1, h, w, c) for x in (video[:, :-1], video[:, 1:]))
    return estimate(*pairs).reshape(n, t - 1, h, w, 2)
