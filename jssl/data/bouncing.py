"""Toy videos: handwritten digits bounce off the sides of a square, or wrap around it.

Srivastava, Mansimov and Salakhutdinov, "Unsupervised Learning of Video Representations
using LSTMs", ICML 2015, https://arxiv.org/abs/1502.04681
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from jssl.data.decoding import check_shape
from jssl.data.embedded import DIGITS, LICENSES, digits, mnist
from jssl.data.fields import Dataset, Field, Labels, Tokens, Video
from jssl.data.shortcuts import ORIENTATIONS, textures
from jssl.data.toys import uniform
from jssl.data.worlds import INK, moving
from jssl.ops.lab import lab_to_rgb

SPEEDS = (-2, -1, 1, 2)  # pixels a frame, along either axis
WORDS = (*DIGITS.names, "up-left", "up-right", "down-left", "down-right")
_GLYPHS = {"digits": digits, "mnist": mnist}
_SHARE = {"train": 8, "val": 1, "test": 1}  # videos of a digit
DIRECTIONS = Labels(
    ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")
)
"""Classes of `moving_digits`, in the order of `jssl.data.worlds.DIRECTIONS`."""
STEP = 0.1  # of `bouncing_digits`, a frame, in units of the free range
SHADES = (35.0, 75.0)  # mean lightness of colored digits, L of CIE Lab
BEHIND = 55.0  # mean lightness of the texture behind them
WAVES = 4.0  # deviation of lightness in both; at most twice as much
CHROMA = 19.0  # of colored digits: all hues are in the gamut of sRGB at all their lightness


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


def moving_digits(
    *, frames: int = 12, size: int = 32, speed: int = 2, channels: int = 1
) -> Dataset:
    """Videos of a digit that drifts in one of eight directions and wraps around.

    The position is uniform in every frame for every direction, so that a single frame
    carries no information about the label (`jssl.data.worlds.moving`). Digits are
    scikit-learn's, enlarged to half a side, and the splits are those of `digits`: four
    videos for each image of train (4,308), two for each of val and test (720 and 720).

    Columns: video uint8 [n, frames, size, size, channels]; label int32 [n], the direction;
    digit int32 [n].

    Args:
      frames: of each video.
      size: side of a frame in pixels.
      speed: pixels per frame, along each axis that moves.
      channels: 1, or 3 equal ones.

    Raises:
      ValueError: a square smaller than 16 pixels; frames or speed out of range.
    """
    _check_square("moving_digits", size, frames, channels)
    found = digits(size=size // 2, channels=1)
    splits = {
        part: partial(_drifts, found.splits[part], i, frames, size, speed, channels)
        for i, part in enumerate(_SHARE)
    }
    fields = {"video": Video(), "label": DIRECTIONS, "digit": DIGITS}
    return Dataset(splits, 8, fields, license=LICENSES["digits"])


def _drifts(table, seed, frames, size, speed, channels):
    glyphs, label = table["image"] / np.float32(255), table["label"]
    parts = []
    for key in jax.random.split(jax.random.key(seed), 2 if seed else 4):
        found = moving(key, glyphs, label, len(label), frames, size, speed)
        found["video"] = (255 * found["video"]).round().astype(np.uint8)
        parts.append(jax.device_get(found))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns["video"] = columns["video"].repeat(channels, -1)
    return columns


def bouncing_digits(
    *,
    frames: int = 20,
    size: int = 32,
    count: int = 1,
    colored: bool = False,
    of: str = "digits",
) -> Dataset:
    """Videos of digits that move straight on and bounce off the sides of a square.

    Start and direction are random, the speed is a tenth of the free range per frame
    (`bounces`). Digits are scikit-learn's, enlarged to 7/16 of a side (14 of 32 pixels),
    and the splits are those of `digits`: two videos begin with each image of train (2,154),
    one with each of val and test (360 and 360); further digits are of the same split. With
    of=mnist digits are those of `mnist` (7,000, 500 and 1,000 videos), of 28 pixels for a
    size of 64: the rule of Moving MNIST.

    Gray digits are on black, and overlap by their maximum. Colored ones cover what is
    behind them, a gray texture at rest. Each is darker or lighter than that, at random, and
    has a texture that moves with it, so that gray frames show its shape and its motion. Its
    hue is random and independent of both, so that gray frames do not show the hue.

    Columns: video uint8 [n, frames, size, size, 1 or 3]; objects uint8 [n, frames, size,
    size], the number of the digit at each pixel from 1 on, 0 for the background, where two
    overlap that of the last; label int32 [n], the class of the first digit.

    Args:
      frames: of each video.
      size: side of a frame in pixels.
      count: number of digits.
      colored: True for colored digits before a texture.
      of: data set of the digits: digits or mnist.

    Raises:
      ValueError: a square smaller than 16 pixels, no frames, no digits, or another data
        set.
    """
    _check_square("bouncing_digits", size, frames)
    if not 1 <= count <= 255:
        raise ValueError(f"bouncing_digits: count must be 1 to 255, got {count}")
    if of not in _GLYPHS:
        raise ValueError(
            f"bouncing_digits: of must be one of {', '.join(_GLYPHS)}, got {of!r}"
        )
    found = _GLYPHS[of](size=7 * size // 16, channels=1)
    splits = {
        part: partial(_bounces, found.splits[part], i, frames, size, count, colored)
        for i, part in enumerate(_SHARE)
    }
    fields = {"video": Video(), "objects": Labels(), "label": DIGITS}
    return Dataset(splits, 10, fields, license=LICENSES[of])


def bounces(
    start: Float[np.ndarray, "*n 2"], angle: Float[np.ndarray, "*n"], frames: int
) -> Float[np.ndarray, "*n t 2"]:
    """Paths in the unit square, a tenth per frame, that bounce off its sides.

    A coordinate that would leave the square stops at its side, and turns around.

    Args:
      start: row and column in the first frame, in [0, 1].
      angle: of the motion, in radians: 0 to the right, pi / 2 down.
      frames: number of places.

    >>> bounces(np.array([0.5, 0.85]), np.array(0.0), 4)[:, 1].round(2).tolist()
    [0.85, 0.95, 1.0, 0.9]
    """
    velocity = STEP * np.stack([np.sin(angle), np.cos(angle)], -1)
    places = [start]
    for _ in range(frames - 1):
        there = places[-1] + velocity
        velocity = np.where((there < 0) | (there > 1), -velocity, velocity)
        places.append(np.clip(there, 0, 1))
    return np.stack(places, -2)


def _bounces(table, seed, frames, size, count, colored):
    bits, image = np.random.PCG64(seed), table["image"][..., 0] / np.float32(255)
    total, side = len(image), image.shape[1]
    n = total * (1 if seed else 2)
    chosen = (uniform(bits, n, count) * total).astype(int)
    chosen[:, 0] = np.arange(n) % total
    paths = bounces(uniform(bits, n, count, 2), 2 * np.pi * uniform(bits, n, count), frames)
    corners = ((size - side) * paths).astype(int)  # [n, count, t, 2]
    places = np.arange(side)
    objects = np.zeros((n, frames, size, size), np.uint8)
    canvas = np.zeros((n, size, size, 1))
    if colored:
        canvas = _textured(bits, size, np.full(n, BEHIND), 0.0)
    videos = np.repeat(canvas.astype(np.float32)[:, None], frames, 1)
    rows, times = np.ogrid[:n, :frames]
    rows, times = rows[..., None, None], times[..., None, None]
    for i in range(count):
        ys, xs = np.moveaxis(corners[:, i, ..., None] + places, 2, 0)  # [n, t, side]
        there = (rows, times, ys[..., None], xs[:, :, None])
        ink = image[chosen[:, i], None, ..., None]  # [n, 1, side, side, 1]
        if colored:
            shade = np.where(uniform(bits, n) < 0.5, *SHADES)
            paint = _textured(bits, side, shade, CHROMA)[:, None]
            videos[there] += ink * (paint - videos[there])
        else:
            videos[there] = np.maximum(videos[there], ink)
        objects[there] = np.where(ink[..., 0] > INK, i + 1, objects[there])
    videos = np.rint(255 * videos).astype(np.uint8)
    return {"video": videos, "objects": objects, "label": table["label"][chosen[:, 0]]}


def _textured(bits, side, shade, chroma):
    """Textures [n, side, side, 3] of mean lightness [n], random hues and orientations."""
    n = len(shade)
    orientation, hue = (uniform(bits, n) for _ in range(2))
    waves = textures(bits, (ORIENTATIONS * orientation).astype(int), side)
    light = shade[:, None, None] + WAVES * np.clip(waves, -2, 2)  # [n, side, side]
    color = chroma * np.stack([np.cos(2 * np.pi * hue), np.sin(2 * np.pi * hue)], -1)
    color = np.broadcast_to(color[:, None, None], (*light.shape, 2))
    lab = np.concatenate([light[..., None], color], -1).astype(np.float32)
    return np.clip(np.asarray(lab_to_rgb(jnp.asarray(lab))), 0, 1)


def _check_square(name, size, frames, channels=1):
    check_shape(size, channels)
    if size < 16 or frames < 1:
        raise ValueError(
            f"{name}: size must be 16 or more and frames 1 or more, got {size}, {frames}"
        )
