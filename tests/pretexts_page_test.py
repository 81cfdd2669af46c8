"""The page of pretext tasks: kept results by knobs, means over seeds, missing rows."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jssl import config

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
pretexts = importlib.import_module("pretexts")
digest = importlib.import_module("results").digest
PROVENANCE = {
    "machine": "a machine",
    "devices": "1 x cpu",
    "versions": {"jax": "0.10"},
    "commit": "abc",
}


def layers(kept, row, seed, accuracy):
    numbers = dict.fromkeys(pretexts.LAYERS, accuracy)
    known = {"row": row, "seed": seed, "numbers": numbers, "provenance": PROVENANCE}
    (kept / f"{row}-{seed}.json").write_text(json.dumps(known))


def test_rows_are_means_over_seeds_and_missing_ones_are_named(tmp_path):
    kept, results = tmp_path / "pretexts", tmp_path / "results"
    kept.mkdir(), results.mkdir()
    layers(kept, "rotation", 0, 0.5)
    layers(kept, "rotation", 1, 0.6)
    table = pretexts.TABLES[0]
    name, spec = next(iter(table.rows.items()))
    stages = {"pretrain": {"metrics": {"linear": 0.25, "knn": 0.75}}}
    experiment, _, knobs = spec.partition(":")
    stem = f"{experiment}-{digest(knobs)}"
    (results / f"{stem}-0.json").write_text(json.dumps({"stages": stages}))
    lines = pretexts.page(kept, results).splitlines()
    assert "| rotation | 2 | " + " | ".join(["55.0 ± 5.0"] * 5) + " |" in lines
    assert "| jigsaw | missing |  |  |  |  |  |" in lines
    (found,) = [line for line in lines if line.startswith(f"| {name} | 1 |")]
    assert found.endswith("| 25.0 | 75.0 |")


def test_a_page_without_probes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no results: run"):
        pretexts.page(tmp_path, tmp_path)


@pytest.mark.parametrize("table", pretexts.TABLES, ids=lambda table: table.title)
def test_rows_of_tables_are_evidence_runs_of_their_experiment(table):
    for spec in table.rows.values():
        experiment, _, knobs = spec.partition(":")
        runs = config.evidence(ROOT / "experiments" / f"{experiment}.py")
        assert knobs in runs


@pytest.mark.parametrize("name", pretexts.ROWS)
def test_all_rows_probe_the_same_five_layers(name):
    given, knobs = pretexts.ROWS[name]
    experiment, _, baseline = given.partition("@")
    words = [f"{knob}={value}" for knob, value in knobs.items()]
    spec = f"{ROOT}/experiments/{experiment}.py:{pretexts.COMMON}"
    bound = dict(config.load(spec, words).knobs)
    assert bound["widths"] == (16, 32, 64, 64, 64)
    assert np.prod(bound["strides"]) == 4
