"""Edits: their attribute, its order, and the identity that they keep."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from jssl.evals import Features, edits, rank_correlation

EDGES = np.array([1.0, 2.0])


class Edited(Features):
    """Images of one lit pixel, whose place is the class, and whose value the attribute."""

    def __init__(self, change=lambda each: each):
        draw = np.random.default_rng(0)
        self.truth = {"train": draw.integers(4, size=80), "test": draw.integers(4, size=40)}
        self.change = change

    def targets(self, split, name="label"):
        assert name == "digit"
        return self.truth.get(split, self.truth["train"])

    def rows(self, split, rows=None):
        return {"image": np.eye(4, dtype=np.float32)[self.targets(split, "digit")]}

    def generated(self, split, rows=None):
        levels = np.array([0.5, 1.5, 2.5], np.float32)[None, :, None]
        return {"edits": self.change(self.rows(split)["image"][:, None] * levels)}


def judged(change=lambda each: each):
    measure = lambda x: x.max(1)
    return edits(measure, EDGES, identity="digit")(Edited(change), True)


def test_good_edits_have_all_their_attributes_and_identities():
    assert judged() == {
        "edit_agreement": 1,
        "edit_rank": 1,
        "edit_identity": 1,
        "edit_identity/real": 1,
    }


def test_edits_in_the_wrong_order_or_of_another_class_are_counted():
    found = judged(lambda each: each[:, ::-1])
    assert found["edit_agreement"] == pytest.approx(1 / 3) and found["edit_rank"] == -1
    assert found["edit_identity"] == 1

    def moved(each):
        each = each.copy()
        each[:10, 0] = each[:10, 0, [1, 2, 3, 0]]
        return each

    found = judged(moved)
    assert found["edit_identity"] == pytest.approx(1 - 10 / 120)
    assert found["edit_agreement"] == 1


def test_rank_correlations_are_those_of_scipy():
    values = np.random.default_rng(0).normal(size=(6, 5)).round(1)
    wanted = [spearmanr(row, np.arange(5)).statistic for row in values]
    np.testing.assert_allclose(rank_correlation(values), wanted, atol=1e-12)


def test_a_method_without_edits_is_refused():
    class Without(Edited):
        def generated(self, split, rows=None):
            return {}

    with pytest.raises(ValueError, match="must generate 'edits'"):
        edits(lambda x: x, EDGES, identity="digit")(Without(), True)
