r"""Color augmentations of one image: brightness, contrast, saturation, hue, blur.

Color distortion prevents contrastive learning from matching two crops of an image by
their color histograms (Chen, Kornblith, Norouzi, Hinton, *A simple framework for
contrastive learning of visual representations*, ICML 2020,
https://arxiv.org/abs/2002.05709). Three of its four parts are a blend,

$$ x \leftarrow \mathrm{clip}(f x + (1 - f) m, 0, 1), $$

with black (brightness), the mean gray value (contrast) or the gray image (saturation).
This is torchvision's definition; TensorFlow's, of SimCLR and BYOL, differs in all three
parts (`color_jitter`).

Images are float [h, w, c] in [0, 1], before `normalize`. Images with one channel are gray:
saturation, hue and grayscale return them unchanged.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from jssl.ops.hsv import join_hsv, split_hsv, value_and_chroma
from jssl.ops.shapes import expect


class Statistics(NamedTuple):
    """The mean and standard deviation of each channel, in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# SwAV's code, facebookresearch/swav src/multicropdataset.py: 0.228 for 0.229.
IMAGENET_SWAV = Statistics((0.485, 0.456, 0.406), (0.228, 0.224, 0.225))
# Deviations within an image, averaged over images: MoCo's CIFAR-10 notebook and W-MSE.
CIFAR10 = Statistics((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
# Deviations over all pixels: gidariss/FeatureLearningRotNet dataloader.py.
CIFAR10_PIXELS = Statistics(
    (125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)
)
# Middle and half of the range of L, a and b: HobbitLong/CMC train_CMC.py.
LAB = Statistics((50.0, 6.025, -6.6895), (50.0, 92.208, 101.1675))

LUMA = (0.2989, 0.5870, 0.1140)

STYLES = ("torchvision", "tensorflow", "simclr_v2")  # of color jitter
BORDERS = {"zero": "constant", "edge": "edge", "reflect": "reflect"}  # modes of jnp.pad


def _channels(function: str, image) -> int:
    channels = expect(function, image=(image, "h w c"))["c"]
    if channels not in (1, 3):
        raise ValueError(
            f"{function}: image must have 1 or 3 channels, last (1 is gray, 3 is RGB), got "
            f"{list(image.shape)}"
        )
    return channels


def _luma(image):
    """Luma of RGB or gray pixels: [..., c] -> [..., 1]."""
    if image.shape[-1] == 1:
        return image
    return sum(w * image[..., i : i + 1] for i, w in enumerate(LUMA))


def _mean_luma(image):
    # Axis by axis: XLA's CPU reduction of both axes at once is ten times slower.
    return _luma(image.mean(0).mean(0))


def _blend(image, other, factor):
    factor = jnp.asarray(factor, image.dtype)
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)


def grayscale(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Converts to gray: 0.2989 R + 0.5870 G + 0.1140 B in every channel.

    >>> grayscale(jnp.array([[[1.0, 0.0, 0.0]]])).ravel()
    Array([0.2989, 0.2989, 0.2989], dtype=float32)
    """
    _channels("grayscale", image)
    return jnp.broadcast_to(_luma(image), image.shape)


def brightness(image: Float[Array, "h w c"], factor: ArrayLike) -> Float[Array, "h w c"]:
    """Adjusts brightness: clip(f x). Factor 0 gives black, 1 the image itself.

    >>> brightness(jnp.array([[[0.25, 0.75]]]), 2.0).ravel()
    Array([0.5, 1. ], dtype=float32)
    """
    return _blend(image, 0.0, factor)


def contrast(image: Float[Array, "h w c"], factor: ArrayLike) -> Float[Array, "h w c"]:
    """Adjusts contrast: clip(f (x - m) + m), where m is the mean of the gray image.

    Factor 0 gives a constant image, 1 the image itself.

    >>> contrast(jnp.array([[[0.25], [0.75]]]), 0.5).ravel()  # m = 0.5
    Array([0.375, 0.625], dtype=float32)
    """
    _channels("contrast", image)
    return _blend(image, _mean_luma(image), factor)


def saturation(image: Float[Array, "h w c"], factor: ArrayLike) -> Float[Array, "h w c"]:
    """Adjusts saturation: clip(f x + (1 - f) gray(x)). Factor 0 gives gray, 1 the image.

    >>> saturation(jnp.array([[[1.0, 0.0, 0.0]]]), 0.5).ravel()
    Array([0.64945, 0.14945, 0.14945], dtype=float32)
    """
    if _channels("saturation", image) == 1:
        return image
    return _blend(image, _luma(image), factor)


def hue(image: Float[Array, "h w c"], shift: ArrayLike) -> Float[Array, "h w c"]:
    """Shifts the hue, H + shift modulo 1, in turns: 1/3 maps red to green.

    >>> hue(jnp.array([[[1.0, 0.0, 0.0]]]), 1 / 3).ravel().round(4)
    Array([0., 1., 0.], dtype=float32)
    """
    if _channels("hue", image) == 1:
        return image
    h, s, v = split_hsv(image)
    return join_hsv(h + jnp.asarray(shift, image.dtype), s, v)


def color_jitter(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    b: float,
    c: float,
    s: float,
    h: float,
    order: str = "random",
    style: str = "torchvision",
) -> Float[Array, "h w c"]:
    r"""Color jitter: random changes of brightness, contrast, saturation and hue.

    The factor f of brightness is drawn from U(max(0, 1 - b), 1 + b), those of contrast and
    saturation likewise; the hue shift from U(-h, h) turns. Each part is applied once, and
    the image clipped to [0, 1] after each. The parts differ between libraries:

    - "torchvision" (MoCo, SimSiam, VICReg, Barlow Twins, SwAV, DINO): blends with black,
      the mean gray value and the gray image, f x + (1 - f) m.
    - "tensorflow" (SimCLR v1, google-research/simclr data_util.py; BYOL,
      byol/utils/augmentations.py): brightness adds $\delta \sim U(-b, b)$ to the image;
      contrast is about the mean of each channel; saturation multiplies the S of HSV, up
      to 1.
    - "simclr_v2": the same, with torchvision's brightness, as in the released code.

    Args:
      key: random key of this image.
      image: [h, w, c] in [0, 1].
      b: maximum change of brightness; 0 skips this part, likewise for the others.
      c: maximum change of contrast.
      s: maximum change of saturation.
      h: maximum change of hue, at most 0.5.
      order: "random", one of the 24 orders drawn per image, or "fixed", as listed.
      style: "torchvision", "tensorflow" or "simclr_v2".

    Raises:
      ValueError: for a negative strength, h > 0.5, another order or style, or channels not
        1 or 3.
    """
    u = jax.random.uniform(key, (8,), jnp.float32)
    return jitter_from(u, image, (b, c, s, h), order, style)


def jitter_from(
    u: Float[Array, "8"],
    image: Float[Array, "h w c"],
    strength: tuple[float, float, float, float],
    order: str = "random",
    style: str = "torchvision",
) -> Float[Array, "h w c"]:
    """`color_jitter` from eight uniform numbers in [0, 1): four amounts, then four ranks.

    >>> u = jnp.array([0.75, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0])
    >>> jitter_from(u, jnp.full((1, 1, 1), 0.5), (0.4, 0.0, 0.0, 0.0)).item()  # f = 1.2
    0.6000000238418579
    >>> image, strength = jnp.full((1, 1, 1), 0.5), (0.5, 0.0, 0.0, 0.0)
    >>> jitter_from(u, image, strength, style="tensorflow").item()  # delta = 0.25
    0.75
    """
    if min(strength) < 0 or strength[3] > 0.5:
        raise ValueError(
            f"color_jitter: b, c, s must be >= 0 and h in [0, 0.5] turns, got {strength}"
        )
    if order not in ("random", "fixed"):
        raise ValueError(f'color_jitter: order must be "random" or "fixed", not {order}')
    if style not in STYLES:
        raise ValueError(f"color_jitter: style must be one of {STYLES}, not {style!r}")
    b, c, s, h = strength
    if _channels("color_jitter", image) == 1:
        s = h = 0
    random = order == "random"
    additive = style == "tensorflow"
    amount, rank = u[:4], u[4:]
    blends = jnp.array([part for part, a in enumerate((b, c, s)) if a], jnp.int32)
    low, high = (-b, b) if additive else (max(0, 1 - b), 1 + b)
    low = jnp.array([low, max(0, 1 - c), max(0, 1 - s)], jnp.float32)
    high = jnp.array([high, 1 + c, 1 + s], jnp.float32)
    factor = (low + (high - low) * amount[:3])[blends]
    none = jnp.where(blends == 0, 0, 1) if additive else 1  # of each part, no change

    # The hue is the most expensive part. It is computed once, between two passes of the
    # blends: blends ranked after it are the identity in the first pass, those ranked
    # before it in the second. Sorting also keeps XLA from recomputing these few numbers at
    # every pixel.
    early = (rank[blends] < rank[3]) | (not (random and h))
    passes = jnp.where(early, factor, none), jnp.where(early, none, factor)
    if random:
        _, blends, *passes = lax.sort((rank[blends], blends, *passes), num_keys=1)

    change = _tensorflow_part if style != "torchvision" else _torchvision_part

    def blend(x, factors):
        for part, f in zip(blends, factors, strict=True):
            x = change(x, part, f, c, s, additive)
        return x

    image = blend(image, passes[0])
    if not h:
        return image
    image = hue(image, h * (2 * amount[3] - 1))
    return blend(image, passes[1]) if random else image


def _torchvision_part(x, part, f, c, s, _):
    other = jnp.where(part == 1, _mean_luma(x), 0) if c else 0
    other = jnp.where(part == 2, _luma(x), other) if s else other
    return _blend(x, other, f)


def _tensorflow_part(x, part, f, c, s, additive):
    f = jnp.asarray(f, x.dtype)
    other, delta = 0, 0
    if c:
        other = jnp.where(part == 1, x.mean(0).mean(0), 0)
    if additive:
        delta, f = jnp.where(part == 0, f, 0), jnp.where(part == 0, 1, f)
    if s:
        # S <- f S at constant H and V blends with V; S <= 1 limits f to V / chroma.
        value, chroma = value_and_chroma(x[..., :1], x[..., 1:2], x[..., 2:])
        most = jnp.where(chroma > 0, value / jnp.where(chroma > 0, chroma, 1), 1)
        other = jnp.where(part == 2, value, other)
        f = jnp.where(part == 2, jnp.minimum(f, most), f)
    return jnp.clip(f * x + (1 - f) * other + delta, 0, 1)


def solarize(
    image: Float[Array, "h w c"], threshold: ArrayLike = 0.5
) -> Float[Array, "h w c"]:
    """Solarizes: x where x < threshold, else 1 - x.

    >>> solarize(jnp.array([[[0.25, 0.75, 1.0]]])).ravel()
    Array([0.25, 0.25, 0.  ], dtype=float32)
    """
    return jnp.where(image < threshold, image, 1 - image)


def gaussian_blur(
    image: Float[Array, "h w c"], sigma: ArrayLike, radius: int, border: str = "zero"
) -> Float[Array, "h w c"]:
    """Separable Gaussian blur of 2 * radius + 1 taps, w_i = exp(-i^2 / 2 sigma^2) / sum.

    sigma, in pixels, may be traced; 0 is the identity. Pixels beyond the border are zero
    (SimCLR, BYOL), those of the edge (Pillow: MoCo, SimSiam, VICReg, Barlow Twins, DINO) or
    mirrored about it (OpenCV: SwAV).

    Args:
      image: [h, w, c].
      sigma: standard deviation in pixels.
      radius: taps on either side.
      border: "zero", "edge", or "reflect", which needs more than `radius` pixels a side.

    Raises:
      ValueError: for another border, or a picture too small to reflect.

    >>> point = jnp.zeros((3, 3, 1)).at[1, 1].set(9.0)
    >>> gaussian_blur(point, 1e9, radius=1).ravel()  # nine flat taps of 1 / 9
    Array([1., 1., 1., 1., 1., 1., 1., 1., 1.], dtype=float32)
    >>> gaussian_blur(jnp.ones((3, 1, 1)), 1e9, radius=1, border="edge").ravel().round(3)
    Array([1., 1., 1.], dtype=float32)
    """
    sizes = expect("gaussian_blur", image=(image, "h w c"))
    if border not in BORDERS:
        raise ValueError(
            f"gaussian_blur: border must be one of {[*BORDERS]}, got {border!r}"
        )
    if border == "reflect" and radius >= min(sizes["h"], sizes["w"]):
        raise ValueError(
            f"gaussian_blur: images of {list(image.shape)} are too small to reflect "
            f"{radius} pixels: pass a smaller radius, or border='edge'"
        )
    i = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    w = jnp.exp(-0.5 * (i / jnp.maximum(sigma, 1e-6)) ** 2)
    w = (w / w.sum()).astype(image.dtype)
    # A sum of shifted images: convolutions with a kernel per image are slow.
    for axis in (0, 1):
        size = image.shape[axis]
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = jnp.pad(image, pad, BORDERS[border])
        taps: Any = sum(
            w[k] * lax.slice_in_dim(padded, k, k + size, axis=axis)
            for k in range(2 * radius + 1)
        )
        image = taps
    return image


def denormalize(
    image: Float[Array, "*n h w c"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "*n h w c"]:
    """The inverse of `normalize` with the same mean and std: x std + mean.

    >>> denormalize(jnp.array([[[1.0]]]), mean=(0.5,), std=(0.25,)).item()
    0.75
    """
    return image * jnp.array(std, image.dtype) + jnp.array(mean, image.dtype)


def normalize(
    image: Float[Array, "*n h w c"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "*n h w c"]:
    """Normalizes each channel, (x - mean) / std: `normalize(x, *IMAGENET)`.

    >>> normalize(jnp.array([[[0.75]]]), mean=(0.5,), std=(0.25,)).item()
    1.0
    """
    for name, numbers in (("mean", mean), ("std", std)):
        if len(numbers) not in (1, image.shape[-1]):
            raise ValueError(
                f"normalize: {name} must have one number for each of the image's "
                f"{image.shape[-1]} channels, got {len(numbers)}"
            )
    return (image - jnp.array(mean, image.dtype)) / jnp.array(std, image.dtype)
