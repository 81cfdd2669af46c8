"""Decoding of image files of any size and mode to arrays of one shape, with Pillow."""

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

SUFFIXES = (
    ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Suffixes, in lower case, of files that are taken for images."""

MODES = {1: "L", 3: "RGB"}
"""Pillow's modes, by number of channels."""

_ORIENTATION = 0x0112  # of EXIF
_here = threading.local()  # the file that this thread decodes


def fit(picture: Any, size: int | None, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Converts a Pillow image to an array: short side resized, center cropped to a square.

    JPEG is decoded at reduced scale where that is at least twice `size`. Random crops that
    are taken on the device see this square alone: choose `size` larger than them, or have
    them cut from the whole photograph (`jssl.data.crops`). The rest is as in `upright`.

    Args:
      picture: of any mode with 8 or 16 bits per channel.
      size: side of the square in pixels; None keeps the size.
      channels: 1 (gray) or 3 (red, green, blue).

    Raises:
      ValueError: the image has other values than 8 or 16 bits per channel.
    """
    from PIL import Image, ImageOps

    if size is not None:
        picture.draft(MODES[channels], (2 * size, 2 * size))  # reduced decoding of JPEG
    picture = upright(picture, channels)
    if size is not None and picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(picture.height, picture.width, channels)


def upright(picture: Any, channels: int) -> Any:
    """The whole Pillow image as 8 bits of gray (L) or color (RGB), turned upright.

    The picture is turned as its EXIF orientation says. Transparent parts become white; 16
    bits per channel are scaled to 8.

    Args:
      picture: of any mode with 8 or 16 bits per channel.
      channels: 1 (gray) or 3 (red, green, blue).

    Raises:
      ValueError: the image has other values than 8 or 16 bits per channel.
    """
    turn = _turn(picture)
    picture = _opaque(_eight_bits(picture)).convert(MODES[channels])
    return picture if turn is None else picture.transpose(turn)


def _turn(picture):
    """The transposition of the EXIF orientation; None if upright, or EXIF is malformed."""
    from PIL import Image

    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # of whatever kind: EXIF is no part of the picture
        return None
    turns = Image.Transpose
    return {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }.get(orientation if isinstance(orientation, int) else 1)


def _eight_bits(picture):
    """The picture with 8 bits per channel; 16 bits are scaled by 255 / 65,535."""
    from PIL import Image

    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture)
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 2**16 - 1:
        raise ValueError(
            f"it has mode {picture.mode}, not 8 or 16 bits per channel: {values.dtype} "
            f"from {values.min()} to {values.max()}"
        )
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def _opaque(picture):
    """The picture over white, if it has transparency."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture
    layers = picture.convert("RGBA")
    white = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(white, layers)


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
    fitted = [fit(picture(x), size, channels or c) for x in images]
    return np.stack(fitted)


def picture(image: UInt8[np.ndarray, "h w c"]) -> Any:
    """Converts an array of 1 or 3 channels to a Pillow image.

    Raises:
      ValueError: other channels.
    """
    from PIL import Image

    c = image.shape[-1]
    if c not in (1, 3):
        raise ValueError(f"images of {c} channels cannot be resized or converted")
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def decode(
    file: Any, name: str | Path, size: int | None, channels: int
) -> UInt8[np.ndarray, "h w c"]:
    """Decodes and fits the image of a file.

    Args:
      file: path, or open file.
      name: of the file in errors, and in the warnings of Pillow.
      size, channels: as in `fit`.

    Raises:
      ValueError: the file is missing, corrupt or truncated.
    """
    return read(file, name, lambda found: fit(found, size, channels))


def measure(file: Any, name: str | Path) -> tuple[int, int]:
    """Width and height of an upright image, from the header of its file.

    Raises:
      ValueError: the file is missing, or has no valid header.
    """

    def measured(found):
        turn = _turn(found)
        across = turn is not None and turn.name in (
            "TRANSPOSE",
            "TRANSVERSE",
            "ROTATE_90",
            "ROTATE_270",
        )
        return found.size[::-1] if across else found.size

    return read(file, name, measured)


def read(file: Any, name: str | Path, use: Any) -> Any:
    """use(Pillow image) of a file.

    Raises:
      ValueError: whatever a decoder raises, with the name of the file.
    """
    from PIL import Image

    _name_warnings()
    _here.name = name
    try:
        with Image.open(file) as found:
            return use(found)
    except Exception as reason:  # decoders raise errors of any kind
        told = str(reason) or type(reason).__name__
        raise ValueError(f"{name} cannot be read as an image: {told}") from reason
    finally:
        _here.name = None


def _name_warnings() -> None:
    """Puts the name of the file that is being decoded before warnings.

    `warnings.catch_warnings` changes the state of all threads; this hook, installed once,
    looks at the thread that warns and leaves other warnings as they are.
    """
    shown = warnings.showwarning
    if getattr(shown, "names_images", False):
        return

    def show(message, category, filename, lineno, file=None, line=None):
        name = getattr(_here, "name", None)
        told = message if name is None else f"{name}: {message}"
        shown(told, category, filename, lineno, file, line)

    show.names_images = True  # type: ignore[attr-defined]
    warnings.showwarning = show


def check_shape(size: int | None, channels: int | None) -> None:
    """Raises ValueError unless size and number of channels are valid."""
    if size is not None and size < 1:
        raise ValueError(f"size must be a positive number of pixels, got {size}")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 (gray) or 3 (color), got {channels}")
