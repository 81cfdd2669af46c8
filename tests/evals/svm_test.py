"""The L2-SVM is that of scikit-learn's LinearSVC, to its optimum."""

import importlib
import warnings

import numpy as np
import pytest

from jssl.evals import linear, svm, svm_fit


def _liblinear(x, y, c):
    from sklearn.svm import LinearSVC

    # It may say that it cannot get below 1e-12; it has then got close enough.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = LinearSVC(C=c, dual=False, tol=1e-12, max_iter=100_000)
        return found.fit(x.astype(np.float64), y)


def _j(weights, bias, x, y, c):
    """The objective by a loop over rows and classes."""
    total = (np.sum(weights**2) + np.sum(bias**2)) / 2
    for row, label in zip(x.astype(np.float64), y, strict=True):
        for k, score in enumerate(row @ weights + bias):
            total += c * max(0.0, 1 - (1 if k == label else -1) * score) ** 2
    return total


@pytest.mark.parametrize("c", [1e-3, 1e-1, 10.0])
@pytest.mark.parametrize("standardize", [True, False])
def test_the_optimum_is_that_of_linear_svc(c, standardize, clouds):
    h, y = clouds()
    h, y = h["train"], y["train"]
    model = svm_fit(h, y, classes=3, c=c, tol=1e-8, standardize=standardize)
    assert model.info.converged
    x = h.astype(np.float64)
    if standardize:
        x = (x - x.mean(axis=0)) / x.std(axis=0)
    theirs = _liblinear(x, y, c)
    ours = _j(model.weights, model.bias, x, y, c)
    assert ours <= _j(theirs.coef_.T, theirs.intercept_, x, y, c) * (1 + 1e-8)
    np.testing.assert_allclose(model.info.objective * c * len(y), ours, rtol=1e-10)
    np.testing.assert_allclose(model.weights, theirs.coef_.T, atol=1e-5)
    np.testing.assert_allclose(model.bias, theirs.intercept_, atol=1e-5)


@pytest.mark.parametrize("c", [1e-3, 1.0])
def test_few_wide_rows_have_the_optimum_of_linear_svc(c, monkeypatch):
    rng = np.random.default_rng(0)
    h = rng.normal(size=(24, 100)) * rng.uniform(0.1, 3, 100) + rng.normal(size=100)
    h[:, -1] = 3.0  # a dead feature
    h[1] = h[0]  # a row twice, with two labels
    y = np.arange(24) % 3
    monkeypatch.setattr(linear, "WIDE", 0)
    # On some processors the objective's rounding stops L-BFGS at a gradient of 1.4e-8.
    model = svm_fit(h, y, classes=3, c=c, tol=1e-7)
    assert model.info.converged
    theirs = _liblinear(h, y, c)
    np.testing.assert_allclose(model.weights, theirs.coef_.T, atol=1e-5)
    np.testing.assert_allclose(model.bias, theirs.intercept_, atol=1e-5)


def test_pieces_make_the_fit_of_the_whole(clouds, monkeypatch):
    h, y = clouds()
    whole = svm_fit(h["train"], y["train"], classes=3, c=0.1, tol=1e-8)
    monkeypatch.setattr(linear, "PIECE", 50)
    parts = svm_fit(h["train"], y["train"], classes=3, c=0.1, tol=1e-8)
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-6)


def test_a_hessian_by_tiles_makes_the_same_fit_in_as_few_steps(monkeypatch):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(300, 300))  # three tiles, of correlated features
    h, y = rng.normal(size=(700, 300)) @ mixing, np.arange(700) % 3
    whole = svm_fit(h, y, classes=3, c=1e-4)
    monkeypatch.setattr(linear, "TILED", 0)
    tiled = svm_fit(h, y, classes=3, c=1e-4)
    assert tiled.info.converged
    assert tiled.info.iterations <= whole.info.iterations + 5
    np.testing.assert_allclose(tiled.weights, whole.weights, atol=1e-5)


@pytest.mark.parametrize("final", [False, True])
def test_c_is_chosen_on_val_and_the_last_fit_has_train_and_val(final, splits):
    features, grid = splits(), (1e-3, 1e-1, 10.0)
    h, y = features.arrays, {s: features.labels(s) for s in ("train", "val", "test")}
    scores = [_liblinear(h["train"], y["train"], c).score(h["val"], y["val"]) for c in grid]
    expected = max(scores)
    if final:
        x = np.concatenate([h["train"], h["val"]])
        truth = np.concatenate([y["train"], y["val"]])
        best = _liblinear(x, truth, grid[int(np.argmax(scores))])
        expected = best.score(h["test"], y["test"])
    assert svm(grid)(features, final) == {"svm": pytest.approx(expected)}


def test_a_fit_that_did_not_converge_says_so(splits, monkeypatch):
    module = importlib.import_module("jssl.evals.svm")
    real = module.svm_fit
    monkeypatch.setattr(module, "svm_fit", lambda *a, **k: real(*a, max_iter=1, **k))
    metrics = svm((10.0,))(splits(), True)
    assert metrics["svm/converged"] == 0.0


def test_the_protocol_names_its_settings():
    texts = {svm().protocol, svm((0.1,)).protocol, svm(standardize=True).protocol}
    texts |= {svm(name="z").protocol, svm((0.1, 1.0)).protocol}
    assert len(texts) == 5


@pytest.mark.parametrize("grid", [(), (0.0, 1.0), (-1.0,)])
def test_costs_that_are_not_positive_are_refused(grid):
    with pytest.raises(ValueError, match="svm: "):
        svm(grid)


def test_a_cost_of_zero_is_refused():
    with pytest.raises(ValueError, match="svm_fit: the cost C must be positive, got 0"):
        svm_fit(np.zeros((2, 1)), np.array([0, 1]), classes=2, c=0.0)
