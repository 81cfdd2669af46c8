r"""Geometric augmentations of one image: crops, flips, rotations, shifts, erased boxes.

A random resized crop (Szegedy et al., *Going deeper with convolutions*, CVPR 2015,
https://arxiv.org/abs/1409.4842) draws a box of area A and ratio r = width / height,

$$ A \sim U(a, b) H W, \quad \log r \sim U(\log r_0, \log r_1), \quad
   w = \sqrt{A r}, \quad h = \sqrt{A / r}, $$

and resizes it to the view's size. Interpolation is separable, so a crop is two small
matrix products, rows @ image @ columns^T: the box may be traced, the output size is static.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jssl.ops.affine import affine, motion
from jssl.ops.shapes import expect
from jssl.views.batch import at_least_single


def _triangle(x):
    return jnp.maximum(1 - jnp.abs(x), 0)


def _cubic(x):
    """Keys' cubic kernel with a = -1/2, as in Pillow and `jax.image`."""
    x = jnp.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return jnp.where(x < 1, near, jnp.where(x < 2, far, 0))


KERNELS = {"bilinear": _triangle, "bicubic": _cubic}
ERASE_RATIO = (0.3, 1 / 0.3)
PAD_MODES = ("fill", "reflect", "edge")


def rrc_box(
    key: PRNGKeyArray,
    hw: tuple[int, int],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    attempts: int = 10,
) -> Float[Array, "4"]:
    """Draws the box (top, left, height, width), in pixels, of a random resized crop.

    The first of `attempts` boxes that fits the image; if none does, the largest central
    box whose aspect ratio is within `ratio`. Sides are whole pixels, corners uniform.

    Args:
      key: random key of this image.
      hw: height and width of the image.
      scale: range of the box area, as a fraction of the image area.
      ratio: range of width / height, log-uniform.
      attempts: number of boxes, all drawn at once; 10 in torchvision.

    >>> rrc_box(jax.random.key(0), (32, 48), scale=(1.0, 1.0), ratio=(1.5, 1.5))
    Array([ 0.,  0., 32., 48.], dtype=float32)
    """
    u = jax.random.uniform(key, (2 * attempts + 2,), jnp.float32)
    return box_from(u, hw, scale, ratio)


