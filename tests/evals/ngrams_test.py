import math
from types import SimpleNamespace

import numpy as np
import pytest

from jssl import data, evals
from jssl.evals.ngrams import KneserNey

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.integers(0, 6, (30, 12)).tolist()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_are_positive_and_sum_to_one(order):
    model = KneserNey(ROWS, order, 8, 0.75)
    for history in ([], [3], [1, 2], [7, 7], [0, 7]):
        p = [model.probability(history, w) for w in range(8)]
        assert min(p) > 0
        assert sum(p) == pytest.approx(1)


def test_the_highest_order_has_counts_and_the_lower_ones_preceding_words():
    """Francisco follows San alone: as a continuation it is rarer than by its count."""
    rows = [[0, 1]] * 9 + [[2, 3], [4, 3], [5, 3]]
    model = KneserNey(rows, 2, 6, 0.5)
    lower = KneserNey(rows, 1, 6, 0.5)
    assert lower.probability([], 1) > lower.probability([], 3)
    assert model.probability([3], 1) < model.probability([3], 3)  # nothing follows 3
    continued = 3 / 4 - 0.5 / 4 + 2 * 0.5 / 4 / 6  # 3 of 4 kinds of pairs end in 3
    wanted = (1 - 0.5) / 1 + 0.5 * 1 / 1 * continued
    assert model.probability([4], 3) == pytest.approx(wanted)


def test_perplexities_are_of_the_tokens_of_the_judged_split_without_padding():
    corpus = np.array([7, 8, 7, 8, 7, 8, 7, 0], np.int32)
    rows = {"start": np.array([0, 4], np.int32)}
    own = data.Tokens(tuple("abcdefghi"), pad=0)
    source = data.dataset(
        "mine",
        {"train": rows, "val": rows, "test": {"start": np.array([4], np.int32)}},
        1,
        context={"corpus": corpus},
        fields={"corpus": own, "start": data.Index("corpus", 4, own)},
    )
    judge = evals.ngrams((1, 2), begin=5)
    found = judge.run(SimpleNamespace(source=source), True)
    one = KneserNey([[7, 8, 7, 8], [7, 8, 7]], 1, 9, 0.75)
    nats = [-math.log(one.probability([], w)) for w in (7, 8, 7)]
    assert found["perplexity/unigram"] == pytest.approx(math.exp(np.mean(nats)))
    assert found["perplexity/bigram"] < 1.5 < found["perplexity/unigram"]
    assert set(judge.run(SimpleNamespace(source=source), False)) == set(found)
