"""TF-IDF: the features are the textbook's, and the fit sees train alone."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from jssl import baselines
from jssl.data import load
from jssl.evals import Features, tfidf
from jssl.knobs import Run

TEXTS = {
    "train": ["good day", "bad day", "good fun", "bad night", "not bad", "not good"],
    "val": ["good night", "not good", "so bad"],
    "test": ["not bad", "good good", "bad"],
}
LABELS = {"train": [1, 0, 1, 0, 1, 0], "val": [1, 0, 0], "test": [1, 1, 0]}


class Corpus(Features):
    asked: set[str]

    def __init__(self):
        self.asked = set()

    def rows(self, split, rows=None):
        self.asked.add(split)
        return {"text": TEXTS[split]}

    def labels(self, split):
        return np.array(LABELS[split])


def by_hand(split):
    """The features of a split, by loops, with terms and counts of train."""

    def terms(text):
        words = text.split()
        return [*words, *map(" ".join, zip(words, words[1:], strict=False))]

    train = [terms(text) for text in TEXTS["train"]]
    known = sorted({term for each in train for term in each})
    idf = [np.log(7 / (1 + sum(t in each for each in train))) + 1 for t in known]
    rows = [[terms(text).count(t) * w for t, w in zip(known, idf, strict=True)]
            for text in TEXTS[split]]  # fmt: skip
    x = np.array(rows)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_the_number_is_that_of_features_by_hand():
    features = Corpus()
    model = LogisticRegression(C=10.0, max_iter=1000).fit(by_hand("train"), LABELS["train"])
    judge = tfidf(lambda rows: rows["text"])
    for split, final in {"val": False, "test": True}.items():
        wanted = model.score(by_hand(split), LABELS[split])
        assert judge(features, final) == {"top1": wanted}
    assert judge(features, True) == {"top1": 1.0}


def test_nothing_is_fitted_on_val():
    features = Corpus()
    tfidf(lambda rows: rows["text"])(features, True)
    assert features.asked == {"train", "test"}


def test_pairs_of_words_tell_negations():
    one = tfidf(lambda rows: rows["text"], ngrams=1)(Corpus(), True)
    assert one["top1"] < 1


def test_punctuation_is_no_part_of_a_word():
    """The words of val are known from train only without the signs that follow them."""
    texts = {
        "train": ["Good, day!", "bad night.", "(good)", "bad?"],
        "val": ["good", "BAD."],
    }

    class Signs(Corpus):
        def rows(self, split, rows=None):
            return {"text": texts[split]}

        def labels(self, split):
            return np.array([1, 0] * 2)[: len(texts[split])]

    train = load("toy_text:sentiment", 4, documents=8, labeled=True)
    stage = baselines.tfidf(Run(), train, lambda rows: rows["text"])
    (judge,) = stage.evals.values()
    assert judge(Signs(), False) == {"top1": 1.0}
    assert "split by pieces" in judge.protocol
