"""Rehearsals: all parts of a run, a restart in each stage, and failures that are seen."""

import json
from pathlib import Path

import numpy as np
import pytest

from jssl import config, rehearse
from jssl.data import load as source
from jssl.data import standins

TINY = "experiments/simsiam.py:laptop,source=digits,widths=(4,8),supervised_epochs=0"


def test_a_run_is_rehearsed_on_few_rows_of_its_data(tmp_path, capfd):
    status = rehearse.main([f"--config={TINY}", "--workdir", str(tmp_path), "--rows=48"])
    out = capfd.readouterr().out
    assert status == 0, out
    for part in ("start to a stop within pretrain", "pretrain, resumed, to the report"):
        assert part in out
    assert "batch=8 in place of 64" in out and "each=48" in out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["stages"]["pretrain"]["steps"] == 4
    assert result["data"]["rows"] == {"train": 48, "val": 48, "test": 48}
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [row["step"] for row in map(json.loads, lines) if "loss" in row]
    assert steps == [1, 2, 3, 4]  # the stop is after the third


def test_a_part_that_fails_is_the_exit_status(tmp_path, capfd, monkeypatch):
    def broken(features, final):
        raise ValueError("no such thing")

    monkeypatch.setattr("jssl.evals.knn", lambda: rehearse.Eval("kNN", broken))
    status = rehearse.main([f"--config={TINY}", "--workdir", str(tmp_path), "--rows=48"])
    assert status == 1
    assert "knn failed: " in capfd.readouterr().err.splitlines()[-1]


def test_knobs_that_a_user_has_set_stay():
    asked = config.load(f"{TINY},batch=32")
    options = rehearse.parser().parse_args(["--rows=48"])
    assert rehearse.smaller(asked, options, None) == {"reading": "each=48"}


def test_a_batch_norm_group_has_two_rows():
    asked, options = config.load("moco:paper"), rehearse.parser().parse_args([])
    assert rehearse.smaller(asked, options, None)["batch"] == 2 * asked.knobs["groups"]


def test_there_are_no_more_clusters_than_rows():
    asked, options = (
        config.load("deepcluster:paper"),
        rehearse.parser().parse_args(["--rows=80"]),
    )
    found = rehearse.smaller(asked, options, None)
    assert found["clusters"] == found["components"] == 20


def test_a_diffusion_model_has_few_rows_and_its_samples_few_steps():
    """Its group norms have no batch-norm groups."""
    options = rehearse.parser().parse_args([])
    found = rehearse.smaller(config.load("ddpm:paper"), options, None)
    assert (found["batch"], found["sampling_steps"]) == (8, 4)


def test_the_peak_of_a_device_is_that_of_the_fullest():
    class Device:
        def __init__(self, stats):
            self.memory_stats = lambda: stats

    full = [Device({"peak_bytes_in_use": n}) for n in (3_000_000_000, 5_500_000_000)]
    assert rehearse.device_peak(full) == 5.5
    assert rehearse.device_peak([Device(None)]) == 0.0


def test_too_few_steps_for_a_restart_are_refused(capfd):
    assert rehearse.main([f"--config={TINY}", "--steps=2"]) == 1
    assert "--steps must be at least 3, got 2" in capfd.readouterr().err


def test_an_earlier_rehearsal_is_not_mistaken_for_this_one(tmp_path, capfd):
    (tmp_path / "run").mkdir()
    assert rehearse.main([f"--config={TINY}", "--workdir", str(tmp_path)]) == 1
    assert "contains a rehearsal; give another" in capfd.readouterr().err


def test_a_source_without_a_standin_is_refused(capfd):
    assert rehearse.main(["--config=dcgan:paper,source=tfds:food101", "--standin"]) == 1
    assert "there is no stand-in for 'food101'" in capfd.readouterr().err


def test_every_published_setting_has_a_standin(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    files = sorted(Path("experiments").glob("*.py"))
    asked = [(f"{file}:{name}", file) for file in files for name in config.functions(file)]
    knobs = [config.load(spec).knobs for spec, _ in asked if not spec.endswith(":laptop")]
    sources = {each["source"] for each in knobs if "source" in each}
    assert len(sources) > 9
    for source_ in sorted(sources):
        rehearse.standin(source_, tmp_path / source_.replace("/", "-"))


def test_imagenets_standin_has_its_irregularities(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    standins.prepare("imagenet2012", tmp_path, classes=3, each=12)
    train = source("tfds:imagenet2012", 4, labeled=True, size=32, data_dir=str(tmp_path))
    assert train.split_names() == ("train", "val", "test", "test_unlabeled")
    np.testing.assert_array_equal(np.bincount(train.split("test").labels()), [4, 4, 4])
    with pytest.raises(ValueError, match="images of 7 sizes"):
        source("tfds:imagenet2012", 4, data_dir=str(tmp_path))


def test_celebas_standin_has_no_labels(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    standins.prepare("celeb_a", tmp_path, classes=2, each=4)
    train = source("tfds:celeb_a", 4, size=32, data_dir=str(tmp_path))
    assert train.split_names() == ("train", "val", "test") and not train.classes


def test_the_videos_have_clips_and_classes_in_every_split(tmp_path):
    standins.videos(tmp_path / "set", frames=5)
    train = source(f"clips:{tmp_path}/set", 2, labeled=True, size=16, frames=4)
    assert train.split_names() == ("train", "val", "test")
    for split in train.split_names():
        assert set(train.split(split).labels()) == {0, 1}
    assert train.row_shapes()["video"].shape[1:] == (4, 16, 16, 3)


def test_the_folder_has_a_flat_test(tmp_path):
    standins.folders(tmp_path / "set", classes=2, each=4)
    train = source(f"folder:{tmp_path}/set", 2, size=32)
    assert train.split("test").has_labels() and "test_unlabeled" in train.split_names()
