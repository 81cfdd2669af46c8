import importlib

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from jssl.evals.few_shot import (
    episode,
    few_labels,
    few_labels_probe,
    few_shot,
    prototype_predict,
)
from jssl.evals.linear import TOY_GRID

module = importlib.import_module("jssl.evals.few_shot")  # evals has the function so named

Y = np.random.default_rng(0).integers(6, size=150) + 3


@pytest.mark.parametrize("seed", range(5))
def test_an_episode_has_rows_of_its_classes_and_none_twice(seed):
    support, query, classes = episode(np.random.default_rng(seed), Y, 4, 3, 5)
    assert support.shape == (4, 3)
    assert query.shape == (4, 5)
    assert len(set(classes)) == 4
    np.testing.assert_array_equal(Y[support], np.tile(classes, (3, 1)).T)
    np.testing.assert_array_equal(Y[query], np.tile(classes, (5, 1)).T)
    assert len({*support.flat, *query.flat}) == 32


def test_episodes_draw_classes_and_rows_alike():
    rng, taken, seen = np.random.default_rng(1), np.zeros(150), np.zeros(9)
    for _ in range(2000):
        support, query, classes = episode(rng, Y, 2, 1, 2)
        taken[[*support.flat, *query.flat]] += 1
        seen[classes] += 1
    # 2,000 draws of two of six classes, and of three of a class's rows: binomial.
    assert np.abs(seen[3:] - 2000 / 3).max() < 4 * np.sqrt(2000 * 2 / 9)
    mean = 2000 / 3 * 3 / np.bincount(Y)[Y]
    assert np.abs((taken - mean) / np.sqrt(mean)).max() < 4.5


def test_prototypes_predict_as_scikit_learns_nearest_centroid():
    from sklearn.neighbors import NearestCentroid

    rng = np.random.default_rng(2)
    support, query = rng.normal(size=(4, 3, 5)), rng.normal(size=(40, 5))
    theirs = NearestCentroid().fit(support.reshape(12, 5), np.repeat(np.arange(4), 3))
    found = prototype_predict(support, query)
    np.testing.assert_array_equal(found, theirs.predict(query))


def test_prototypes_are_a_linear_classifier():
    rng = np.random.default_rng(3)
    support, query = rng.normal(size=(4, 3, 5)), rng.normal(size=(40, 5))
    mean = support.mean(axis=1)
    logits = query @ (2 * mean.T) - np.square(mean).sum(axis=1)
    np.testing.assert_array_equal(prototype_predict(support, query), logits.argmax(axis=1))


@pytest.mark.parametrize("final", [False, True])
def test_the_eval_is_the_mean_over_episodes_of_the_judged_split_alone(final, splits):
    features = splits(sizes=(10, 60, 80), spread=2.0)
    metrics = few_shot(3, 2, 4, episodes=600, seed=5)(features, final)
    split = "test" if final else "val"
    h, y = features.arrays[split].astype(np.float64), features.truth[split]
    h /= np.linalg.norm(h, axis=1, keepdims=True)
    rng, right = np.random.default_rng(5), []
    for _ in range(600):
        support, query, classes = episode(rng, y, 3, 2, 4)
        logits = h[query] @ h[support].mean(axis=1).T * 2
        logits -= np.square(h[support].mean(axis=1)).sum(axis=1)
        right.append(np.mean(classes[logits.argmax(axis=2)] == y[query]))
    assert metrics == {
        "few_shot": pytest.approx(np.mean(right)),
        # The catalogue's .080 standard deviations at 600 episodes.
        "few_shot/ci95": pytest.approx(0.0800 * np.std(right, ddof=1), rel=1e-3),
    }
    assert 0.4 < metrics["few_shot"] < 1
    assert features.asked == [split]


def test_random_features_are_at_chance(splits):
    features = splits(sizes=(10, 2000, 10))
    features.arrays["val"] = np.random.default_rng(6).normal(size=(2000, 6))
    features.truth["val"] = np.random.default_rng(7).integers(8, size=2000)
    metrics = few_shot(5, 5, 5, episodes=200)(features, False)
    # Three standard errors, 3 / 1.96 of the half-width.
    assert abs(metrics["few_shot"] - 1 / 5) < 1.53 * metrics["few_shot/ci95"]


def test_more_shots_are_better(splits):
    one, five = (few_shot(3, k, 10, 100)(splits(spread=2.0), True) for k in (1, 5))
    apart = five["few_shot"] - one["few_shot"]
    assert apart > one["few_shot/ci95"] + five["few_shot/ci95"]


def test_collapsed_features_are_exactly_at_chance(splits):
    features = splits()
    features.arrays["val"][:] = 0.3
    found = few_shot(3, 2, 4, episodes=10)(features, False)
    assert found == pytest.approx({"few_shot": 1 / 3, "few_shot/ci95": 0}, abs=1e-12)


