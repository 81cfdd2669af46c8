import dataclasses
import itertools

import jax
import numpy as np
import pytest

from jssl.data import Image, Source, Spans, Tokens, dataset
from jssl.data.records import Records


def numbers(n=23, batch=5, **knobs):
    """n images of one pixel; image i is i, label i is i % 3."""
    image = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    table = {"image": image, "label": np.arange(n) % 3}
    return dataset("numbers", {"train": table}, batch, **knobs)


class Streamed(Records):
    """The same rows, read one by one."""

    digest = "streamed"

    def __init__(self, table):
        self.table, self.labels = table, table["label"]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {name: array[row] for name, array in self.table.items()}


def streamed(**knobs):
    records = Streamed(numbers().table)
    return dataset("numbers", {"train": records}, 5, classes=3, **knobs)


def first(k, batches):
    return list(itertools.islice(batches, k))


def rows(k, batches):
    return np.stack([batch["index"] for batch in first(k, batches)])


def assert_same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        jax.tree.map(np.testing.assert_array_equal, x, y)


def test_the_order_is_numpys_permutation_of_seed_and_epoch():
    came = rows(8, numbers(seed=7).stream())
    for epoch in (0, 1):
        wanted = np.random.default_rng((7, epoch)).permutation(23)[:20].reshape(4, 5)
        np.testing.assert_array_equal(came[4 * epoch : 4 * epoch + 4], wanted)


def test_a_stream_from_step_five_is_the_stream_without_its_first_five():
    whole = first(12, numbers().stream())
    assert_same(first(7, numbers().stream(start=5)), whole[5:])


def test_an_epoch_visits_no_row_twice_and_the_next_is_another_order():
    came = rows(8, numbers().stream())
    for epoch in came[:4], came[4:]:
        assert len(np.unique(epoch)) == 20
    assert not np.array_equal(came[:4], came[4:])


def test_the_seed_changes_the_order():
    a, b = (rows(4, numbers(seed=seed).stream()) for seed in (0, 1))
    assert not np.array_equal(a, b)


def test_fields_are_those_of_the_rows():
    for batch in first(6, numbers(labeled=True).stream()):
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["index"])
        np.testing.assert_array_equal(batch["label"], batch["index"] % 3)


def test_indices_are_the_rows_of_the_stream():
    read = numbers()
    wanted = rows(9, read.stream(start=3))
    assert first(1, read.indices())[0].keys() == {"index"}
    np.testing.assert_array_equal(rows(9, read.indices(start=3)), wanted)


def test_an_unlabeled_stream_has_no_label_but_a_scan_has():
    read = numbers()
    assert next(read.stream()).keys() == {"image", "index"}
    assert read.shapes().keys() == {"image", "index"}
    assert next(read.scan()).keys() == {"image", "label", "index"}


@pytest.mark.parametrize("read", [numbers, streamed])
@pytest.mark.parametrize("labeled", [False, True])
def test_shapes_are_those_of_a_batch(read, labeled):
    read = read(labeled=labeled)
    batch = next(read.stream())
    came = {name: (x.shape, x.dtype) for name, x in batch.items()}
    assert came == {name: (x.shape, x.dtype) for name, x in read.shapes().items()}
    assert came["image"] == ((5, 1, 1, 1), np.uint8)
    assert came["index"] == ((5,), np.int32)


def test_two_processes_read_the_two_halves(monkeypatch):
    read = numbers(batch=6, labeled=True)
    passes = [read.stream, read.scan, lambda: read.stream(2, order=[4, 3, 9])]
    for one_pass in passes:
        whole = first(4, one_pass())
        halves = []
        for this in (0, 1):
            monkeypatch.setattr("jssl.data.rows.process", lambda this=this: (this, 2))
            halves.append(first(4, one_pass()))
        monkeypatch.undo()
        for batch, low, high in zip(whole, *halves, strict=True):
            assert len(low["index"]) == len(high["index"]) == 3
            for name in batch:
                both = np.concatenate([low[name], high[name]])
                np.testing.assert_array_equal(batch[name], both)


def test_a_batch_that_does_not_divide_among_the_processes_is_refused(monkeypatch):
    monkeypatch.setattr("jssl.data.rows.process", lambda: (0, 2))
    for one_pass in numbers().stream, numbers().indices, numbers().scan:
        with pytest.raises(ValueError, match="batch of 5 .* among 2 processes"):
            one_pass()


def test_an_order_is_followed_round_and_round():
    order = np.array([3, 1, 4, 1, 5, 9, 2])
    came = rows(5, numbers().stream(start=2, order=order)).ravel()
    np.testing.assert_array_equal(came, np.tile(order, 5)[10:35])
    np.testing.assert_array_equal(
        came, rows(5, numbers().indices(start=2, order=order)).ravel()
    )


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([0, 23], r"numbers/train: order: rows must be 0 to 22, got 0 to 23"),
        ([-1, 2], r"rows must be 0 to 22, got -1 to 2"),
        (np.zeros(0, int), r"rows must be int\[m\], m > 0, got int64\[0\]"),
        ([0.5], r"rows must be int\[m\], m > 0, got float64\[1\]"),
    ],
)
def test_an_order_that_is_none_is_refused(order, message):
    with pytest.raises(ValueError, match=message):
        numbers().stream(order=order)


def test_a_scan_goes_once_through_all_rows_and_repeats_the_last():
    came = rows(None, numbers().scan())
    assert came.shape == (5, 5)
    wanted = [*range(23), 22, 22]
    np.testing.assert_array_equal(came.ravel(), wanted)


