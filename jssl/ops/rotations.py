"""Rotation of images by multiples of 90 degrees, without interpolation."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jssl.ops.shapes import expect


def rotate_all(
    images: Float[Array, "n s s c"],
) -> tuple[Float[Array, "n 4 s s c"], Int[Array, "n 4"]]:
    """Rotate each image by 0, 90, 180 and 270 degrees counterclockwise, with labels 0-3.

    Gidaris, Singh and Komodakis 2018. https://arxiv.org/abs/1803.07728

    Raises:
      ValueError: when the images are not float[n, s, s, c].

    >>> images, turns = rotate_all(jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None])
    >>> images[0, 1, :, :, 0].tolist(), turns.tolist()
    ([[2.0, 4.0], [1.0, 3.0]], [[0, 1, 2, 3]])
    """
    expect("rotate_all", images=(images, "n s s c"))
    turned = [jnp.rot90(images, k, axes=(1, 2)) for k in range(4)]
    return jnp.stack(turned, 1), jnp.broadcast_to(jnp.arange(4), (len(images), 4))
