"""Images and demonstrations of `jssl.ops.point_reach`, a task of control."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jssl.data.decoding import check_shape
from jssl.data.fields import Dataset, Field, Numbers
from jssl.ops.point_reach import STEPS, expert, render, reset, rollout

LICENSE = "MIT (made by jssl)"


def point_reach(
    kind: str = "images",
    /,
    *,
    size: int = 32,
    count: int = 4000,
    demos: int = 100,
    channels: int = 3,
) -> Dataset:
    """A red disc that is moved to a green one, among discs of other colors, before noise.

    "point_reach" has images of random states, for pre-training; "point_reach:demos" the
    episodes of an expert, 30 images each, in order. Splits are independent draws: val and
    test have a quarter of the images, or 20 episodes.

    Columns: image uint8 [n, size, size, 3]; position float32 [n, 2], p, (x, y) in [-1, 1];
    state float32 [n, 4], p and the goal g; of demonstrations also action float32 [n, 2] in
    [-1, 1], and episode int32 [n].

    Args:
      kind: "images" or "demos".
      size: side of an image in pixels.
      count: number of training images.
      demos: number of training episodes.
      channels: 3; the task is one of colors.

    Raises:
      ValueError: an unknown kind, gray images, or fewer than 4 images or 1 episode.
    """
    check_shape(size, channels)
    if kind not in ("images", "demos") or channels != 3 or count < 4 or demos < 1:
        raise ValueError(
            f"point_reach: kind must be images or demos, channels 3, count at least 4 and "
            f"demos at least 1, got {kind!r}, {channels}, {count} and {demos}"
        )
    if kind == "images":
        sizes, make = (count, count // 4, count // 4), _images
    else:
        sizes, make = (demos, 20, 20), _demonstrations
    splits = {
        part: partial(make, jax.random.key(seed), n, size)
        for seed, (part, n) in enumerate(zip(("train", "val", "test"), sizes, strict=True))
    }
    fields = {"position": Field(), "state": Numbers(), "action": Numbers()}
    return Dataset(splits, 0, fields | {"episode": Field()}, license=LICENSE)


def _images(key, n, size):
    begin, noise = (jax.random.split(x, n) for x in jax.random.split(key))
    states = jax.jit(jax.vmap(reset))(begin)
    images = jax.jit(jax.vmap(partial(render, size=size)))(states, noise)
    return _columns(states, images)


def _demonstrations(key, n, size):
    play = partial(rollout, policy=lambda state, image: expert(state), size=size)
    found = jax.jit(jax.vmap(lambda key: play(key)))(jax.random.split(key, n))
    flat = lambda x: x.reshape(n * STEPS, *x.shape[2:])
    episode = np.repeat(np.arange(n, dtype=np.int32), STEPS)
    columns = _columns(jax.tree.map(flat, found.states), flat(found.images))
    return columns | {"action": np.asarray(flat(found.actions)), "episode": episode}


def _columns(states, images):
    state = jnp.concatenate([states.position, states.goal], axis=1)
    found = {
        "image": (255 * images).round().astype(jnp.uint8),
        "position": states.position,
        "state": state,
    }
    return jax.device_get(found)
