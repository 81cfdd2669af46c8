import itertools
from functools import partial

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from sklearn import metrics
from threadpoolctl import threadpool_limits

from jssl.evals.clustering import (
    ari,
    clustering,
    contingency,
    hungarian_accuracy,
    nmi,
    purity,
)

some = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
label = st.integers(0, 4)
labelings = st.lists(st.tuples(label, label), min_size=1, max_size=30).map(
    lambda pairs: np.array(pairs).T
)
THIRDS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2]), np.array([1, 1, 0, 2, 2, 2, 0, 0, 1])


@pytest.mark.parametrize(
    ("a", "b", "index", "arithmetic", "geometric"),
    [
        ([0, 0, 1, 1], [0, 1, 0, 1], -0.5, 0, 0),
        ([0, 0, 1, 2], [0, 0, 1, 1], 0.571429, 0.8, 0.816497),
        (*THIRDS, 0.407407, 0.613747, 0.613747),
    ],
)
def test_the_constants_of_the_catalogue(a, b, index, arithmetic, geometric):
    a, b = np.array(a), np.array(b)
    assert ari(a, b) == pytest.approx(index, abs=5e-7)
    assert nmi(a, b) == pytest.approx(arithmetic, abs=5e-7)
    assert nmi(a, b, average="geometric") == pytest.approx(geometric, abs=5e-7)


@some
@hypothesis.given(labelings)
def test_contingency_counts_as_a_double_loop_does(both):
    table = contingency(*both)
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            assert table[i, j] == sum((a, b) == (i, j) for a, b in both.T)
    assert table.sum() == both.shape[1]


@some
@hypothesis.given(labelings)
def test_nmi_and_ari_are_those_of_scikit_learn(both):
    for average in ("arithmetic", "geometric"):
        want = metrics.normalized_mutual_info_score(*both, average_method=average)
        assert nmi(*both, average=average) == pytest.approx(want, abs=1e-9)
    assert ari(*both) == pytest.approx(metrics.adjusted_rand_score(*both), abs=1e-9)


@some
@hypothesis.given(labelings, st.permutations(range(5)), st.permutations(range(5)))
def test_names_of_clusters_and_classes_do_not_matter(both, one, other):
    renamed = np.array(one)[both[0]], np.array(other)[both[1]]
    for score in (nmi, ari, purity, lambda a, b: hungarian_accuracy(a, b)[0]):
        assert score(*renamed) == pytest.approx(score(*both), abs=1e-12)


@some
@hypothesis.given(labelings)
def test_the_hungarian_naming_beats_every_other(both):
    accuracy, naming = hungarian_accuracy(*both)
    # Five names for five clusters cover every one-to-one naming, rectangular or not.
    best = max(
        np.mean(np.array(names)[both[0]] == both[1])
        for names in itertools.permutations(range(5))
    )
    assert accuracy == pytest.approx(best)
    assert accuracy == pytest.approx(np.mean(naming[both[0]] == both[1]))
    given = naming[naming >= 0]
    assert len(set(given)) == len(given) == min(contingency(*both).shape)


@some
@hypothesis.given(labelings)
def test_purity_lies_between_hungarian_accuracy_and_one(both):
    pure = purity(*both)
    majority = sum(
        np.bincount(both[1][both[0] == cluster]).max() for cluster in np.unique(both[0])
    )
    assert pure == pytest.approx(majority / both.shape[1])
    assert hungarian_accuracy(*both)[0] <= pure + 1e-12 <= 1 + 1e-9


def test_the_hungarian_constant_of_the_catalogue():
    accuracy, naming = hungarian_accuracy(*THIRDS)
    assert accuracy == pytest.approx(7 / 9)
    assert naming.tolist() == [1, 2, 0]


@pytest.mark.parametrize("score", [nmi, ari, partial(nmi, average="geometric")])
def test_constant_labelings_tell_nothing_but_of_each_other(score):
    constant, other = np.zeros(49, int), np.arange(49) % 7
    assert score(constant, other) == score(other, constant) == 0
    assert score(constant, constant) == 1
    assert score(np.arange(6), np.arange(6)[::-1].copy()) == 1
    assert score(np.zeros(1, int), np.zeros(1, int)) == 1


