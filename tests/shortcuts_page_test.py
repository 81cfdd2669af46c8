"""The page of shortcuts: its configs exist, and its rows are means over seeds."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jssl import config

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))  # they import one another by name
shortcuts = importlib.import_module("shortcuts")
PRETEXT = [0.9, 0.8, 0.85]
RUNS = [
    (name, remedy) for name, case in shortcuts.CASES.items() for remedy in case.remedies
]


def result(seed, name="light", remedy="none"):
    numbers = {"pretext": PRETEXT[seed], "content": 0.7, "untrained": 0.5, "seconds": 3.0}
    machine = {"machine": "two cores", "devices": "1 x cpu", "commit": "abc"}
    return {
        "case": name,
        "remedy": remedy,
        "seed": seed,
        "config": shortcuts.spec(name, remedy, seed),
        "numbers": numbers,
        "provenance": machine | {"versions": {"jax": "0.10"}},
    }


@pytest.fixture
def kept(tmp_path):
    for seed in range(3):
        (tmp_path / f"light-none-{seed}.json").write_text(json.dumps(result(seed)))
    return tmp_path


@pytest.mark.parametrize(("name", "remedy"), RUNS)
def test_every_case_has_knobs_of_its_experiment(name, remedy):
    assert config.load(f"{ROOT}/{shortcuts.spec(name, remedy, 0)}").knobs
    assert shortcuts.ACCURACY[shortcuts.CASES[name].pretext]


def test_runs_of_a_case_differ_in_the_remedy_alone():
    files = {shortcuts.slug(name, remedy, 0) for name, remedy in RUNS}
    assert len(files) == len(RUNS)
    for case in shortcuts.CASES.values():
        assert len(set(case.remedies.values())) == len(case.remedies) >= 2
        assert next(iter(case.remedies)) == "none"


def test_a_row_has_the_mean_over_the_seeds_and_its_standard_error(kept):
    error = 100 * np.std(PRETEXT, ddof=1) / np.sqrt(3)
    row = f"| jigsaw | a gradient of light | none | 3 | 85.0 ± {error:.1f} | 4.2 | 70.0 |"
    page = shortcuts.page(kept)
    assert row in page
    assert "{" not in page and f"![]({kept.name}/light.png)" in page


def test_a_page_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no results"):
        shortcuts.page(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"config": "other"}, "of other knobs"), ({"remedy": "hope"}, "no case any more")],
)
def test_results_of_other_cases_are_refused(kept, changes, reason):
    (kept / "old.json").write_text(json.dumps(result(0) | changes))
    with pytest.raises(ValueError, match=reason):
        shortcuts.page(kept)