def test_every_method_gets_the_same_episodes(splits, monkeypatch):
    drawn, draw = [], module._draw

    def remember(*args):
        drawn.append(draw(*args))
        return drawn[-1]

    monkeypatch.setattr(module, "_draw", remember)
    one, other = splits(), splits()
    other.arrays["val"] = np.random.default_rng(8).normal(size=(45, 2))
    for features in (one, other):
        few_shot(3, 2, 4, episodes=5)(features, False)
    for a, b in zip(drawn[:5], drawn[5:], strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_few_labels_are_nested_and_the_same_number_of_each_class():
    draws = [few_labels(np.random.default_rng(9), Y, k) for k in (1, 4, 10)]
    for rows, k in zip(draws, (1, 4, 10), strict=True):
        assert len(set(rows)) == 6 * k
        assert np.bincount(Y[rows])[3:].tolist() == [k] * 6
    assert set(draws[0]) < set(draws[1]) < set(draws[2])
    assert set(draws[0]) != set(few_labels(np.random.default_rng(10), Y, 1))


@pytest.mark.parametrize("final", [False, True])
def test_the_probe_is_scikit_learns_on_the_same_labels(final, splits):
    from sklearn.linear_model import LogisticRegression

    features = splits(sizes=(90, 200, 200))
    found = few_labels_probe((5, 1), draws=3, seed=4)(features, final)
    h, y = features.arrays, features.truth
    for k in (1, 5):
        right = {split: np.empty((3, 4)) for split in ("val", "test")}
        for draw in range(3):
            rows = few_labels(np.random.default_rng([4, draw]), y["train"], k)
            x, labels = h["train"][rows].astype(np.float64), y["train"][rows]
            mean, std = x.mean(axis=0), x.std(axis=0)
            for i, l2 in enumerate(TOY_GRID):
                theirs = LogisticRegression(C=1 / (len(rows) * l2), tol=1e-7)
                with threadpool_limits(1):
                    theirs.fit((x - mean) / std, labels)
                for split, table in right.items():
                    table[draw, i] = theirs.score((h[split] - mean) / std, y[split])
        on_val = right["val"].mean(axis=0)
        chosen = max(range(4), key=lambda i: (on_val[i].round(12), TOY_GRID[i]))
        want = right["test" if final else "val"].mean(axis=0)[chosen]
        assert found[f"linear@{k}"] == pytest.approx(want)
    assert 1 / 3 < found["linear@1"] < found["linear@5"]
    assert ("test" in features.asked) == final


def test_rows_of_train_that_were_not_drawn_change_nothing(splits):
    features, other = splits(), splits()
    drawn = few_labels(np.random.default_rng([0, 0]), features.truth["train"], 2)
    other.arrays["train"][np.setdiff1d(np.arange(90), drawn)] = 1e3
    evaluate = few_labels_probe((2,), draws=1)
    assert evaluate(other, True) == evaluate(features, True)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_collapsed_features_are_one_class_to_the_probe(value, splits):
    features = splits()
    for h in features.arrays.values():
        h[:] = value
    shares = np.bincount(features.truth["test"]) / 60
    found = few_labels_probe((2,), draws=1)(features, True)
    assert found["linear@2"] in shares


def test_a_probe_that_did_not_converge_says_so(splits, monkeypatch):
    fit = module.logreg_fit
    monkeypatch.setattr(
        module, "logreg_fit", lambda *a, **k: fit(*a, **{**k, "max_iter": 1})
    )
    assert few_labels_probe((5,), draws=2)(splits(), False)["linear@5/converged"] == 0.0


def test_protocols_tell_settings_apart():
    every = [few_shot(), few_shot(4), few_shot(k_shot=1), few_shot(n_query=10)]
    every += [few_shot(episodes=10), few_shot(seed=1), few_labels_probe()]
    every += [few_labels_probe((1,)), few_labels_probe(draws=2), few_labels_probe(seed=1)]
    assert len({evaluate.protocol for evaluate in every}) == len(every)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: episode(rng, Y, 7, 1, 1), "wanted 7 classes, got 6"),
        (lambda rng: episode(rng, Y, 2, 9, 41), "wanted 50 labeled rows .* of class"),
        (lambda rng: episode(rng, Y, 2, 0, 1), "got 2, 0 and 1"),
        (lambda rng: few_labels(rng, Y, 50), "wanted 50 labeled rows of every class"),
        (lambda rng: few_labels(rng, Y, 0), "at least 1, got 0"),
        (lambda rng: prototype_predict(np.ones((2, 0, 3)), np.ones((1, 3))), "empty"),
        (lambda rng: prototype_predict(np.ones((2, 1, 3)), np.ones((1, 4))), "d=3"),
        (lambda rng: few_shot(n_way=0), "got 0, 5, 15 and 600"),
        (lambda rng: few_shot(episodes=1), "got 5, 5, 15 and 1"),
        (lambda rng: few_labels_probe(()), r"got \(\) and 5"),
        (lambda rng: few_labels_probe(draws=0), "and 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, message, unhooked):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))


def test_splits_that_are_too_small_are_refused(splits):
    with pytest.raises(ValueError, match="wanted 5 classes, got 3"):
        few_shot(k_shot=1, n_query=2)(splits(), False)
    with pytest.raises(ValueError, match="wanted 35 labeled rows of every class"):
        few_shot(n_way=3, k_shot=20)(splits(), False)
    with pytest.raises(ValueError, match="wanted 80 labeled rows of every class"):
        few_labels_probe((80,))(splits(), False)
