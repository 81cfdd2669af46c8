"""Digits with captions of attributes that are measured from the pixels."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jssl.data import embedded
from jssl.data.captioned import tokenized, vocabulary
from jssl.data.fields import Dataset, Text, Tokens
from jssl.ops import strokes

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = (("thin", "medium", "bold"), ("slanted left", "upright", "slanted right"))
GROUNDS = ("black", "white")
LENGTH = 7  # words of the longest caption
BOUNDS = {  # of thickness and slant, near the thirds of the training digits, by side
    28: ((2.15, 2.6), (0.0, 0.25)),
    8: ((1.65, 1.83), (-0.09, 0.01)),
}
SOURCES = {"mnist": embedded.mnist, "digits": embedded.digits}


def measured(images) -> Int[np.ndarray, "n 3"]:
    """Numbers of the words for thickness, slant and ground of digits [n, h, w, 1].

    The images are floats in [0, 1], of 28 or 8 pixels a side; the words are those of
    `WORDS` and `GROUNDS`.

    Raises:
      ValueError: images of another size.

    >>> measured(np.ones((1, 28, 28, 1), np.float32))[0, 2]    # white
    np.int64(1)
    """
    x = jnp.asarray(images)
    if x.shape[1] not in BOUNDS:
        raise ValueError(f"measured: digits must have sides of 28 or 8, got {x.shape[1]}")
    numbers = strokes.thickness(x), strokes.slant(x)
    kinds = [
        np.searchsorted(bounds, np.asarray(number))
        for bounds, number in zip(BOUNDS[x.shape[1]], numbers, strict=True)
    ]
    return np.stack([*kinds, np.asarray(strokes.inverted(x), np.int64)], 1)


def caption(digit: int, kinds) -> str:
    """The caption of a digit with measured attributes.

    >>> caption(7, (2, 0, 1))
    'a bold seven slanted left on white'
    """
    thick, slant = (names[i] for names, i in zip(WORDS, kinds[:2], strict=True))
    return f"a {thick} {NAMES[digit]} {slant} on {GROUNDS[kinds[2]]}"


def captions(where: str = "mnist", /, *, hold_out: bool = True) -> Dataset:
    """Digits with captions such as "a bold seven slanted left on white".

    Thickness and slant (`jssl.ops.strokes`) are in thirds, nearly; every other digit, drawn
    at random, is inverted, black on white. The class is part of the caption. Columns are
    those of `captioned`: image, caption, tokens int32 [n, 7], mask, and label.

    Args:
      where: "mnist" or "digits", as in `jssl.data.embedded`.
      hold_out: as there.

    Raises:
      ValueError: other data.
    """
    if where not in SOURCES:
        raise ValueError(f"captions are of {' or '.join(SOURCES)}, got {where!r}")
    found = SOURCES[where](hold_out=hold_out)
    known = vocabulary(
        caption(i, (j, k, m))
        for i in range(10)
        for j in range(3)
        for k in range(3)
        for m in range(2)
    )
    splits = {
        name: _described(table, known, seed)
        for seed, (name, table) in enumerate(found.splits.items())
        if isinstance(table, Mapping)
    }
    fields = {"caption": Text(), "tokens": Tokens(known), **found.fields}
    return Dataset(splits, 10, fields, license=found.license, includes=found.includes)


def _described(table, known, seed):
    turned = np.random.PCG64(seed).random_raw(len(table["label"])) >> np.uint64(63) > 0
    image = np.where(turned[:, None, None, None], 255 - table["image"], table["image"])
    kinds = measured(image.astype(np.float32) / 255)
    texts = [caption(y, k) for y, k in zip(table["label"], kinds, strict=True)]
    tokens, mask = tokenized(texts, known, LENGTH)
    columns = {"caption": np.array(texts), "tokens": tokens, "mask": mask}
    return {"image": image, **columns, "label": table["label"]}
