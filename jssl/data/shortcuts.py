"""Images with a shortcut: an artifact that solves a pretext task without the content.

Each artifact betrays what a pretext task asks for: the place of a patch (the color fringes
of a lens, a gradient of light, edges that continue), or the color of an image (the mosaic
of a sensor). On textures, which are the same everywhere, nothing else does: a network that
is better than chance has found the shortcut. Digits have both.

Doersch, Gupta and Efros 2015, section 3.1, https://arxiv.org/abs/1505.05192; Noroozi and
Favaro 2016, section 3.3, https://arxiv.org/abs/1603.09246
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jssl.data.embedded import mnist
from jssl.data.fields import Dataset, Labels
from jssl.data.toys import normal_pairs, uniform
from jssl.ops.lab import lab_to_rgb

SIZES = {"train": 2_000, "val": 500, "test": 500}  # of textures
ORIENTATIONS = 8
FREQUENCY, BANDWIDTH = 0.12, 0.1  # of textures, in cycles per pixel
MOSAIC = np.array([[0, 1], [1, 2]])
"""The color that each pixel of a sensor measures: red, green, green, blue."""
TINTS = 20 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
"""Colors of `mosaicked` images, as a and b of CIE Lab: [4, 2]."""


def shortcuts(
    where: str,
    /,
    *,
    over: str = "texture",
    size: int = 48,
    strength: float = 1.0,
    reduce: int = 1,
) -> Dataset:
    """2,000 images for training with an artifact, 500 each for val and test.

    The label is the content: one of eight orientations of a texture, or a digit.

    Args:
      where: the artifact: "aberration" (`aberrated`), "light" (`lit`), "mosaic"
        (`mosaicked`, textures only), or "none", textures whose edges continue from one
        patch to the next.
      over: "texture" or "mnist", its 5,000 digits.
      size: side of the images, in pixels.
      strength: of the artifact; 0 omits it.
      reduce: finished images are reduced to means of so many by so many pixels, and traces
        of single pixels with them; a divisor of the size.

    Raises:
      ValueError: an unknown artifact or content; sizes out of range.
    """
    if where not in ("aberration", "light", "mosaic", "none"):
        raise ValueError(
            f"shortcuts: the artifact must be aberration, light, mosaic or none, got "
            f"{where!r}"
        )
    if over not in ("texture", "mnist") or (where, over) == ("mosaic", "mnist"):
        raise ValueError(
            f"shortcuts: over must be 'texture', or 'mnist' except for mosaic, got {over!r}"
        )
    if not 8 <= size <= 256 or strength < 0 or reduce < 1 or size % reduce:
        raise ValueError(
            f"shortcuts: size must be 8 to 256, strength at least 0 and reduce a divisor "
            f"of the size, got {size}, {strength} and {reduce}"
        )
    if over == "mnist":
        known = mnist(size=size)
        tables: Any = known.splits
        contents = {
            part: (table["image"][..., 0] / 255, table["label"])
            for part, table in tables.items()
        }
        classes, names, license = known.classes, known.fields["label"], known.license
    else:
        contents = {}
        for seed, (part, n) in enumerate(SIZES.items()):
            bits = np.random.PCG64(seed)
            label = (bits.random_raw(n) % np.uint64(ORIENTATIONS)).astype(np.int32)
            contents[part] = np.clip(0.5 + 0.18 * textures(bits, label, size), 0, 1), label
        degrees = (180 * np.arange(ORIENTATIONS) / ORIENTATIONS).tolist()
        classes, names = ORIENTATIONS, Labels(tuple(f"{x:g} degrees" for x in degrees))
        license = ""
    splits = {}
    for seed, (part, (gray, label)) in enumerate(contents.items(), start=100):
        image = _with_artifact(where, np.random.PCG64(seed), gray, strength)
        n, _, _, c = image.shape
        blocks = image.reshape(n, size // reduce, reduce, size // reduce, reduce, c)
        image = np.uint8(np.rint(255 * blocks.mean((2, 4))))
        splits[part] = {"image": image, "label": label}
    return Dataset(splits, classes, {"label": names}, license=license)


def _with_artifact(kind, bits, gray, strength):
    n = len(gray)
    if kind == "aberration":
        return aberrated(gray, 2.0 * strength)
    if kind == "light":
        turns = uniform(bits, n)
        return lit(gray, np.pi * (0.25 + 0.5 * turns), min(0.6 * strength, 1.0))
    if kind == "mosaic":
        tint = (bits.random_raw(n) >> np.uint64(62)).astype(np.int32)  # the top two bits
        return mosaicked(gray, tint, 0.25 * strength)
    return gray[..., None]


def textures(
    bits: np.random.PCG64, label: Int[np.ndarray, " n"], size: int
) -> Float[np.ndarray, "n size size"]:
    """Stationary noise of one orientation, of mean 0 and variance 1: waves at an angle.

    White noise is filtered by Gaussians in the frequency domain, about a frequency of 0.12
    cycles per pixel in the direction of the label. The correlation of pixels is below 0.01
    at a distance of 7.

    >>> x = textures(np.random.PCG64(0), np.zeros(100, int), 16)
    >>> x.shape, round(float(x.std()), 1)
    ((100, 16, 16), 1.0)
    """
    n = len(label)
    noise = normal_pairs(bits, -(-n * size * size // 2)).ravel()[: n * size * size]
    down, right = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    angle = np.pi * np.arange(ORIENTATIONS) / ORIENTATIONS
    filters = sum(
        np.exp(
            -(
                (down - sign * FREQUENCY * np.sin(angle)[:, None, None]) ** 2
                + (right - sign * FREQUENCY * np.cos(angle)[:, None, None]) ** 2
            )
            / (2 * BANDWIDTH**2)
        )
        for sign in (-1, 1)
    )
    half = size // 2 + 1  # the spectra of real images are symmetric
    spectrum = np.fft.rfft2(noise.reshape(n, size, size)) * filters[label, :, :half]
    deviation = np.sqrt(np.square(filters).mean((1, 2)))
    found = np.fft.irfft2(spectrum, (size, size))
    return found / deviation[label, None, None]


def aberrated(
    gray: Float[np.ndarray, "n h w"], shift: float
) -> Float[np.ndarray, "n h w 3"]:
    """Color images of which the green is magnified, as by a lens with lateral aberration.

    Red and blue are the gray image; green is displaced away from the center, in proportion
    to the distance, by `shift` pixels in the corners. Bilinear; the border is continued.

    >>> aberrated(np.array([[[0.0, 1.0, 0.0, 0.0, 0.0]]]), 1.0)[0, 0, :, 1].tolist()
    [1.0, 0.5, 0.0, 0.0, 0.0]
    """
    _, h, w = gray.shape
    radius = np.hypot(h - 1, w - 1) / 2
    green = gray
    for axis, size in ((1, h), (2, w)):
        middle = (size - 1) / 2
        at = middle + (np.arange(size) - middle) * (1 - shift / radius)
        low = np.floor(at).astype(int).clip(0, max(size - 2, 0))
        part = (at - low).reshape(-1, *[1] * (2 - axis))
        high = np.minimum(low + 1, size - 1)
        green = (1 - part) * green.take(low, axis) + part * green.take(high, axis)
    return np.stack([gray, green, gray], -1)


def lit(
    gray: Float[np.ndarray, "n h w"], angle: Float[np.ndarray, " n"], strength: float
) -> Float[np.ndarray, "n h w 1"]:
    """Images with a linear gradient of light, from 0 to 1 across the image.

    Args:
      gray: in [0, 1].
      angle: of the light in radians, counterclockwise from the right; pi / 2: from above.
      strength: fraction of the light in the mean of image and light.

    >>> lit(np.zeros((1, 3, 1)), np.array([np.pi / 2]), 1.0)[0, :, 0, 0].round(6).tolist()
    [1.0, 0.5, 0.0]
    """
    _, h, w = gray.shape
    y, x = (np.linspace(-1, 1, s) if s > 1 else np.zeros(1) for s in (h, w))
    sine, cosine = (f(angle)[:, None, None] for f in (np.sin, np.cos))
    ramp = cosine * x - sine * y[:, None]
    ramp = 0.5 + 0.5 * ramp / (abs(sine) + abs(cosine))
    return ((1 - strength) * gray + strength * ramp)[..., None]


def mosaicked(
    gray: Float[np.ndarray, "n h w"], tint: Int[np.ndarray, " n"], strength: float
) -> Float[np.ndarray, "n h w 3"]:
    """Images of one color each, with the brightness that each pixel of a sensor measures.

    A sensor has a color filter on each pixel, in squares of 2 x 2 (`MOSAIC`). Imperfect
    reconstruction leaves a trace: here the lightness of a pixel, of 100, is raised by
    100 * `strength` times the difference between the value of its own color and the mean of
    its square. Color can be read from it, though it is in no relation to the content.

    Args:
      gray: lightness in [0, 1], mapped to an L of 40 to 70.
      tint: color of each image, a row of `TINTS`.
      strength: of the trace.
    """
    _, h, w = gray.shape
    light = 40 + 30 * gray
    ab = np.broadcast_to(TINTS[tint][:, None, None], (*light.shape, 2))
    even = _rgb(np.full(len(tint), 55.0), TINTS[tint])  # [n, 3]
    excess = even - even[:, MOSAIC.ravel()].mean(1, keepdims=True)
    site = MOSAIC[np.arange(h)[:, None] % 2, np.arange(w) % 2]
    return _rgb(light + 100 * strength * excess[:, site], ab)


def _rgb(light, ab):
    return np.asarray(lab_to_rgb(jnp.float32(np.concatenate([light[..., None], ab], -1))))
