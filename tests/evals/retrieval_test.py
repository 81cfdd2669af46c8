import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from jssl.evals.retrieval import (
    average_precision,
    recall_at_k,
    retrieval,
    retrieve,
    unit_rows,
)

rng = np.random.default_rng(0)
QUERY = rng.normal(size=(23, 5)).astype(np.float32)
GALLERY = rng.normal(size=(60, 5)).astype(np.float32)
SEEN = rng.integers(3, size=60)
TRUTH = rng.integers(3, size=23)


def _cosines(query, gallery):
    """By a double loop, in float64."""
    found = np.empty((len(query), len(gallery)))
    for i, a in enumerate(query.astype(np.float64)):
        for j, b in enumerate(gallery.astype(np.float64)):
            found[i, j] = a @ b / np.sqrt((a @ a) * (b @ b))
    return found


def _row(*entries):
    return np.array([entries], bool)


@pytest.mark.parametrize("k", [1, 7, 60])
def test_the_k_best_are_those_of_a_sort_of_all_cosines(k):
    cosines = _cosines(QUERY, GALLERY)
    want = np.argsort(-cosines, axis=1)[:, :k]
    idx, similarity = retrieve(QUERY, GALLERY, k)
    np.testing.assert_array_equal(idx, want)
    np.testing.assert_allclose(similarity, np.take_along_axis(cosines, want, 1), rtol=1e-12)


@pytest.mark.parametrize("chunk", [1, 10, 23])
def test_chunks_of_queries_change_nothing(chunk):
    whole, parts = retrieve(QUERY, GALLERY, 9), retrieve(QUERY, GALLERY, 9, chunk)
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-12)


def test_rotations_and_lengths_do_not_matter():
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    length = np.random.default_rng(2).uniform(0.1, 50, size=(60, 1))
    plain = retrieve(QUERY, GALLERY, 9)
    moved = retrieve(7 * QUERY @ turn, length * GALLERY @ turn, 9)
    np.testing.assert_array_equal(plain[0], moved[0])
    np.testing.assert_allclose(plain[1], moved[1], atol=1e-12)


@pytest.mark.parametrize("k", [4, 60])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_come_as_they_lie_in_the_gallery(k, dtype):
    # Ten copies of six rows, so that sums in any order still have to tie.
    gallery = np.tile(GALLERY[:6].astype(dtype), (10, 1))
    idx, _ = retrieve(QUERY.astype(dtype), gallery, k)
    best = np.argsort(-_cosines(QUERY, GALLERY[:6]), axis=1)
    want = best[:, :, None] + 6 * np.arange(10)
    np.testing.assert_array_equal(idx, want.reshape(23, 60)[:, :k])


