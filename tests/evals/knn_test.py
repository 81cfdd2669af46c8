import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import knn, knn_predict
from jssl.evals.knn import _top_k

blocks = importlib.import_module("jssl.evals.knn")
predict = jax.jit(knn_predict, static_argnames=("k", "classes", "chunk"))

# Unit vectors in the plane whose cosines with (1, 0) are .9, .8 and .7.
COSINES = np.array([0.9, 0.8, 0.7], np.float32)
BANK = np.stack([COSINES, np.sqrt(1 - COSINES**2)], axis=1)
QUERY = np.array([[1.0, 0.0]], np.float32)


def _random(n=80, m=37, d=5, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    train = rng.normal(size=(n, d)).astype(np.float32)
    queries = rng.normal(size=(m, d)).astype(np.float32)
    return train, rng.integers(classes, size=n).astype(np.int32), queries


def test_the_weights_are_those_of_the_catalogue():
    scores = predict(BANK, np.arange(3), QUERY, k=3, classes=3)[1]
    np.testing.assert_allclose(scores[0], [0.771, 0.185, 0.044], atol=5e-4)


@pytest.mark.parametrize(("temperature", "winner"), [(0.07, 0), (0.5, 1)])
def test_a_higher_temperature_lets_two_neighbors_outvote_a_nearer_one(temperature, winner):
    labels = np.array([0, 1, 1])
    found, _ = predict(BANK, labels, QUERY, k=3, temperature=temperature, classes=2)
    assert found.tolist() == [winner]


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_votes_are_those_of_scikit_learn(temperature):
    from sklearn.neighbors import KNeighborsClassifier

    train, labels, queries = _random()
    theirs = KNeighborsClassifier(
        n_neighbors=9,
        metric="cosine",
        algorithm="brute",
        weights=lambda distance: np.exp((1 - distance) / temperature),
    ).fit(train.astype(np.float64), labels)
    found, scores = predict(train, labels, queries, k=9, temperature=temperature, classes=4)
    np.testing.assert_array_equal(found, theirs.predict(queries))
    # float32 cosines, off by 1e-7, in an exponent multiplied by 1 / .07.
    np.testing.assert_allclose(scores, theirs.predict_proba(queries), atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 10, 37, 1024])
def test_chunks_change_nothing(chunk):
    train, labels, queries = _random()
    whole = predict(train, labels, queries, classes=4)
    parts = predict(train, labels, queries, classes=4, chunk=chunk)
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_allclose(parts[1], whole[1], atol=1e-6)


def _tied(n, seed):
    """Rows of four entries +-1 among six: unit rows and all cosines are exact."""
    rng = np.random.default_rng(seed)
    rows = np.tile(np.float32([1, 1, 1, 1, 0, 0]), (n, 1))
    return rng.permuted(rows, axis=1) * rng.choice(np.float32([-1, 1]), (n, 6))


@pytest.mark.parametrize(
    ("block", "k"), [(5, 20), (33, 1), (100, 20), (100, 250), (299, 20)]
)
def test_blocks_change_no_bit_and_of_equals_the_earlier_row_votes(block, k):
    n, bank, queries = 300, _tied(300, 0), _tied(21, 1)
    how = dict(k=k, temperature=1.0, classes=n, chunk=10)  # scores of classes are of rows
    vote = partial(knn_predict, bank, np.arange(n), queries, **how)
    found, scores = vote(block=block)
    whole = vote(block=n)
    np.testing.assert_array_equal(found, whole[0])
    np.testing.assert_array_equal(scores, whole[1])
    cosine = queries @ bank.T / 4
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    weights = np.zeros((21, n))
    np.put_along_axis(weights, nearest, np.exp(np.take_along_axis(cosine, nearest, 1)), 1)
    assert len(np.unique(cosine)) <= 9  # dozens of rows are equally near
    np.testing.assert_allclose(scores, weights / weights.sum(1, keepdims=True), rtol=1e-5)


def test_no_more_rows_than_a_block_are_on_the_device(monkeypatch, splits):
    sizes, whole, nearest = [], knn()(splits(), True), blocks._nearest

    def seen(rows, *args, **kwargs):
        sizes.append(len(rows))
        return nearest(rows, *args, **kwargs)

    monkeypatch.setattr(blocks, "_nearest", seen)
    monkeypatch.setattr(blocks, "ON_DEVICE", 100)
    assert knn()(splits(), True) == whole
    features = splits().arrays
    width = features["train"].shape[1]
    assert sum(sizes) == len(features["train"]) + len(features["val"])
    assert max(sizes) * width <= 100 and len(sizes) > 2


@pytest.mark.parametrize("temperature", [1e-4, 1e-7])
def test_a_vanishing_temperature_is_the_nearest_neighbor(temperature):
    train, labels, queries = _random()
    one = predict(train, labels, queries, k=1, classes=4)[0]
    found, scores = predict(train, labels, queries, k=9, temperature=temperature, classes=4)
    np.testing.assert_array_equal(found, one)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-6)


def test_an_infinite_temperature_is_a_majority():
    train, labels, queries = _random()
    scores = predict(train, labels, queries, k=80, temperature=1e9, classes=4)[1]
    share = np.bincount(labels, minlength=4) / 80
    np.testing.assert_allclose(scores, np.tile(share, (37, 1)), rtol=1e-5)


def test_k_beyond_the_bank_is_the_whole_bank():
    train, labels, queries = _random()
    np.testing.assert_array_equal(
        predict(train, labels, queries, k=10_000, classes=4)[1],
        predict(train, labels, queries, k=80, classes=4)[1],
    )


