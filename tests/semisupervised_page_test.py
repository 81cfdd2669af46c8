"""The page of semi-supervised methods: paired gains, missing rows, declared runs."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from jssl import config

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
semisupervised = importlib.import_module("semisupervised")
SPECS = sorted({x for table in semisupervised.TABLES for x in table.rows.values()})
PROVENANCE = {
    "machine": "a machine",
    "devices": "1 x cpu",
    "versions": {"jax": "0.10"},
    "commit": "abc",
}


def test_gains_are_paired_and_missing_rows_named(tmp_path):
    for seed, (ours, alone) in enumerate([(0.90, 0.80), (0.95, 0.83), (0.93, 0.79)]):
        baselines = {
            "supervised, same labels": {"top1": alone},
            "supervised, all labels": {"top1": 0.96},
        }
        stages = {"train": {"metrics": {"top1": ours}}}
        known = {"stages": stages, "baselines": baselines, "provenance": PROVENANCE}
        (tmp_path / f"mixmatch-{seed}.json").write_text(json.dumps(known))
    lines = semisupervised.page(tmp_path).splitlines()
    row = "| 3 | 92.7 ± 1.5 | 80.7 ± 1.2 | +12.0 [7.0, 17.0] | 96.0 |"
    assert f"| MixMatch {row}" in lines
    assert f"| MixMatch, K = 2 {row}" in lines
    assert "| VAT | missing |  |  |  |  |" in lines
    assert "Machine: a machine, 1 x cpu. JAX 0.10. Commits: abc." in lines


def test_a_page_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no results: python benchmarks/results\.py"):
        semisupervised.page(tmp_path)


@pytest.mark.parametrize("spec", SPECS)
def test_rows_are_evidence_runs_of_their_experiment(spec):
    experiment, _, knobs = spec.partition(":")
    assert knobs in config.evidence(ROOT / "experiments" / f"{experiment}.py")
