"""Parts of images that share a scene: color channels, frequency bands, halves.

The views of contrastive multiview coding (Tian, Krishnan and Isola, ECCV 2020,
https://arxiv.org/abs/1906.05849). Images are float [n, h, w, c] in [0, 1]; a function
returns a tuple of views, each [n, h', w', c'].
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jssl.ops.lab import rgb_to_lab
from jssl.ops.shapes import expect
from jssl.views.color import LAB, gaussian_blur, normalize

# ITU-R BT.601, full range, as in JPEG.
RGB_TO_YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)

Views = tuple[Float[Array, "n _ _ _"], ...]


def _colors(function, images, extra=0):
    expect(function, images=(images, "n h w c"))
    if images.shape[-1] != 3 + extra:
        more = f" and {extra} of depth" if extra else ""
        raise ValueError(
            f"{function}: images must have three channels of color{more}, got "
            f"{list(images.shape)}: gray images have bands, halves or quarters"
        )


def lab_views(images: Float[Array, "n h w c"]) -> Views:
    """Lightness L and chrominance ab of CIE Lab, normalized to about [-1, 1].

    >>> [x.shape for x in lab_views(jnp.ones((2, 4, 4, 3)))]
    [(2, 4, 4, 1), (2, 4, 4, 2)]
    """
    _colors("lab_views", images)
    lab = normalize(jax.vmap(rgb_to_lab)(images), *LAB)
    return lab[..., :1], lab[..., 1:]


def ycbcr_views(images: Float[Array, "n h w c"]) -> Views:
    """Luma Y and chroma CbCr, mapped linearly from their ranges to [-1, 1].

    >>> y, c = ycbcr_views(jnp.ones((1, 1, 1, 3)))    # white
    >>> y.ravel().round(2).tolist(), (c.ravel().round(2) + 0.0).tolist()
    ([1.0], [0.0, 0.0])
    """
    _colors("ycbcr_views", images)
    weights = jnp.array(RGB_TO_YCBCR, images.dtype)
    y, cb, cr = (sum(images[..., i : i + 1] * row[i] for i in range(3)) for row in weights)
    return 2 * y - 1, jnp.concatenate([2 * cb, 2 * cr], -1)


def depth_views(images: Float[Array, "n h w c"]) -> Views:
    """Color and depth, of images whose fourth channel is depth, mapped to [-1, 1].

    >>> [x.shape for x in depth_views(jnp.ones((2, 4, 4, 4)))]
    [(2, 4, 4, 3), (2, 4, 4, 1)]
    """
    _colors("depth_views", images, extra=1)
    return 2 * images[..., :3] - 1, 2 * images[..., 3:] - 1


def lab_depth_views(images: Float[Array, "n h w c"]) -> Views:
    """L, ab and depth, three views of images whose fourth channel is depth.

    >>> [x.shape for x in lab_depth_views(jnp.ones((2, 4, 4, 4)))]
    [(2, 4, 4, 1), (2, 4, 4, 2), (2, 4, 4, 1)]
    """
    _colors("lab_depth_views", images, extra=1)
    return *lab_views(images[..., :3]), 2 * images[..., 3:] - 1


def band_views(images: Float[Array, "n h w c"], sigma: float = 1.5) -> Views:
    """Low and high frequencies: a Gaussian blur, and the rest, which add up to the image.

    Args:
      images: in [0, 1].
      sigma: standard deviation of the blur, in pixels.

    >>> low, high = band_views(jnp.ones((1, 4, 4, 1)))
    >>> bool(jnp.allclose(low + high, 1))
    True
    """
    expect("band_views", images=(images, "n h w c"))
    blur = partial(gaussian_blur, sigma=sigma, radius=int(2 * sigma + 0.5), border="edge")
    low = jax.vmap(blur)(images)
    return low, images - low


def half_views(images: Float[Array, "n h w c"]) -> Views:
    """The left and the right half; of an odd width, both have the middle column.

    >>> [x.ravel().tolist() for x in half_views(jnp.arange(3.0).reshape(1, 1, 3, 1))]
    [[0.0, 1.0], [1.0, 2.0]]
    """
    half = -(-images.shape[2] // 2)
    return images[:, :, :half], images[:, :, -half:]


def quarter_views(images: Float[Array, "n h w c"]) -> Views:
    """The four quarters, row by row; of an odd side, neighbors share the middle line.

    >>> [x.ravel().tolist() for x in quarter_views(jnp.arange(4.0).reshape(1, 2, 2, 1))]
    [[0.0], [1.0], [2.0], [3.0]]
    """
    half = -(-images.shape[1] // 2)
    parts = images[:, :half], images[:, -half:]
    return tuple(x for part in parts for x in half_views(part))


VIEWS = {
    "lab": (("L", "ab"), lab_views),
    "ycbcr": (("Y", "CbCr"), ycbcr_views),
    "depth": (("color", "depth"), depth_views),
    "lab_depth": (("L", "ab", "depth"), lab_depth_views),
    "bands": (("low", "high"), band_views),
    "halves": (("left", "right"), half_views),
    "quarters": (("1", "2", "3", "4"), quarter_views),
}
"""{name: (names of the views, images -> views)}."""


def drop_colors(
    key: PRNGKeyArray, images: Float[Array, "n h w c"], probability: float
) -> Float[Array, "n h w c"]:
    """Keep one channel, drawn at random, of some of the images; the others become 0.

    Closes the shortcut of chromatic aberration: Doersch, Gupta and Efros, ICCV 2015,
    https://arxiv.org/abs/1505.05192, section 3.1, who put noise in the place of the zeros.

    Args:
      key: random key.
      images: of three channels.
      probability: of an image to lose two channels.

    >>> drop_colors(jax.random.key(0), jnp.ones((2, 1, 1, 3)), 1.0).sum((1, 2, 3)).tolist()
    [1.0, 1.0]
    """
    _colors("drop_colors", images)
    coin, which = jax.random.split(key)
    n = len(images)
    kept = jax.nn.one_hot(jax.random.randint(which, (n,), 0, 3), 3, dtype=images.dtype)
    drops = jax.random.bernoulli(coin, probability, (n, 1))
    return images * jnp.where(drops, kept, 1)[:, None, None]