def test_a_scan_of_fewer_rows_than_a_batch_is_one_batch():
    came = rows(None, numbers(n=3).scan())
    np.testing.assert_array_equal(came, [[0, 1, 2, 2, 2]])


def test_steps_count_whole_batches_and_are_at_least_one():
    assert numbers().steps(1) == 4
    assert numbers().steps(2.5) == 10
    assert numbers().steps(0) == 1


def test_a_batch_larger_than_the_split_is_refused():
    small = numbers(n=3)
    for call in (lambda: small.steps(1), small.stream, small.indices):
        with pytest.raises(ValueError, match="numbers/train has 3 rows, .* batch of 5"):
            call()


def test_records_give_what_a_table_gives():
    table = numbers(labeled=True)
    records = streamed(labeled=True)
    assert records.table is None
    assert_same(first(9, records.stream(3)), first(9, table.stream(3)))
    assert_same(list(records.scan()), list(table.scan()))
    order = np.array([1, 5, 2])
    assert_same(first(3, records.stream(1, order)), first(3, table.stream(1, order)))


def test_a_row_that_cannot_be_read_ends_the_stream():
    class Broken(Streamed):
        def __getitem__(self, row):
            raise ValueError(f"row {row} is broken")

    broken = dataclasses.replace(streamed(), records=Broken(numbers().table))
    read = dataclasses.replace(broken, siblings={})
    with pytest.raises(ValueError, match="row .* is broken"):
        next(read.scan())


def test_a_sibling_keeps_the_batch_the_seed_and_the_labels():
    image = np.zeros((8, 1, 1, 1), np.uint8)
    table = {"image": image, "label": np.zeros(8, int)}
    opened = []

    def val():
        opened.append("val")
        return table

    read = dataset("two", {"train": table, "val": val}, 4, classes=1)
    read = dataclasses.replace(read, batch=2, seed=5, labeled=True)
    assert read.split("train") is read
    assert not opened
    other = read.split("val")
    assert (other.name, other.batch, other.seed) == ("two/val", 2, 5)
    assert other.labeled
    assert other.split("train").name == "two/train"
    read.split("val")
    assert opened == ["val"]
    with pytest.raises(ValueError, match="two/train has no split 'tset'; it has train"):
        read.split("tset")


def test_the_digest_tells_contents_apart():
    one = numbers().digest
    assert one == numbers(batch=2, seed=3).digest
    assert one != numbers(n=22).digest


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": np.zeros((2, 1, 1, 1))}, r"must be uint8\[n, h, w, c\], or float32"),
        ({"image": np.zeros((2, 4), np.uint8)}, r"got uint8\[2, 4\]"),
        ({"image": np.zeros((0, 1, 1, 1), np.uint8)}, "equally long, got {'image': 0}"),
        (
            {"image": np.zeros((2, 1, 1, 1), np.uint8), "label": np.zeros(3, int)},
            "equally long, got {'image': 2, 'label': 3}",
        ),
        (
            {"image": np.zeros((2, 1, 1, 1), np.uint8), "label": np.zeros(2)},
            r"label must be int\[n\], got float64\[2\]",
        ),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        dataset("mine", {"train": fields}, 1)


def test_impossible_knobs_are_refused():
    with pytest.raises(ValueError, match="batch must be positive, got 0"):
        numbers(batch=0)
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        numbers(seed=-1)
    bare = {"image": numbers().table["image"]}
    with pytest.raises(ValueError, match="bare/train has no labels, which are needed"):
        dataset("bare", {"train": bare}, 4, labeled=True)
    with pytest.raises(ValueError, match="bare/train has no labels"):
        dataset("bare", {"train": bare}, 4).labels()
    with pytest.raises(ValueError, match="mine has no split 'train'; it has test"):
        dataset("mine", {"test": {}}, 1)


def test_a_source_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        numbers().batch = 3
    assert isinstance(dataclasses.replace(numbers(), batch=3), Source)


def test_bytes_are_pixels_only_in_columns_of_images():
    ids = np.arange(24, dtype=np.uint8).reshape(4, 6)
    mask = np.full((4, 3, 3, 1), 2, np.uint8)
    columns = {"tokens": ids, "segment": ids % 2, "objects": mask, "image": mask}
    columns |= {"mask": np.ones((4, 6), np.uint8), "heat": mask}
    fields = {"tokens": Tokens(), "heat": Image()}
    read = dataset("bytes", {"train": columns}, 4, fields=fields)
    seen = jax.jit(read.decode)(next(read.scan()))
    dtypes = {name: str(x.dtype) for name, x in seen.items()}
    assert dtypes == {
        "tokens": "int32",
        "segment": "uint8",
        "objects": "uint8",
        "mask": "uint8",
        "image": "float32",
        "heat": "float32",
        "index": "int32",
    }
    for name in ("tokens", "segment", "objects", "mask"):
        np.testing.assert_array_equal(seen[name], columns[name])
    np.testing.assert_allclose(seen["image"], 2 / 255, rtol=1e-6)


def test_targets_know_their_shapes():
    columns = {"x": np.zeros((4, 2), np.float32), "span": np.zeros((4, 2), np.int32)}
    read = dataset("spans", {"train": columns}, 4, fields={"span": Spans()})
    assert read.target_columns() == {"span": (2,)}
    with pytest.raises(ValueError, match=r"span must be int\[n, 2\], got int32\[4, 3\]"):
        wrong = columns | {"span": np.zeros((4, 3), np.int32)}
        dataset("spans", {"train": wrong}, 4, fields={"span": Spans()})
