"""The results page: its numbers are those of the runs."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(results)

OURS, UNTRAINED = [0.93, 0.92, 0.94], [0.90, 0.905, 0.895]


def result(seed):
    scores = {"knn": 0.8, "linear": OURS[seed], "loss": 0.5}
    row = lambda x: {"knn": 0.7, "linear": x}
    return {
        "config": {"title": "mae", "knobs": {"source": "mnist", "seed": seed, "lr": 0.1}},
        "stages": {"pretrain": {"metrics": scores, "steps": 9, "seconds": 60.0 + seed}},
        "baselines": {
            "raw pixels": row(0.899),
            "untrained network": row(UNTRAINED[seed]),
            "supervised reference": row(0.935),
        },
        "provenance": {"machine": "two cores", "commit": "abc"},
    }


@pytest.fixture
def folder(tmp_path):
    for seed in range(3):
        place = tmp_path / "mae" / str(seed)
        place.mkdir(parents=True)
        (place / "result.json").write_text(json.dumps(result(seed)))
    (tmp_path / "mae" / "3").mkdir()  # not finished
    stale = tmp_path / "mae" / "0-stale-1"
    stale.mkdir()
    (stale / "result.json").write_text(json.dumps(result(0)))
    return tmp_path


def test_a_row_is_a_setting_over_its_finished_seeds(folder):
    lines = results.table(folder).splitlines()
    head, row = ([c.strip() for c in lines[i].split("|")[1:-1]] for i in (-3, -1))
    cells = list(zip(head, row, strict=True))
    assert ("seeds", "3") in cells
    assert ("linear", "93.0 ± 1.0") in cells
    assert ("seconds", "61") in cells
    gains = np.subtract(OURS, UNTRAINED)
    low, high = stats.t.interval(0.95, 2, gains.mean(), stats.sem(gains))
    assert (
        "gain",
        f"{100 * gains.mean():+.1f} [{100 * low:.1f}, {100 * high:.1f}]",
    ) in cells


def test_other_knobs_make_another_row(folder):
    other = result(0)
    other["config"]["knobs"]["lr"] = 0.2
    place = folder / "mae-other" / "0"
    place.mkdir(parents=True)
    (place / "result.json").write_text(json.dumps(other))
    assert len(results.collected(folder)) == 2


def test_every_experiment_of_the_page_exists():
    for spec, _ in results.specs():
        assert (ROOT / spec.partition(":")[0]).exists()
