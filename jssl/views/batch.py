"""What views need of a batch: float images, worked on in float32, and a key for each."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Key, PRNGKeyArray, Shaped, UInt32

from jssl.ops.gather import global_rows
from jssl.ops.shapes import expect

# Shaped, not Float: it is for `float_images` to refuse uint8, and to say what to do.
Images = Shaped[Array | np.ndarray, "n h w c"]


def float_images(function: str, images: Images) -> Images:
    """The images themselves, once known to be float [n, h, w, c].

    >>> float_images("View", jnp.zeros((2, 28, 28, 1), "uint8"))
    Traceback (most recent call last):
    ValueError: View: images must be float in [0, 1], got uint8: divide them by 255
    """
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"{function}: images must be float in [0, 1], got {images.dtype}: divide "
            f"them by 255"
        )
    expect(function, images=(images, "n h w c"))
    return images


def at_least_single(x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """Half precision made float32; float32 and float64 as they are.

    >>> at_least_single(jnp.ones(2, "bfloat16")).dtype
    dtype('float32')
    """
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


def image_keys(
    key: PRNGKeyArray, n: int, axis_name: str | None = None
) -> Key[Array, " n"] | UInt32[Array, "n 2"]:
    """A key for each of my n images; over devices, mine among those of all images.

    >>> image_keys(jax.random.key(0), 3).shape
    (3,)
    """
    if axis_name is None:
        return jax.random.split(key, n)
    everyone = jax.random.split(key, n * lax.axis_size(axis_name))
    return everyone[global_rows(n, axis_name)]
