"""From pictures of any size and mode to arrays of one shape, with Pillow."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8


def fit(picture: Any, size: int | None, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """A Pillow image as an array, its short side resized, its centre cut square.

    Random crops are made later, on the device: give a larger `size` to leave them room.

    Args:
      picture: of any mode with 8 bits a channel.
      size: side of the square in pixels; None keeps the picture as large as it is.
      channels: 1 (grey) or 3 (red, green, blue).
    """
    from PIL import Image, ImageOps

    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"it has mode {picture.mode}, not 8 bits a channel")
    mode = {1: "L", 3: "RGB"}[channels]
    if size is not None:
        picture.draft(mode, (2 * size, 2 * size))  # decodes a JPEG no finer than this
    picture = ImageOps.exif_transpose(picture).convert(mode)
    if size is not None and picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(picture.height, picture.width, channels)


def fit_all(
    images: UInt8[np.ndarray, "n _ _ _"], size: int | None, channels: int | None
) -> UInt8[np.ndarray, "n h w c"]:
    """`fit` for every image of an array; None keeps what there is.

    >>> fit_all(np.zeros((5, 8, 8, 1), np.uint8), size=16, channels=3).shape
    (5, 16, 16, 3)
    """
    _, h, w, c = images.shape
    if (size or h, size or w, channels or c) == (h, w, c):
        return images
    if c not in (1, 3):
        raise ValueError(f"pictures of {c} channels cannot be resized or converted")
    fitted = [fit(picture(x), size, channels or c) for x in images]
    return np.stack(fitted)


def picture(image: UInt8[np.ndarray, "h w c"]) -> Any:
    """An array of 1 or 3 channels as a Pillow image."""
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def decode(
    file: Any, name: str | Path, size: int | None, channels: int
) -> UInt8[np.ndarray, "h w c"]:
    """The picture in a file, a path or an open one, fitted.

    Raises:
      ValueError: naming `name`, if the file is missing, corrupt or cut short.
    """
    from PIL import Image

    try:
        with Image.open(file) as found:
            return fit(found, size, channels)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as reason:
        raise ValueError(f"{name} cannot be read as a picture: {reason}") from reason


def check_shape(size: int | None, channels: int | None) -> None:
    """Raises unless pictures can be made of that size and with so many channels."""
    if size is not None and size < 1:
        raise ValueError(f"size must be a positive number of pixels, got {size}")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (colour), got {channels}")
