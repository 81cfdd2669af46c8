r"""Synthetic scenes and clips of small images, with exact ground truth.

Glyphs (digits or garments) are placed on a canvas among fragments of others, or drift
across it and wrap around. All is generated from a random key; use the images of one split
as glyphs, so that no image is in two splits.

Pieces of glyphs as clutter: Mnih, Heess, Graves and Kavukcuoglu, "Recurrent Models of
Visual Attention", NIPS 2014 (https://arxiv.org/abs/1406.6247), section 4.1. Moving
digits: Srivastava, Mansimov and Salakhutdinov, "Unsupervised Learning of Video
Representations using LSTMs", ICML 2015 (https://arxiv.org/abs/1502.04681); theirs bounce,
which would change a direction within the clip. Here frame t shows a glyph g at

$$ x_t(r, c) = g\big((r - r_0 - t s \, v_r) \bmod S, (c - c_0 - t s \, v_c) \bmod S\big) $$

for a uniform start (r_0, c_0), a direction v, a speed of s pixels and a canvas of side S:
the position is uniform in every frame for every direction, so single frames carry no
information about it.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Integer, PRNGKeyArray

from jssl.ops.shapes import expect

DIRECTIONS = np.array(
    [[0, 1], [1, 1], [1, 0], [1, -1], [0, -1], [-1, -1], [-1, 0], [-1, 1]]
)
"""(down, right) of each motion, [8, 2]: label k is 45 k degrees clockwise from rightward,
and k + 4 its opposite. Steps are whole pixels, so diagonals are sqrt(2) times as fast."""

INK = 0.3  # brighter pixels belong to the glyph
TRIES = 32  # positions drawn for a glyph
PIECES = 16  # fragments of clutter
DIMMEST = 0.5  # lowest contrast of a glyph
NOISE = 0.05  # standard deviation
TOGETHER = 64  # scenes generated at a time, which bounds memory


def glyph_scenes(
    key: PRNGKeyArray,
    glyphs: Float[Array | np.ndarray, "m h w 1"],
    labels: Integer[Array | np.ndarray, " m"],
    count: int,
    size: int = 64,
    most: int = 4,
    overlap: float = 0.3,
) -> dict[str, Array]:
    """Canvases with 1 to `most` glyphs each, among clutter and noise, with masks and boxes.

    The clutter is `PIECES` random squares, a third of a glyph wide, of random glyphs. Every
    glyph and fragment has a random contrast, so that brightness predicts neither glyphs nor
    classes. A glyph is placed at the first of `TRIES` random positions where its box has an
    IoU of at most `overlap` with earlier ones; if there is none, or if it has no pixel
    brighter than 0.3, it is omitted. Later glyphs cover earlier ones.

    Args:
      key: of all draws.
      glyphs: in [0, 1].
      labels: of the glyphs, >= 0.
      count: number of scenes.
      size: side of the canvas in pixels.
      most: largest number of glyphs.
      overlap: largest IoU of two boxes.

    Returns:
      image: float32 [count, size, size, 1], in [0, 1].
      mask: int32 [count, size, size], label + 1 where a glyph is brighter than 0.3 (before
        its contrast), 0 elsewhere.
      boxes: float32 [count, most, 4] of (x0, y0, x1, y1), tight around all such pixels of a
        glyph, including covered ones; x1 and y1 are exclusive; zeros for no glyph.
      label: int32 [count, most], -1 for no glyph.
      valid: bool [count, most], False for no glyph.

    Raises:
      ValueError: shapes, dtypes or (outside jit) values are not as above, or a glyph is
        larger than the canvas.

    >>> ones = jnp.ones((1, 8, 8, 1))
    >>> found = glyph_scenes(jax.random.key(0), ones, jnp.array([6]), 2, size=8, most=1)
    >>> found["boxes"][0].tolist(), int(found["mask"].min())  # all of it is a 6: 6 + 1
    ([[0.0, 0.0, 8.0, 8.0]], 7)
    """
    _check("glyph_scenes", glyphs, labels, count, size)
    if most < 1 or not 0 <= overlap <= 1:
        raise ValueError(
            f"glyph_scenes: most must be at least 1 and overlap in [0, 1], got {most} and "
            f"{overlap}"
        )
    return _scenes(key, jnp.asarray(glyphs), labels, count, size, most, overlap)


def moving(
    key: PRNGKeyArray,
    glyphs: Float[Array | np.ndarray, "m h w 1"],
    labels: Integer[Array | np.ndarray, " m"],
    count: int,
    frames: int = 12,
    size: int = 32,
    speed: int = 2,
) -> dict[str, Array]:
    """Clips of one glyph that drifts in one of 8 directions and wraps around.

    Directions are balanced as far as `count` allows; glyph and start are independent of
    them.

    Args:
      key: of all draws.
      glyphs: in [0, 1].
      labels: of the glyphs.
      count: number of clips.
      frames: frames of a clip.
      size: side of a frame in pixels.
      speed: pixels per frame, along each axis that moves; less than half the canvas, which
        would be ambiguous.

    Returns:
      video: float32 [count, frames, size, size, 1], in [0, 1].
      label: int32 [count], the direction, a row of `DIRECTIONS`.
      digit: int32 [count], the glyph's label.

    Raises:
      ValueError: shapes, dtypes or (outside jit) values are not as above, a glyph is
        larger than the canvas, or frames or speed are out of range.

    >>> found = moving(jax.random.key(0), jnp.ones((1, 1, 1, 1)), jnp.array([3]), 1, 2, 8)
    >>> here, there = (np.argwhere(x)[0] for x in found["video"][0, ..., 0])
    >>> bool(((here + 2 * DIRECTIONS[found["label"][0]] - there) % 8 == 0).all())
    True
    """
    _check("moving", glyphs, labels, count, size)
    if frames < 2 or not 1 <= speed < size / 2:
        raise ValueError(
            f"moving: frames must be at least 2 and speed 1 to less than half the size "
            f"{size}, got {frames} and {speed}"
        )
    return _moving(key, jnp.asarray(glyphs), labels, count, frames, size, speed)


def _check(function, glyphs, labels, count, size):
    sizes = expect(function, glyphs=(glyphs, "m h w 1"), labels=(labels, "m", "int"))
    m, h, w = (sizes[x] for x in "mhw")
    if min(m, h, w, count) < 1 or max(h, w) > size:
        raise ValueError(
            f"{function}: count and the number of glyphs must be at least 1 and glyphs no "
            f"larger than the canvas, got {count}, {m} and {h}x{w} on {size}x{size}"
        )
    if isinstance(glyphs, jax.core.Tracer) or isinstance(labels, jax.core.Tracer):
        return
    low, high, least = float(glyphs.min()), float(glyphs.max()), int(labels.min())
    if not (low >= 0 and high <= 1 and least >= 0):
        raise ValueError(
            f"{function}: glyphs must be in [0, 1] and labels >= 0, got glyphs "
            f"{low:g} ... {high:g} (divide bytes by 255) and a label {least}"
        )


@partial(jax.jit, static_argnames=("count", "size", "most"))
def _scenes(key, glyphs, labels, count, size, most, overlap):
    chance, noise = jax.random.split(key)
    shapes = {
        "number": (),
        "which": (most + PIECES,),
        "contrast": (most + PIECES,),
        "corner": (most, TRIES, 2),
        "cut": (PIECES, 2),
        "where": (PIECES, 2),
    }
    xs = _dealt(chance, count, shapes)
    xs["noise"] = NOISE * jax.random.normal(noise, (count, size, size))
    compose = partial(_scene, glyphs=glyphs[..., 0], labels=labels, overlap=overlap)
    return lax.map(compose, xs, batch_size=min(TOGETHER, count))


@partial(jax.jit, static_argnames=("count", "frames", "size"))
def _moving(key, glyphs, labels, count, frames, size, speed):
    u = _dealt(key, count, {"which": (), "start": (1, 2), "order": ()})
    rows = _whole(u["which"], len(glyphs))
    label = jnp.argsort(u["order"]).astype(jnp.int32) % 8
    path = speed * jnp.arange(frames)[:, None] * jnp.asarray(DIRECTIONS)[label][:, None]
    canvas = jax.vmap(jax.vmap(partial(_placed, size=size), (None, 0)))
    video = canvas(glyphs[rows, :, :, 0], _whole(u["start"], size) + path)
    video = video[..., None].astype(jnp.float32)  # [count, frames, size, size, 1]
    return {"video": video, "label": label, "digit": labels[rows].astype(jnp.int32)}


def _dealt(key, count, shapes):
    """Uniform numbers in [0, 1), [count, *shape], by name.

    They are drawn in one call, since each call takes a third of a second to compile.
    """
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = jnp.split(jax.random.uniform(key, (count, ends[-1])), ends[:-1], axis=1)
    named = zip(shapes.items(), parts, strict=True)
    return {name: part.reshape(count, *shape) for (name, shape), part in named}


def _whole(u, n):
    """Numbers in [0, 1) as integers in 0 ... n - 1."""
    return (u * n).astype(jnp.int32)


def _scene(u, glyphs, labels, overlap):
    size, most = len(u["noise"]), len(u["corner"])
    rows = _whole(u["which"], len(glyphs))
    wanted = jnp.arange(most) <= _whole(u["number"], most)
    corners = _whole(u["corner"], size - jnp.array(glyphs.shape[1:]) + 1)
    chosen, label = glyphs[rows[:most]], labels[rows[:most]].astype(jnp.int32)
    corner, boxes, valid = _arranged(chosen > INK, corners, wanted, overlap)
    contrast = DIMMEST + (1 - DIMMEST) * u["contrast"]
    image = _clutter(glyphs, rows[most:], u["cut"], u["where"], contrast[most:], size)
    mask = jnp.zeros((size, size), jnp.int32)
    for i in range(most):
        layer = valid[i] * _placed(chosen[i], corner[i], size)
        ink, shown = layer > INK, contrast[i] * layer
        image = jnp.where(ink, shown, jnp.maximum(image, shown))
        mask = jnp.where(ink, label[i] + 1, mask)
    image = jnp.clip(image + u["noise"], 0, 1)[..., None].astype(jnp.float32)
    label = jnp.where(valid, label, -1)
    return {"image": image, "mask": mask, "boxes": boxes, "label": label, "valid": valid}


def _arranged(ink, corners, wanted, overlap):
    """A corner of [k, tries, 2] for each glyph [k, h, w], its box, and True if placed."""

    def add(carry, item):
        boxes, i = carry
        ink, corners, wanted = item
        there = _tight(ink) + jnp.tile(corners[:, ::-1], 2)  # [tries, 4]
        free = (_iou(there[:, None], boxes[None]) <= overlap).all(1)
        pick, valid = free.argmax(), wanted & free.any() & ink.any()
        boxes = boxes.at[i].set(jnp.where(valid, there[pick], 0))
        return (boxes, i + 1), (corners[pick], valid)

    empty = jnp.zeros((len(ink), 4))  # boxes without area overlap with none
    (boxes, _), (corner, valid) = lax.scan(add, (empty, 0), (ink, corners, wanted))
    return corner, boxes, valid


def _tight(ink):
    """Bounding box (x0, y0, x1, y1) of the true pixels of [h, w]; x1, y1 exclusive."""
    across, down = ink.any(0), ink.any(1)
    x0, y0 = across.argmax(), down.argmax()
    x1, y1 = len(across) - across[::-1].argmax(), len(down) - down[::-1].argmax()
    return jnp.stack([x0, y0, x1, y1]).astype(jnp.float32)


def _iou(a, b):
    """Intersection over union of boxes [..., 4]; 0 if one has no area."""
    sides = jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2])
    common = jnp.maximum(sides, 0).prod(-1)
    area = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (a, b)]
    return common / jnp.maximum(area[0] + area[1] - common, 1)


def _clutter(glyphs, rows, cut, where, contrast, size):
    """A canvas with square fragments of glyphs at given positions."""
    h, w = glyphs.shape[1:]
    side = max(min(h, w) // 3, 1)
    cut = _whole(cut, jnp.array([h, w]) - side + 1)
    where = _whole(where, size - side + 1)

    def add(canvas, piece):
        row, cut, where, contrast = piece
        square = lax.dynamic_slice(glyphs[row], cut, (side, side))
        return jnp.maximum(canvas, contrast * _placed(square, where, size)), None

    canvas = jnp.zeros((size, size), glyphs.dtype)
    return lax.scan(add, canvas, (rows, cut, where, contrast))[0]


def _placed(picture, corner, size):
    """An image [h, w] at a given corner of a black, periodic canvas."""
    h, w = picture.shape
    canvas = jnp.pad(picture, ((0, size - h), (0, size - w)))
    return jnp.roll(canvas, corner, (0, 1))
