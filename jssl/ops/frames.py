"""Choice of frames of clips [n, t, ...]."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, Shaped


def random_windows(
    key: PRNGKeyArray, clips: Shaped[Array, "n t ..."], frames: int, every: int = 1
) -> Shaped[Array, "n k ..."]:
    """Consecutive frames of each clip, from a random frame on.

    Args:
      key: of the first frames, which are uniform.
      clips: of t frames.
      frames: k, of a window.
      every: distance between frames of a window.

    Raises:
      ValueError: clips that are shorter than a window.

    >>> random_windows(jax.random.key(0), jnp.array([[5, 6, 7]]), 2, every=2).tolist()
    [[5, 7]]
    """
    n, t = clips.shape[:2]
    span = (frames - 1) * every + 1
    if min(frames, every) < 1 or span > t:
        raise ValueError(
            f"random_windows: {frames} frames at a distance of {every} span {span}, and "
            f"clips have {t}: give longer clips"
        )
    first = jax.random.randint(key, (n, 1), 0, t - span + 1)
    index = first + every * jnp.arange(frames)
    return jnp.take_along_axis(clips, index.reshape(n, frames, *(1,) * (clips.ndim - 2)), 1)
