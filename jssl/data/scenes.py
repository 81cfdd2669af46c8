"""Rendered rooms with moving objects as a data set: clips with exact annotations."""

from functools import partial

import jax
import numpy as np

from jssl.data.fields import Dataset, Field, Labels, Measurements, Video
from jssl.data.rendering import KINDS, STYLES, rendered

LICENSE = "none needed: generated"
OF_PAIRS = ("flow", "occluded", "camera")  # columns of two frames
_SHARE = {"train": 8, "val": 1, "test": 1}  # of 8 clips of train


def scenes(
    domain: str = "synthetic",
    /,
    *,
    frames: int = 2,
    size: int = 32,
    count: int = 2000,
    camera: float = 0.15,
    turn: float = 0.0,
    moving: float = 1.0,
) -> Dataset:
    """Clips of rooms with up to four objects, rendered by `jssl.data.rendering`.

    | column | |
    |---|---|
    | video | uint8 [n, frames, size, size, 3] |
    | depth | float32 [n, frames, size, size], along the optical axis |
    | objects | uint8 [n, frames, size, size], number of the object, from 1; 0: background |
    | semantic | uint8 [n, frames, size, size], 1 + kind of the object; 0: background |
    | moving | uint8 [n, frames, size, size], 1 on objects that move |
    | normal | float32 [n, frames, size, size, 3], in the camera's frame |
    | edge | uint8 [n, frames, size, size], 1 on contours of objects |
    | flow | float32 [n, frames - 1, size, size, 2], pixels (x, y) to the next frame |
    | occluded | uint8 [n, frames - 1, size, size], 1 where the next frame hides the point |
    | camera | float32 [n, frames - 1, 6], translation, and rotation vector in radians |
    | label | int32 [n], kind of the object that covers most of the first frame |

    The wall is at a depth of 6 to 10. Camera motions are those to the next frame, in the
    camera's coordinates. Clips of one frame have no flow, occluded and camera. Val and test
    have an eighth of `count` each. Domains have different scenes.

    Args:
      domain: "synthetic", or "real", a stand-in for photographs: other textures and light,
        blur and noise.
      frames: frames of a clip.
      size: side of a frame in pixels, which is the focal length, too.
      count: clips of the training split.
      camera: largest translation of the camera in a frame, in the units of depth.
      turn: largest rotation of the camera in a frame, in degrees.
      moving: from 0 to 1, factor of the probability that an object moves: 0.9 for balls
        and triangles, 0.1 for discs and squares.

    Raises:
      ValueError: an unknown domain, or numbers out of range.
    """
    if domain not in STYLES:
        raise ValueError(f"scenes: domain must be {' or '.join(STYLES)}, got {domain!r}")
    if frames < 1 or size < 8 or count < 8:
        raise ValueError(
            f"scenes: frames must be at least 1, size and count 8, got frames {frames}, "
            f"size {size} and count {count}"
        )
    if not (0 <= camera <= 1 and 0 <= turn <= 45 and 0 <= moving <= 1):
        raise ValueError(
            f"scenes: camera and moving must be 0 to 1 and turn 0 to 45 degrees, got "
            f"camera {camera}, moving {moving} and turn {turn}"
        )
    motion = dict(camera=camera, turn=np.radians(turn), moving=moving)
    splits = {
        part: partial(_rendered, domain, part, count * share // 8, frames, size, motion)
        for part, share in _SHARE.items()
    }
    kinds = Labels(KINDS)
    fields: dict[str, Field] = {"video": Video(fps=4.0), "label": kinds}
    maps = ("depth", "normal", "flow", "camera")
    fields |= dict.fromkeys(maps, Measurements())
    fields |= dict.fromkeys(("objects", "semantic", "moving", "edge", "occluded"), Field())
    if frames == 1:
        fields = {k: x for k, x in fields.items() if k not in OF_PAIRS}
    return Dataset(splits, len(KINDS), fields, license=LICENSE)


def _rendered(domain, part, count, frames, size, motion):
    split = 3 * list(STYLES).index(domain) + list(_SHARE).index(part)
    key = jax.random.fold_in(jax.random.key(0), split)
    return rendered(key, count, frames=frames, size=size, style=STYLES[domain], **motion)
