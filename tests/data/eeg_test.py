"""EEG: the law of the toy, splits by trial and by person, and files."""

import numpy as np
import pytest

from jssl.data import load
from jssl.data.eeg import toy_law


def tables(source):
    return {part: source.split(part).table for part in ("train", "val", "test")}


def test_a_subject_of_the_toy_has_two_recordings_of_fifteen_trials():
    parts = tables(load("eeg_toy", 32))
    assert {k: len(np.unique(x["trial"])) for k, x in parts.items()} == {
        "train": 9,
        "val": 6,
        "test": 15,
    }
    assert not set(parts["train"]["trial"]) & set(parts["val"]["trial"])
    for table in parts.values():
        assert table["eeg"].shape == (len(table["label"]), 62, 5)
        np.testing.assert_array_equal(table["label"], table["trial"] % 3)
        _, counts = np.unique(table["trial"], return_counts=True)
        assert counts.min() >= 40 and counts.max() <= 200
    x = parts["train"]["eeg"].astype(float)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(x.std(0), 1, atol=1e-4)
    again = load("eeg_toy", 32, seed=3)
    np.testing.assert_array_equal(again.table["eeg"], parts["train"]["eeg"])
    other = load("eeg_toy", 32, subject=1).table["eeg"]
    assert other.shape != x.shape or np.abs(other - x).max() > 1


def test_seconds_of_the_toy_follow_the_law_and_resemble_their_neighbors():
    law = toy_law()
    test = load("eeg_toy", 32).split("test").table
    noise = test["eeg"] - law.means[test["label"]]
    white = np.einsum("ij,njf->nif", np.linalg.inv(law.root), noise * law.scale)
    assert abs(white.mean()) < 0.05
    np.testing.assert_allclose(white.std(), 1, atol=0.03)
    same = np.diff(test["trial"]) == 0
    ahead, behind = white[1:][same], white[:-1][same]
    np.testing.assert_allclose((ahead * behind).mean(), 0.9, atol=0.03)
    apart = (white[:, 0] * white[:, 1]).mean()
    assert abs(apart) < 0.1


def test_rows_of_the_law_are_classified_best_by_their_law():
    law, y = toy_law(2), np.arange(3000) % 3
    x = law.draw(1, y)
    right = (law.classify(x) == y).mean()
    assert 0.9 < right <= 1
    nearest = np.square(x[:, None] - law.means).sum((2, 3)).argmin(1)
    assert (nearest == y).mean() < right
    np.testing.assert_array_equal(x, law.draw(1, y))
    for k in range(3):
        np.testing.assert_allclose(x[y == k].mean(0), law.means[k], atol=0.2)


def trials(path, people, seed):
    """A file in the layout of eeggan's: every person has another offset and scale."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in people:
        for i in range(12):
            samples = person + (1 + person % 3) * rng.normal(size=100)
            rows.append([person, i % 2, i, 1, *samples])
    head = ",".join(["ParticipantID", "Condition", "Trial", "Electrode"] + ["Time"] * 100)
    np.savetxt(path, np.array(rows), delimiter=",", header=head, comments="")


def test_real_trials_are_split_by_person_and_standardized_by_person(tmp_path):
    trials(tmp_path / "eeggan_training_example.csv", range(3), 0)
    trials(tmp_path / "eeggan_validation_example.csv", range(10, 18), 1)
    source = load(f"eeg:{tmp_path}", 4)
    parts = tables(source)
    people = {part: set(table["person"].tolist()) for part, table in parts.items()}
    assert [len(p) for p in people.values()] == [3, 2, 6]
    assert len(set.union(*people.values())) == 11
    for table in parts.values():
        for person in np.unique(table["person"]):
            own = table["eeg"][table["person"] == person].astype(float)
            np.testing.assert_allclose(own.mean(0), 0, atol=1e-5)
            np.testing.assert_allclose(own.std(0), 1, atol=1e-4)
    assert source.classes == 2 and "commercial" in source.license
    assert "people: 3 train, 2 val, 6 test" in source.summary


def test_missing_and_broken_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="eeggan_training_example.csv cannot be read"):
        load(f"eeg:{tmp_path}", 4)
    np.savetxt(tmp_path / "eeggan_training_example.csv", np.ones((2, 5)), delimiter=",")
    with pytest.raises(ValueError, match="must have 104 columns of numbers.*got 5"):
        load(f"eeg:{tmp_path}", 4)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(ValueError, match="pip install --no-deps eeggan"):
        load("eeg", 4)
    with pytest.raises(ValueError, match="subject must be 0 or more, got -1"):
        load("eeg_toy", 4, subject=-1)


def test_features_of_a_recording_are_split_by_trial(tmp_path):
    rng = np.random.default_rng(0)
    trial = np.repeat(np.arange(15), rng.integers(3, 9, 15))
    x = rng.normal(size=(len(trial), 4, 5)) + 3
    np.savez(tmp_path / "one.npz", x=x, y=trial % 3, trial=trial)
    source = load(f"eeg_features:{tmp_path / 'one.npz'}", 4)
    parts = tables(source)
    assert [len(np.unique(t["trial"])) for t in parts.values()] == [9, 3, 3]
    assert max(parts["train"]["trial"]) < min(parts["val"]["trial"])
    center, scale = (f(x[trial < 9], 0) for f in (np.mean, np.std))
    np.testing.assert_allclose(
        parts["test"]["eeg"], (x[trial >= 12] - center) / scale, rtol=1e-4, atol=1e-5
    )
    np.savez(tmp_path / "two.npz", x=x, y=trial % 3)
    with pytest.raises(ValueError, match="must be an npz file of x, y and trial"):
        load(f"eeg_features:{tmp_path / 'two.npz'}", 4)
    np.savez(tmp_path / "three.npz", x=x[..., 0], y=trial % 3, trial=trial)
    with pytest.raises(ValueError, match=r"x float\[n, channels, bands\]"):
        load(f"eeg_features:{tmp_path / 'three.npz'}", 4)
    for bad in (dict(y=trial % 3 - 1), dict(x=x + np.inf)):
        np.savez(tmp_path / "four.npz", **dict(x=x, y=trial % 3, trial=trial) | bad)
        with pytest.raises(ValueError, match="must have classes y from 0 .* and finite x"):
            load(f"eeg_features:{tmp_path / 'four.npz'}", 4)
    np.save(tmp_path / "five.npy", x)
    (tmp_path / "six.npz").write_bytes(b"")
    for name in ("five.npy", "six.npz"):
        with pytest.raises(ValueError, match="must be an npz file of x, y and trial"):
            load(f"eeg_features:{tmp_path / name}", 4)
