"""Reduction of images to half their size, by a random filter."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jssl.ops.shapes import expect

FILTERS = ("area", "linear", "cubic", "lanczos3")
"""The filters of `halve`; all but "area" are those of `jax.image.resize`, antialiased."""


def halve(
    images: Float[Array, "n h w c"], key: PRNGKeyArray | None = None
) -> Float[Array, "n y x c"]:
    """Reduce images to half their height and width, each by a random one of `FILTERS`.

    Without a key, by the mean of 2 x 2 pixels ("area"). A network that always sees the same
    filter can recognize reduced images by its traces.

    Noroozi, Pirsiavash and Favaro 2017, section 4. https://arxiv.org/abs/1708.06734

    Raises:
      ValueError: when the images are not float [n, h, w, c] with even sides.

    >>> halve(jnp.array([[0.0, 4.0], [2.0, 2.0]])[None, ..., None]).ravel()
    Array([2.], dtype=float32)
    """
    n, h, w, _ = expect("halve", images=(images, "n h w c")).values()
    if h % 2 or w % 2:
        raise ValueError(
            f"halve: the sides of images must be even, got {h} x {w}: choose another size"
        )
    down, across = (_matrices(side, images.dtype) for side in (h, w))
    highest = lax.Precision.HIGHEST
    if key is None:
        half = jnp.einsum("yh,nhwc->nywc", down[0], images, precision=highest)
        return jnp.einsum("xw,nywc->nyxc", across[0], half, precision=highest)
    chosen = jax.random.randint(key, (n,), 0, len(FILTERS))
    half = jnp.einsum("nyh,nhwc->nywc", down[chosen], images, precision=highest)
    return jnp.einsum("nxw,nywc->nyxc", across[chosen], half, precision=highest)


def _matrices(side: int, dtype) -> Float[Array, "f m s"]:
    """Each filter as a matrix, [filters, side / 2, side]: the reduction of the identity."""
    pixels = jnp.eye(side, dtype=dtype)
    area = pixels.reshape(side // 2, 2, side).mean(1)
    others = [jax.image.resize(pixels, area.shape, method) for method in FILTERS[1:]]
    return jnp.stack([area, *others])
