"""Emojis in texts, as weak labels of the texts without them."""

import collections
import re
from collections.abc import Iterable, Sequence

_EMOJI = re.compile("[\U0001f1e6-\U0001faff\u2600-\u27bf\u2b05-\u2b55\u231a-\u23ff]")
_JOINTS = re.compile("[\ufe0e\ufe0f\u200d\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")


def emojis_of(text: str) -> list[str]:
    """The different emojis of a text, in order.

    An emoji is one character: colors of skin and selectors of variants are no part of it,
    and a joined one is its parts.

    >>> emojis_of("so good 😍😍 👍🏽 ❤️")
    ['😍', '👍', '❤']
    """
    return list(dict.fromkeys(_EMOJI.findall(_JOINTS.sub("", text))))


def without_emojis(text: str) -> str:
    """A text without emojis, in single spaces.

    >>> without_emojis("so good 😍😍 👍🏽, I ❤️ it")
    'so good , I it'
    """
    return " ".join(_EMOJI.sub(" ", _JOINTS.sub("", text)).split())


def most_frequent(texts: Iterable[str], count: int) -> tuple[str, ...]:
    """The emojis that most texts have, the most frequent first.

    >>> most_frequent(["a 😍", "b 👍😍", "c 🎉🎉🎉"], 2)
    ('😍', '🎉')
    """
    found = collections.Counter(x for text in texts for x in emojis_of(text))
    return tuple(sorted(found, key=lambda x: (-found[x], x))[:count])


def emoji_examples(texts: Iterable[str], known: Sequence[str]) -> list[tuple[str, int]]:
    """A text without its emojis, and a number in `known`, for each known emoji of a text.

    Felbo et al. 2017, section 3.1, https://arxiv.org/abs/1708.00524

    >>> emoji_examples(["so good 😍 👍😍", "bad", "odd 🎉"], ["👍", "😍"])
    [('so good', 1), ('so good', 0)]
    """
    number = {x: i for i, x in enumerate(known)}
    return [
        (without_emojis(text), number[x])
        for text in texts
        for x in emojis_of(text)
        if x in number and without_emojis(text)
    ]