def test_pairs_of_a_large_set_do_not_overflow():
    a = np.tile(np.arange(3), 70_000)
    b = np.where(np.arange(len(a)) % 10 == 0, 0, a)
    assert ari(a, b) == pytest.approx(metrics.adjusted_rand_score(a, b), rel=1e-9)


def test_nmi_rises_with_the_number_of_clusters_alone():
    rng = np.random.default_rng(0)
    classes = rng.integers(10, size=500)
    few, many = (nmi(rng.integers(k, size=500), classes) for k in (10, 100))
    assert many > 2 * few


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("over", [1, 3])
def test_the_eval_scores_scikit_learns_clusters_of_the_other_rows(final, over, splits):
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize

    features = splits(spread=0.5)
    found = clustering(restarts=4, over=over, seed=5)(features, final)
    h, y = features.arrays, features.truth
    fit, split = h["train"], "val"
    if final:
        fit, split = np.concatenate([h["train"], h["val"]]), "test"
    means = KMeans(3 * over, n_init=4, random_state=5)
    with threadpool_limits(1):
        means.fit(normalize(fit.astype(np.float64)))
        clusters = means.predict(normalize(h[split].astype(np.float64)))
    want = {
        "nmi": metrics.normalized_mutual_info_score(y[split], clusters),
        "ari": metrics.adjusted_rand_score(y[split], clusters),
        "hungarian": hungarian_accuracy(clusters, y[split])[0],
        "purity": purity(clusters, y[split]),
    }
    if over == 3:
        del want["hungarian"]
        want = {f"{name}/over3": score for name, score in want.items()}
    assert found == pytest.approx(want)
    assert found.get("hungarian", 1) > 0.6  # of three classes
    assert ("test" in features.asked) == final


def test_labels_decide_the_number_of_clusters_and_nothing_else(splits):
    features = splits()
    before = clustering(restarts=2)(features, True)
    for split in ("train", "val"):
        np.random.default_rng(1).shuffle(features.truth[split])
    assert clustering(restarts=2)(features, True) == before


def test_lengths_of_features_do_not_matter(splits):
    features, scaled = splits(), splits()
    for h in scaled.arrays.values():
        h *= 2.0 ** np.random.default_rng(2).integers(-8, 8, size=(len(h), 1))
    assert clustering(restarts=2)(features, True) == clustering(restarts=2)(scaled, True)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_collapsed_features_are_one_cluster(value, splits):
    features = splits()
    for h in features.arrays.values():
        h[:] = value
    largest = np.bincount(features.truth["test"]).max() / 60
    assert clustering(restarts=2)(features, True) == {
        "nmi": 0,
        "ari": 0,
        "hungarian": largest,
        "purity": largest,
    }


def test_random_features_are_clustered_at_chance(splits):
    features = splits(sizes=(300, 10, 300))
    rng = np.random.default_rng(3)
    for split, h in features.arrays.items():
        features.arrays[split] = rng.normal(size=h.shape).astype(np.float32)
    found = clustering(restarts=2)(features, True)
    assert abs(found["ari"]) < 0.03
    assert found["nmi"] < 0.03


def test_protocols_tell_settings_apart():
    every = [clustering(), clustering(5), clustering(over=10), clustering(seed=1)]
    assert len({evaluate.protocol for evaluate in every}) == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: contingency(np.array([0, 1]), np.array([0])), r"b must be int\[n=2\]"),
        (lambda: contingency(np.array([0.5]), np.array([0])), r"a must be int\[n\]"),
        (lambda: ari(np.array([-1, 0]), np.array([0, 1])), "labels >= 0"),
        (lambda: nmi(np.zeros(0, int), np.zeros(0, int)), "one sample or more"),
        (lambda: nmi(*THIRDS, average="max"), "\"geometric\", got 'max'"),
        (lambda: clustering(restarts=0), "got 0, 1"),
        (lambda: clustering(over=0), "got 20, 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, message, unhooked):
    with pytest.raises(ValueError, match=message):
        call()


def test_more_clusters_than_rows_are_refused(splits):
    with pytest.raises(ValueError, match="120 clusters need as many rows, got 90"):
        clustering(over=40)(splits(), False)
