"""The contract of kinds: one method's file, the baselines, the protocols and the reports
serve every kind of data. `kinds.py` has the toy data.

The table of the learning tests is appended to the file that KINDS_TABLE names, if it is
set.
"""

import json
import os

import kinds
import numpy as np
import pytest

from jssl import config
from jssl.engine import Engine
from jssl.evaluate.__main__ import main as evaluate
from jssl.evaluate.protocols import protocols
from jssl.features import Features
from jssl.main import main

CONFIG = kinds.__file__
KINDS = list(kinds.KINDS)
PLAIN = dict.fromkeys(KINDS, "raw input") | {"image": "raw pixels"}
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
ROWS = ["knn", "linear", "few_labels", "few_shot", "retrieval", "clustering", "linear_sgd"]
ROWS += ["fine_tune@10", "fine_tune"]
LAYERED = ["layers", "upto1", "upto1-frozen", "upto2", "upto2-frozen"]
DENSE = ["segmentation", "segmentation_fcn", "detection", "action"]


def run(folder, knobs):
    """Runs the config with its baselines; returns result.json."""
    assert main([f"--config={CONFIG}:{knobs}", f"--workdir={folder}"]) == 0
    return json.loads((folder / "result.json").read_text())


def judge(folder, *options):
    """Evaluates the run; returns evaluation.json."""
    assert evaluate([f"--workdir={folder}", f"--config={CONFIG}", *options]) == 0
    return json.loads((folder / "evaluation.json").read_text())


def neighbors(folder, whose=""):
    """{what the name of the picture ends in: suffix} of the pictures of neighbors."""
    return {
        path.stem.rpartition("nearest-neighbors")[2].strip("-"): path.suffix
        for path in folder.glob(f"{whose}*nearest-neighbors*")
        if path.suffix != ".wav"
    }


def untrained(kind):
    """The features of the network before training."""
    (stage,) = config.load(f"{CONFIG}:kind={kind},steps=2,batch=32,rows=128").stages()
    engine = Engine(stage)
    return Features(engine, engine.begin({}))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_through_one_methods_file_to_the_report(kind, tmp_path, capsys):
    result = run(tmp_path, f"kind={kind},steps=2,batch=32,rows=128,save_every=0")
    names = [PLAIN[kind], "untrained network", "supervised reference"]
    assert list(result["baselines"]) == names
    for metrics in result["baselines"].values():
        assert {"knn", "linear"} <= set(metrics)
    assert "samples/s" in capsys.readouterr().err
    page = (tmp_path / "report.html").read_text()
    assert "samples/s" in page
    assert "images/s" not in page
    assert ("raw pixels" in page) == (PLAIN[kind] == "raw pixels")
    assert neighbors(tmp_path / "figures") == named(SUFFIXES[kind])
    assert ("audio/wav" in page) == (kind == "sound")
    assert ("image/gif" in page) == (kind == "video")
    assert ("nearest 1" in page and "w19" in page) == ("tokens" in SUFFIXES[kind])

    found = judge(tmp_path, "--protocols=knn,linear")
    this = "pretrain (this run)"
    assert list(found["rows"]) == [this, "untrained network", PLAIN[kind], names[-1]]
    known = result["baselines"] | {this: result["stages"]["pretrain"]["metrics"]}
    for name, metrics in found["rows"].items():
        for metric in ("knn", "linear"):
            assert metrics[metric] == pytest.approx(known[name][metric], abs=1e-9)
    pictures = neighbors(tmp_path / "exhibits", "pretrain-this-run")
    assert pictures == named(SUFFIXES[kind])


def named(suffixes):
    """Of one field alone the name of a picture does not hold the field."""
    return {"": next(iter(suffixes.values()))} if len(suffixes) == 1 else suffixes


@pytest.mark.parametrize("kind", KINDS)
def test_protocols_are_those_that_the_columns_and_outputs_of_a_kind_allow(kind):
    features = untrained(kind)
    wanted = list(ROWS)
    wanted += [] if kind == "nodes" else LAYERED
    wanted += DENSE if kind == "image" else []
    found = protocols(features.source)
    assert sorted(n for n, p in found.items() if not p.missing(features)) == sorted(wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_other_rows_of_a_kind_have_the_outputs_of_its_own(kind):
    features = untrained(kind)
    rows = features.rows("val", 40)
    np.testing.assert_array_equal(features.of(rows), features("val", rows=40))
    context = set(features.source.context)
    assert not context & set(rows)


@pytest.mark.parametrize("kind", kinds.TARGETS)
def test_supervised_learning_of_every_target_goes_to_the_report(kind, tmp_path):
    result = run(tmp_path, f"targets,kind={kind},steps=2,batch=32,rows=128,save_every=0")
    wanted = {"tags": {"linear/tags"}, "spans": set(), "pose": {"regression/pose"}}[kind]
    plain = "raw pixels" if kind == "pose" else "raw input"
    assert list(result["baselines"]) == [plain, "untrained network"]
    assert wanted <= set(result["stages"]["train"]["metrics"])
    assert wanted <= set(result["baselines"]["untrained network"])
    found = judge(tmp_path)
    assert set(found["rows"]["train (this run)"]) == wanted
    assert "samples/s" in (tmp_path / "report.html").read_text()


@pytest.mark.learning
@pytest.mark.parametrize("kind", KINDS)
def test_simclr_learns_the_classes_of_every_kind(kind, tmp_path, capsys):
    result = run(tmp_path, f"kind={kind},save_every=0")
    trained = result["stages"]["pretrain"]["metrics"]
    untrained = result["baselines"]["untrained network"]
    raw = result["baselines"][PLAIN[kind]]
    capsys.readouterr()
    found = judge(tmp_path, "--protocols=all", "--alone")
    lines = capsys.readouterr().err.splitlines()
    left_out = [line.split()[3] for line in lines if " omitted: " in line]
    applied = [name for name in found["protocols"] if name not in left_out]
    report(kind, [x["knn"] for x in (untrained, trained, raw)], applied, tmp_path)
    assert untrained["knn"] < 0.8
    assert trained["knn"] > untrained["knn"] + 0.1


@pytest.mark.learning
@pytest.mark.parametrize("kind", kinds.TARGETS)
def test_supervised_learning_reaches_every_target(kind, tmp_path):
    result = run(tmp_path, f"targets,kind={kind},save_every=0")
    metrics = result["stages"]["train"]["metrics"]
    untrained = result["baselines"]["untrained network"]
    name = {"tags": "linear/tags", "spans": "accuracy", "pose": "regression/pose"}[kind]
    values = [untrained.get(name, 0.0), metrics[name], 0.0]
    report(kind, values, result["protocols"], tmp_path)
    assert metrics[name] > 0.9
    assert metrics[name] > untrained.get(name, 0.0) + 0.1


def report(kind, numbers, applied, folder):
    """Appends a row to the table."""
    pictures = sorted({p.suffix for p in (folder / "figures").iterdir()})
    cells = [kind, *(f"{x:.2f}" for x in numbers), ", ".join(applied), " ".join(pictures)]
    if path := os.environ.get("KINDS_TABLE"):
        with open(path, "a") as file:
            file.write("| " + " | ".join(cells) + " |\n")
