"""Entities: seqeval's scores, and its rules of where an entity begins."""

from pathlib import Path

import numpy as np
import pytest

from jssl.evals import Features, entities, entity_scores, entity_spans

GOLDEN = np.load(Path(__file__).parent.parent / "golden/seqeval.npz")
NAMES = tuple(map(str, GOLDEN["names"]))


def test_precision_recall_and_f1_are_those_of_seqeval():
    for (truth, guess), wanted in zip(GOLDEN["cases"], GOLDEN["scores"], strict=True):
        np.testing.assert_allclose(entity_scores(truth, guess, NAMES), wanted, rtol=1e-12)


def test_an_entity_too_long_is_wrong_and_one_of_two_is_half():
    truth = np.array([[0, 0, 0, 1, 2, 2, 0], [3, 4, 0, -1, -1, -1, -1]])
    guess = np.array([[0, 0, 1, 2, 2, 2, 0], [3, 4, 0, 0, 0, 0, 0]])
    assert entity_scores(truth, guess, NAMES) == (0.5, 0.5, 0.5)


def test_an_inner_tag_alone_begins_an_entity():
    assert entity_spans(["I-PER", "I-PER", "O"]) == entity_spans(["B-PER", "I-PER", "O"])
    assert entity_spans(["B-PER", "B-PER"]) == [("PER", 0, 0), ("PER", 1, 1)]
    assert entity_spans([]) == []


def test_tags_of_words_are_no_entities():
    with pytest.raises(ValueError, match="must be O, B-TYPE or I-TYPE, got 'nn'"):
        entities(("O", "nn"))


class Tagger(Features):
    """Right on test, and never an entity on val."""

    def targets(self, split, name="label"):
        return np.array([[1, 2, -1, 0]])

    def __call__(self, split, name="h"):
        assert name == "tags"
        return np.array([[1, 2, 5, 0]]) * (split == "test")


def test_the_eval_reads_the_tags_of_the_method():
    judge = entities(NAMES)
    assert judge(Tagger(), True)["entity_f1"] == 1
    assert set(judge(Tagger(), False).values()) == {0}
