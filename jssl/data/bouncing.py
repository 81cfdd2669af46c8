"""Toy videos: a handwritten digit moves across a black square and bounces off its sides."""

from functools import partial

import numpy as np
from jaxtyping import Int, UInt8

from jssl.data.decoding import check_shape
from jssl.data.embedded import DIGITS, LICENSES, digits
from jssl.data.fields import Dataset, Field, Tokens, Video

SPEEDS = (-2, -1, 1, 2)  # pixels a frame, along either axis
WORDS = (*DIGITS.names, "up-left", "up-right", "down-left", "down-right")
_SHARE = {"train": 8, "val": 1, "test": 1}  # videos of a digit


def bounced(
    images: UInt8[np.ndarray, "n k k c"],
    start: Int[np.ndarray, "n 2"],
    velocity: Int[np.ndarray, "n 2"],
    frames: int,
    size: int,
) -> UInt8[np.ndarray, "n t size size c"]:
    """Videos of images that move and are reflected at the sides of a square.

    Args:
      images: that move, of k x k pixels.
      start: row and column of the corner in the first frame, 0 to size - k.
      velocity: pixels a frame, down and right.
      frames: of each video.
      size: side of the square.

    >>> video = bounced(np.full((1, 1, 1, 1), 9, np.uint8), np.array([[0, 1]]),
    ...                 np.array([[1, 1]]), 3, 3)
    >>> np.argwhere(video[0, ..., 0]).tolist()    # down, and right, then back left
    [[0, 0, 1], [1, 1, 2], [2, 2, 1]]
    """
    n, side, _, c = images.shape
    room = size - side
    path = start[:, None] + velocity[:, None] * np.arange(frames)[:, None]
    path = room - np.abs(room - path % (2 * room))  # a triangular wave
    videos = np.zeros((n, frames, size, size, c), np.uint8)
    for i, t in np.ndindex(n, frames):
        y, x = path[i, t]
        videos[i, t, y : y + side, x : x + side] = images[i]
    return videos


def bounce16(
    *, frames: int = 8, size: int = 16, shortest: int = 0, channels: int = 1
) -> Dataset:
    """Videos of moving digits, with captions of two words, such as "3 up-left".

    The images are scikit-learn's digits, 8 x 8, and the splits are those of `digits`: eight
    videos of each image of train (8,616), one of each of val and test (360 and 360). Start
    and velocity, 1 or 2 pixels a frame along either axis, are random, such that the first
    step is no bounce; the caption's direction is that of this step.

    Columns: video uint8 [n, frames, size, size, channels]; tokens int32 [n, 2], the
    caption; label int32 [n], the digit; and, with `shortest`, length int32 [n], the number
    of frames after which the video is black, from `shortest` to `frames`; 1 is an image.

    Raises:
      ValueError: a square smaller than 11 pixels; lengths that are not 1 to `frames`.
    """
    check_shape(size, channels)
    if size < 11 or frames < 1 or not 0 <= shortest <= frames:
        raise ValueError(
            f"bounce16: size must be 11 or more and shortest 0 (none) to frames, got size "
            f"{size}, shortest {shortest} and frames {frames}"
        )
    found = digits(channels=channels)
    splits = {
        part: partial(_videos, found.splits[part], part, frames, size, shortest)
        for part in _SHARE
    }
    fields = {"video": Video(fps=4.0), "tokens": Tokens(WORDS), "label": DIGITS}
    return Dataset(splits, 10, fields | {"length": Field()}, license=LICENSES["digits"])


def _videos(table, part, frames, size, shortest):
    image, label = (np.repeat(table[x], _SHARE[part], 0) for x in ("image", "label"))
    bits = np.random.PCG64([list(_SHARE).index(part), len(label), frames, size])
    draw = lambda most, *shape: (
        np.int64(bits.random_raw(int(np.prod(shape))).reshape(shape) >> np.uint64(11))
        % most
    )
    n, room = len(label), size - image.shape[1]
    velocity = np.array(SPEEDS)[draw(len(SPEEDS), n, 2)]
    # From the start, the first step stays within the square.
    low, high = np.maximum(-velocity, 0), room - np.maximum(velocity, 0)
    start = low + draw(2**40, n, 2) % (high - low + 1)
    videos = bounced(image, start, velocity, frames, size)
    direction = 2 * (velocity[:, 0] > 0) + (velocity[:, 1] > 0)
    tokens = np.stack([label, 10 + direction], 1).astype(np.int32)
    columns = {"video": videos, "tokens": tokens, "label": label}
    if not shortest:
        return columns
    length = shortest + draw(frames - shortest + 1, n)
    videos[np.arange(frames) >= length[:, None]] = 0
    return columns | {"length": length.astype(np.int32)}
