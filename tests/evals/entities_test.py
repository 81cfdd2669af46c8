"""Entities: seqeval's scores, and its rules of where an entity begins."""

from pathlib import Path

import numpy as np
import pytest

from jssl.evals import (
    Features,
    entities,
    entity_probe,
    entity_scores,
    entity_spans,
)
from jssl.evals.linear import TOY_GRID

GOLDEN = np.load(Path(__file__).parent.parent / "golden/seqeval.npz")
NAMES = tuple(map(str, GOLDEN["names"]))


def test_precision_recall_and_f1_are_those_of_seqeval():
    for (truth, guess), wanted in zip(GOLDEN["cases"], GOLDEN["scores"], strict=True):
        np.testing.assert_allclose(entity_scores(truth, guess, NAMES), wanted, rtol=1e-12)


def test_an_entity_too_long_is_wrong_and_one_of_two_is_half():
    truth = np.array([[0, 0, 0, 1, 2, 2, 0], [3, 4, 0, -1, -1, -1, -1]])
    guess = np.array([[0, 0, 1, 2, 2, 2, 0], [3, 4, 0, 0, 0, 0, 0]])
    assert entity_scores(truth, guess, NAMES) == (0.5, 0.5, 0.5)


def test_words_that_were_not_read_are_left_out():
    truth, guess = np.array([[1, 2, 0, 3]]), np.array([[1, 2, 0, -1]])
    assert entity_scores(truth, guess, NAMES) == (1, 1, 1)


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


class Tokens(Features):
    """Tokens that tell their tags, but for noise."""

    def __init__(self):
        draw = np.random.default_rng(3)
        self.tags = {x: draw.integers(-1, 3, (40, 6)) for x in ("train", "val", "test")}
        self.h = {
            x: np.eye(4)[tags] + 0.4 * draw.normal(size=(40, 6, 4))
            for x, tags in self.tags.items()
        }

    def targets(self, split, name="label"):
        return self.tags[split]

    def __call__(self, split, name="h"):
        return self.h[split]


@pytest.mark.parametrize("final", [False, True])
def test_a_probe_is_judged_by_the_entities_of_its_tags(final):
    """That of scikit-learn, with the penalty of most single tags of val that are right."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, names = Tokens(), ("O", "B-X", "I-X")

    def rows(*splits):
        known = {x: features.tags[x] >= 0 for x in splits}
        parts = features.h, features.tags
        return [np.concatenate([part[x][known[x]] for x in splits]) for part in parts]

    def fitted(l2, h, y):
        model = LogisticRegression(C=1 / (l2 * len(h)), tol=1e-8, max_iter=1000)
        return make_pipeline(StandardScaler(), model).fit(h, y)

    right = {l2: fitted(l2, *rows("train")).score(*rows("val")) for l2 in TOY_GRID}
    l2 = max(TOY_GRID, key=lambda x: (right[x], x))
    model = fitted(l2, *(rows("train", "val") if final else rows("train")))
    split = "test" if final else "val"
    guess = model.predict(features.h[split].reshape(-1, 4)).reshape(40, 6)
    wanted = entity_scores(features.tags[split], guess, names)
    found = entity_probe(names)(features, final)
    assert tuple(found.values()) == pytest.approx(wanted, rel=1e-12)
    assert 0.5 < found["entity_f1"] < 1
