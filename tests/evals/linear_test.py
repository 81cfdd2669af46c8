import warnings

import numpy as np
import pytest

from jssl.evals import linear
from jssl.evals.linear import (
    KORNBLITH_GRID,
    linear_probe,
    logreg_fit,
    logreg_path,
    logreg_predict_proba,
)


@pytest.fixture
def rows(clouds):
    h, y = clouds(sizes=(200, 80, 80))
    # Features of unequal scale and offset, as a network's are.
    scale = np.array([1e-2, 1, 5, 1, 30, 1], np.float32)
    offset = np.array([0, 3, -20, 0, 100, 1], np.float32)
    return {split: x * scale + offset for split, x in h.items()}, y


def _j(weights, bias, x, y, l2):
    """The objective by a loop over samples."""
    loss = 0.0
    for row, label in zip(x.astype(np.float64), y, strict=True):
        logits = row @ weights + bias
        loss += np.log(np.exp(logits - logits.max()).sum()) + logits.max()
        loss -= logits[label]
    return loss / len(y) + l2 / 2 * np.sum(weights**2)


def _scikit_learn(x, y, l2):
    from sklearn.linear_model import LogisticRegression

    # Its L-BFGS may say that it cannot get below 1e-10; it has then got close enough.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(C=1 / (len(y) * l2), tol=1e-10, max_iter=10_000).fit(
            x.astype(np.float64), y
        )


@pytest.mark.parametrize("l2", [1e-3, 1e-1, 10.0])
@pytest.mark.parametrize("standardize", [True, False])
def test_the_optimum_is_that_of_scikit_learn(l2, standardize, clouds):
    h, y = clouds()
    h, y = h["train"], y["train"]
    model = logreg_fit(h, y, classes=3, l2=l2, tol=1e-8, standardize=standardize)
    x = h.astype(np.float64)
    if standardize:
        x = (x - x.mean(axis=0)) / x.std(axis=0)
    theirs = _scikit_learn(x, y, l2)
    best = _j(theirs.coef_.T, theirs.intercept_, x, y, l2)
    ours = _j(model.weights, model.bias, x, y, l2)
    assert ours <= best * (1 + 1e-8)
    np.testing.assert_allclose(model.info.objective, ours, rtol=1e-12)
    np.testing.assert_allclose(model.weights, theirs.coef_.T, atol=1e-5)
    np.testing.assert_allclose(
        logreg_predict_proba(model, h), theirs.predict_proba(x), atol=1e-6
    )


@pytest.mark.parametrize("l2", [1e-6, 1e-2, 1.0])
def test_identities_of_the_optimum(l2, rows):
    h, y = rows[0]["train"], rows[1]["train"]
    model = logreg_fit(h, y, classes=3, l2=l2)
    assert model.info.converged
    assert model.info.gradient < 1e-6
    p, onehot = logreg_predict_proba(model, h), np.eye(3)[y]
    x = (h - model.mean) / model.std
    slope = x.T @ (p - onehot) / len(y) + l2 * model.weights
    np.testing.assert_allclose(slope, 0, atol=1e-6)
    np.testing.assert_allclose(p.mean(axis=0), onehot.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(model.weights.sum(axis=1), 0, atol=1e-8)


def test_the_gradient_is_that_of_the_objective(rows):
    h, y = rows[0]["train"][:20], rows[1]["train"][:20]
    rng = np.random.default_rng(2)
    x = np.vstack([h.T.astype(np.float64) / 30, np.ones(20)])
    objective = linear._objective(
        np.split(x, [7, 14], axis=1), y, 0.3, map, linear.CROSS_ENTROPY
    )
    theta, direction = rng.normal(size=(2, 7, 3))
    value, slope = objective(theta)
    np.testing.assert_allclose(value, _j(theta[:-1], theta[-1], x[:-1].T, y, 0.3))
    step = 1e-6 * direction
    rise = objective(theta + step)[0] - objective(theta - step)[0]
    # Central differences: error of order step^2 and of rounding / step, 1e-9.
    np.testing.assert_allclose(rise / 2e-6, np.sum(slope * direction), rtol=1e-6)


def test_pieces_make_the_fit_of_the_whole(rows, monkeypatch):
    h, y = rows[0]["train"], rows[1]["train"]
    whole = linear.logreg_fit(h, y, classes=3, l2=0.1, tol=1e-9)
    monkeypatch.setattr(linear, "PIECE", 50)
    parts = linear.logreg_fit(h, y, classes=3, l2=0.1, tol=1e-9)
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-9)


