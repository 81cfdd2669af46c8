"""Normalization of the images that an encoder was trained on: its origin, and its measure.

Weights give other features if images are not normalized as in training. Files of jssl carry
the normalization in the words of timm's `pretrained_cfg`; others do not, and shapes do not
determine it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jssl.views.color import IMAGENET
from jssl.weights.files import metadata


class Preprocessing(NamedTuple):
    """Normalization of images [n, h, w, c] in [0, 1], (x - mean) / std in each channel.

    Attributes:
      mean: of each channel.
      std: of each channel.
      size: height and width of the images in training; () if unknown.
      crop: side of the network's input as a share of the stored image's.
      origin: of these numbers, for display.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, ...] = ()
    crop: float = 1.0
    origin: str = "measured"

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """The normalized images; unchanged for mean 0 and std 1.

        >>> half = Preprocessing((0.5,), (0.5,))
        >>> half(jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1)).ravel().tolist()
        [-1.0, 1.0]
        """
        if not any(self.mean) and set(self.std) == {1.0}:
            return images
        mean, std = (jnp.asarray(x, images.dtype) for x in (self.mean, self.std))
        return (images - mean) / std

    @property
    def words(self) -> str:
        """For display: "mean 0.5, std 0.5 (given)"."""
        mean, std = (" ".join(f"{x + 0:g}" for x in y) for y in (self.mean, self.std))
        return f"mean {mean}, std {std} ({self.origin})"

    def written(self) -> dict[str, Any]:
        """The fields of timm's `pretrained_cfg`."""
        size = {"input_size": [len(self.mean), *self.size]} if self.size else {}
        numbers = {"mean": [*self.mean], "std": [*self.std]}
        return size | numbers | {"crop_pct": round(self.crop, 6)}


def preprocessing(
    path: str | Path,
    channels: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Preprocessing:
    """The normalization for a file of weights.

    By precedence: mean and std as given; those in the metadata of the file; ImageNet's for
    weights of color images without metadata of jssl, which is usual for torchvision, timm,
    MoCo, DINO and MAE, but not for ViTs of AugReg and CLIP; none.

    Args:
      path: of the file.
      channels: channels of the network's input.
      mean: one number, or one a channel; None: as above.
      std: likewise.

    Raises:
      ValueError: numbers that are not finite, a std that is not positive, another number of
        channels, or damaged metadata.
    """
    found = _known(path, channels)
    given = {"mean": mean, "std": std}
    numbers = {k: _each(k, x, channels) for k, x in given.items() if x is not None}
    if not numbers:
        return found
    origin = "given" if len(numbers) == 2 else f"{next(iter(numbers))} given"
    return found._replace(**numbers, origin=origin)


def measured(images: Any, seen: Any) -> Preprocessing | None:
    """The normalization that turned images into an encoder's input; None if it is none.

    Args:
      images: [3, h, w, c]: zeros, ones, and random numbers in [0, 1].
      seen: what the encoder received, [3, h', w', c]; of several tiles of an image, as in
        jigsaw puzzles, no normalization is found.
    """
    images, seen = np.asarray(images, np.float64), np.asarray(seen, np.float64)
    if seen.ndim != 4 or len(seen) != 3 or seen.shape[-1] != images.shape[-1]:
        return None
    black, white, noise = seen
    shift, slope = black.mean((0, 1)), (white - black).mean((0, 1))
    close = dict(rtol=0, atol=1e-4 * max(1.0, np.abs(seen).max()))
    flat = np.allclose(black, shift, **close) and np.allclose(white, shift + slope, **close)
    if not flat or not np.all(slope > 0):
        return None
    (h, w), (height, width) = seen.shape[1:3], images.shape[1:3]
    if h <= height and w <= width:
        top, left = (height - h) // 2, (width - w) // 2
        cut = images[2, top : top + h, left : left + w]
        exact = np.allclose(noise, shift + slope * cut, **close)
    else:
        exact = False
    if not exact and (h, w) == (height, width):
        return None
    return Preprocessing(
        tuple((-shift / slope).round(6).tolist()),
        tuple((1 / slope).round(6).tolist()),
        (h, w),
        min(1.0, h / height),
    )


def _known(path, channels):
    info = metadata(path)
    if "preprocessing" in info:
        return _read(path, info["preprocessing"], channels)
    none = Preprocessing((0.0,) * channels, (1.0,) * channels)
    if "layout" in info:
        return none._replace(origin="none: the file of jssl tells no other")
    if channels != 3:
        how = f"none: unknown for {channels} channels; --mean and --std set one"
        return none._replace(origin=how)
    how = (
        "ImageNet's, the default: the file tells none; --mean and --std set others, both "
        "0.5 for most ViTs of timm"
    )
    return Preprocessing(IMAGENET.mean, IMAGENET.std, origin=how)


def _read(path, text, channels):
    try:
        told = json.loads(text)
        mean, std = (_each(k, told[k], channels) for k in ("mean", "std"))
        size = tuple(int(x) for x in told.get("input_size", [0])[1:])
        crop = float(told.get("crop_pct", 1.0))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: the preprocessing in its metadata is damaged: {error}"
        ) from error
    return Preprocessing(mean, std, size, crop, "written in the file")


def _each(name, numbers, channels):
    x = tuple(map(float, numbers))
    x = x * channels if len(x) == 1 else x
    if len(x) != channels or not np.isfinite(x).all() or (name == "std" and min(x) <= 0):
        least = "positive numbers" if name == "std" else "numbers"
        raise ValueError(
            f"{name} must be {channels} finite {least}, or one, got {list(numbers)}"
        )
    return x
