"""Pairs of neighboring patches, and the remedies against shortcuts between them.

Doersch, Gupta and Efros, "Unsupervised Visual Representation Learning by Context
Prediction", ICCV 2015. https://arxiv.org/abs/1505.05192
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike, Shaped

from jssl.ops.shapes import expect

OFFSETS = np.array([[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]])
"""(down, right) from a patch to its neighbor, [8, 2]: class k in reading order. The
opposite of class k is 7 - k."""

GREEN_MAGENTA = (-1.0, 2.0, -1.0)
"""The axis of color on which chromatic aberration separates green from red and blue."""


def _neighbors(grid):
    places = [divmod(k, grid) for k in range(grid**2)]
    found = [
        (i, grid * (row + down) + column + right, label)
        for i, (row, column) in enumerate(places)
        for label, (down, right) in enumerate(OFFSETS)
        if 0 <= row + down < grid and 0 <= column + right < grid
    ]
    return np.array(found)


PAIRS = _neighbors(3)[:, :2]
"""The 40 ordered pairs of neighbors in a grid of 3 x 3 patches, [40, 2]."""
POSITIONS = _neighbors(3)[:, 2]
"""The class of the second patch of each pair, relative to the first, [40] in 0 ... 7."""
WEIGHTS = np.float32(1 / (8 * np.bincount(POSITIONS)[POSITIONS]))
"""Weights of the pairs, [40], of sum 1, by which all classes are equally frequent: of
horizontal and vertical neighbors there are six pairs each, of diagonal ones four."""


def nine_patches(
    images: Shaped[Array, "n h w c"],
    patch: int,
    gap: int,
    key: PRNGKeyArray | None = None,
    jitter: int = 0,
) -> Shaped[Array, "n 9 p p c"]:
    """Crop 3 x 3 square patches with gaps from every image, in row-major order.

    With a key the grid has a random position in each image, and each patch is shifted from
    its place in the grid by up to `jitter` pixels along either axis; without, the grid is
    central and regular. Patches do not overlap if the gap is at least 2 * jitter.

    Args:
      images: [n, h, w, c].
      patch: p, side of a patch in pixels; 96 in the paper.
      gap: pixels between neighbors; 48 in the paper.
      key: random key.
      jitter: largest shift of a patch in pixels; 7 in the paper.

    Raises:
      ValueError: when the images are not [n, h, w, c], or smaller than a shifted grid.

    >>> nine_patches(jnp.arange(25).reshape(1, 5, 5, 1), patch=1, gap=1)[0].ravel().tolist()
    [0, 2, 4, 10, 12, 14, 20, 22, 24]
    """
    expect("nine_patches", images=(images, "n h w c", "any"))
    n, h, w, c = images.shape
    span = 3 * patch + 2 * gap
    need = span + 2 * jitter
    if patch < 1 or gap < 0 or jitter < 0 or min(h, w) < need:
        raise ValueError(
            f"nine_patches: 3 x 3 patches of {patch} pixels with gaps of {gap} and a "
            f"jitter of {jitter} need images of {need} x {need}, got {h} x {w}: choose a "
            f"smaller patch, gap or jitter"
        )
    step = (patch + gap) * jnp.stack(jnp.divmod(jnp.arange(9), 3), 1)  # [9, 2]
    free = jnp.array([h, w]) - span
    if key is None:
        corners = jnp.broadcast_to(free // 2 + step, (n, 9, 2))
    else:
        begin, shift = jax.random.split(key)
        start = jax.random.randint(begin, (n, 1, 2), jitter, free - jitter + 1)
        corners = start + step
        corners += jax.random.randint(shift, corners.shape, -jitter, jitter + 1)

    def crop(image, corner):
        return lax.dynamic_slice(image, (corner[0], corner[1], 0), (patch, patch, c))

    return jax.vmap(jax.vmap(crop, (None, 0)))(images, corners)


def drop_colors(
    key: PRNGKeyArray, patches: Float[Array, "*n p q c"]
) -> Float[Array, "*n p q c"]:
    """Keep a random channel of each patch, minus its mean; the others become faint noise.

    The noise is Gaussian, with a hundredth of the deviation of the channel that is kept:
    a patch has no color, and its channels cannot be compared. Gray patches keep their
    channel.

    Doersch et al. 2015, section 3.2, "color dropping".

    >>> x = jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1) * jnp.array([1.0, 2.0, 4.0])
    >>> dropped = drop_colors(jax.random.key(0), x)
    >>> bool(((dropped[0, 0, 1] > 0.4).sum() == 1) & (abs(dropped).min() < 0.1))
    True
    """
    expect("drop_colors", patches=(patches, "... p q c"))
    choose, draw = jax.random.split(key)
    *rows, _, _, c = patches.shape
    kept = jax.random.randint(choose, tuple(rows), 0, c)
    kept = jax.nn.one_hot(kept, c, dtype=patches.dtype)[..., None, None, :]
    centered = patches - patches.mean((-3, -2), keepdims=True)
    channel = (kept * centered).sum(-1, keepdims=True)
    faint = 0.01 * channel.std((-3, -2), keepdims=True)
    noise = faint * jax.random.normal(draw, patches.shape, patches.dtype)
    return jnp.where(kept == 1, centered, noise)


def project_colors(patches: Float[Array, "*n p q c"]) -> Float[Array, "*n p q c"]:
    r"""Project each pixel off the green-magenta axis; gray patches are unchanged.

    .. math:: B = I - \frac{a^\top a}{a a^\top}, \qquad a = (-1, 2, -1)

    Lenses focus green elsewhere than red and blue, by an amount that grows with the
    distance from the center: along a, color betrays the position of a patch.

    Doersch et al. 2015, section 3.2, "projection".

    >>> green = jnp.array([0.0, 1.0, 0.0]).reshape(1, 1, 1, 3)
    >>> project_colors(green).ravel().round(3)    # the second column of B
    Array([0.333, 0.333, 0.333], dtype=float32)
    """
    channels = expect("project_colors", patches=(patches, "... p q c"))["c"]
    if channels == 1:
        return patches
    if channels != 3:
        raise ValueError(
            f"project_colors: patches must have 3 channels or 1, got {channels}: choose "
            f"another remedy"
        )
    a = jnp.asarray(GREEN_MAGENTA, patches.dtype)
    along = (patches * a).sum(-1, keepdims=True) / (a * a).sum()
    return patches - along * a


def standardize(
    patches: Float[Array, "*n p q c"], rms: ScalarLike = 1.0
) -> Float[Array, "*n p q c"]:
    """Subtract the mean of each channel, and divide by the RMS of the patch, times `rms`.

    Channels keep their relative contrast. Constant patches become 0. Neighbors have similar
    mean and contrast, which would be a shortcut.

    >>> standardize(jnp.array([0.0, 2.0]).reshape(1, 1, 2, 1), rms=50.0).ravel()
    Array([-50.,  50.], dtype=float32)
    """
    expect("standardize", patches=(patches, "... p q c"))
    mean = patches.mean((-3, -2), keepdims=True)
    power = jnp.square(patches - mean).mean((-3, -2, -1), keepdims=True)
    # Below the resolution of float32, variation is rounding error: do not amplify it.
    flat = power <= jnp.square(1e-6 * mean).max(-1, keepdims=True)
    return rms * (patches - mean) / jnp.sqrt(jnp.where(flat, 1, power))


def pixelate(
    key: PRNGKeyArray, patches: Float[Array, "*n p p c"], share: ScalarLike = 1 / 3
) -> Float[Array, "*n p p c"]:
    """Reduce some patches to a random resolution and enlarge them again.

    The side of the reduced patch is from ceil(p / 10) to p - 1 pixels, uniform in area: "as
    little as 100 total pixels" for a patch of 96, against a reliance on fine texture.

    Doersch et al. 2015, section 3.2.

    Args:
      key: random key.
      patches: [..., p, p, c].
      share: fraction of the patches, chosen one by one.

    >>> x = jnp.ones((2, 4, 4, 1))
    >>> bool(jnp.allclose(pixelate(jax.random.key(0), x, 1.0), x))
    True
    """
    expect("pixelate", patches=(patches, "... p p c"))
    rows, (p, _, c) = patches.shape[:-3], patches.shape[-3:]
    coin, size = jax.random.split(key)
    least = math.ceil(p / 10)
    area = jax.random.uniform(size, rows, minval=least**2, maxval=p**2)
    sides = jnp.floor(jnp.sqrt(area)).clip(least, max(p - 1, least))
    reduced = jax.vmap(_resampled)(patches.reshape(-1, p, p, c), sides.ravel())
    chosen = jax.random.bernoulli(coin, share, rows)[..., None, None, None]
    return jnp.where(chosen, reduced.reshape(patches.shape), patches)


def _resampled(
    patch: Float[Array, "p p c"], side: Float[Array, ""]
) -> Float[Array, "p p c"]:
    """A patch reduced to `side` pixels and enlarged again, by antialiased triangles."""
    pixels = jnp.arange(len(patch), dtype=patch.dtype)
    ratio = len(patch) / side
    centers = (pixels + 0.5) * ratio - 0.5  # of reduced pixels
    down = jax.nn.relu(1 - abs(centers[:, None] - pixels) / ratio)
    places = (pixels + 0.5) / ratio - 0.5  # of pixels among the reduced ones
    up = jnp.where(pixels < side, jax.nn.relu(1 - abs(places[:, None] - pixels)), 0)
    down, up = (x / jnp.maximum(x.sum(1, keepdims=True), 1e-6) for x in (down, up))
    highest = lax.Precision.HIGHEST
    both = jnp.matmul(up, down, precision=highest)
    return jnp.einsum("yh,xw,hwc->yxc", both, both, patch, precision=highest)