def test_a_rotation_of_the_features_changes_no_prediction(clouds):
    h, y = clouds()
    h, y = h["train"].astype(np.float64), y["train"]
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]
    settings = {"classes": 3, "l2": 0.01, "standardize": False, "tol": 1e-9}
    plain = logreg_fit(h, y, **settings)
    turned = logreg_fit(h @ turn, y, **settings)
    p = logreg_predict_proba(turned, h @ turn)
    np.testing.assert_allclose(logreg_predict_proba(plain, h), p, atol=1e-7)


def test_scale_and_offset_of_features_vanish_in_the_standardizer(clouds):
    h, y = clouds()
    h, y = h["train"].astype(np.float64), y["train"]
    moved = h * np.logspace(-4, 4, 6) - 3
    plain = logreg_fit(h, y, classes=3, l2=0.01, tol=1e-9)
    other = logreg_fit(moved, y, classes=3, l2=0.01, tol=1e-9)
    p = logreg_predict_proba(other, moved)
    np.testing.assert_allclose(logreg_predict_proba(plain, h), p, atol=1e-7)


def test_an_infinite_penalty_leaves_the_majority(rows):
    h, y = rows[0]["train"], rows[1]["train"].copy()
    y[:60] = 2
    model = logreg_fit(h, y, classes=3, l2=1e9)
    np.testing.assert_allclose(model.weights, 0, atol=1e-8)
    p = logreg_predict_proba(model, h)
    np.testing.assert_allclose(p, np.tile(np.bincount(y) / 200, (200, 1)), atol=1e-6)


def test_without_penalty_separable_data_are_parted_by_the_widest_margin():
    # The closest of both classes, (0, 0) and (2, 1), fix the direction (2, 1).
    h = np.array([[0, 0], [-1, 0.5], [-2, 1], [2, 1], [3, 2], [4, 0]], np.float64)
    y = np.array([0, 0, 0, 1, 1, 1])
    sizes = []
    for l2 in (1e-2, 1e-5, 1e-8):
        model = logreg_fit(h, y, classes=2, l2=l2, tol=1e-10, standardize=False)
        w = model.weights[:, 1] - model.weights[:, 0]
        sizes.append(np.linalg.norm(w))
    assert sizes[0] < sizes[1] < sizes[2]
    # The angle closes as 1 / ln(1 / l2).
    np.testing.assert_allclose(w / sizes[-1], np.array([2, 1]) / 5**0.5, atol=0.05)


def test_dead_and_doubled_features_do_no_harm(rows):
    h, y = rows[0]["train"], rows[1]["train"]
    wide = np.hstack([h, np.full((200, 1), 0.1, np.float32), h[:, :2]])
    model = logreg_fit(wide, y, classes=3, l2=1e-6)
    assert model.info.converged
    np.testing.assert_allclose(model.std[6], 1)
    np.testing.assert_allclose(model.weights[6], 0, atol=1e-4)
    np.testing.assert_allclose(model.weights[7:], model.weights[:2], rtol=1e-3)


def test_correlated_features_take_no_more_iterations_than_white_ones():
    rng = np.random.default_rng(4)
    white = rng.normal(size=(400, 20))
    y = (white @ rng.normal(size=(20, 4)) + rng.gumbel(size=(400, 4))).argmax(axis=1)
    mixed = white @ (rng.normal(size=(20, 20)) * np.logspace(0, -3, 20)[:, None])
    settings = {"classes": 4, "l2": 1e-6}
    assert logreg_fit(mixed, y, **settings).info.iterations < 150
    assert logreg_fit(white, y, **settings).info.iterations < 150


