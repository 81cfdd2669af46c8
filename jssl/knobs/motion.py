"""Knobs of the optical flow that pretext tasks learn from."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from jssl import views
from jssl.config import one_of
from jssl.data import Source
from jssl.method import Augment, Prepare
from jssl.ops.flow import block_matching_flow, lucas_kanade

ESTIMATORS = {"blocks": block_matching_flow, "lucas_kanade": lucas_kanade}


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Optical flow between the first two frames of clips.

    Attributes:
      flow: Optical flow: exact (a column of the data, as of scenes), or estimated from
        frames, by blocks (block matching, in whole pixels) or lucas_kanade.
    """

    flow: str = "exact"

    def of(self, train: Source) -> Prepare:
        """batch -> the flow from the first frame to the second, [n, h, w, 2], in pixels.

        Raises:
          ValueError: the data have no clips of two frames, or no exact flow.
        """
        known = train.row_shapes()
        frames = known["video"].shape[1] if "video" in known else 1
        if frames < 2:
            raise ValueError(
                f"{train.data_name} has no clips of two frames or more, which flow needs: "
                f"give a source such as scenes, or clips:FOLDER"
            )
        estimate = one_of("flow", self.flow, {"exact": None} | ESTIMATORS)
        if estimate is None and "flow" not in known:
            raise ValueError(
                f"{train.data_name} has no exact flow: give flow=lucas_kanade, or a source "
                f"that has it, such as scenes"
            )
        return _exact if estimate is None else partial(_estimated, estimate)


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


def _exact(batch):
    return batch["flow"][:, 0]


def _estimated(estimate, batch):
    return estimate(batch["video"][:, 0], batch["video"][:, 1])
