"""Frames of videos in and out of order: draws weighted by motion, and classes of orders."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from jssl.ops.shapes import expect


def frame_differences(videos: Float[Array, "n t h w c"]) -> Float[Array, "n t-1"]:
    """Mean absolute difference of each frame and the next: how much moves between them.

    >>> frame_differences(jnp.array([0.0, 1.0, 4.0]).reshape(1, 3, 1, 1, 1)).tolist()
    [[1.0, 3.0]]
    """
    expect("frame_differences", videos=(videos, "n t h w c"))
    return jnp.abs(videos[:, 1:] - videos[:, :-1]).mean((2, 3, 4))


def frames_at(
    videos: Shaped[Array, "n t *x"], places: Int[Array, "n k"]
) -> Shaped[Array, "n k *x"]:
    """The frames of each video at given places.

    >>> frames_at(jnp.array([[5, 6, 7]]), jnp.array([[2, 0]])).tolist()
    [[7, 5]]
    """
    return jnp.take_along_axis(
        videos, places.reshape(*places.shape, *[1] * (videos.ndim - 2)), axis=1
    )


def draw_frames(
    key: PRNGKeyArray,
    motion: Float[Array, "n m"],
    count: int,
    spread: int,
    margin: int = 0,
) -> Int[Array, "n count"]:
    """Places of `count` different frames of each video, in order, where much moves.

    The first and the last are drawn together, with a probability proportional to the mean
    of `motion` between them, uniformly if nothing moves; those between them are uniform.

    Args:
      key: random key.
      motion: between the t = m + 1 successive frames, 0 or more: `frame_differences`.
      count: number of frames, 2 or more.
      spread: largest distance of the last frame from the first.
      margin: number of frames before the first and after the last, at least.

    Raises:
      ValueError: videos that are too short.

    >>> draw_frames(jax.random.key(0), jnp.array([[0.0, 0.0, 1.0]]), 2, 1).tolist()
    [[2, 3]]
    """
    expect("draw_frames", motion=(motion, "n m"))
    t = motion.shape[1] + 1
    if not 1 < count <= spread + 1 or margin < 0 or t < count + 2 * margin:
        raise ValueError(
            f"draw_frames: {count} frames at a distance of at most {spread}, with {margin} "
            f"before and after them, need a spread of {count - 1} and {count + 2 * margin} "
            f"frames or more; there are {t}"
        )
    ends, between = jax.random.split(key)
    first, last = np.indices((t, t))
    apart = last - first
    allowed = (apart >= count - 1) & (apart <= spread)
    allowed &= (first >= margin) & (last < t - margin)
    sums = jnp.cumsum(jnp.pad(motion, ((0, 0), (1, 0))), 1)
    mean = (sums[:, None, :] - sums[:, :, None]) / np.maximum(apart, 1)  # [n, first, last]
    logits = jnp.where(allowed, _log(mean), -jnp.inf)
    pair = jax.random.categorical(ends, logits.reshape(len(motion), -1))
    first, last = jnp.divmod(pair[:, None], t)
    scores = jax.random.uniform(between, (len(motion), t))
    inside = (jnp.arange(t) > first) & (jnp.arange(t) < last)
    _, middle = lax.top_k(jnp.where(inside, scores, -1), count - 2)
    return jnp.sort(jnp.concatenate([first, middle, last], 1), 1).astype(jnp.int32)


def draw_quintuples(
    key: PRNGKeyArray, motion: Float[Array, "n m"], spread: int, gap: int = 1
) -> Int[Array, "n 5"]:
    """Places a < b < c < d < e of frames: the middle three by `draw_frames`.

    a is uniform among the frames at least `gap` before b, and e among those at least `gap`
    after d.

    Misra, Zitnick and Hebert 2016, section 3.1. https://arxiv.org/abs/1603.08561

    Args:
      key: random key.
      motion: between successive frames, 0 or more.
      spread: largest distance of d from b. 60 in the paper.
      gap: least distance of a from b, and of e from d. 15 in the paper.

    Raises:
      ValueError: videos that are too short, or a gap below 1.

    >>> draw_quintuples(jax.random.key(0), jnp.ones((1, 4)), spread=2).tolist()
    [[0, 1, 2, 3, 4]]
    """
    if gap < 1:
        raise ValueError(f"draw_quintuples: gap must be at least 1, got {gap}")
    middle, before, after = jax.random.split(key, 3)
    t = motion.shape[1] + 1
    bcd = draw_frames(middle, motion, 3, spread, gap)
    a = jax.random.randint(before, (len(bcd),), 0, bcd[:, 0] - gap + 1)
    e = jax.random.randint(after, (len(bcd),), bcd[:, 2] + gap, t)
    return jnp.concatenate([a[:, None], bcd, e[:, None]], 1)


def verification_tuples(
    key: PRNGKeyArray, places: Int[Array, "n 5"], negatives: float = 0.75
) -> tuple[Int[Array, "n 3"], Int[Array, " n"]]:
    """Three of five places a < b < c < d < e, and 1 if these are in order, else 0.

    (b, c, d) is in order; (b, a, d) and (b, e, d), equally frequent, are not: the outer
    frames tell nothing. Half of the tuples of either class are reversed.

    Misra, Zitnick and Hebert 2016, section 3.1. https://arxiv.org/abs/1603.08561

    Args:
      key: random key.
      places: of five frames, in order.
      negatives: fraction of tuples out of order.

    >>> places, y = verification_tuples(jax.random.key(0), jnp.arange(5)[None], 0.0)
    >>> places[0, 1].item(), y.item()
    (2, 1)
    """
    expect("verification_tuples", places=(places, "n 5", "int"))
    wrong, which, back = (
        jax.random.bernoulli(k, p, (len(places),))
        for k, p in zip(jax.random.split(key, 3), (negatives, 0.5, 0.5), strict=True)
    )
    a, b, c, d, e = places.T
    middle = jnp.where(wrong, jnp.where(which, a, e), c)
    straight = jnp.stack([b, middle, d], 1)
    ordered = (~wrong).astype(jnp.int32)
    return jnp.where(back[:, None], straight[:, ::-1], straight), ordered


def order_classes(n: int) -> Int[np.ndarray, "count n"]:
    """One of each two permutations of n frames that are reversals of each other.

    Rows are in lexicographic order, n! / 2 of them.

    Lee, Huang, Singh and Yang 2017, section 3.1. https://arxiv.org/abs/1708.01246

    >>> order_classes(3).tolist()
    [[0, 1, 2], [0, 2, 1], [1, 0, 2]]
    """
    if n < 2:
        raise ValueError(f"order_classes: n must be at least 2, got {n}")
    return np.array([p for p in permutations(range(n)) if p < p[::-1]], np.int32)


def keep_one_channel(
    key: PRNGKeyArray, x: Float[Array, "*rows c"], axes: int
) -> Float[Array, "*rows c"]:
    """Replaces all channels by one of them, drawn for each index of the first axes.

    Against color as a cue: channel splitting (Lee et al. 2017, section 3.3), channel
    replication (Kim, Cho and Kweon 2019).

    Args:
      key: random key.
      x: of any number of axes, the last of which are channels.
      axes: number of first axes with draws of their own: 1 for rows, 2 for frames of rows.

    >>> x = jnp.arange(3.0).reshape(1, 3)
    >>> int(keep_one_channel(jax.random.key(0), x, 1).std())
    0
    """
    kept = jax.random.randint(key, x.shape[:axes], 0, x.shape[-1])
    kept = kept.reshape(*kept.shape, *[1] * (x.ndim - axes))
    return jnp.broadcast_to(jnp.take_along_axis(x, kept, -1), x.shape)


def crop_frames(
    frames: Shaped[Array, "n k h w c"],
    size: int,
    key: PRNGKeyArray | None = None,
    jitter: int = 0,
    motion: Float[Array, "n h w"] | None = None,
) -> Shaped[Array, "n k size size c"]:
    """Square crops: of the frames of a row at one place, up to a shift of each frame.

    With a key the place is random for each row, and each frame is shifted from it by up to
    `jitter` pixels along either axis; without, crops are central.

    Args:
      frames: [n, k, h, w, c].
      size: side of the crops in pixels.
      key: random key.
      jitter: largest shift in pixels. 5 for crops of 80 in Lee et al. 2017.
      motion: of each pixel, 0 or more; places are as frequent as their sum within the crop,
        and uniform if nothing moves. None: uniform.

    Raises:
      ValueError: frames smaller than a shifted crop.

    >>> crop_frames(jnp.arange(9).reshape(1, 1, 3, 3, 1), 1).item()
    4
    """
    expect("crop_frames", frames=(frames, "n k h w c", "any"), motion=(motion, "n h w"))
    n, k, h, w, c = frames.shape
    if jitter < 0 or not 1 <= size <= min(h, w) - 2 * jitter:
        raise ValueError(
            f"crop_frames: crops of {size} pixels that are shifted by {jitter} need frames "
            f"of {size + 2 * jitter} x {size + 2 * jitter}, got {h} x {w}"
        )
    if key is None:
        top, left = (h - size) // 2, (w - size) // 2
        return frames[:, :, top : top + size, left : left + size]
    place, shift = jax.random.split(key)
    rows, columns = (side - size - 2 * jitter + 1 for side in (h, w))  # places
    if motion is None:
        corners = jax.random.randint(place, (n, 2), 0, jnp.array([rows, columns]))
    else:
        sums = jnp.pad(motion, ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
        sums = sums[:, size:] - sums[:, :-size]
        sums = sums[:, :, size:] - sums[:, :, :-size]  # [n, h - size + 1, ...]
        within = sums[:, jitter : jitter + rows, jitter : jitter + columns]
        logits = _log(within.reshape(n, -1))
        chosen = jax.random.categorical(place, logits)
        corners = jnp.stack(jnp.divmod(chosen, columns), -1)
    corners = corners[:, None] + jax.random.randint(shift, (n, k, 2), 0, 2 * jitter + 1)

    def crop(frame, corner):
        return lax.dynamic_slice(frame, (corner[0], corner[1], 0), (size, size, c))

    return jax.vmap(jax.vmap(crop))(frames, corners)


def _log(weights):
    """Logarithms of weights, of which zeros count as the smallest positive number."""
    return jnp.log(jnp.maximum(weights, jnp.finfo(weights.dtype).tiny))