def test_a_warm_start_ends_at_the_same_optimum_sooner(rows):
    h, y = rows[0]["train"], rows[1]["train"]
    near = logreg_fit(h, y, classes=3, l2=2e-3)
    cold = logreg_fit(h, y, classes=3, l2=1e-3)
    warm = logreg_fit(h, y, classes=3, l2=1e-3, start=near)
    assert warm.info.iterations < cold.info.iterations
    np.testing.assert_allclose(
        logreg_predict_proba(warm, h), logreg_predict_proba(cold, h), atol=1e-4
    )


def test_too_few_iterations_are_confessed(rows):
    h, y = rows[0]["train"], rows[1]["train"]
    model = logreg_fit(h, y, classes=3, l2=1e-6, max_iter=2)
    assert not model.info.converged
    assert model.info.iterations == 2
    assert model.info.gradient > 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 2}, r"labels must be 0 \.\.\. 1"),
        ({"l2": -1.0}, "l2 >= 0"),
        ({"l2": np.nan}, "l2 >= 0"),
        ({"y": np.zeros(7, np.int32)}, r"y must be int\[n=200\]"),
    ],
)
def test_what_does_not_fit_is_refused(change, message, rows, unhooked):
    good = {"h": rows[0]["train"], "y": rows[1]["train"], "classes": 3, "l2": 0.1}
    with pytest.raises(ValueError, match=message):
        logreg_fit(**{**good, **change})


def test_the_path_chooses_as_separate_fits_do(rows):
    h, y = rows
    grid = [1e-4, 1.0, 1e-2, 100.0]
    best, table = logreg_path(h["train"], y["train"], h["val"], y["val"], grid)
    assert list(table) == [100.0, 1.0, 1e-2, 1e-4]
    for l2, right in table.items():
        alone = logreg_fit(h["train"], y["train"], classes=3, l2=l2, tol=1e-9)
        found = logreg_predict_proba(alone, h["val"]).argmax(axis=1)
        assert right == np.mean(found == y["val"])
    highest = max(table.values())
    assert best.info.l2 == max(l2 for l2 in grid if table[l2] == highest)


def test_an_empty_grid_is_refused(rows):
    h, y = rows
    with pytest.raises(ValueError, match="l2_grid is empty or negative"):
        linear_probe(())
    with pytest.raises(ValueError, match="l2_grid is empty"):
        logreg_path(h["train"], y["train"], h["val"], y["val"], [])


def test_kornbliths_grid_is_45_penalties_from_1e_6_to_1e5():
    assert len(KORNBLITH_GRID) == 45
    np.testing.assert_allclose(KORNBLITH_GRID[::44], [1e-6, 1e5])
    np.testing.assert_allclose(np.diff(np.log10(KORNBLITH_GRID)), 0.25)


def test_the_probe_is_the_best_on_val_then_refitted_and_judged_on_test(splits):
    features = splits(spread=2.0)
    h, y = features.arrays, features.truth
    grid = (1e-4, 1e-2, 1.0, 10.0)
    best, table = logreg_path(h["train"], y["train"], h["val"], y["val"], grid)
    assert linear_probe(grid)(features, False) == {"linear": max(table.values())}

    both = np.concatenate([h["train"], h["val"]]).astype(np.float64)
    mean, std = both.mean(axis=0), both.std(axis=0)
    truth = np.concatenate([y["train"], y["val"]])
    theirs = _scikit_learn((both - mean) / std, truth, best.info.l2)
    right = theirs.score((h["test"] - mean) / std, y["test"])
    assert linear_probe(grid)(features, True) == {"linear": pytest.approx(right)}


