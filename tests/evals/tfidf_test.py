"""TF-IDF: the features are the textbook's, and the fit sees train alone."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from jssl.evals import Features, tfidf

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
