"""Answers: exact match and F1 as the SQuAD metrics of transformers have them."""

from pathlib import Path

import numpy as np
import pytest

from jssl.evals import Features, answers, exact_match, normalized_answer, token_f1

GOLDEN = np.load(Path(__file__).parent.parent / "golden/squad.npz")


def test_exact_match_and_f1_are_those_of_squad():
    rows = zip(*(GOLDEN[k] for k in ("guesses", "references", "exact", "f1")), strict=True)
    for guess, several, exact, f1 in rows:
        references = several.split("|")
        assert exact_match(guess, references) == exact
        assert token_f1(guess, references) == pytest.approx(f1, rel=1e-12)


def test_articles_and_punctuation_do_not_count():
    assert normalized_answer("An  apple, the (red) one.") == "apple red one"
    assert exact_match("the cat sat", ["cat sat down"]) == 0
    assert token_f1("the cat sat", ["cat sat down"]) == pytest.approx(0.8)


def test_the_best_of_several_references_counts():
    assert exact_match("Paris", ["in Paris", "paris"]) == 1
    assert token_f1("in Paris", ["Rome", "to Paris"]) == 0.5


def words(rows, spans):
    """Texts of spans of rows of words."""
    held = zip(rows["text"], spans, strict=True)
    return [" ".join(row[a : b + 1]) for row, (a, b) in held]


class Finder(Features):
    def targets(self, split, name="label"):
        return np.array([[0, 1], [2, 2], [-1, -1]])

    def rows(self, split, rows=None):
        return {"text": [["the", "blue", "cat"]] * 3}

    def __call__(self, split, name="h"):
        return np.array([[0, 1], [1, 2], [0, 0]])


def test_an_answer_that_the_row_has_not_is_wrong():
    """One is right, one has a word too many, and one cannot be found."""

    found = answers(words)(Finder(), False)
    assert found == pytest.approx({"exact_match": 1 / 3, "answer_f1": (1 + 2 / 3) / 3})


class Unknown(Finder):
    def targets(self, split, name="label"):
        return np.array([[0, 0], [0, 1], [0, 1], [1, 1]])

    def rows(self, split, rows=None):
        return {"text": [["[UNK]", "cat", "[UNK]"]] * 4}

    def __call__(self, split, name="h"):
        return np.array([[2, 2], [0, 1], [1, 2], [1, 2]])


def test_unknown_words_count_only_if_the_spans_are_equal():
    """Of the second row all, of the third the word between, of the last one of two."""
    found = answers(words)(Unknown(), False)
    assert found == pytest.approx(
        {"exact_match": 1 / 4, "answer_f1": (1 + 1 / 2 + 2 / 3) / 4}
    )
