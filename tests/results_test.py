"""The results page: its numbers are those of the runs."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))  # they import one another by name
doctor, evaluation, methods, plans, results = map(
    importlib.import_module, ("doctor", "evaluation", "methods", "plans", "results")
)

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
        "provenance": {"machine": "two cores", "devices": "1 x cpu", "commit": "abc"},
    }


@pytest.fixture
def kept(tmp_path):
    for seed in range(3):
        (tmp_path / f"mae-{seed}.json").write_text(json.dumps(result(seed)))
    return tmp_path


def cells(page, section):
    """[(heading, cell)] of a section's only row."""
    lines = page.partition(f"## {section}\n")[2].partition("\n## ")[0].splitlines()
    head, _, *rows = [line for line in lines if line.startswith("|")]
    (row,) = rows
    split = lambda line: [cell.strip() for cell in line.split("|")[1:-1]]
    return list(zip(split(head), split(row), strict=True))


def interval(gains):
    low, high = stats.t.interval(0.95, 2, gains.mean(), stats.sem(gains))
    return f"{100 * gains.mean():+.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def test_a_row_is_a_setting_over_its_finished_seeds(kept):
    page = results.table(kept)
    found = cells(page, "Representations")
    assert ("seeds", "3") in found
    assert ("linear", "93.0 ± 1.0") in found
    assert ("gain", interval(np.subtract(OURS, UNTRAINED))) in found
    assert ("seconds", "61") in cells(page, "Runs")
    assert "## Classifiers" in page


def test_a_classifier_stands_beside_what_lacks_its_method(kept):
    for seed in range(3):
        path = kept / f"mae-{seed}.json"
        known = json.loads(path.read_text())
        known["stages"]["pretrain"]["metrics"]["top1"] = OURS[seed]
        known["stages"]["pretrain"]["baselines"] = ["raw pixels", "same labels"]
        known["baselines"]["same labels"] = {"top1": UNTRAINED[seed]}
        path.write_text(json.dumps(known))
    found = cells(results.table(kept), "Classifiers")
    assert ("beside", "same labels") in found
    assert ("gain", interval(np.subtract(OURS, UNTRAINED))) in found


def test_other_knobs_make_another_row(kept):
    other = result(0)
    other["config"]["knobs"]["lr"] = 0.2
    (kept / "mae-other-0.json").write_text(json.dumps(other))
    assert len(results.collected(kept)) == 2


def test_every_experiment_of_the_page_exists():
    for spec, _ in results.specs():
        assert (ROOT / spec.partition(":")[0]).exists()


@pytest.mark.parametrize(
    ("page", "made"),
    [
        ("results.md", lambda: results.table(results.KEPT)),
        ("evaluation.md", evaluation.table),
        ("doctor.md", doctor.table),
        ("pods.md", plans.page),
    ],
)
def test_a_page_says_what_was_kept_and_nothing_else(page, made):
    assert (ROOT / "docs" / page).read_text() == made()


def test_the_methods_of_the_readme_are_those_of_the_package():
    page = (ROOT / "README.md").read_text()
    renew = "the table of methods is old: python benchmarks/methods.py write"
    assert methods.table() in page and methods.written(page, methods.table()) == page, renew
    named = {line.split("`")[1] for line in methods.table().splitlines()[2:]}
    modules = (ROOT / "jssl" / "methods").glob("*/[!_]*.py")
    assert named == {path.relative_to(ROOT).as_posix() for path in modules}
