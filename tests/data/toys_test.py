import numpy as np
import pytest

from jssl.data import load, toys


def test_the_ring_has_eight_distinct_means_on_the_unit_circle():
    np.testing.assert_allclose(np.linalg.norm(toys.RING, axis=1), 1)
    apart = np.linalg.norm(toys.RING[:, None] - toys.RING[None], axis=2)
    np.testing.assert_allclose(np.sort(apart, axis=1)[:, 1], 2 * np.sin(np.pi / 8))


def test_the_ring_is_cut_into_fixed_splits():
    train = load("ring8", 64)
    sizes = {part: train.split(part).size for part in ("train", "val", "test")}
    assert sizes == {"train": 50_000, "val": 2_500, "test": 2_500}
    assert train.classes == 8
    points = {part: train.split(part).table["image"] for part in sizes}
    assert all(x.dtype == np.float32 and x.shape[1:] == (2,) for x in points.values())
    assert len(np.unique(np.concatenate([*points.values()]), axis=0)) == 55_000
    again = load("ring8", 64, seed=5)
    np.testing.assert_array_equal(again.table["image"], train.table["image"])


@pytest.mark.parametrize("deviation", [0.05, 0.01])
def test_the_points_are_drawn_as_the_density_says(deviation):
    from scipy import stats

    table = load("ring8", 64, deviation=deviation).table
    counts = np.bincount(table["label"], minlength=8)
    assert stats.chisquare(counts).pvalue > 0.001
    noise = (table["image"] - toys.RING[table["label"]]) / deviation
    for axis in noise.T:
        assert stats.kstest(axis, "norm").pvalue > 0.001
    assert abs(np.corrcoef(noise.T)[0, 1]) < 4 / np.sqrt(len(noise))
    far = np.linalg.norm(noise, axis=1)
    assert stats.kstest(far, "rayleigh").pvalue > 0.001


def test_a_batch_of_points_carries_what_load_was_asked_for():
    assert set(next(load("ring8", 4).stream())) == {"image", "index"}
    batch = next(load("ring8", 4, labeled=True, limit=80).stream())
    assert batch["image"].shape == (4, 2)
    assert batch["index"].max() < 80 and batch["label"].dtype == np.int32
    with pytest.raises(ValueError, match="'size'; it takes deviation: float"):
        load("ring8", 4, size=8)
    with pytest.raises(ValueError, match="deviation must be positive, got 0"):
        load("ring8", 4, deviation=0)
