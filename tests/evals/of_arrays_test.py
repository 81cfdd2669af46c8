"""Evals of arrays: the numbers of the evals of features, and what they refuse."""

import numpy as np
import pytest

from jssl import evals
from jssl.evals import Arrays


@pytest.fixture
def rows(clouds):
    h, y = clouds()
    train, val, test = ((h[s], y[s]) for s in ("train", "val", "test"))
    return train, val, test


def test_the_functions_have_the_numbers_of_the_evals(rows, splits):
    train, val, test = rows
    features = splits()
    both = [np.concatenate(x) for x in zip(train, val, strict=True)]
    assert evals.knn_accuracy(*both, *test) == evals.knn()(features, True)["knn"]
    given = dict(val=val)
    linear = evals.linear_accuracy(*train, *test, **given)
    assert linear == evals.linear_probe()(features, True)["linear"]
    few = evals.few_label_accuracy(*train, *test, **given)
    assert few == evals.few_labels_probe()(features, True)
    found = evals.retrieval_scores(*both, *test)
    assert found == evals.retrieval()(features, True)


def test_a_score_is_a_number_that_tells_its_protocol(rows):
    train, _, test = rows
    score = evals.knn_accuracy(*train, *test, k=7)
    assert isinstance(score, float)
    assert score.protocol == evals.knn(7).protocol
    assert "recall at 1, 5" in evals.retrieval_scores(*train, *test, ks=(1, 5)).protocol
    clusters = evals.clustering_scores(*test)
    assert set(clusters) == {"nmi", "ari", "hungarian", "purity"}
    assert clusters.protocol.endswith("fitted on the judged rows")


EVALS = {
    "knn": evals.knn(),
    "linear": evals.linear_probe(),
    "sgd": evals.sgd_probe("small"),
    "few labels": evals.few_labels_probe((1, 2)),
    "few shot": evals.few_shot(3, 2, 3),
    "retrieval": evals.retrieval(),
    "clustering": evals.clustering(),
    "picture": evals.embedding_picture(),
    "regression": evals.regression("label"),
}


@pytest.mark.parametrize("name", EVALS)
def test_every_eval_of_h_takes_arrays(name, rows):
    train, _, test = rows
    features = Arrays(train=train, test=test)
    for final in (False, True):
        found = EVALS[name](features, final)
        assert found
        assert all(np.isfinite(x) for x in found.values() if isinstance(x, float))


def test_a_fifth_of_each_class_is_held_out_and_no_row_is_lost():
    x, y = np.arange(46.0)[:, None], np.repeat([0, 1, 2], [20, 25, 1])
    features = Arrays(train=(x, y))
    counts = np.bincount(features.labels("val"), minlength=3)
    assert counts.tolist() == [4, 5, 0]
    joined = np.concatenate([features("train"), features("val")])
    assert sorted(joined.ravel()) == list(range(46))
    np.testing.assert_array_equal(features.rows("val", 2)["h"], features("val")[:2])


def test_regression_reads_numbers():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 4))
    y = x @ rng.normal(size=(4, 2))
    score = evals.regression_score(x[:60], y[:60], x[60:], y[60:])
    assert score > 0.99
    assert "ridge" in score.protocol


def test_the_doctor_judges_an_array():
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(200, 16))
    assert evals.diagnose_features(spread).kind == "healthy"
    assert evals.diagnose_features(spread, "z").kind == "healthy"
    point = 1 + 1e-5 * spread
    assert evals.diagnose_features(point).kind == "complete collapse"
    line = np.outer(rng.normal(size=200), rng.normal(size=16))
    assert evals.diagnose_features(line).kind == "dimensional collapse"
    with pytest.raises(ValueError, match='name must be "h" or "z"'):
        evals.diagnose_features(spread, "p")


MAKERS = {
    "knn": "knn_accuracy",
    "linear_probe": "linear_accuracy",
    "svm": "svm_accuracy",
    "few_labels_probe": "few_label_accuracy",
    "few_shot": "Arrays",
    "retrieval": "retrieval_scores",
    "clustering": "clustering_scores",
    "regression": "regression_score",
    "sgd_probe": "Arrays",
}


@pytest.mark.parametrize("name", MAKERS)
def test_arrays_given_as_settings_are_told_where_to_go(name):
    with pytest.raises(TypeError, match=f"{name} makes an eval .*{MAKERS[name]}"):
        getattr(evals, name)(np.zeros((3, 2)), np.zeros(3, int))


@pytest.mark.parametrize("name", ["examine", "diagnose"])
def test_arrays_given_to_the_doctor_are_told_where_to_go(name):
    with pytest.raises(TypeError, match=rf"{name} takes .*use diagnose_features\(h\)"):
        getattr(evals, name)(np.zeros((3, 2)))


X, Y = np.zeros((4, 2)), np.array([0, 0, 1, 1])
BAD = {
    "no split": ({}, "needs train="),
    "maps": ({"train": (np.zeros((4, 2, 2)), Y)}, "features of train must be numbers"),
    "empty": ({"test": (X[:0], Y[:0])}, r"numbers \[n, d\], got float64\[0, 2\]"),
    "lengths": ({"test": (X, Y[:3])}, "targets of test must be .* for 4 rows"),
    "nan": ({"test": (X + np.nan, Y)}, "features of test have NaN"),
    "three": ({"test": (X, Y, Y)}, r"test must be \(x, y\), got 3 arrays"),
}


@pytest.mark.parametrize("name", BAD)
def test_arrays_that_are_no_features_are_refused(name):
    given, told = BAD[name]
    with pytest.raises(ValueError, match=told):
        Arrays(**given)


def test_a_split_or_labels_that_are_missing_are_named():
    with pytest.raises(ValueError, match="the train split is missing"):
        evals.knn()(Arrays(test=(X, Y)), True)
    with pytest.raises(ValueError, match="the test split has no labels"):
        evals.knn()(Arrays(train=(X, Y), test=X), True)
    with pytest.raises(ValueError, match="no network to fine-tune"):
        Arrays(test=X).network()
    with pytest.raises(ValueError, match="the output 'h' alone, no 'layers'"):
        evals.layer_probes()(Arrays(train=(X, Y), test=(X, Y)), True)
