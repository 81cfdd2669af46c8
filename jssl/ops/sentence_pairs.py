"""Pairs of segments of a corpus: next-sentence prediction, and sentence order."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jssl.ops.shapes import expect


class Pairs(NamedTuple):
    """Segments A and B as one text: [CLS] A [SEP] B [SEP], padded.

    Attributes:
      ids: [n, l].
      segments: [n, l] 0 of [CLS] A [SEP], 1 of B [SEP], 0 of padding.
      label: [n] 0 if B is the text after A; else 1.
    """

    ids: Int[Array, "n l"]
    segments: Int[Array, "n l"]
    label: Int[Array, " n"]


def sentence_pairs(
    key: jax.Array,
    corpus: Int[Array, " m"],
    sentence: Int[Array, " m"],
    document: Int[Array, " m"],
    start: Int[Array, " n"],
    length: int,
    *,
    cls: int,
    sep: int,
    eos: int,
    pad: int = 0,
    random: float = 0.5,
    short: float = 0.1,
    order: bool = False,
) -> Pairs:
    """Draw a pair of segments from each position of a corpus.

    A text of at most `length` - 3 tokens of the document is divided after one of its
    sentences. B is what follows, or with probability `random` a text of another document;
    always, if A is one sentence. With `order`, B is always of the same document, and the
    two change places instead (ALBERT).

    Departures from BERT's code, which makes pairs once, before training: pairs are drawn
    anew in every step; other documents are those of the batch; a text is cut at its end,
    not on random sides of the longer segment.

    Devlin et al. 2019, section 3.1, https://arxiv.org/abs/1810.04805; Lan et al. 2020,
    "ALBERT", section 3.1, https://arxiv.org/abs/1909.11942

    Args:
      key: a PRNG key.
      corpus: tokens.
      sentence, document: number of the sentence and of the document of each token.
      start: position of each text, the first token of a sentence.
      length: of the result.
      cls, sep, eos, pad: special tokens; `eos` and `pad` are no part of a text.
      random: probability that B is of another document, or that A and B change places.
      short: probability that the text has a length drawn evenly from 2 on.
      order: sentence order instead of the next sentence.

    Raises:
      ValueError: when a shape is wrong, or the length is less than 5.

    >>> corpus = jnp.array([10, 11, 12, 13, 6, 20, 21, 6])
    >>> sentence, document = jnp.array([0, 0, 1, 1, 2, 3, 3, 4]), jnp.arange(8) // 5
    >>> pairs = sentence_pairs(jax.random.key(0), corpus, sentence, document,
    ...     jnp.array([0]), 8, cls=2, sep=3, eos=6, random=0.0, short=0.0)
    >>> pairs.ids.tolist(), pairs.segments.tolist(), pairs.label.tolist()
    ([[2, 10, 11, 3, 12, 13, 3, 0]], [[0, 0, 0, 0, 1, 1, 1, 0]], [0])
    """
    expect(
        "sentence_pairs",
        corpus=(corpus, "m", "int"),
        sentence=(sentence, "m", "int"),
        document=(document, "m", "int"),
        start=(start, "n", "int"),
    )
    if length < 5:
        raise ValueError(f"sentence_pairs: length must be at least 5, got {length}")
    n, most = len(start), length - 3
    size_key, short_key, cut_key, fate_key, other_key, begin_key = jax.random.split(key, 6)
    few = jax.random.randint(size_key, (n,), 2, most + 1)
    wanted = jnp.where(jax.random.bernoulli(short_key, short, (n,)), few, most)
    at = jnp.minimum(start[:, None] + jnp.arange(most), len(corpus) - 1)  # [n, most]
    inside = document[at] == document[start][:, None]
    inside &= (corpus[at] != eos) & (corpus[at] != pad)
    whole = jnp.cumprod(inside, 1).sum(1)  # tokens of the document from here on
    size = jnp.minimum(whole, wanted)
    # Places at which another sentence begins, of which one is drawn.
    after = jnp.pad(sentence[at[:, 1:]] != sentence[at[:, :-1]], ((0, 0), (1, 0)))
    begins = after & (jnp.arange(most) < size[:, None])
    noise = jax.random.uniform(cut_key, begins.shape)
    a = jnp.where(begins, noise, -1).argmax(1)
    alone = ~begins.any(1)
    changed = jax.random.bernoulli(fate_key, random, (n,))
    if order:
        a = jnp.where(alone, size // 2, a)
        b, first, second = size - a, start, start + a
        first, second = (
            jnp.where(changed, second, first),
            jnp.where(changed, first, second),
        )
        a, b = jnp.where(changed, b, a), jnp.where(changed, a, b)
    else:
        a = jnp.where(alone, jnp.minimum(size, jnp.maximum(wanted // 2, 1)), a)
        other = document[start][:, None] != document[start]  # [n, n]
        place = jax.random.categorical(other_key, jnp.where(other, 0.0, -jnp.inf))
        changed = (changed | alone) & other.any(1)
        # A random B begins with any sentence of its row.
        any_begin = after.at[:, 0].set(True) & (jnp.arange(most) < whole[:, None])
        noise = jax.random.uniform(begin_key, begins.shape)
        skip = jnp.where(any_begin, noise, -1).argmax(1)
        second = jnp.where(changed, (start + skip)[place], start + a)
        b = jnp.where(changed, jnp.minimum((whole - skip)[place], wanted - a), size - a)
        first = start
    place = jnp.arange(length)
    a, b = a[:, None], b[:, None]
    in_a = (place >= 1) & (place <= a)
    in_b = (place >= a + 2) & (place < a + 2 + b)
    source = jnp.where(in_a, first[:, None] + place - 1, second[:, None] + place - a - 2)
    words = corpus[jnp.clip(source, 0, len(corpus) - 1)]
    special = jnp.where(place == 0, cls, pad)
    special = jnp.where((place == a + 1) | (place == a + 2 + b), sep, special)
    ids = jnp.where(in_a | in_b, words, special)
    segments = (place >= a + 2) & (place <= a + 2 + b)
    return Pairs(
        ids.astype(corpus.dtype), segments.astype(jnp.int32), changed.astype(jnp.int32)
    )
