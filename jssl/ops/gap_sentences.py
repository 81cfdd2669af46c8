"""Gap-sentence generation (PEGASUS): mask a document's most informative sentences.

The masked sentences are the target of a sequence-to-sequence network, as a proxy for
summarization. A sentence's score is the overlap of its tokens with those of the others:

    ROUGE-1 F1(sentence, rest of the document)

Pure functions of a document of n tokens, padded to l; for a batch use `jax.vmap`. A
sentence is a run of tokens with equal numbers.

Zhang, Zhao, Saleh and Liu, "PEGASUS: Pre-training with Extracted Gap-sentences for
Abstractive Summarization", ICML 2020. https://arxiv.org/abs/1912.08777
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, ScalarLike

from jssl.ops.shapes import expect
from jssl.ops.token_masking import moved_to_front, runs

STRATEGIES = ("random", "lead", "principal-ind", "principal-seq")


def select_gap_sentences(
    key: jax.Array,
    ids: Int[Array, " l"],
    n: ScalarLike,
    sentence: Int[Array, " l"],
    *,
    ratio: ScalarLike = 0.3,
    strategy: str = "principal-ind",
    unique: bool = False,
    noise: float = 0.0,
) -> Bool[Array, " l"]:
    """Select min(max(floor(ratio * s), 1), s) of s sentences.

    Args:
      key: PRNG key for the random strategy and the noise.
      ids: a document of n tokens, padded to l.
      n: number of tokens, at most l.
      sentence: number of the sentence of each token.
      ratio: fraction of sentences to select.
      strategy: "random"; "lead", the first; "principal-ind", the highest scores,
        independently; "principal-seq", greedily, each the one that together with
        those already selected scores highest against the rest.
      unique: count each token once in the score ("uniq" in the paper).
      noise: multiply each score by a number from U(1 - noise, 1 + noise); 0.2 in the
        large configuration.

    Returns:
      True at i if the i-th sentence is selected.

    Raises:
      ValueError: when the strategy is none of the four, or a shape is wrong.

    >>> ids = jnp.array([1, 2, 3, 4, 1, 3, 5])    # the last shares a token with each
    >>> sentence = jnp.array([0, 0, 1, 1, 2, 2, 2])
    >>> chosen = select_gap_sentences(jax.random.key(0), ids, 7, sentence)
    >>> chosen.nonzero()[0].tolist()
    [2]
    """
    size = expect(
        "select_gap_sentences", ids=(ids, "l", "int"), sentence=(sentence, "l", "int")
    )["l"]
    if strategy not in STRATEGIES:
        raise ValueError(
            f"select_gap_sentences: strategy must be one of {', '.join(STRATEGIES)}, "
            f"got {strategy!r}"
        )
    there, number = jnp.arange(size) < n, runs(sentence)
    count = jnp.where(there, number + 1, 0).max()
    one, two = jax.random.split(key)
    factors = jax.random.uniform(one, (size,), minval=1 - noise, maxval=1 + noise)
    # Plus a small number, because 0.3 * 10 may be less than 3 in float32.
    wanted = jnp.floor(ratio * count.astype(jnp.float32) + 1e-4).astype(jnp.int32)
    wanted = jnp.minimum(jnp.maximum(wanted, 1), count)
    place = jnp.arange(size)
    if strategy == "lead":
        return place < wanted

    def best(scores):
        """True for the highest scores, of equal ones the first."""
        order = jnp.argsort(jnp.where(place < count, -scores, jnp.inf), stable=True)
        return jnp.zeros(size, bool).at[order].set(place < wanted)

    if strategy == "random":
        return best(jax.random.uniform(two, (size,)))
    counts = _counts(ids, there, number)
    if strategy == "principal-ind":
        return best(factors * _scores(counts, counts.sum(0), unique))

    def choose(_, taken):
        both = jnp.where(taken[:, None], counts, 0).sum(0) + counts
        scores = factors * _scores(both, counts.sum(0), unique)
        open_ = (place < count) & ~taken
        return taken.at[jnp.where(open_, scores, -1).argmax()].set(True)

    return jax.lax.fori_loop(0, wanted, choose, jnp.zeros(size, bool))


def gap_sentences(
    key: jax.Array,
    ids: Int[Array, " l"],
    n: ScalarLike,
    sentence: Int[Array, " l"],
    chosen: Bool[Array, " l"],
    mask_id: int,
    *,
    pad_id: int = 0,
    keep: float = 0.0,
) -> tuple[Int[Array, " l"], Int[Array, " l"]]:
    """Replace each chosen sentence by a mask token; returns the input and the target.

    Args:
      key: PRNG key for `keep`.
      ids: a document of n tokens, padded to l.
      n: number of tokens, at most l.
      sentence: number of the sentence of each token.
      chosen: sentences, from `select_gap_sentences`.
      mask_id: id of the token that replaces a whole sentence (MASK1 in the paper).
      pad_id: id of padding.
      keep: probability that a chosen sentence remains in the input, so that copying is
        learned too; 0.1 in the large configuration.

    Returns:
      The document with masks, and the chosen sentences in their order, both padded to l.

    Raises:
      ValueError: when a shape is wrong.

    >>> ids, sentence = jnp.array([11, 12, 13, 14, 15]), jnp.array([0, 0, 1, 2, 2])
    >>> chosen = jnp.array([True, False, True, False, False])
    >>> source, target = gap_sentences(jax.random.key(0), ids, 5, sentence, chosen, 4)
    >>> source.tolist(), target.tolist()
    ([4, 13, 4, 0, 0], [11, 12, 14, 15, 0])
    """
    expect(
        "gap_sentences",
        ids=(ids, "l", "int"),
        sentence=(sentence, "l", "int"),
        chosen=(chosen, "l", "bool"),
    )
    there, number = jnp.arange(len(ids)) < n, runs(sentence)
    gone = chosen & (jax.random.uniform(key, chosen.shape) >= keep)
    first = jnp.diff(number, prepend=-1) != 0
    hidden = gone[number]
    shown = jnp.where(hidden, mask_id, ids)
    source = moved_to_front(shown, there & (~hidden | first), pad_id)
    return source, moved_to_front(ids, there & chosen[number], pad_id)


def _counts(ids, there, number):
    """Occurrences of each word of the document in each sentence, int [l, l].

    Column j is that of the word that occurs first at place j.
    """
    same = (ids[:, None] == ids) & there  # [l, l]
    word = same.argmax(1)
    return jnp.zeros(same.shape, jnp.int32).at[number, word].add(there)


def _scores(counts, total, unique):
    """ROUGE-1 F1 of word counts [s, l] against the rest of the total [l]."""
    rest = total - counts
    if unique:
        counts, rest = jnp.minimum(counts, 1), jnp.minimum(rest, 1)
    shared = jnp.minimum(counts, rest).sum(-1)
    return 2 * shared / jnp.maximum(counts.sum(-1) + rest.sum(-1), 1)
