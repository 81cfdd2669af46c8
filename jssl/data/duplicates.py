"""Near-duplicates across splits, by perceptual hashes of small images."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8, UInt64

_SIDE = 16  # of the thumbnails that are compared
_BITS = 3  # of 64 that may differ
_DIFFERENCE = 6 / 255  # mean absolute difference of thumbnails at most
_CONTRAST = 4 / 255  # deviation of a thumbnail at least: flat ones are all alike
_BUCKET = 200  # rows with the same 16 bits that are compared with one another


class Pair(NamedTuple):
    """Two rows that are near-duplicates, in different splits."""

    first: tuple[str, int]
    second: tuple[str, int]


def thumbnail(image: UInt8[np.ndarray, "h w c"]) -> Float[np.ndarray, "16 16"]:
    """A gray image of 16 x 16 pixels in [0, 1]."""
    from PIL import Image

    gray = Image.fromarray(np.rint(image.mean(-1)).astype(np.uint8))
    small = gray.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255


def dhash(thumbnails: Float[np.ndarray, "n 16 16"]) -> UInt64[np.ndarray, " n"]:
    """Difference hashes: bit i is set if a pixel is brighter than its right neighbor.

    Taken at 8 x 9 places of the thumbnail. Krawetz 2013, "Kind of like that",
    https://www.hackerfactor.com/blog/?/archives/529-Kind-of-Like-That.html

    >>> ramp = np.linspace(0, 1, 16, dtype=np.float32)
    >>> [f"{int(x):x}" for x in dhash(np.stack([np.tile(ramp, (16, 1)),
    ...                                         np.tile(ramp[::-1], (16, 1))]))]
    ['0', 'ffffffffffffffff']
    """
    places = np.linspace(0, _SIDE - 1, 9).round().astype(int)
    coarse = thumbnails[:, 1::2][:, :, places]  # [n, 8, 9]
    bits = (coarse[:, :, :-1] > coarse[:, :, 1:]).reshape(len(coarse), 64)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def near_duplicates(
    splits: Mapping[str, Iterable[UInt8[np.ndarray, "h w c"]]],
) -> list[Pair]:
    """Pairs of rows in different splits whose images are nearly the same.

    Their hashes differ in at most 3 of 64 bits, so one of four parts of 16 bits is equal,
    and their thumbnails by at most 6 of 255 on average. Images without contrast are not
    compared.

    >>> image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    >>> near_duplicates({"train": image, "test": image[1:]})
    [Pair(first=('train', 1), second=('test', 0))]
    """
    small, rows = [], []
    for split, images in splits.items():
        for row, image in enumerate(images):
            small.append(thumbnail(image))
            rows.append((split, row))
    if not small:
        return []
    thumbnails = np.stack(small)
    hashes = dhash(thumbnails)
    clear = thumbnails.std((1, 2)) >= _CONTRAST
    found = set()
    for part in range(4):
        words = (hashes >> np.uint64(16 * part)) & np.uint64(0xFFFF)
        order = np.argsort(words, kind="stable")
        order = order[clear[order]]
        ends = np.flatnonzero(np.diff(words[order])) + 1
        for bucket in np.split(order, ends):
            for i, a in enumerate(bucket[:-1]):
                for b in bucket[i + 1 : i + _BUCKET]:
                    if rows[a][0] != rows[b][0] and _alike(thumbnails, hashes, a, b):
                        found.add((min(a, b), max(a, b)))
    return [Pair(rows[a], rows[b]) for a, b in sorted(found)]


def _alike(thumbnails, hashes, a, b):
    if (hashes[a] ^ hashes[b]).item().bit_count() > _BITS:
        return False
    return bool(np.abs(thumbnails[a] - thumbnails[b]).mean() <= _DIFFERENCE)
