"""The page of language: rows are declared runs, gains are paired."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from jssl import config

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
language = importlib.import_module("language")
results = importlib.import_module("results")
SPECS = sorted({x for table in language.PRETRAINED for x in table.rows.values()})
TUNED = sorted({x for table in language.DOWNSTREAM for x in table.rows.values()})


@pytest.mark.parametrize("spec", SPECS)
def test_rows_are_evidence_runs_of_their_experiment(spec):
    experiment, _, knobs = spec.partition(":")
    assert knobs in config.evidence(ROOT / "experiments" / f"{experiment}.py")


def test_fine_tuning_starts_from_the_folder_of_a_declared_run():
    names = {spec.partition(":")[0] for spec in language.ENCODERS.values()}
    known = {str(language.RUNS / where) for _, where in results.specs(names)}
    for spec in TUNED:
        rest, _, init = spec.rpartition(",init=")
        assert init in known
        asked = config.load(f"experiments/{rest.replace(':', '.py:', 1)}")
        assert asked.knobs["epochs"] in sum(language.EPOCHS.values(), ())


def test_gains_are_paired_and_missing_rows_named(tmp_path):
    spec = language.tuned("BERT", "genre", few=True).partition(":")[2]
    for seed, (ours, scratch) in enumerate([(0.40, 0.30), (0.45, 0.33), (0.43, 0.29)]):
        known = {
            "stages": {"train": {"metrics": {"top1": ours}}},
            "baselines": {"from scratch": {"top1": scratch}, "tf-idf": {"top1": 0.4}},
            "provenance": {
                "machine": "a machine",
                "devices": "1 x cpu",
                "versions": {"jax": "0.10"},
                "commit": "abc",
            },
        }
        name = f"supervised-{results.digest(spec)}-{seed}.json"
        (tmp_path / name).write_text(json.dumps(known))
    lines = language.page(tmp_path, tmp_path).splitlines()
    row = "| 3 | 42.7 ± 1.5 | 30.7 ± 1.2 | +12.0 [7.0, 17.0] | 40.0 | +2.7 [-3.6, 8.9] |"
    assert f"| BERT, 100 labels {row}" in lines
    assert "| GPT, 100 labels | missing |  |  |  |  |  |" in lines


def test_a_page_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no results: run `python benchmarks/lang"):
        language.page(tmp_path, tmp_path)
