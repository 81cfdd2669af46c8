"""Corruption of text for pretraining: masked language modeling, and BART's five kinds.

Pure functions of a key on token ids, with static shapes. The caller defines the
vocabulary: `mask_id` is the id of the mask token, `pad_id` that of padding. Those of BART
take a document of n tokens, padded to l, without begin and end tokens; for a batch use
`jax.vmap` over keys and documents.

Lewis et al. 2020, "BART", section 2.2. https://arxiv.org/abs/1910.13461
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from jssl.ops.shapes import expect


class MaskedTokens(NamedTuple):
    """Inputs, labels and loss weights of masked language modeling.

    Attributes:
      ids: [n, l] the corrupted tokens.
      labels: [n, l] the original token where chosen, 0 elsewhere.
      weights: [n, l] 1 where chosen, 0 elsewhere.
    """

    ids: Int[Array, "n l"]
    labels: Int[Array, "n l"]
    weights: Float[Array, "n l"]


def mlm_mask(
    key: jax.Array,
    ids: Int[Array, "n l"],
    special: Bool[Array, "n l"],
    vocabulary: int,
    mask_id: int,
    *,
    pad_id: int = 0,
    rate: float = 0.15,
    max_predictions: int | None = None,
    rule: str = "static",
    continues: Bool[Array, "n l"] | None = None,
) -> MaskedTokens:
    """Choose tokens for prediction; 80 % are masked, 10 % replaced, 10 % kept.

    A chosen token becomes `mask_id` with probability 0.8 and a random one of the whole
    vocabulary with 0.1; otherwise it is kept, because inputs have no masks after
    pretraining.

    Devlin et al. 2019, "BERT", section 3.1. https://arxiv.org/abs/1810.04805

    Args:
      key: a PRNG key.
      ids: sentences.
      special: True for tokens that are never chosen: separators, padding.
      vocabulary: number of tokens.
      mask_id: id of the mask token.
      pad_id: id of padding, which does not count for a sentence's length.
      rate: fraction of tokens chosen.
      max_predictions: maximal number of chosen tokens per sentence; l if None.
      rule: "static" chooses round(rate * length) of each sentence, at least 1, as
        BERT's code does; length counts special tokens, but not padding. "dynamic"
        chooses each token independently with probability `rate`.
      continues: True for tokens that continue the word before: whole words are then chosen,
        in random order until the next one exceeds the number (BERT's code skips it and goes
        on), at least one. None: every token is a word.

    Raises:
      ValueError: when the rule is unknown, or a shape is wrong.

    >>> ids, special = jnp.arange(10, 30)[None], jnp.zeros((1, 20), bool)
    >>> masked = mlm_mask(jax.random.key(0), ids, special, vocabulary=30, mask_id=4)
    >>> print(masked.weights.sum())    # 15 % of 20
    3.0
    """
    expect(
        "mlm_mask",
        ids=(ids, "n l", "int"),
        special=(special, "n l", "bool"),
        continues=(continues, "n l", "bool"),
    )
    choose_key, fate_key, word_key = jax.random.split(key, 3)
    noise = jax.random.uniform(choose_key, ids.shape)
    if continues is not None:  # the noise of a word is that of its first token
        place = jnp.arange(ids.shape[1])
        first = jax.lax.cummax(jnp.where(continues & ~special, 0, place), axis=1)
        noise = jnp.take_along_axis(noise, first, 1)
    noise = jnp.where(special, jnp.inf, noise)
    if rule == "static":
        most = ids.shape[1] if max_predictions is None else max_predictions
        length = (ids != pad_id).sum(1, keepdims=True).astype(jnp.float32)
        wanted = jnp.clip(jnp.round(rate * length).astype(int), 1, most)
        if continues is None:
            rank = jnp.argsort(jnp.argsort(noise, axis=1), axis=1)
            chosen = (rank < wanted) & ~special
        else:
            # Number of tokens of the words up to this one, in the order of their noise.
            count = (noise[:, None] <= noise[..., None]).sum(2)
            first = noise == noise.min(1, keepdims=True)
            chosen = ((count <= wanted) | first) & ~special
    elif rule == "dynamic":
        chosen = noise < rate
    else:
        raise ValueError(f"mlm_mask: rule must be static or dynamic, got {rule!r}")
    fate = jax.random.uniform(fate_key, ids.shape)
    words = jax.random.randint(word_key, ids.shape, 0, vocabulary, ids.dtype)
    corrupted = jnp.where(fate < 0.8, mask_id, jnp.where(fate < 0.9, words, ids))
    return MaskedTokens(
        jnp.where(chosen, corrupted, ids).astype(ids.dtype),
        jnp.where(chosen, ids, 0),
        chosen.astype(jnp.float32),
    )


def text_infilling(
    key: jax.Array,
    ids: Int[Array, " l"],
    n: ScalarLike,
    mask_id: int,
    *,
    pad_id: int = 0,
    ratio: float = 0.3,
    mean_span: float = 3.0,
) -> tuple[Int[Array, " l"], Int[Array, ""]]:
    r"""Text infilling: replace each of several spans of tokens by a single mask.

    The number of missing tokens must therefore be predicted too.

    Span lengths are drawn from Poisson(mean_span) and truncated to a total of exactly
    m = ceil(ratio * n) tokens. A span of length 0 only inserts a mask. All arrangements
    of spans among the remaining tokens are equally likely; the authors' code draws the
    starts only, so spans may merge. Masks of length 0 that do not fit into l are dropped.

    Lewis et al. 2020, "BART", section 2.2. https://arxiv.org/abs/1910.13461

    Args:
      key: a PRNG key; for a batch use `jax.vmap` over keys and documents.
      ids: a document of n tokens, without begin and end tokens, padded to l.
      n: number of tokens, at most l.
      mask_id: id of the token that replaces a span.
      pad_id: id of padding.
      ratio: fraction of tokens removed.
      mean_span: mean of the Poisson distribution.

    Returns:
      The document with masks, and its new number of tokens.

    Raises:
      ValueError: when ids is not int[l].

    >>> ids = jnp.arange(10, 20)
    >>> short, n = text_infilling(jax.random.key(1), ids, 10, mask_id=4)
    >>> int((short >= 10).sum())    # of 10 tokens 3 are gone
    7
    """
    size = expect("text_infilling", ids=(ids, "l", "int"))["l"]
    length_key, place_key = jax.random.split(key)
    n = jnp.asarray(n, jnp.int32)
    budget = _share(ratio, n)
    lengths, spans = _span_lengths(length_key, size, n, budget, mean_span)
    slots = n - budget + spans  # each holds a remaining token or a mask
    place = jnp.arange(size)
    noise = jnp.where(place < slots, jax.random.uniform(place_key, (size,)), jnp.inf)
    is_mask = (jnp.argsort(jnp.argsort(noise)) < spans) & (place < slots)
    span = jnp.cumsum(is_mask) - 1
    used = jnp.where(is_mask, lengths[jnp.maximum(span, 0)], 1)
    source = jnp.cumsum(used) - used
    kept = ids[jnp.clip(source, 0, size - 1)]
    filled = jnp.where(is_mask, mask_id, jnp.where(place < slots, kept, pad_id))
    return filled.astype(ids.dtype), slots.astype(jnp.int32)


def token_masking(
    key: jax.Array,
    ids: Int[Array, " l"],
    n: ScalarLike,
    mask_id: int,
    *,
    ratio: float = 0.15,
) -> Int[Array, " l"]:
    """Replace ceil(ratio * n) random tokens by masks.

    Lewis et al. 2020, "BART", section 2.2. https://arxiv.org/abs/1910.13461

    Args:
      key: a PRNG key.
      ids: a document of n tokens, padded to l.
      n: number of tokens, at most l.
      mask_id: id of the mask token.
      ratio: fraction of tokens replaced.

    Raises:
      ValueError: when ids is not int[l].

    >>> masked = token_masking(jax.random.key(0), jnp.arange(10, 20), 10, 4, ratio=0.3)
    >>> int((masked == 4).sum())
    3
    """
    expect("token_masking", ids=(ids, "l", "int"))
    return jnp.where(_chosen(key, ids, n, ratio), mask_id, ids).astype(ids.dtype)


def token_deletion(
    key: jax.Array,
    ids: Int[Array, " l"],
    n: ScalarLike,
    *,
    pad_id: int = 0,
    ratio: float = 0.15,
) -> tuple[Int[Array, " l"], Int[Array, ""]]:
    """Delete ceil(ratio * n) random tokens; their positions must be predicted too.

    Lewis et al. 2020, "BART", section 2.2. https://arxiv.org/abs/1910.13461

    Args:
      key: a PRNG key.
      ids: a document of n tokens, padded to l.
      n: number of tokens, at most l.
      pad_id: id of padding.
      ratio: fraction of tokens deleted.

    Returns:
      The document without them, and its new number of tokens.

    Raises:
      ValueError: when ids is not int[l].

    >>> short, n = token_deletion(jax.random.key(0), jnp.arange(10, 20), 10, ratio=0.3)
    >>> int(n), int((short >= 10).sum())
    (7, 7)
    """
    expect("token_deletion", ids=(ids, "l", "int"))
    kept = ~_chosen(key, ids, n, ratio) & (jnp.arange(len(ids)) < n)
    return moved_to_front(ids, kept, pad_id), kept.sum()


def sentence_permutation(
    key: jax.Array,
    ids: Int[Array, " l"],
    n: ScalarLike,
    sentence: Int[Array, " l"],
    *,
    ratio: float = 1.0,
) -> Int[Array, " l"]:
    """Put ceil(ratio * s) random ones of s sentences in a random order.

    They change places among themselves; the others keep their positions in the order of
    sentences.

    Lewis et al. 2020, "BART", section 2.2. https://arxiv.org/abs/1910.13461

    Args:
      key: a PRNG key.
      ids: a document of n tokens, padded to l.
      n: number of tokens, at most l.
      sentence: number of the sentence of each token; a sentence is a run of equal ones.
      ratio: fraction of sentences that change places.

    Raises:
      ValueError: when ids or sentence is not int[l].

    >>> ids, sentence = jnp.array([11, 12, 13, 14, 0]), jnp.array([5, 5, 6, 7, 7])
    >>> sentence_permutation(jax.random.key(1), ids, 4, sentence).tolist()
    [14, 11, 12, 13, 0]
    """
    size = expect(
        "sentence_permutation", ids=(ids, "l", "int"), sentence=(sentence, "l", "int")
    )["l"]
    number, there = runs(sentence), jnp.arange(size) < n
    count = jnp.where(there, number + 1, 0).max()
    chosen_key, order_key = jax.random.split(key)
    every = jnp.zeros(size, ids.dtype)
    chosen = _chosen(chosen_key, every, count, ratio)
    noise = jnp.where(chosen, jax.random.uniform(order_key, (size,)), jnp.inf)
    # The i-th chosen sentence takes the place of the one that is i-th by its noise.
    first, other = jnp.argsort(~chosen, stable=True), jnp.argsort(noise)
    place = jnp.arange(size)
    place = place.at[other].set(jnp.where(place < chosen.sum(), first, other))
    # Behind all sentences is padding, in its order.
    order = jnp.argsort(jnp.where(there, place[number], size), stable=True)
    return ids[order]


def document_rotation(
    key: jax.Array, ids: Int[Array, " l"], n: ScalarLike
) -> Int[Array, " l"]:
    """Shift a document cyclically, so that it begins with a random one of its n tokens.

    Lewis et al. 2020, "BART", section 2.2. https://arxiv.org/abs/1910.13461

    Args:
      key: a PRNG key.
      ids: a document of n tokens, padded to l.
      n: number of tokens, at most l.

    Raises:
      ValueError: when ids is not int[l].

    >>> ids = jnp.array([11, 12, 13, 14, 0])
    >>> document_rotation(jax.random.key(0), ids, 4).tolist()
    [12, 13, 14, 11, 0]
    """
    expect("document_rotation", ids=(ids, "l", "int"))
    n, place = jnp.asarray(n, jnp.int32), jnp.arange(len(ids))
    offset = jax.random.randint(key, (), 0, jnp.maximum(n, 1))
    return ids[jnp.where(place < n, (place + offset) % jnp.maximum(n, 1), place)]


def moved_to_front(
    ids: Int[Array, " l"], kept: Bool[Array, " l"], pad_id: int = 0
) -> Int[Array, " l"]:
    """The kept tokens in their order, and padding behind them.

    >>> moved_to_front(jnp.array([7, 8, 9]), jnp.array([False, True, True])).tolist()
    [8, 9, 0]
    """
    order = jnp.argsort(~kept, stable=True)
    return jnp.where(kept[order], ids[order], pad_id).astype(ids.dtype)


def runs(sentence: Int[Array, " l"]) -> Int[Array, " l"]:
    """Number, from 0 on, of the run of equal numbers to which each entry belongs.

    >>> runs(jnp.array([5, 5, 6, 9, 9])).tolist()
    [0, 0, 1, 2, 2]
    """
    changed = jnp.diff(sentence, prepend=sentence[:1]) != 0
    return jnp.cumsum(changed)


def _share(ratio, n):
    """ceil(ratio n)."""
    # Minus a small number, because 0.3 * 1500 exceeds 450 in float32.
    n = jnp.asarray(n, jnp.float32)
    return jnp.ceil(ratio * n - 1e-3).astype(jnp.int32)


def _chosen(key, ids, n, ratio):
    """True for ceil(ratio n) random ones of the first n entries."""
    inside = jnp.arange(len(ids)) < n
    noise = jnp.where(inside, jax.random.uniform(key, ids.shape), jnp.inf)
    return (jnp.argsort(jnp.argsort(noise)) < _share(ratio, n)) & inside


def _span_lengths(key, size, n, budget, mean_span):
    """[size] span lengths that sum to the budget, and the number of spans."""
    lengths = jax.random.poisson(key, mean_span, (size,)).astype(jnp.int32)
    lengths = lengths.at[-1].set(size)  # in case the sum of all draws is too small
    before = jnp.cumsum(lengths) - lengths
    lengths = jnp.minimum(lengths, budget - before)
    drawn = before < budget
    empty = drawn & (lengths == 0)
    room = size - n + budget - (drawn & ~empty).sum()
    drawn &= ~empty | (jnp.cumsum(empty) <= room)
    order = jnp.argsort(~drawn, stable=True)
    return lengths[order], drawn.sum()