def test_rotations_and_lengths_do_not_matter():
    train, labels, queries = _random()
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0].astype(np.float32)
    length = rng.uniform(0.1, 50, size=(80, 1)).astype(np.float32)
    plain = predict(train, labels, queries, classes=4)
    moved = predict(length * train @ turn, labels, 7 * queries @ turn, classes=4)
    np.testing.assert_array_equal(plain[0], moved[0])
    np.testing.assert_allclose(plain[1], moved[1], atol=1e-5)


def test_a_query_of_zeros_hears_the_first_rows_and_stays_finite():
    train, labels, _ = _random()
    scores = predict(train, labels, np.zeros((2, 5), np.float32), k=4, classes=4)[1]
    share = np.bincount(labels[:4], minlength=4) / 4
    np.testing.assert_allclose(scores, np.tile(share, (2, 1)), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("k", [1, 4])  # of 3 blocks: by blocks, and by all rows
def test_a_row_that_is_not_finite_is_not_hidden(bad, k):
    train, labels, queries = _random()
    found, scores = predict(train, labels, queries, k=k, classes=4)
    spoiled = queries.copy()
    spoiled[3, 1] = bad
    mine, its = predict(train, labels, spoiled, k=k, classes=4)
    assert mine[3] == -1 and np.isnan(its[3]).all()
    others = np.arange(len(queries)) != 3
    np.testing.assert_array_equal(mine[others], found[others])
    np.testing.assert_array_equal(its[others], scores[others])
    train[70, 0] = bad
    found, scores = predict(train, labels, queries, k=k, classes=4)
    assert (found == -1).all() and np.isnan(scores).all()


def test_it_compiles_once_for_all_temperatures():
    train, labels, queries = _random()
    traces = []

    @jax.jit
    def compiled(temperature):
        traces.append(1)
        return knn_predict(train, labels, queries, k=3, temperature=temperature, classes=4)

    for temperature in (0.07, 0.5):
        eager = knn_predict(train, labels, queries, k=3, temperature=temperature, classes=4)
        np.testing.assert_allclose(compiled(temperature)[1], eager[1], atol=1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": jnp.ones((3, 4))}, r"queries must be float\[m, d=5\]"),
        ({"labels": jnp.zeros(79, jnp.int32)}, r"labels must be int\[n=80\]"),
        ({"k": 0}, "k, classes, chunk"),
        ({"block": 0}, "k, classes, chunk, block"),
        ({"queries": jnp.ones((0, 5))}, "rows of train and queries"),
    ],
)
def test_what_does_not_fit_is_refused(change, message, unhooked):
    train, labels, queries = _random()
    arguments = {"train": train, "labels": labels, "queries": queries, **change}
    with pytest.raises(ValueError, match=message):
        knn_predict(**{**arguments, "classes": 4})


@pytest.mark.parametrize("settings", [{"k": 0}, {"temperature": 0.0}])
def test_settings_without_a_meaning_are_refused(settings):
    with pytest.raises(ValueError, match="knn needs k >= 1, temperature > 0"):
        knn(**settings)


def test_the_eval_is_the_fraction_that_scikit_learn_gets_right(splits):
    from sklearn.neighbors import KNeighborsClassifier

    features = splits()
    h, y = features.arrays, features.truth
    theirs = partial(
        KNeighborsClassifier,
        n_neighbors=20,
        metric="cosine",
        weights=lambda distance: np.exp((1 - distance) / 0.07),
    )
    on_val = theirs().fit(h["train"], y["train"]).score(h["val"], y["val"])
    assert knn()(features, False) == {"knn": pytest.approx(on_val)}

    bank = np.concatenate([h["train"], h["val"]])
    truth = np.concatenate([y["train"], y["val"]])
    on_test = theirs().fit(bank, truth).score(h["test"], y["test"])
    assert knn()(features, True) == {"knn": pytest.approx(on_test)}
    assert on_test > 0.5  # of three classes: the clouds can be told apart


@pytest.mark.parametrize("n", [1200, 1184, 1153, 641])
def test_the_largest_by_blocks_are_the_largest_and_of_equals_the_earlier(n):
    x = np.random.default_rng(n).integers(0, 40, (7, n)).astype(np.float32)  # many ties
    padded = np.pad(x, ((0, 0), (0, -n % 32)), constant_values=99)
    found, index = jax.jit(_top_k, static_argnums=(1, 2))(padded, 20, n)
    expected, place = jax.lax.top_k(x, 20)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(index, place)


@pytest.mark.parametrize("length", [0.0, 1e-25, 1e-38, 1e-45])
def test_a_row_of_no_length_wins_no_vote(length):
    """Two rows are beside the query; one of length 1e-25 used to have a cosine of 1e13."""
    bank = np.array([[1, 0], [0.9, 0.1], [length, 0]], np.float32)
    found, scores = knn_predict(
        bank, np.array([0, 0, 1]), np.array([[1, 0]], np.float32), k=3, classes=2
    )
    assert found.tolist() == [0]
    with_zero, _ = knn_predict(
        bank * [[1], [1], [0]],
        np.array([0, 0, 1]),
        np.array([[1, 0]], np.float32),
        k=3,
        classes=2,
    )
    assert found.tolist() == with_zero.tolist()
    assert scores[0, 1] == pytest.approx(1 / (1 + 2 * np.exp(1 / 0.07)), abs=1e-6)


@pytest.mark.parametrize("scale", [1e-17, 1e-3, 1e17, 1e25, 1e38])
def test_the_scale_of_features_changes_no_vote(scale, clouds):
    h, y = clouds()
    h = {split: x / np.abs(x).max() for split, x in h.items()}
    vote = partial(knn_predict, labels=y["train"], classes=3)
    expected, scores = vote(h["train"], queries=h["test"])
    big = [x * np.float32(scale) for x in (h["train"], h["test"])]
    found, again = vote(big[0], queries=big[1])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(again, scores, atol=1e-5)