def test_opposite_rows_are_last_and_rows_of_zeros_in_between():
    gallery = np.array([[-1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    idx, similarity = retrieve(np.array([[1.0, 0.0]]), gallery, 4)
    assert idx.tolist() == [[3, 1, 2, 0]]
    assert similarity.tolist() == [[1, 0, 0, -1]]


def test_lengths_neither_overflow_nor_underflow():
    tiny, huge = np.float32(1e-30), np.float32(1e30)
    h = np.array([[3 * tiny, 4 * tiny], [3 * huge, 4 * huge]], np.float32)
    np.testing.assert_allclose(unit_rows(h), [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)


def test_average_precision_by_hand():
    np.testing.assert_allclose(average_precision(_row(1, 0, 1)), [0.8333], atol=5e-5)
    np.testing.assert_allclose(average_precision(_row(1, 1, 0, 0)), [1])
    for r in (1, 2, 5):
        alone = np.eye(5, dtype=bool)[[r - 1]]
        np.testing.assert_allclose(average_precision(alone), [1 / r])


def test_average_precision_is_that_of_scikit_learn_where_nothing_ties():
    idx, similarity = retrieve(QUERY, GALLERY, 60)
    relevant = SEEN[idx] == TRUTH[:, None]
    want = [average_precision_score(*q) for q in zip(relevant, similarity, strict=True)]
    np.testing.assert_allclose(average_precision(relevant), want, rtol=1e-12)


def test_map_at_r_looks_no_further_than_r():
    # R = 3: ranks 1 and 3 count, (1 + 2 / 3) / 3; rank 5 does not.
    np.testing.assert_allclose(
        average_precision(_row(1, 0, 1, 0, 1), at_r=True), [5 / 9], rtol=1e-12
    )
    np.testing.assert_allclose(average_precision(_row(0, 0, 1, 1), at_r=True), [0])
    np.testing.assert_allclose(average_precision(_row(1, 1, 0, 0), at_r=True), [1])


def test_a_query_without_anything_relevant_has_no_average_precision():
    found = average_precision(np.array([[False, False], [False, True]]))
    np.testing.assert_array_equal(found, [np.nan, 0.5])


def test_recall_at_k_is_the_share_of_queries_with_a_hit_and_never_falls():
    idx, _ = retrieve(QUERY, GALLERY, 60)
    relevant = SEEN[idx] == TRUTH[:, None]
    found = [recall_at_k(relevant, k) for k in range(1, 61)]
    for k in (1, 3, 60):
        hits = [y in SEEN[row[:k]] for row, y in zip(idx, TRUTH, strict=True)]
        assert found[k - 1] == sum(hits) / 23
    assert (np.diff(found) >= 0).all()
    assert found[-1] == 1


@pytest.mark.parametrize("final", [False, True])
def test_the_eval_ranks_what_may_be_fitted_on_for_each_judged_row(final, splits):
    features = splits()
    h, y = features.arrays, features.truth
    gallery, classes, split = h["train"], y["train"], "val"
    if final:
        gallery = np.concatenate([h["train"], h["val"]])
        classes, split = np.concatenate([y["train"], y["val"]]), "test"
    cosines = _cosines(h[split], gallery)
    hits, precision = [], []
    for s, truth in zip(cosines, y[split], strict=True):
        hits.append((classes == truth)[np.argsort(-s)])
        precision.append(average_precision_score(classes == truth, s))
    metrics = retrieval((5, 1), chunk=32)(features, final)
    assert metrics == {
        "recall@1": pytest.approx(np.mean([row[0] for row in hits])),
        "recall@5": pytest.approx(np.mean([row[:5].any() for row in hits])),
        "map": pytest.approx(np.mean(precision)),
    }
    assert metrics["recall@1"] > 0.5  # of three classes: the clouds can be told apart
    assert ("test" in features.asked) == final


def test_random_features_are_retrieved_at_the_share_of_their_class(splits):
    features = splits(sizes=(2000, 10, 1000))
    draw = np.random.default_rng(3)
    for split, h in features.arrays.items():
        features.arrays[split] = draw.normal(size=h.shape).astype(np.float32)
    metrics = retrieval((1,))(features, True)
    seen = np.concatenate([features.truth["train"], features.truth["val"]])
    prior = np.bincount(seen) / len(seen)
    judged = np.bincount(features.truth["test"]) / 1000
    chance = prior @ judged
    # Three standard deviations of 1,000 draws.
    assert abs(metrics["recall@1"] - chance) < 3 * np.sqrt(chance * (1 - chance) / 1000)
    assert abs(metrics["map"] - chance) < 0.02


def test_collapsed_features_rank_the_gallery_as_it_lies(splits):
    features = splits()
    for h in features.arrays.values():
        h[:] = 0.3
    metrics = retrieval((1, 90))(features, False)
    y = features.truth
    assert metrics["recall@1"] == np.mean(y["val"] == y["train"][0])
    relevant = y["train"] == y["val"][:, None]
    assert metrics["map"] == pytest.approx(average_precision(relevant).mean())


def test_classes_that_the_gallery_lacks_miss_the_recall_and_leave_map_alone(splits):
    features = splits()
    before = retrieval((1,))(features, False)
    h, y = features.arrays, features.truth
    h["val"] = np.concatenate([h["val"], h["val"]])
    y["val"] = np.concatenate([y["val"], np.full(45, 7, np.int32)])
    after = retrieval((1,))(features, False)
    assert after["recall@1"] == pytest.approx(before["recall@1"] / 2)
    assert after["map"] == pytest.approx(before["map"])
    y["val"][:] = 7
    with pytest.raises(ValueError, match="no query has a row of its class"):
        retrieval((1,))(features, False)


def test_protocols_tell_settings_apart():
    assert retrieval().protocol != retrieval((1, 5)).protocol
    assert retrieval((5, 1)).protocol == retrieval((1, 5), chunk=3).protocol


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: retrieve(QUERY, GALLERY, 0), r"k must be 1 \.\.\. 60"),
        (lambda: retrieve(QUERY, GALLERY, 61), "got 61"),
        (lambda: retrieve(QUERY, GALLERY, 1, chunk=0), "got 1, 0 and 23"),
        (lambda: retrieve(QUERY[:0], GALLERY, 1), "got 1, 256 and 0"),
        (lambda: retrieve(QUERY * np.nan, GALLERY, 1), "must be finite"),
        (lambda: retrieve(QUERY, GALLERY[:, :4], 1), r"gallery must be float\[n, d=5\]"),
        (lambda: recall_at_k(_row(1, 0), 3), r"k must be 1 \.\.\. 2"),
        (lambda: retrieval(()), "ks of at least 1"),
        (lambda: retrieval((0, 1)), "ks of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, message, unhooked):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_k_beyond_the_gallery_is_refused(splits):
    with pytest.raises(ValueError, match=r"k must be 1 \.\.\. 90, .* got 91"):
        retrieval((1, 91))(splits(), False)
