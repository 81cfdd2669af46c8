from pathlib import Path

import numpy as np
import pytest

from jssl import evals
from jssl.evals.rouge import rouge_l, rouge_n, words

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "encoder_decoder.npz")


def test_scores_are_those_of_the_package_rouge_score():
    pairs = zip(GOLDEN["rouge-in/written"], GOLDEN["rouge-in/wanted"], strict=True)
    for (written, wanted), scores in zip(pairs, GOLDEN["rouge-out"], strict=True):
        a, b = words(str(written)), words(str(wanted))
        found = [rouge_n(a, b, 1), rouge_n(a, b, 2), rouge_l(a, b)]
        np.testing.assert_allclose(found, scores, atol=1e-12)


def test_nothing_in_common_is_zero_and_the_same_is_one():
    assert rouge_n([], [1, 2]) == rouge_l([1], []) == (0, 0, 0)
    assert rouge_n([1], [1], 2) == (0, 0, 0)
    assert rouge_n([1, 2], [1, 2]) == rouge_l([1, 2], [1, 2]) == (1, 1, 1)
    assert rouge_l([2, 1], [1, 2]) == (0.5, 0.5, 0.5)  # the order counts


def features(made, wanted):
    class Some:
        def __call__(self, split, name, rows):
            assert (split, name) == ("test", "target")
            return np.array(wanted)[:rows]

        def generated(self, split, rows):
            return {} if made is None else {"corpus": np.array(made)[:rows]}

    return Some()


def spoken(row):
    return " ".join(f"w{x}" for x in row if x)


def test_texts_are_judged_beside_the_references_of_other_rows():
    made, wanted = [[7, 8, 0], [9, 8, 7]], [[7, 8, 9], [5, 6, 0]]
    found = evals.rouge(spoken).run(features(made, wanted), True)
    assert found["rouge1"] == pytest.approx((2 * 2 / 5 + 0) / 2)
    assert found["rouge2"] == pytest.approx((2 * 1 / 3 + 0) / 2)
    assert found["rougeL"] == pytest.approx((2 * 2 / 5 + 0) / 2)
    assert found["rouge1/other"] == pytest.approx((0 + 2 * 3 / 6) / 2)
    one = evals.rouge(spoken, rows=1).run(features(made, wanted), True)
    assert one["rouge1"] == pytest.approx(4 / 5)


def test_a_method_that_writes_nothing_is_refused():
    with pytest.raises(ValueError, match="rouge: the method must generate 'corpus'"):
        evals.rouge(spoken).run(features(None, [[7]]), True)
