import itertools

import jax
import numpy as np
import pytest

from jssl.data import (
    Source,
    dataset,
    labels_per_class,
    minibatches,
    pair,
    subset,
)


def numbers(n=40, batch=8, **knobs):
    image = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    table = {"image": image, "label": np.arange(n) % 2}
    return dataset("numbers", {"train": table, "test": table}, batch, **knobs)


def both(batch=4):
    few = subset(numbers(batch=batch), np.arange(10, 20))
    return pair(labeled=few, unlabeled=numbers())


def first(k, batches):
    return list(itertools.islice(batches, k))


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        jax.tree.map(np.testing.assert_array_equal, x, y)


def assert_as_promised(read):
    came = jax.tree.map(lambda x: (x.shape, x.dtype), next(read.stream()))
    wanted = jax.tree.map(lambda x: (x.shape, x.dtype), read.shapes())
    assert came == wanted


def test_a_pair_nests_labeled_and_unlabeled_batches():
    read = both()
    assert isinstance(read, Source)
    assert read.steps(1) == 5  # 40 unlabelled rows in batches of 8
    for batch in first(12, read.stream()):
        few, many = batch["labeled"], batch["unlabeled"]
        assert few.keys() == {"image", "label", "index"}
        assert many.keys() == {"image", "index"}
        np.testing.assert_array_equal(few["image"].ravel(), few["index"] + 10)
        np.testing.assert_array_equal(many["image"].ravel(), many["index"])
    assert_as_promised(read)


def test_a_pair_goes_on_from_any_step():
    assert_same(first(4, both().stream(3)), first(7, both().stream())[3:])


def test_the_tables_and_indices_of_a_pair_are_nested_alike():
    read = both()
    both_ways = zip(first(6, read.indices(2)), first(6, read.stream(2)), strict=True)
    for rows, batch in both_ways:
        for part in "labeled", "unlabeled":
            index = rows[part]["index"]
            image = read.table[part]["image"][index]
            np.testing.assert_array_equal(image, batch[part]["image"])


def test_an_order_is_the_unlabeled_ones():
    order = np.array([7, 5])
    batch = next(both().stream(order=order))
    np.testing.assert_array_equal(batch["unlabeled"]["index"], np.tile(order, 4))
    assert_same([batch["labeled"]], [next(both().stream())["labeled"]])


def test_the_scan_and_the_splits_of_a_pair_are_plain():
    assert_same(list(both().scan()), list(numbers().scan()))
    assert both().split("test").name == "numbers/test"
    np.testing.assert_array_equal(both().labels(), np.arange(40) % 2)


def test_a_data_set_beside_itself_is_shuffled_apart():
    batch = next(pair(labeled=numbers(), unlabeled=numbers()).stream())
    assert set(batch["labeled"]["index"]) != set(batch["unlabeled"]["index"])


def test_labels_fewer_than_their_batch_are_repeated():
    batch = next(both(batch=16).stream())["labeled"]
    _, counts = np.unique(batch["image"], return_counts=True)
    assert len(batch["label"]) == 16
    assert counts.max() <= 2  # ten rows, twice over, hold a batch of sixteen
    assert_as_promised(both(batch=16))


def test_minibatches_are_consecutive_batches_on_a_new_axis():
    read = minibatches(numbers(), k=3)
    assert (read.batch_axis, numbers().batch_axis) == (1, 0)
    batches = first(6, numbers().stream())
    for step, batch in enumerate(first(2, read.stream())):
        assert batch["image"].shape == (3, 8, 1, 1, 1)
        for i in range(3):
            assert_same([{k: v[i] for k, v in batch.items()}], [batches[3 * step + i]])
    assert_same(first(1, read.stream(1)), first(2, read.stream())[1:])
    index = [{"index": batch["index"]} for batch in first(2, read.stream())]
    assert_same(first(2, read.indices()), index)
    assert_as_promised(read)


def test_steps_of_minibatches_count_k_batches_each():
    assert minibatches(numbers(), k=2).steps(4) == 10  # 4 epochs of 5 batches
    assert minibatches(numbers(), k=9).steps(0.1) == 1


def test_the_scan_and_the_splits_of_minibatches_are_plain():
    read = minibatches(numbers(), k=3)
    assert_same(list(read.scan()), list(numbers().scan()))
    assert read.split("test").name == "numbers/test"
    assert read.table is read.main.table


def test_processes_share_each_of_the_k_batches(monkeypatch):
    whole = next(minibatches(numbers(), k=2).stream())["index"]
    monkeypatch.setattr("jssl.data.rows.process", lambda: (1, 2))
    half = next(minibatches(numbers(), k=2).stream())["index"]
    np.testing.assert_array_equal(half, whole[:, 4:])


def test_minibatches_of_a_pair_stack_both_parts():
    read = minibatches(both(), k=2)
    batch = next(read.stream())
    assert batch["labeled"]["image"].shape == (2, 4, 1, 1, 1)
    assert batch["unlabeled"]["image"].shape == (2, 8, 1, 1, 1)
    assert_as_promised(read)


def test_nesting_the_wrong_way_round_is_refused():
    with pytest.raises(ValueError, match="pair needs two or more plain sources"):
        pair(labeled=numbers(), unlabeled=minibatches(numbers(), k=2))
    with pytest.raises(ValueError, match="minibatches: k must be positive, got 0"):
        minibatches(numbers(), k=0)


def test_a_subset_is_a_source_of_its_own():
    few = subset(numbers(), [5, 30, 2], batch=2)
    batch = next(few.scan())
    np.testing.assert_array_equal(batch["image"].ravel(), [5, 30])
    np.testing.assert_array_equal(batch["index"], [0, 1])
    assert few.name == "numbers/train[3]"
    assert few.digest != subset(numbers(), [5, 2, 30]).digest
    assert few.split("train") is few
    assert few.split("test").size == 40


@pytest.mark.parametrize("rows", [[0, 40], [], [True, False], [[1]]])
def test_a_subset_of_rows_that_are_not_there_is_refused(rows):
    with pytest.raises(ValueError, match="subset of numbers/train: rows must be"):
        subset(numbers(), rows)


def test_labels_per_class_are_nested_and_as_many_of_each():
    read = numbers(n=250)
    inner = None
    for k in (1, 4, 10, 25, 100):
        few = labels_per_class(read, k, seed=3)
        assert few.labeled
        np.testing.assert_array_equal(np.bincount(few.labels()), [k, k])
        pixels = few.table["image"].ravel()
        assert len(set(pixels)) == 2 * k
        if inner is not None:
            np.testing.assert_array_equal(pixels[: len(inner)], inner)
        inner = pixels


def test_labels_per_class_depend_on_the_seed():
    a, b = (labels_per_class(numbers(), 5, seed).table["image"] for seed in (0, 1))
    assert not np.array_equal(a, b)


def test_more_labels_per_class_than_there_are_are_refused():
    with pytest.raises(ValueError, match="must be 1 to 20, .* class 0 .* got 21"):
        labels_per_class(numbers(), 21)
    with pytest.raises(ValueError, match="must be 1 to 20, .* class 0 .* got 0"):
        labels_per_class(numbers(), 0)
