"""Decoding of image files of any size and mode to arrays of one shape, with Pillow."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8


def fit(picture: Any, size: int | None, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Converts a Pillow image to an array: short side resized, center cropped to a square.

    Random crops are taken later, on the device; choose `size` larger than the crops.

    Args:
      picture: of any mode with 8 bits per channel.
      size: side of the square in pixels; None keeps the size.
      channels: 1 (gray) or 3 (red, green, blue).

    Raises:
      ValueError: the image does not have 8 bits per channel.
    """
    from PIL import Image, ImageOps

    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"it has mode {picture.mode}, not 8 bits per channel")
    mode = {1: "L", 3: "RGB"}[channels]
    if size is not None:
        picture.draft(mode, (2 * size, 2 * size))  # reduced decoding of JPEG
    picture = ImageOps.exif_transpose(picture).convert(mode)
    if size is not None and picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(picture.height, picture.width, channels)


def fit_all(
    images: UInt8[np.ndarray, "n _ _ _"], size: int | None, channels: int | None
) -> UInt8[np.ndarray, "n h w c"]:
    """Applies `fit` to every image of an array; None keeps size or channels.

    >>> fit_all(np.zeros((5, 8, 8, 1), np.uint8), size=16, channels=3).shape
    (5, 16, 16, 3)
    """
    _, h, w, c = images.shape
    if (size or h, size or w, channels or c) == (h, w, c):
        return images
    if c not in (1, 3):
        raise ValueError(f"images of {c} channels cannot be resized or converted")
    fitted = [fit(picture(x), size, channels or c) for x in images]
    return np.stack(fitted)


def picture(image: UInt8[np.ndarray, "h w c"]) -> Any:
    """Converts an array of 1 or 3 channels to a Pillow image."""
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def decode(
    file: Any, name: str | Path, size: int | None, channels: int
) -> UInt8[np.ndarray, "h w c"]:
    """Decodes and fits the image of a file.

    Args:
      file: path, or open file.
      name: of the file in error messages.
      size, channels: as in `fit`.

    Raises:
      ValueError: the file is missing, corrupt or truncated.
    """
    from PIL import Image

    try:
        with Image.open(file) as found:
            return fit(found, size, channels)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as reason:
        raise ValueError(f"{name} cannot be read as an image: {reason}") from reason


def check_shape(size: int | None, channels: int | None) -> None:
    """Raises ValueError unless size and number of channels are valid."""
    if size is not None and size < 1:
        raise ValueError(f"size must be a positive number of pixels, got {size}")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 (gray) or 3 (color), got {channels}")