@pytest.fixture
def fits(monkeypatch):
    """Every fit made during a test."""
    made, fit = [], linear.fit

    def remember(*args, **kwargs):
        made.append(fit(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(linear, "fit", remember)
    return made


def _same(a, b):
    assert a.info == b.info
    for x, y in zip(a[:4], b[:4], strict=True):
        np.testing.assert_array_equal(x, y)


def test_permuted_test_labels_change_the_last_accuracy_and_no_fit(splits, fits):
    features = splits()
    evaluate = linear_probe((1e-3, 1e-1))
    first = evaluate(features, True)
    np.random.default_rng(5).shuffle(features.truth["test"])
    second = evaluate(features, True)
    assert len(fits) == 6
    for a, b in zip(fits[:3], fits[3:], strict=True):
        _same(a, b)
    assert first != second


def test_no_standardizer_sees_the_test_rows_nor_the_tuning_the_val_rows(splits, fits):
    features = splits()
    evaluate = linear_probe((1e-3, 1e-1))
    evaluate(features, True)
    h = features.arrays
    both = np.concatenate([h["train"], h["val"]])
    for model, seen in zip(fits, [h["train"], h["train"], both], strict=True):
        seen = seen.astype(np.float64)
        np.testing.assert_allclose(model.mean, seen.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(model.std, seen.std(axis=0), rtol=1e-12)
    features.arrays["test"] = 1e3 * features.arrays["test"] + 5
    evaluate(features, True)
    for a, b in zip(fits[:3], fits[3:], strict=True):
        _same(a, b)


def test_a_probe_that_did_not_converge_says_so(splits, monkeypatch):
    fit = linear.logreg_fit
    monkeypatch.setattr(
        linear, "logreg_fit", lambda *a, **k: fit(*a, **{**k, "max_iter": 1})
    )
    metrics = linear_probe((1e-6,))(splits(), True)
    assert metrics["linear/converged"] == 0.0
    assert 0 <= metrics["linear"] <= 1


def _wide(n=24, d=100, classes=3):
    rng = np.random.default_rng(0)
    h = rng.normal(size=(n, d)) * rng.uniform(0.1, 10, d) + rng.normal(size=d)
    h[:, -1] = 3.0  # a dead feature
    h[1] = h[0]  # a row twice: the span is smaller than n - 1
    return h.astype(np.float32), np.arange(n) % classes


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("l2", [1e-3, 1.0])
def test_few_wide_rows_have_the_same_optimum(l2, standardize, monkeypatch):
    h, y = _wide()
    fit = lambda: logreg_fit(h, y, classes=3, l2=l2, tol=1e-8, standardize=standardize)
    primal = fit()
    monkeypatch.setattr(linear, "WIDE", 0)
    dual = fit()
    assert dual.info.gradient < 1e-8
    np.testing.assert_allclose(dual.info.objective, primal.info.objective, rtol=1e-8)
    np.testing.assert_allclose(dual.weights, primal.weights, atol=1e-6 / l2**0.5)
    p, onehot = logreg_predict_proba(dual, h), np.eye(3)[y]
    x = (h - dual.mean) / dual.std
    slope = x.T @ (p - onehot) / len(y) + l2 * dual.weights
    np.testing.assert_allclose(np.abs(slope).max(), dual.info.gradient, atol=1e-12)


def test_a_path_through_few_wide_rows_has_the_fits_of_each_penalty(monkeypatch):
    monkeypatch.setattr(linear, "WIDE", 0)
    h, y = _wide()
    best, table = logreg_path(h, y, h, y, (1e-3, 1e-1))
    alone = logreg_fit(h, y, classes=3, l2=best.info.l2)
    assert set(table) == {1e-3, 1e-1}
    np.testing.assert_allclose(best.weights, alone.weights, atol=1e-6)


def test_a_fit_of_few_rows_takes_no_matrix_of_features():
    """12 rows of 150,528 features: pixels of 224 x 224 in color."""
    import tracemalloc

    h = np.random.default_rng(0).uniform(size=(12, 150_528)).astype(np.float32)
    tracemalloc.start()
    model = logreg_fit(h, np.arange(12) % 2, classes=2, l2=1e-2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert model.info.converged
    assert peak < 300e6  # d x d in float64 is 181 GB