def box_from(
    u: Float[Array, " m"],
    hw: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Float[Array, "4"]:
    """`rrc_box` from 2 * attempts + 2 uniform numbers: areas, ratios and a corner.

    >>> u = jnp.array([0.0, 0.5, 0.0, 0.999])  # least area, ratio 1, top right corner
    >>> box_from(u, (32, 32), scale=(0.25, 1.0))
    Array([ 0., 16., 16., 16.], dtype=float32)
    """
    height, width = hw
    r0, r1 = ratio
    attempts = len(u) // 2 - 1
    area, shape, corner = jnp.split(u, [attempts, 2 * attempts])
    area = (scale[0] + (scale[1] - scale[0]) * area) * (height * width)
    r = jnp.exp(math.log(r0) + (math.log(r1) - math.log(r0)) * shape)
    w, h = jnp.round(jnp.sqrt(area * r)), jnp.round(jnp.sqrt(area / r))
    fits = (0 < w) & (w <= width) & (0 < h) & (h <= height)

    # The largest central box: full width if the image is too tall, else full height.
    legal = min(max(width / height, r0), r1)
    whole = (min(height, round(width / legal)), min(width, round(height * legal)))

    first = fits & (jnp.cumsum(fits) == 1)
    found = fits.any()
    h = jnp.where(found, jnp.where(first, h, 0).sum(), whole[0])
    w = jnp.where(found, jnp.where(first, w, 0).sum(), whole[1])
    corner = jnp.where(found, corner, 0.5)
    top = jnp.floor(corner[0] * (height - h + 1))
    left = jnp.floor(corner[1] * (width - w + 1))
    return jnp.stack([top, left, h, w])


def _weights(start, length, size: int, out: int, method: str, antialias: bool):
    """Interpolation weights [out, size] along one side of a box."""
    step = length / out
    sample = start + (jnp.arange(out, dtype=jnp.float32) + 0.5) * step - 0.5
    pixel = jnp.arange(size, dtype=jnp.float32)
    reach = jnp.maximum(step, 1) if antialias else 1
    weights = KERNELS[method]((sample[:, None] - pixel) / reach)
    inside = (start < pixel + 0.5) & (pixel + 0.5 < start + length)
    weights = jnp.where(inside, weights, 0)
    return weights / weights.sum(1, keepdims=True)  # [out, size]


def crop_resize(
    image: Float[Array, "h w c"],
    box: Float[Array, "4"],
    out: tuple[int, int],
    method: str = "bilinear",
    antialias: bool = False,
) -> Float[Array, "S T c"]:
    """Crops an image to a box and resizes it to `out` = (height, width).

    Pixels outside the box have no influence. The box may be traced; it must lie inside
    the image and be at least one pixel wide. Computed in float32 or better.

    Args:
      image: one image, any float dtype.
      box: (top, left, height, width) in pixels.
      out: size of the result.
      method: "bilinear" or "bicubic" (Keys, a = -1/2).
      antialias: widen the kernel when shrinking, as Pillow does.

    Raises:
      ValueError: if the image is not float [h, w, c], or for an unknown method.

    >>> ramp = jnp.arange(4.0).reshape(1, 4, 1)
    >>> box = jnp.array([0.0, 1.0, 1.0, 2.0])  # the two pixels 1 and 2
    >>> crop_resize(ramp, box, (1, 4)).ravel()  # samples at 0.75, 1.25, 1.75, 2.25
    Array([1.  , 1.25, 1.75, 2.  ], dtype=float32)
    """
    if method not in KERNELS:
        raise ValueError(f"crop_resize: method must be one of {list(KERNELS)}")
    size = expect("crop_resize", image=(image, "h w c"))
    top, left, height, width = box
    rows = _weights(top, height, size["h"], out[0], method, antialias)
    columns = _weights(left, width, size["w"], out[1], method, antialias)
    # The width is last in both operands of the second product: on CPU a third of the time
    # of "twc". Highest precision, since accelerators would round to bfloat16.
    x = at_least_single(image)
    rows, columns = rows.astype(x.dtype), columns.astype(x.dtype)
    x = jnp.einsum("sh,hwc->scw", rows, x, precision=lax.Precision.HIGHEST)
    x = jnp.einsum("scw,tw->stc", x, columns, precision=lax.Precision.HIGHEST)
    return x.astype(image.dtype)


def center_crop(
    image: Float[Array, "h w c"],
    fraction: float = 0.875,
    out: int | None = None,
    method: str = "bilinear",
) -> Float[Array, "S S c"]:
    """Center crop of side `fraction` * min(h, w), as in ImageNet evaluation.

    0.875 corresponds to the usual "resize the short side to 256, crop 224 x 224". The
    crop is resized with antialiasing to `out` pixels a side, or left as it is if `out` is
    None. Images of 28 or 32 pixels are usually evaluated whole.

    >>> center_crop(jnp.arange(16.0).reshape(4, 4, 1), fraction=0.5)[..., 0]
    Array([[ 5.,  6.],
           [ 9., 10.]], dtype=float32)
    """
    size = expect("center_crop", image=(image, "h w c"))
    side = round(fraction * min(size["h"], size["w"]))
    top, left = (size["h"] - side) // 2, (size["w"] - side) // 2
    x = image[top : top + side, left : left + side]
    if out is None or out == side:
        return x
    box = jnp.array([0, 0, side, side], jnp.float32)
    return crop_resize(x, box, (out, out), method, antialias=True)


def hflip(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Flips an image horizontally.

    >>> hflip(jnp.arange(3.0).reshape(1, 3, 1)).ravel()
    Array([2., 1., 0.], dtype=float32)
    """
    return image[:, ::-1]


def rotate(
    image: Float[Array, "h w c"], degrees: ArrayLike, fill: ArrayLike = 0.0
) -> Float[Array, "h w c"]:
    """Rotates an image counterclockwise about its center; corners are set to `fill`.

    >>> turned = rotate(jnp.array([[1.0, 2.0], [3.0, 4.0]])[..., None], 90.0)
    >>> jnp.round(turned).ravel()  # [[1, 2], [3, 4]] becomes [[2, 4], [1, 3]]
    Array([2., 4., 1., 3.], dtype=float32)
    """
    return affine(image, motion(degrees), fill)


def shift(
    image: Float[Array, "h w c"], dy: ArrayLike, dx: ArrayLike, fill: ArrayLike = 0.0
) -> Float[Array, "h w c"]:
    """Shifts an image down by dy and right by dx pixels, fractions allowed.

    >>> shift(jnp.arange(1.0, 4.0).reshape(1, 3, 1), 0, 0.5).ravel()
    Array([0.5, 1.5, 2.5], dtype=float32)
    """
    return affine(image, motion(dy=dy, dx=dx), fill)


def pad_crop(
    image: Float[Array, "h w c"],
    corner: Int[Array, "2"],
    pad: int,
    mode: str = "fill",
    fill: ArrayLike = 0.0,
) -> Float[Array, "h w c"]:
    """Pads an image on every side and crops it to its size: a shift by whole pixels.

    Every pixel of the result is one of the image or of its border, bit for bit.

    Args:
      image: one image.
      corner: (top, left) of the crop in the padded image, in [0, 2 * pad]; may be traced.
      pad: pixels on every side.
      mode: "fill" (RotNet, VAT), "reflect" about the edge pixel (MixMatch, Mean Teacher)
        or "edge".
      fill: pixel value beyond the border, for "fill".

    Raises:
      ValueError: for another mode.

    >>> image = jnp.arange(1.0, 5.0).reshape(1, 4, 1)
    >>> pad_crop(image, jnp.array([1, 2]), 1).ravel()  # one pixel left
    Array([2., 3., 4., 0.], dtype=float32)
    >>> pad_crop(image, jnp.array([1, 0]), 1, "reflect").ravel()  # one pixel right
    Array([2., 1., 2., 3.], dtype=float32)
    """
    expect("pad_crop", image=(image, "h w c"))
    if mode not in PAD_MODES:
        raise ValueError(f"pad_crop: mode must be one of {PAD_MODES}, got {mode!r}")
    sides = ((pad, pad), (pad, pad), (0, 0))
    if mode == "fill":
        padded = jnp.pad(image, sides, constant_values=jnp.asarray(fill, image.dtype))
    else:
        padded = jnp.pad(image, sides, mode)
    return lax.dynamic_slice(padded, (corner[0], corner[1], 0), image.shape)


def erase(
    image: Float[Array, "h w c"], box: Float[Array, "4"], fill: ArrayLike = 0.0
) -> Float[Array, "h w c"]:
    """Sets a box (top, left, height, width) of an image to `fill`.

    >>> box = jnp.array([0.0, 1.0, 1.0, 2.0])
    >>> erase(jnp.ones((1, 4, 1)), box).ravel()
    Array([1., 0., 0., 1.], dtype=float32)
    """
    size = expect("erase", image=(image, "h w c"))
    top, left, h, w = box
    y = jnp.arange(size["h"], dtype=jnp.float32)[:, None, None]
    x = jnp.arange(size["w"], dtype=jnp.float32)[:, None]
    inside = (top <= y) & (y < top + h) & (left <= x) & (x < left + w)
    return jnp.where(inside, jnp.asarray(fill, image.dtype), image)


def square_from(u: Float[Array, " m"], hw: tuple[int, int], side: int) -> Float[Array, "4"]:
    """The box of Cutout, from uniform numbers: a square around any pixel of the image.

    What lies beyond the border is cut off by `erase`.

    DeVries and Taylor, *Improved regularization of convolutional neural networks with
    cutout*, 2017, https://arxiv.org/abs/1708.04552

    >>> square_from(jnp.array([0.0, 0.5]), (32, 32), 16)  # around (0, 16)
    Array([-8.,  8., 16., 16.], dtype=float32)
    """
    center = jnp.floor(u[:2] * jnp.array(hw, jnp.float32))
    return jnp.concatenate([center - side // 2, jnp.full(2, side, jnp.float32)])


def random_erase(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    area: tuple[float, float] = (0.02, 1 / 3),
    ratio: tuple[float, float] = ERASE_RATIO,
    fill: float | str = 0.0,
) -> Float[Array, "h w c"]:
    """Random erasing: sets a random box to `fill`, a number or "noise".

    "noise" is N(0, 1) per pixel and channel, for normalized images; a number is on the
    scale of the image. The box is drawn as in `rrc_box`.

    Zhong, Zheng, Kang, Li, Yang, *Random erasing data augmentation*, AAAI 2020,
    https://arxiv.org/abs/1708.04896
    """
    where, what = jax.random.split(key)
    h, w, _ = image.shape
    box = rrc_box(where, (h, w), area, ratio)
    if fill == "noise":
        fill = jax.random.normal(what, image.shape, jnp.float32)
    return erase(image, box, fill)  # type: ignore[arg-type]
