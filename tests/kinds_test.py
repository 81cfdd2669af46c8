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
ROWS += ["fine_tune@10", "fine_tune", "svm"]
LAYERED = ["layers", "upto1", "upto1-frozen", "upto2", "upto2-frozen"]
COLUMNS = {
    "image": ["segmentation", "segmentation_fcn", "detection", "action", "propagation"],
    "video": ["action"],
}


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
    wanted += COLUMNS.get(kind, [])
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
def test_supervised_learning_reaches_every_target_and_the_report(kind, tmp_path):
    result = run(tmp_path, f"targets,kind={kind},save_every=0")
    number = {"tags": "linear/tags", "spans": "accuracy", "pose": "regression/pose"}[kind]
    plain = "raw pixels" if kind == "pose" else "raw input"
    assert list(result["baselines"]) == [plain, "untrained network"]
    learned = result["stages"]["train"]["metrics"][number]
    raw, start = (x.get(number) for x in result["baselines"].values())
    assert learned > 0.95
    judged = judge(tmp_path)
    if kind == "spans":
        assert judged["protocols"] == {}
    else:
        assert start < 0.85 and learned > start + 0.1
        assert list(result["protocols"]) == list(judged["protocols"]) == [number]
        assert judged["rows"]["train (this run)"] == {number: pytest.approx(learned)}
    assert "samples/s" in (tmp_path / "report.html").read_text()
    report(kind, [start, learned, raw], result["protocols"], tmp_path)


@pytest.mark.learning
@pytest.mark.parametrize("kind", KINDS)
def test_simclr_learns_the_classes_of_every_kind(kind, tmp_path):
    result = run(tmp_path, f"kind={kind},save_every=0")
    trained = result["stages"]["pretrain"]["metrics"]
    start = result["baselines"]["untrained network"]
    raw = result["baselines"][PLAIN[kind]]
    features = untrained(kind)
    fitting = {
        n: p for n, p in protocols(features.source).items() if not p.missing(features)
    }
    run_here = [name for name, p in fitting.items() if p.quick] + ["fine_tune@10"]
    judged = judge(tmp_path, f"--protocols={','.join(run_here)}", "--alone")
    report(kind, [x["knn"] for x in (start, trained, raw)], fitting, tmp_path)
    assert start["knn"] < 0.8
    assert trained["knn"] > start["knn"] + 0.1
    numbers = judged["rows"]["pretrain (this run)"]
    assert numbers["fine_tune@10"] > 0.5
    assert numbers["linear_sgd"] > 0.5


def report(kind, numbers, applied, folder):
    """Appends a row to the table."""
    pictures = sorted({p.suffix for p in (folder / "figures").iterdir()})
    cells = [
        kind,
        *("" if x is None else f"{x:.2f}" for x in numbers),
        ", ".join(applied),
        " ".join(pictures),
    ]
    if path := os.environ.get("KINDS_TABLE"):
        with open(path, "a") as file:
            file.write("| " + " | ".join(cells) + " |\n")
