"""Gap-sentence generation (PEGASUS): mask a document's most informative sentences.

The masked sentences are the target of a sequence-to-sequence network, as a proxy for
summarization. A sentence's score is the overlap of its words with those of the others:

    ROUGE-1 F1(sentence, rest of the document)

Computed on the host: documents are lists of sentences, sentences lists of token ids.

Zhang, Zhao, Saleh and Liu, "PEGASUS: Pre-training with Extracted Gap-sentences for
Abstractive Summarization", ICML 2020. https://arxiv.org/abs/1912.08777
"""

from collections import Counter
from collections.abc import Sequence

import jax
import numpy as np

Sentence = Sequence[int]

STRATEGIES = ("random", "lead", "principal-ind", "principal-seq")


def rouge_n(
    candidate: Sentence, reference: Sentence, n: int = 1, unique: bool = False
) -> tuple[float, float, float]:
    """Precision, recall and F1 of the candidate's n-grams among the reference's.

    Each n-gram counts as often as it occurs in both, or once if `unique`. Scores are 0
    where there is none.

    Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries".

    >>> rouge_n([1, 2, 3, 4], [1, 2])    # 2 of 4; 2 of 2; 2 * .5 / 1.5
    (0.5, 1.0, 0.6666666666666666)
    """
    a, b = _grams(candidate, n, unique), _grams(reference, n, unique)
    shared = (a & b).total()
    precision = shared / max(a.total(), 1)
    recall = shared / max(b.total(), 1)
    return precision, recall, 2 * shared / max(a.total() + b.total(), 1)


def select_gap_sentences(
    key: jax.Array,
    sentences: Sequence[Sentence],
    ratio: float = 0.3,
    strategy: str = "principal-ind",
    *,
    unique: bool = False,
    noise: float = 0.0,
) -> list[int]:
    """Select min(max(int(ratio * s), 1), s) of s sentences; returns indices in order.

    Args:
      key: PRNG key for the random strategy and the noise.
      sentences: the sentences of one document.
      ratio: fraction of sentences to select.
      strategy: "random"; "lead", the first; "principal-ind", the highest scores,
        independently; "principal-seq", greedily, each the one that together with
        those already selected scores highest against the rest.
      unique: count each word once in the score ("uniq" in the paper).
      noise: multiply each score by a number from U(1 - noise, 1 + noise); 0.2 in the
        large configuration.

    Raises:
      ValueError: when the strategy is none of the four.

    >>> document = [[1, 2], [3, 4], [1, 3, 5]]    # the last shares a word with each
    >>> select_gap_sentences(jax.random.key(0), document)
    [2]
    """
    if strategy not in STRATEGIES:
        raise ValueError(
            f"select_gap_sentences: strategy must be one of {', '.join(STRATEGIES)}, "
            f"got {strategy!r}"
        )
    s = len(sentences)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    factors = rng.uniform(1 - noise, 1 + noise, s)
    wanted = min(max(int(s * ratio), 1), s)

    def score(taken):
        kept, left = _join(sentences, taken), _join(sentences, set(range(s)) - taken)
        return rouge_n(kept, left, unique=unique)[2]

    if strategy == "random":
        return sorted(rng.permutation(s)[:wanted].tolist())
    if strategy == "lead":
        return list(range(wanted))
    taken = set()
    for _ in range(wanted):
        base = taken if strategy == "principal-seq" else set()
        left = [i for i in range(s) if i not in taken]
        taken.add(max(left, key=lambda i: factors[i] * score(base | {i})))
    return sorted(taken)


def gap_sentences(
    key: jax.Array,
    sentences: Sequence[Sentence],
    chosen: Sequence[int],
    mask_id: int,
    eos_id: int,
    *,
    keep: float = 0.0,
) -> tuple[list[int], list[int]]:
    """Replace each chosen sentence by a mask token; returns the input and the target.

    Args:
      key: PRNG key for `keep`.
      sentences: the sentences of one document.
      chosen: indices from `select_gap_sentences`.
      mask_id: id of the token that replaces a whole sentence (MASK1 in the paper).
      eos_id: id of the token at the end of the target.
      keep: probability that a chosen sentence remains in the input, so that copying is
        learned too; 0.1 in the large configuration.

    >>> document = [[11, 12], [13], [14, 15]]
    >>> gap_sentences(jax.random.key(0), document, [0, 2], mask_id=4, eos_id=6)
    ([4, 13, 4], [11, 12, 14, 15, 6])
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    gone = {i for i in sorted(chosen) if rng.uniform() >= keep}
    shown = [[mask_id] if i in gone else s for i, s in enumerate(sentences)]
    target = [*_join(sentences, chosen), eos_id]
    return _join(shown, range(len(shown))), target


def _join(sentences, indices):
    return [token for i in sorted(indices) for token in sentences[i]]


def _grams(tokens, n, unique):
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return Counter(set(grams) if unique else grams)
