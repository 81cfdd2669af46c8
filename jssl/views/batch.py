"""Batches for views: checks of float images, promotion to float32, a key per image."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Key, PRNGKeyArray, Shaped, UInt32

from jssl.ops.gather import global_rows
from jssl.ops.shapes import expect

# Shaped, not Float: `float_images` rejects uint8 with a helpful message.
Images = Shaped[Array | np.ndarray, "n h w c"]
Crops = Shaped[Array | np.ndarray, "n v h w c"]


def float_images(function: str, images: Any, shape: str = "n h w c") -> Any:
    """Returns the images after checking that they are float [n, h, w, c], or `shape`.

    Raises:
      ValueError: if they are not.

    >>> float_images("View", jnp.zeros((2, 28, 28, 1), "uint8"))
    Traceback (most recent call last):
    ValueError: View: images must be float in [0, 1], got uint8: divide them by 255
    """
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"{function}: images must be float in [0, 1], got {images.dtype}: divide "
            f"them by 255"
        )
    expect(function, images=(images, shape))
    return images


def at_least_single(x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """Promotes half precision to float32; float32 and float64 are unchanged.

    >>> at_least_single(jnp.ones(2, "bfloat16")).dtype
    dtype('float32')
    """
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


def image_keys(
    key: PRNGKeyArray, n: int, axis_name: str | None = None
) -> Key[Array, " n"] | UInt32[Array, "n 2"]:
    """A random key per image; with `axis_name`, this device's part of the keys of all.

    >>> image_keys(jax.random.key(0), 3).shape
    (3,)
    """
    if axis_name is None:
        return jax.random.split(key, n)
    everyone = jax.random.split(key, n * lax.axis_size(axis_name))
    return everyone[global_rows(n, axis_name)]
