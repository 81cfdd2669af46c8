"""Random resized crops of whole photographs, cut on the host.

The box is torchvision's: ten tries of an area and of a ratio of width to height, uniform
in its logarithm; then the largest central box within the ratios (Szegedy et al., *Going
deeper with convolutions*, CVPR 2015, https://arxiv.org/abs/1409.4842). It is resized by
Pillow with antialiasing, as torchvision resizes Pillow images: the pixels are equal.

The crops at position r of the global batch of step s are a pure function of (seed, s, r)
and of the photograph. The numbers are raw bits of Philox, a counter-based generator (Salmon
et al., SC 2011): seed, s and r are its key and counter, and no state is kept. Raw bits are
stable across versions of NumPy (NEP 19).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

FILTERS = ("bilinear", "bicubic")
TRIES = 10
_DRAWS = 4  # of a try: area, ratio, top, left

Key = tuple[int, int, int]  # seed, step, position in the global batch
Box = tuple[int, int, int, int]  # left, top, width, height


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Random resized crops of one photograph.

    Attributes:
      count: number of crops of each photograph.
      size: side of a crop in pixels.
      area: range of the area of the box, as fractions of the photograph.
      ratio: range of width / height of the box.
      filter: "bilinear" or "bicubic"; both with antialiasing.

    Raises:
      ValueError: a number out of range, or an unknown filter.
    """

    count: int = 1
    size: int = 224
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    filter: str = "bilinear"

    def __post_init__(self):
        for name in ("count", "size"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise ValueError(f"Crops: {name} must be positive, got {value}")
        for name, most in (("area", 1), ("ratio", math.inf)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= most or math.isinf(high):
                what = "a range in (0, 1]" if most == 1 else "a positive range"
                raise ValueError(f"Crops: {name} must be {what}, got {(low, high)}")
        if self.filter not in FILTERS:
            raise ValueError(
                f"Crops: filter must be one of {list(FILTERS)}, got {self.filter!r}"
            )

    @property
    def identity(self) -> str:
        """All settings in words, for fingerprints."""
        return f"{self.count} crops {self.size} {self.area} {self.ratio} {self.filter}"

    def boxes(self, width: int, height: int, key: Key) -> list[Box]:
        """Boxes (left, top, width, height) of the crops of a photograph, in pixels.

        >>> Crops(count=2).boxes(500, 375, (0, 0, 0))
        [(214, 26, 121, 140), (1, 19, 459, 351)]
        """
        return [self.box(width, height, u) for u in draws(self.count, key)]

    def box(self, width: int, height: int, u: Float[np.ndarray, "tries 4"]) -> Box:
        """The box of uniform numbers: the first of the tries that fits, else the center."""
        low, high = map(math.log, self.ratio)
        least, most = self.area
        for area, ratio, top, left in u.tolist():
            pixels = width * height * (least + (most - least) * area)
            across = math.exp(low + (high - low) * ratio)
            w, h = round(math.sqrt(pixels * across)), round(math.sqrt(pixels / across))
            if 0 < w <= width and 0 < h <= height:
                return int(left * (width - w + 1)), int(top * (height - h + 1)), w, h
        narrow, wide = self.ratio
        w = min(width, max(1, round(height * wide)))
        h = min(height, max(1, round(width / narrow)))
        return (width - w) // 2, (height - h) // 2, w, h

    def cut(self, picture: Any, key: Key) -> UInt8[np.ndarray, "count size size c"]:
        """The crops of a Pillow image of mode L or RGB."""
        width, height = picture.size
        boxes = self.boxes(width, height, key)
        return np.stack([resized(picture, box, self.size, self.filter) for box in boxes])


def resized(
    picture: Any, box: Box, size: int, filter: str
) -> UInt8[np.ndarray, "size size c"]:
    """A box of a Pillow image of mode L or RGB, resized to a square.

    It is cut first, so that antialiasing at its border sees no pixel outside.
    """
    from PIL import Image

    left, top, width, height = box
    cut = picture.crop((left, top, left + width, top + height))
    square = cut.resize((size, size), Image.Resampling[filter.upper()])
    return np.asarray(square).reshape(size, size, -1)


def draws(count: int, key: Key) -> Float[np.ndarray, "count tries 4"]:
    """Uniform numbers in [0, 1) for `count` crops, each with its own.

    >>> bool((draws(3, (7, 1, 0))[:2] == draws(2, (7, 1, 0))).all())
    True
    """
    seed, step, place = key
    bits = np.random.Philox(key=[seed, 0], counter=[0, place, step, 0])
    raw = bits.random_raw(count * TRIES * _DRAWS)
    return ((raw >> 11) * 2.0**-53).reshape(count, TRIES, _DRAWS)
