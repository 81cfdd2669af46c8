"""Full and partial use of generated rows."""

import jax
import numpy as np
import pytest

from jssl.ops.augmentation import (
    augment_dataset,
    augment_full,
    augment_partial,
    select_by_confidence,
    select_by_critic,
    select_by_knn,
)

KEY = jax.random.key(0)
X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 0])


def draw(key, y):
    return y[:, None] + 0.3 * np.asarray(jax.random.normal(key, (len(y), 2)))


def everything(x, y):
    return np.ones(len(y), bool)


def test_nothing_appended_is_the_data():
    for x, y in (
        augment_dataset(KEY, X, Y, lambda key, x: x, 0),
        augment_full(KEY, draw, X, Y, 0),
        augment_partial(KEY, draw, everything, X, Y, 0)[:2],
    ):
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, Y)


@pytest.mark.parametrize("multiple", [0.5, 1, 2.5])
def test_partial_use_of_all_rows_is_full_use(multiple):
    x, y = augment_full(jax.random.fold_in(KEY, 0), draw, X, Y, multiple)
    some, labels, rate = augment_partial(KEY, draw, everything, X, Y, multiple)
    np.testing.assert_array_equal(some, x)
    np.testing.assert_array_equal(labels, y)
    assert rate == 1 and len(y) == len(Y) + round(multiple * len(Y))


def test_appended_classes_are_equally_frequent_at_every_size():
    rare = lambda x, y: x[:, 0] > y + 0.3  # about one of six
    for _, y in (
        augment_full(KEY, draw, X, Y, 5),
        augment_partial(KEY, draw, rare, X, Y, 5)[:2],
    ):
        for m in range(1, 6):
            count = np.bincount(y[len(Y) : len(Y) * (1 + m)], minlength=3)
            assert (count == 2 * m).all()


def test_only_accepted_rows_are_appended_and_the_rate_is_reported():
    positive = lambda x, y: x[:, 0] > y
    x, y, rate = augment_partial(KEY, draw, positive, X, Y, 50)
    assert (x[len(X) :, 0] > y[len(Y) :]).all()
    assert 0.4 < rate < 0.6


def test_the_number_of_rounds_is_limited():
    calls = []

    def none(x, y):
        calls.append(len(y))
        return np.zeros(len(y), bool)

    x, y, rate = augment_partial(KEY, draw, none, X, Y, 2, cap=3)
    assert calls == [12] * 3 and rate == 0
    np.testing.assert_array_equal(x, X)


def test_copies_are_whole_and_then_of_distinct_rows():
    x, y = augment_dataset(KEY, X, Y, lambda key, x: x + 100, 1.5)
    np.testing.assert_array_equal(np.sort(x[6:12], 0), X + 100)
    last = x[12:] - 100
    assert len(np.unique(last, axis=0)) == 3
    np.testing.assert_array_equal(Y[np.int64(last[:, 0] / 2)], y[12:])


def test_acceptance_falls_as_the_threshold_rises():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 200)
    y = rng.integers(3, size=200)
    masks = [select_by_confidence(p, y, tau) for tau in (0.0, 0.3, 0.6, 1.1)]
    assert masks[0].all() and not masks[-1].any()
    for more, fewer in zip(masks, masks[1:], strict=False):
        assert not (fewer & ~more).any()
    real, real_y = rng.normal(size=90) + np.arange(90) % 3, np.arange(90) % 3
    scores = rng.normal(size=200) + y
    masks = [select_by_critic(scores, y, real, real_y, q) for q in (0.0, 0.25, 0.9)]
    for more, fewer in zip(masks, masks[1:], strict=False):
        assert not (fewer & ~more).any() and fewer.sum() < more.sum()
    k = 1
    limit = np.quantile(real[real_y == k], 0.25)
    np.testing.assert_array_equal(masks[1][y == k], scores[y == k] > limit)


def test_neighbors_are_of_the_class_alone():
    real, labels = np.array([[0.0], [1.0], [10.0], [11.0]]), np.array([0, 0, 1, 1])
    asked = np.array([[0.5], [10.5], [10.5]])
    found = select_by_knn(asked, np.array([0, 0, 1]), real, labels, k=1)
    assert found.tolist() == [True, False, True]


def test_a_negative_multiple_is_refused():
    with pytest.raises(ValueError, match="must be 0 or more, got -1"):
        augment_full(KEY, draw, X, Y, -1)


def test_half_of_a_copy_is_of_all_classes():
    """Rows are often sorted by class; callers take the first of many appended rows."""
    y = np.repeat(np.arange(2), 50)
    _, more = augment_dataset(KEY, np.zeros((100, 1)), y, lambda key, x: x, 3)
    assert 15 < more[100:150].sum() < 35
