import numpy as np
import pytest
from scipy.stats import spearmanr

from jssl import evals
from jssl.evals.words import spearman


class Words:
    """Features of a table of vectors."""

    def __init__(self, vectors):
        self.vectors = np.asarray(vectors, np.float32)


def of(features):
    return features.vectors


WORDS = ["[PAD]", "king", "queen", "man", "woman", "tree"]
VECTORS = [[0, 0, 0], [1, 1, 0], [1, -0.5, 0], [0, 1, 0.1], [0, -1, 0.1], [0, 0, 1]]


def test_ranks_of_equal_numbers_are_their_mean():
    random = np.random.default_rng(0)
    for _ in range(5):
        a, b = random.integers(0, 5, (2, 40)).astype(float)
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_similarity_is_the_rank_correlation_over_the_pairs_of_known_words():
    pairs = [("king", "queen", 8.0), ("king", "tree", 1.0), ("man", "king", 7.0)]
    more = [("king", "zebra", 5.0), ("woman", "man", 6.0)]
    judge = evals.word_similarity("sim", [*pairs, *more], WORDS, of)
    found = judge.run(Words(VECTORS), True)
    v = np.array(VECTORS) / np.maximum(np.linalg.norm(VECTORS, axis=1), 1e-12)[:, None]
    cosines = [v[1] @ v[2], v[1] @ v[5], v[3] @ v[1], v[4] @ v[3]]
    assert found["sim"] == pytest.approx(spearmanr(cosines, [8, 1, 7, 6]).statistic)
    assert found["sim/known"] == 4
    assert "4 of 5 pairs" in judge.protocol
    none = evals.word_similarity("sim", [("a", "b", 1.0)], WORDS, of)
    assert none.run(Words(VECTORS), True) == {"sim/known": 0.0}


def test_analogies_leave_out_the_words_asked_for():
    right = ("man", "king", "woman", "queen")
    wrong = ("man", "king", "woman", "tree")
    judge = evals.word_analogies("a", [right, wrong, ("x", "y", "z", "w")], WORDS, of)
    assert judge.run(Words(VECTORS), True) == {"a": 0.5, "a/known": 2.0}
    many = evals.word_analogies("a", [right] * 7, WORDS, of, block=3)
    assert many.run(Words(VECTORS), False) == {"a": 1.0, "a/known": 7.0}


def test_neighbors_are_counted_by_their_class():
    classes = {"king": "ruler", "queen": "ruler", "man": "person", "woman": "person"}
    vectors = [[0, 0], [1, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, -1]]
    among = np.arange(1, 6)
    judge = evals.neighbor_classes(classes, WORDS, 1, of, among)
    assert judge.run(Words(vectors), True) == {"neighbor_classes@1": 1.0}
    judge = evals.neighbor_classes(classes, WORDS, 2, of, among)
    assert judge.run(Words(vectors), True) == {"neighbor_classes@2": 0.5}
