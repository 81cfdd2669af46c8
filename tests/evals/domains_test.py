"""Domain accuracy: chance for equal domains, and that of an independent classifier."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jssl.evals import Features, domain_accuracy


class Two(Features):
    """Normal features of two domains, whose means differ by `gap` along one axis."""

    names = ("h",)

    def __init__(self, gap):
        draw = np.random.default_rng(0)
        sizes = {"train": 600, "val": 300, "test": 400}
        self.one = {s: draw.normal(size=(n, 6)) for s, n in sizes.items()}
        self.two = {s: draw.normal(size=(n // 2, 6)) for s, n in sizes.items()}
        for x in self.two.values():
            x[:, 0] += gap

    def __call__(self, split, name="h"):
        return self.one[split]

    def of(self, rows, name="h"):
        return self.two[rows["split"]]


judge = domain_accuracy(lambda split: {"split": split})


def test_equal_domains_cannot_be_told_apart():
    assert abs(judge(Two(0.0), True)["domain_accuracy"] - 0.5) < 0.08


def test_the_accuracy_is_that_of_scikit_learn():
    features = Two(2.0)
    x = np.concatenate([features.one["train"][:300], features.two["train"]])
    fitted = LogisticRegression().fit(x, np.repeat([0, 1], 300))
    test = np.concatenate([features.one["test"][:200], features.two["test"]])
    wanted = fitted.score(test, np.repeat([0, 1], 200))
    assert judge(features, True)["domain_accuracy"] == pytest.approx(wanted, abs=0.04)
    assert 0.75 < wanted < 0.92


def test_representations_that_are_not_finite_are_refused():
    features = Two(1.0)
    features.two["val"][0] = np.nan
    with pytest.raises(ValueError, match="must be finite rows"):
        judge(features, False)
