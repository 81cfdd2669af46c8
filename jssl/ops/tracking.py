"""Tracking of a patch through a video by normalized cross-correlation."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jssl.ops.shapes import expect


def cut_patch(
    frame: Float[Array, "h w c"], corner: Int[Array, "2"], side: int
) -> Float[Array, "side side c"]:
    """The square of a frame below and right of a corner (row, column).

    >>> frame = jnp.arange(9.0).reshape(3, 3, 1)
    >>> cut_patch(frame, jnp.array([1, 0]), 2)[..., 0].tolist()
    [[3.0, 4.0], [6.0, 7.0]]
    """
    return lax.dynamic_slice(frame, (*corner, 0), (side, side, frame.shape[-1]))


def ncc_track(
    frame: Float[Array, "h w c"],
    after: Float[Array, "h w c"],
    corner: Int[Array, "2"],
    side: int,
    radius: int,
) -> tuple[Int[Array, "2"], Float[Array, ""]]:
    """The corner of the square of the next frame that is most like one of this frame.

    Likeness is the normalized cross-correlation, the cosine of two squares less their
    means: 1 for equal squares, 0 for one that is constant. Squares are within the frame; of
    equally like ones the least moved is found.

    Args:
      frame: that has the square.
      after: the next frame.
      corner: row and column of the square.
      side: of the square, in pixels.
      radius: largest motion along either axis, in pixels.

    Returns:
      The corner, and the correlation.

    Raises:
      ValueError: other shapes.

    >>> frame = jnp.zeros((8, 8, 1)).at[2, 2].set(1.0)
    >>> corner, like = ncc_track(frame, jnp.roll(frame, (1, 2), (0, 1)),
    ...                          jnp.array([1, 1]), side=3, radius=2)
    >>> corner.tolist(), round(float(like), 3)
    ([2, 3], 1.0)
    """
    sizes = expect("ncc_track", frame=(frame, "h w c"), after=(after, "h w c"))
    limit = jnp.array([sizes["h"] - side, sizes["w"] - side])
    moves = jnp.stack(jnp.meshgrid(*[jnp.arange(-radius, radius + 1)] * 2), -1)
    moves = moves.reshape(-1, 2)
    moves = moves[jnp.argsort(jnp.square(moves).sum(1))]
    corners = jnp.clip(corner + moves, 0, limit)
    centered = lambda x: x - x.mean()
    known = centered(cut_patch(frame, corner, side))

    def likeness(there):
        seen = centered(cut_patch(after, there, side))
        norms = jnp.sqrt(jnp.square(seen).sum() * jnp.square(known).sum())
        return (seen * known).sum() / jnp.maximum(norms, 1e-6)

    like = lax.map(likeness, corners)  # all at once would not fit in memory
    best = jnp.argmax(like)
    return corners[best], like[best]


def moving_patch(
    frame: Float[Array, "h w c"], after: Float[Array, "h w c"], side: int
) -> tuple[Int[Array, "2"], Float[Array, ""]]:
    """Corner of the square in which frames differ most, and the mean squared difference.

    >>> frame, after = jnp.zeros((6, 6, 1)), jnp.zeros((6, 6, 1)).at[3:5, 2:4].set(1.0)
    >>> corner, energy = moving_patch(frame, after, 2)
    >>> corner.tolist(), float(energy)
    ([3, 2], 1.0)
    """
    expect("moving_patch", frame=(frame, "h w c"), after=(after, "h w c"))
    change = jnp.square(after - frame).mean(-1)
    total = lax.reduce_window(change, 0.0, lax.add, (side, side), (1, 1), "VALID")
    place = jnp.stack(jnp.unravel_index(jnp.argmax(total), total.shape))
    return place, total.max() / side**2


def mine_tracks(
    key: PRNGKeyArray | None,
    clips: Float[Array, "n t h w c"],
    *,
    steps: int,
    side: int,
    radius: int,
) -> tuple[Float[Array, "n 2 side side c"], dict[str, Array]]:
    """The moving patch of one frame of each clip, and where it is some frames later.

    The patch is the square in which the frame differs most from the next one
    (`moving_patch`); it is followed from frame to frame (`ncc_track`).

    Wang and Gupta 2015, https://arxiv.org/abs/1505.00687, with simpler parts: they take
    boxes around moving SURF points and a correlation filter.

    Args:
      key: of the first frame, which is uniform; None: the first of the clip.
      clips: of more than `steps` frames.
      steps: frames between the two patches.
      side: of the patches, in pixels.
      radius: largest motion between two frames, in pixels.

    Returns:
      First and last patch, and "corners" [n, steps + 1, 2], the places of all, "energy"
      [n], the mean squared difference in the first, and "likeness" [n], the smallest
      correlation on the way.

    Raises:
      ValueError: clips that are too short, or smaller than a patch.

    >>> clips = jnp.zeros((2, 4, 16, 16, 1)).at[:, 1:, 4:8, 4:8].set(1.0)
    >>> patches, found = mine_tracks(None, clips, steps=3, side=8, radius=2)
    >>> patches.shape, found["corners"].shape
    ((2, 2, 8, 8, 1), (2, 4, 2))
    """
    sizes = expect("mine_tracks", clips=(clips, "n t h w c"))
    n, t = sizes["n"], sizes["t"]
    if not 1 <= steps < t or not 1 <= side <= min(sizes["h"], sizes["w"]):
        raise ValueError(
            f"mine_tracks: steps must be 1 to {t - 1} and side at most that of the frames, "
            f"got {steps} and {side} of {sizes['h']}x{sizes['w']}"
        )
    latest = t - steps
    start = jnp.zeros(n, int) if key is None else jax.random.randint(key, (n,), 0, latest)

    def track(clip, start):
        part = lax.dynamic_slice_in_dim(clip, start, steps + 1)
        corner, energy = moving_patch(part[0], part[1], side)
        corners, like = [corner], []
        for i in range(steps):
            corner, likeness = ncc_track(part[i], part[i + 1], corner, side, radius)
            corners, like = [*corners, corner], [*like, likeness]
        ends = [cut_patch(part[0], corners[0], side), cut_patch(part[-1], corner, side)]
        found = {"corners": jnp.stack(corners), "energy": energy}
        return jnp.stack(ends), found | {"likeness": jnp.stack(like).min()}

    return jax.vmap(track)(clips, start)
