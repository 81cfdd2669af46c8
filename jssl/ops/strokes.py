"""Measured attributes of handwritten digits: thickness and slant of the strokes, contrast.

Castro et al., "Morpho-MNIST: Quantitative Assessment and Diagnostics for Representation
Learning", JMLR 20, 2019, https://jmlr.org/papers/v20/19-033.html, measure digits as factors
of variation; theirs are of a skeleton, these are sums over pixels, of gray values.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jssl.ops.shapes import expect


def inverted(images: Float[Array, "n h w 1"]) -> Bool[Array, " n"]:
    """True for dark strokes on a light ground: the outermost pixels are light on average.

    >>> inverted(jnp.stack([jnp.zeros((4, 4, 1)), jnp.ones((4, 4, 1))])).tolist()
    [False, True]
    """
    expect("inverted", images=(images, "n h w 1"))
    x = images[..., 0]
    edges = [x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]]
    return jnp.concatenate(edges, 1).mean(1) > 0.5


def ink(images: Float[Array, "n h w 1"]) -> Float[Array, "n h w"]:
    """Gray values of the strokes, 0 on the ground, of images in [0, 1] of either contrast.

    >>> ink(jnp.ones((1, 2, 2, 1)).at[0, 0, 0].set(0.25))[0].tolist()
    [[0.75, 0.0], [0.0, 0.0]]
    """
    return jnp.where(inverted(images)[:, None, None], 1 - images[..., 0], images[..., 0])


def thickness(images: Float[Array, "n h w 1"]) -> Float[Array, " n"]:
    """Mean width of the strokes, in pixels: twice the area over the length of the outline.

    The area is the sum of the ink, the outline that of the norm of its slope, so that a
    long straight stroke of width w has thickness w. 0 without ink.

    >>> bar = jnp.zeros((1, 100, 9, 1)).at[0, :, 3:5].set(1.0)
    >>> print(f"{thickness(bar)[0]:.2f}")
    2.00
    """
    x = jnp.pad(ink(images), ((0, 0), (0, 1), (0, 1)), mode="edge")
    down, across = x[:, 1:, :-1] - x[:, :-1, :-1], x[:, :-1, 1:] - x[:, :-1, :-1]
    outline = jnp.sqrt(jnp.square(down) + jnp.square(across)).sum((1, 2))
    return 2 * x[:, :-1, :-1].sum((1, 2)) / jnp.maximum(outline, 1e-6)


def slant(images: Float[Array, "n h w 1"]) -> Float[Array, " n"]:
    """Lean of the strokes to the right, in columns a row upwards: the shear of the ink.

    .. math:: -\\frac{\\sum m \\, (x - \\bar x)(y - \\bar y)}{\\sum m \\, (y - \\bar y)^2}

    for ink m at column x and row y, counted downwards. 0 without ink.

    >>> slash = jnp.eye(8)[None, ::-1, :, None]
    >>> print(f"{slant(slash)[0]:.2f} {slant(slash[:, ::-1])[0]:.2f}")
    1.00 -1.00
    """
    m = ink(images)
    _, h, w = m.shape
    y, x = jnp.arange(h, dtype=m.dtype)[:, None], jnp.arange(w, dtype=m.dtype)
    total = jnp.maximum(m.sum((1, 2), keepdims=True), 1e-6)
    x = x - (m * x).sum((1, 2), keepdims=True) / total
    y = y - (m * y).sum((1, 2), keepdims=True) / total
    both, rows = (m * x * y).sum((1, 2)), (m * y * y).sum((1, 2))
    return -both / jnp.maximum(rows, 1e-6)
