"""The contract of kinds: one method's file, the baselines, the protocols and the reports
serve every kind of data. `kinds.py` has the toy data.

The table of the learning tests goes to the file that KINDS_TABLE names, if it is set.
"""

import json

import kinds
import numpy as np
import pytest

from jssl import config, data, session
from jssl.engine import Engine
from jssl.evaluate.__main__ import main as evaluate
from jssl.evaluate.protocols import protocols
from jssl.features import Features
from jssl.main import main

CONFIG = kinds.__file__
PLAIN = {kind: "raw input" for kind in kinds.KINDS} | {"image": "raw pixels"}
QUICK = ["knn", "linear", "few_labels", "few_shot", "retrieval", "clustering", "linear_sgd"]
SLOW = ["fine_tune@10", "fine_tune"]
LAYERED = ["layers", "upto1", "upto1-frozen", "upto2", "upto2-frozen"]
DENSE = ["segmentation", "segmentation_fcn", "detection", "action"]
SUFFIXES = {  # of the picture of each field
    "image": {"image": ".png"},
    "text": {"tokens": ".txt"},
    "sound": {"audio": ".png"},
    "video": {"video": ".gif"},
    "graphs": {"edges": ".png"},
    "nodes": {},
    "pairs": {"image": ".png", "tokens": ".txt"},
    "walk": {},
}


def run(folder, knobs):
    """Runs the config with its baselines; returns result.json."""
    assert main([f"--config={CONFIG}:{knobs}", f"--workdir={folder}"]) == 0
    return json.loads((folder / "result.json").read_text())


def judge(folder, *options):
    """Evaluates the run; returns evaluation.json."""
    assert evaluate([f"--workdir={folder}", f"--config={CONFIG}", *options]) == 0
    return json.loads((folder / "evaluation.json").read_text())


def neighbors(folder):
    """{what the name of the picture ends in: suffix} of the pictures of neighbors."""
    return {
        path.stem.rpartition("nearest-neighbors")[2].strip("-"): path.suffix
        for path in folder.glob("*nearest-neighbors*")
        if path.suffix != ".wav"
    }


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_goes_through_one_methods_file_and_to_the_report(kind, tmp_path, capsys):
    result = run(tmp_path, f"kind={kind},steps=2,batch=32,rows=128,save_every=0")
    assert list(result["baselines"]) == [
        PLAIN[kind],
        "untrained network",
        "supervised reference",
    ]
    for metrics in result["baselines"].values():
        assert {"knn", "linear"} <= set(metrics)
    assert "samples/s" in capsys.readouterr().err
    page = (tmp_path / "report.html").read_text()
    assert "samples/s" in page and "images/s" not in page
    assert ("raw pixels" in page) == (kind == "image")
    wanted = SUFFIXES[kind]
    found = neighbors(tmp_path / "figures")
    assert found == ({"": s for s in wanted.values()} if len(wanted) == 1 else wanted)
    assert ("audio/wav" in page) == (kind == "sound")
    assert ("image/gif" in page) == (kind == "video")
    if ".txt" in wanted.values():
        assert "query" in page and "w19" in page
