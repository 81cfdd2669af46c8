"""Wrong labels and foreign classes: exact numbers, and no other row is touched."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from jssl import baselines
from jssl.data import dataset, first_classes, labels_per_class, random_labels, with_foreign
from jssl.data.records import Records
from jssl.knobs import FewLabels, Run
from jssl.method import Method


def numbers(n=200, classes=5):
    table = {"image": np.arange(n, dtype=np.uint8)[:, None, None, None]}
    table["label"] = np.arange(n) % classes
    return dataset("numbers", dict.fromkeys(("train", "val", "test"), table), 8)


@dataclass(frozen=True, eq=False)
class Listed(Records):
    """The rows of a table, one by one."""

    table: dict
    digest: str = "listed"

    @property
    def labels(self):
        return self.table["label"]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {name: x[row] for name, x in self.table.items()}


def listed():
    read = numbers()
    return replace(read, records=Listed(read.table), table=None, labeled=True)


@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
def test_wrong_labels_are_an_exact_fraction_and_uniform_over_all_classes(fraction):
    read = numbers(n=20_000)
    noisy = random_labels(read, fraction, seed=3)
    before, after = read.labels(), noisy.labels()
    expected = fraction * 4 / 5  # a random label may be the right one
    assert abs(np.mean(before != after) - expected) < 0.012
    counts = np.bincount(after[before == 0], minlength=5)[1:]
    assert fraction == 0 or counts.min() > 0.85 * counts.max()
    np.testing.assert_array_equal(noisy.table["image"], read.table["image"])
    np.testing.assert_array_equal(noisy.split("test").labels(), before)
    assert after.dtype == before.dtype
    assert noisy.digest != read.digest


def test_wrong_labels_depend_on_the_seed_and_those_of_fewer_are_among_those_of_more():
    read = numbers()
    some, same, more, other = (
        random_labels(read, f, seed).labels()
        for f, seed in ((0.2, 0), (0.2, 0), (0.5, 0), (0.2, 1))
    )
    np.testing.assert_array_equal(some, same)
    moved = some != read.labels()
    np.testing.assert_array_equal(some[moved], more[moved])
    assert moved.sum() < (more != read.labels()).sum()
    assert not np.array_equal(some, other)


def test_records_have_the_wrong_labels_of_tables():
    noisy, read = random_labels(listed(), 0.5), random_labels(numbers(), 0.5)
    np.testing.assert_array_equal(noisy.labels(), read.labels())
    batch = next(noisy.stream())
    np.testing.assert_array_equal(batch["label"], noisy.labels()[batch["index"]])
    assert batch["label"].dtype == next(listed().stream())["label"].dtype
    with pytest.raises(ValueError, match="fraction must be from 0 to 1, got 2"):
        random_labels(read, 2)


def of(few):
    """The stage of few labels of a source that is not asked for anything but data."""
    method = Method(None, None, None)
    net, tx = object(), object()
    train = few.load(Run(seed=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "rows", lambda *args: {})
        patch.setattr(baselines, "supervised", lambda *args, **how: method)
        how = dict(augment=None, net=net, tx=tx)
        return baselines.few_label_stage(Run(seed=5), few, train, method, **how)


def test_the_supervised_baseline_has_the_methods_wrong_labels_and_evals_the_right_ones():
    clean, stage = (
        of(FewLabels(source="digits", labels=20, labeled_batch=8, wrong=wrong))
        for wrong in (0.0, 0.5)
    )
    labels, right = (x.data.parts["labeled"].labels() for x in (stage, clean))
    assert 0.35 < np.mean(labels != right) < 0.55  # a tenth of one half is right again
    few, every = (stage.baselines[f"supervised, {x} labels"] for x in ("same", "all"))
    np.testing.assert_array_equal(few.data.parts["labeled"].labels(), labels)
    true = clean.data.main.labels()
    np.testing.assert_array_equal(every.data.parts["labeled"].labels(), true)
    for part in ("train", "val", "test"):
        found, wanted = (x.data.split(part).labels() for x in (stage, clean))
        np.testing.assert_array_equal(found, wanted)


def test_the_first_classes_are_those_of_every_split():
    few = first_classes(numbers(), 2)
    assert few.classes == 2
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(np.bincount(few.split(part).labels()), [40, 40])
    with pytest.raises(ValueError, match="must be 1 to 5, .* got 6"):
        first_classes(numbers(), 6)


@pytest.mark.parametrize("mismatch", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("kind", [numbers, listed])
def test_of_the_unlabeled_rows_an_exact_fraction_is_of_foreign_classes(mismatch, kind):
    read = with_foreign(kind(), 3, mismatch, seed=1)
    assert (read.size, read.classes) == (80, 3)  # of the smaller group: two classes
    foreign = read.labels() >= 3
    assert foreign.sum() == mismatch * 80
    counts = np.bincount(read.labels(), minlength=5)
    assert np.ptp(counts[:3]) <= 1 and np.ptp(counts[3:]) <= 1
    for part in ("train", "val", "test"):
        known = read.split(part)
        np.testing.assert_array_equal(np.bincount(known.labels()), [40] * 3)
        assert known.classes == 3
    few = labels_per_class(read.split("train"), 4)
    np.testing.assert_array_equal(np.bincount(few.labels()), [4] * 3)


def test_labels_of_a_stage_do_not_depend_on_the_mismatch():
    stages = [
        of(FewLabels(source="digits", labels=4, labeled_batch=8, classes=6, mismatch=m))
        for m in (0.0, 1.0)
    ]
    labeled = [stage.data.parts["labeled"] for stage in stages]
    np.testing.assert_array_equal(labeled[0].table["image"], labeled[1].table["image"])
    inside, outside = (stage.data.main.labels() for stage in stages)
    assert inside.max() == 5 and outside.min() == 6
    assert len(inside) == len(outside)
    assert stages[0].data.split("test").labels().max() == 5


def test_impossible_mismatches_are_refused():
    with pytest.raises(ValueError, match="must be 1 to 4, .* got 5 and 0.5"):
        with_foreign(numbers(), 5, 0.5)
    with pytest.raises(ValueError, match="mismatch needs classes, .* got mismatch=0.5"):
        FewLabels(source="digits", mismatch=0.5).load(Run())
