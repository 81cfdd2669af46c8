"""Images with captions: splits by caption, and a vocabulary of words."""

import collections
import hashlib
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from jssl.data import decoding
from jssl.data.decoding import check_shape
from jssl.data.fields import Dataset, Image, Labels, Text, Tokens

PAD, UNKNOWN = "<pad>", "<unk>"  # tokens 0 and 1
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True)
class Captioned:
    """An image file and its text.

    Attributes:
      path: of the file.
      caption: in natural language.
      label: name of the class.
      group: images of one group are near-duplicates, and are in the same split.
      tags: further keywords.
    """

    path: Path
    caption: str
    label: str
    group: str
    tags: str = ""


def words(text: str) -> list[str]:
    """Splits a text into lower-case words without punctuation.

    >>> words("A bird's eye, 2 wings.")
    ['a', "bird's", 'eye', '2', 'wings']
    """
    return _WORD.findall(text.lower())


def vocabulary(texts: Iterable[str]) -> tuple[str, ...]:
    """Padding, the unknown word, and all words of the texts by decreasing frequency.

    >>> vocabulary(["a cat", "a bat"])
    ('<pad>', '<unk>', 'a', 'bat', 'cat')
    """
    counts = collections.Counter(word for text in texts for word in words(text))
    return (PAD, UNKNOWN, *sorted(counts, key=lambda word: (-counts[word], word)))


def tokenized(
    texts: Sequence[str], vocabulary: Sequence[str], length: int
) -> tuple[Int[np.ndarray, "n length"], Bool[np.ndarray, "n length"]]:
    """Token numbers of the first `length` words of each text, and a mask of words.

    >>> tokens, mask = tokenized(["a cow"], ("<pad>", "<unk>", "a"), length=3)
    >>> tokens.tolist(), mask.tolist()
    ([[2, 1, 0]], [[True, True, False]])
    """
    number = {word: i for i, word in enumerate(vocabulary)}
    tokens = np.zeros((len(texts), length), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        numbers = [number.get(word, 1) for word in words(text)[:length]]
        row[: len(numbers)] = numbers
    return tokens, tokens != 0


def split_of(group: str) -> str:
    """The split of a group: "val" and "test" have a tenth of all groups each.

    It is determined by the SHA-256 of the group's name, so that adding or removing images
    does not change the split of others.

    >>> [split_of(x) for x in ("a frog", "a bee", "a goose")]
    ['train', 'val', 'test']
    """
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") % 10
    return {0: "test", 1: "val"}.get(place, "train")


def over_white(
    file: Path | BytesIO, name: str | Path, size: int, channels: int
) -> UInt8[np.ndarray, "size size channels"]:
    """Decodes an image, crops it to its opaque part, and pads it with white to a square.

    Raises:
      ValueError: the file cannot be read as an image.
    """
    from PIL import Image, ImageOps

    picture = decoding.read(file, name, lambda found: found.convert("RGBA"))
    picture = picture.crop(picture.getchannel("A").getbbox())
    picture.thumbnail((size, size), Image.Resampling.BICUBIC)
    white = Image.new("RGBA", picture.size, "white")
    opaque = Image.alpha_composite(white, picture).convert("RGB")
    square = ImageOps.pad(opaque, (size, size), Image.Resampling.BICUBIC, color="white")
    mode = {1: "L", 3: "RGB"}[channels]
    return np.asarray(square.convert(mode)).reshape(size, size, channels)


def _opened(path, size, channels):
    return over_white(path, path, size, channels)


def captioned(
    source: str,
    rows: Iterable[Captioned],
    license: str,
    *,
    size: int,
    channels: int,
    length: int,
    read=_opened,
) -> Dataset:
    """A data set of captioned images.

    Columns: image uint8 [n, size, size, channels]; caption, strings [n]; tokens int32
    [n, length] of the words of caption and tags, in a vocabulary of the training split;
    mask bool [n, length], true on words; label int32 [n]; tags, strings [n], if there are
    any.

    Args:
      source: name of the data set.
      rows: all images, in a fixed order.
      license: of the images.
      size: side of the square that an image is fitted to, in pixels.
      channels: 1 (gray) or 3 (color).
      length: number of tokens.
      read: (path, size, channels) -> image.

    Raises:
      ValueError: sizes out of range, or an empty split.
    """
    check_shape(size, channels)
    if length < 1:
        raise ValueError(f"{source}: length must be a positive number, got {length}")
    parts = {"train": [], "val": [], "test": []}
    for row in rows:
        parts[split_of(row.group)].append(row)
    empty = [part for part, held in parts.items() if not held]
    if empty:
        raise ValueError(f"{source}: too few images, the split {empty[0]} is empty")
    text = lambda row: f"{row.caption} {row.tags}"
    known = vocabulary(map(text, parts["train"]))
    names = tuple(sorted({row.label for held in parts.values() for row in held}))
    tagged = any(row.tags for held in parts.values() for row in held)

    def table(part):
        held = parts[part]
        tokens, mask = tokenized(list(map(text, held)), known, length)
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(lambda x: read(x.path, size, channels), held))
        columns = {
            "image": np.stack(images),
            "caption": np.array([row.caption for row in held]),
            "tokens": tokens,
            "mask": mask,
            "label": np.array([names.index(row.label) for row in held], np.int32),
        }
        tags = {"tags": np.array([row.tags for row in held])} if tagged else {}
        return columns | tags

    fields = {
        "image": Image(),
        "caption": Text(),
        "tags": Text(),
        "tokens": Tokens(known),
        "label": Labels(names),
    }
    splits = {part: partial(table, part) for part in parts}
    if not tagged:
        del fields["tags"]
    return Dataset(splits, len(names), fields, license=license)
