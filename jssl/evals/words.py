"""Evaluation of word vectors: similarities judged by people, analogies, and neighbors.

Words that the vocabulary has not are left out, and their number is reported.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jssl.evals.protocol import Eval
from jssl.ops.word2vec import analogies, nearest_words

Vectors = Callable[[Any], Any]  # features -> [v, d]


def input_vectors(features: Any) -> Any:
    """The table "inputs" of a method's weights, [v, d]."""
    return features.state.weights["inputs"]


def spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Rank correlation; equal numbers have their mean rank.

    >>> round(spearman(np.array([1.0, 2.0, 5.0]), np.array([1.0, 9.0, 7.0])), 3)
    0.5
    """
    x, y = (_ranks(np.asarray(each, np.float64)) for each in (a, b))
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(x):
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place]


def word_similarity(
    name: str,
    pairs: Sequence[tuple[str, str, float]],
    words: Sequence[str],
    vectors: Vectors = input_vectors,
) -> Eval:
    """Spearman correlation of cosines with the similarities that people gave.

    Metrics: the correlation, and the number of pairs of which both words are known.

    Args:
      name: of the metric, such as "wordsim353".
      pairs: (word, word, similarity).
      words: of the vocabulary, one for each vector.
      vectors: features -> [v, d].
    """
    number = {word: i for i, word in enumerate(words)}
    known = [(number[a], number[b], s) for a, b, s in pairs if {a, b} <= number.keys()]

    def run(features, final) -> dict:
        if len(known) < 2:
            return {f"{name}/known": float(len(known))}
        a, b, score = map(np.array, zip(*known, strict=True))
        table = np.asarray(vectors(features), np.float64)
        unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        cosines = (unit[a] * unit[b]).sum(1)
        return {name: spearman(cosines, score), f"{name}/known": float(len(known))}

    how = f"Spearman correlation of cosines on {len(known)} of {len(pairs)} pairs of {name}"
    return Eval(how, run, online=True)


def word_analogies(
    name: str,
    questions: Sequence[tuple[str, str, str, str]],
    words: Sequence[str],
    vectors: Vectors = input_vectors,
    among: Int[np.ndarray, " w"] | None = None,
    block: int = 512,
) -> Eval:
    """Fraction of analogies "a is to b as c is to d" whose nearest word is d.

    Metrics: the fraction, and the number of questions all of whose words are known.

    Args:
      name: of the metric.
      questions: (a, b, c, d).
      words: of the vocabulary, one for each vector.
      vectors: features -> [v, d].
      among: words that are answers; None: all.
      block: questions computed at a time.
    """
    number = {word: i for i, word in enumerate(words)}
    known = [[number[x] for x in q] for q in questions if set(q) <= number.keys()]

    def run(features, final) -> dict:
        if not known:
            return {f"{name}/known": 0.0}
        asked, table = np.array(known), jnp.asarray(vectors(features))
        right = 0
        for i in range(0, len(asked), block):
            some = asked[i : i + block]
            found = np.asarray(analogies(table, some[:, :3], 1, among))
            right += int((found[:, 0] == some[:, 3]).sum())
        return {name: right / len(asked), f"{name}/known": float(len(asked))}

    how = f"accuracy of b - a + c on {len(known)} of {len(questions)} analogies of {name}"
    return Eval(how, run, online=True)


def neighbor_classes(
    classes: Mapping[str, str],
    words: Sequence[str],
    k: int = 5,
    vectors: Vectors = input_vectors,
    among: Int[np.ndarray, " w"] | None = None,
) -> Eval:
    """Fraction of the k nearest words of each classified word that are of its class.

    Args:
      classes: class by word, such as "france": "country".
      words: of the vocabulary, one for each vector.
      k: number of neighbors.
      vectors: features -> [v, d].
      among: words that are neighbors, those without a class among them; None: all.
    """
    asked = [i for i, word in enumerate(words) if word in classes]

    def run(features, final) -> dict:
        near, _ = nearest_words(jnp.asarray(vectors(features)), np.array(asked), k, among)
        same = [
            classes.get(words[j]) == classes[words[i]]
            for i, row in zip(asked, np.asarray(near), strict=True)
            for j in row
        ]
        return {f"neighbor_classes@{k}": float(np.mean(same))}

    how = f"share of the class of a word in its {k} nearest words, of {len(asked)} words"
    return Eval(how, run, online=True)
