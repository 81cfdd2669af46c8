import numpy as np
import pytest

from jssl.data import splits


def test_a_shuffle_is_a_permutation_that_depends_on_the_seed():
    a, b = splits.shuffled(100, 0), splits.shuffled(100, 1)
    np.testing.assert_array_equal(np.sort(a), np.arange(100))
    assert not np.array_equal(a, b)


def test_ranks_number_each_class_from_nought():
    labels = np.random.default_rng(0).integers(0, 4, 60)
    rank = splits.ranks(labels, seed=3)
    for label in range(4):
        mine = rank[labels == label]
        np.testing.assert_array_equal(np.sort(mine), np.arange(len(mine)))
        assert not np.array_equal(mine, np.sort(mine))


def test_every_prefix_of_a_stratified_order_holds_each_class_in_its_share():
    labels = np.repeat([0, 1, 5], [70, 20, 10])
    order = splits.stratified(labels, seed=0)
    np.testing.assert_array_equal(np.sort(order), np.arange(100))
    for label, share in ((0, 0.7), (1, 0.2), (5, 0.1)):
        counts = np.cumsum(labels[order] == label)
        assert np.abs(counts - share * np.arange(1, 101)).max() <= 1


def test_tenths_do_not_overlap_and_cover_all():
    labels = np.repeat([0, 1], [60, 43])
    parts = splits.tenths(103, labels, "val", "test")
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": 83,
        "val": 10,
        "test": 10,
    }
    every = np.concatenate(list(parts.values()))
    np.testing.assert_array_equal(np.sort(every), np.arange(103))
    assert abs(labels[parts["test"]].sum() - 43 / 10.3) <= 1


def test_too_few_rows_for_a_split_are_refused():
    assert {len(x) for x in splits.tenths(3, None, "val", "test").values()} == {1}
    with pytest.raises(ValueError, match="2 rows are too few for train, val, test"):
        splits.tenths(2, None, "val", "test")


def test_cuts_that_do_not_add_up_are_refused():
    with pytest.raises(ValueError, match=r"cut: {'a': 2} does not add up to 3 rows"):
        splits.cut(np.arange(3), {"a": 2})


def test_other_labels_than_those_a_split_was_made_for_are_refused():
    labels = np.arange(5_000) % 10
    with pytest.raises(ValueError, match="the labels of mnist are not those of its fixed"):
        splits.fixed("mnist", labels)


def test_a_fingerprint_sees_values_shape_and_dtype():
    x = np.arange(6, dtype=np.int32)
    others = [x + 1, x.reshape(2, 3), x.astype(np.int64), x[:5]]
    prints = [splits.fingerprint(y) for y in (x, *others)]
    assert len(set(prints)) == 5
    assert prints[0] == splits.fingerprint(x[::-1][::-1])
