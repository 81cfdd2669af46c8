"""The command that judges: a run, somebody else's weights, and bad input."""

import json
import os
import re
import signal

import numpy as np
import pytest

from jssl import data, embed
from jssl.evaluate import __main__ as evaluate
from jssl.evaluate.protocols import protocols
from jssl.main import main

pytestmark = pytest.mark.slow


def few(train=12, val=4, test=6, classes=2):
    """A labeled data set of random images of 8 x 8 pixels, by rows of each split."""
    rng = np.random.default_rng(0)
    splits = {
        split: {
            "image": rng.integers(0, 256, (n, 8, 8, 3), np.uint8),
            "label": np.arange(n) % classes,
        }
        for split, n in {"train": train, "val": val, "test": test}.items()
        if n
    }
    return data.dataset("few", splits, batch=8, labeled=True)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A function that judges a small ResNet on a data set: exit status, and the report."""
    import jax
    import jax.numpy as jnp

    from jssl import weights
    from jssl.models.resnet import ResNet

    module = ResNet(10, "cifar", 4)
    made = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    stats = {"batch_stats": made["batch_stats"]}
    file, out = tmp_path / "r10.safetensors", tmp_path / "evaluation.json"
    weights.write(file, weights.to_torch(module, made["params"], stats), {})

    def judged(source, protocols, *more):
        monkeypatch.setattr(data, "load", lambda *_, **__: source)
        words = [f"--weights={file}", f"--out={out}", f"--protocols={protocols}", *more]
        status = evaluate.main(words)
        return status, json.loads(out.read_text()) if out.exists() else None

    return judged


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run, and what the evaluator wrote of it."""
    folder = tmp_path_factory.mktemp("run")
    config = "experiments/simclr.py:tiny=True"
    assert main([f"--config={config}", f"--workdir={folder}"]) == 0
    chosen = "--protocols=knn,linear,layers,fine_tune@10"
    assert evaluate.main([f"--workdir={folder}", chosen]) == 0
    return folder, json.loads((folder / "evaluation.json").read_text())


def test_a_run_stands_beside_its_baselines(run):
    _, found = run
    ours, untrained, raw, supervised = found["rows"].values()
    assert set(found["rows"]) == {
        "pretrain (this run)",
        "untrained network",
        "raw pixels",
        "supervised reference",
    }
    assert {"knn", "linear", "layer 1", "layer 2", "fine_tune@10"} <= set(ours)
    assert set(ours) == set(untrained) == set(supervised)
    assert "layer 1" not in raw
    assert "logistic regression" in found["protocols"]["linear"]


def test_pictures_of_each_lie_beside(run):
    folder, _ = run
    names = {path.name for path in (folder / "exhibits").iterdir()}
    for whose in ("pretrain-this-run", "untrained-network", "supervised-reference"):
        for what in ("nearest-neighbors", "strongest-images", "layers"):
            assert f"{whose}--{what}.png" in names


def test_its_numbers_are_those_of_the_run(run):
    folder, found = run
    result = json.loads((folder / "result.json").read_text())
    for name, row in {
        "pretrain (this run)": result["stages"]["pretrain"]["metrics"],
        "untrained network": result["baselines"]["untrained network"],
        "supervised reference": result["baselines"]["supervised reference"],
    }.items():
        for metric in ("knn", "linear"):
            assert found["rows"][name][metric] == pytest.approx(row[metric], abs=1e-9)


def test_a_gan_of_other_pictures_is_judged_by_an_svm_on_digits(tmp_path):
    """Beside raw pixels and its untrained network; its own batches are [k, n, ...]."""
    from jssl.evals import Arrays, svm

    work, features = tmp_path / "run", tmp_path / "h.npz"
    knobs = "tiny=True,source=mnist,limit=200,size=8,channels=1"
    assert main([f"--config=experiments/dcgan.py:{knobs}", f"--workdir={work}"]) == 0
    other = [f"--workdir={work}", "--source=digits"]
    assert evaluate.main([*other, "--protocols=svm"]) == 0
    found = json.loads((work / "evaluation-digits.json").read_text())
    assert found["data"].startswith("digits")
    ours, untrained = "pretrain (this run)", "untrained network"
    assert {ours, untrained} < set(found["rows"])
    assert "supervised reference" not in found["rows"]
    assert all(0 < row["svm"] <= 1 for row in found["rows"].values())
    assert embed.main([*other, f"--out={features}"]) == 0
    with np.load(features) as saved:
        of = {split: saved["split"] == split for split in ("train", "val", "test")}
        parts = {k: (saved["h"][rows], saved["label"][rows]) for k, rows in of.items()}
    assert found["rows"][ours] == pytest.approx(svm()(Arrays(**parts), True))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give one of --workdir"),
        (["--workdir=nowhere"], "contains no run"),
        (["--workdir={run}", "--protocols=knm"], "unknown protocol 'knm'"),
        (["--workdir={run}", "--stage=two"], "unknown stage 'two'"),
        (["--workdir={run}", "--source=photos"], "photos has 3 channels: give a --source"),
        (["--weights=nothing.safetensors", "--source=digits"], "nothing.safetensors"),
    ],
)
def test_a_mistake_costs_one_line(words, told, run, capsys):
    folder, _ = run
    assert evaluate.main([word.format(run=folder) for word in words]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said


def test_hidden_labels_change_nothing_that_training_makes(tmp_path):
    """Permuting every label leaves the trained weights bit for bit as they were."""
    import jax

    from jssl import config
    from jssl.engine import Engine

    def trained(permuted):
        stage = config.load("experiments/byol.py:tiny=True").stages()[0]
        source = stage.data
        if permuted:
            splits = {}
            for split in ("train", "val", "test"):
                table = dict(source.split(split).table)
                rng = np.random.default_rng(0)
                splits[split] = table | {"label": rng.permutation(table["label"])}
            source = data.dataset("digits", splits, source.batch, seed=source.seed)
        engine = Engine(stage.__class__(**vars(stage) | {"data": source}))
        state, batches = engine.begin({}), engine.batches(0, None)
        for step in range(2):
            state, _ = engine.advance(state, step, next(batches))
        return jax.device_get(state)

    for a, b in zip(*map(jax.tree.leaves, map(trained, (False, True))), strict=True):
        np.testing.assert_array_equal(a, b)


def test_dense_layers_have_no_places_to_judge_or_to_draw():
    import jax
    import jax.numpy as jnp

    from jssl import config
    from jssl.engine import Engine
    from jssl.exhibits import EXHIBITS, drawn
    from jssl.features import Features

    stage = config.load("experiments/dbn.py:tiny=True").stages()[-1]
    engine = Engine(stage)
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), engine.shapes)
    features = Features(engine, state)
    assert "layers" in features.names and "maps" not in features.names
    drawn = set(drawn(EXHIBITS, features)[0])
    assert "nearest neighbors" in drawn
    assert not drawn & {"layers", "strongest images"}
    with pytest.raises(ValueError, match="embed has no output 'maps'"):
        features("val", "maps")


def test_data_of_few_classes_have_episodes_of_as_many():
    images, label = np.zeros((6, 8, 8, 1), np.uint8), np.arange(6) % 3
    source = data.dataset("three", {"train": {"image": images, "label": label}}, batch=2)
    assert "3-way" in protocols(source)["few_shot"].judge.protocol


def test_a_protocol_that_does_not_fit_is_left_out_with_a_line(own, capsys):
    status, found = own(few(), "quick", "--alone")
    said = capsys.readouterr().err.splitlines()
    assert status == 0
    assert set(found["omitted"]) == {"few_labels", "few_shot"}
    assert (
        "few_labels omitted: it needs 10 train rows of each class, and there are 6"
        in (said[0])
    )
    assert "few_shot omitted: it needs 20 test rows of each class" in said[1]
    assert {"knn", "linear", "nmi", "recall@1"} <= set(*found["rows"].values())
    assert not found["failed"]


def test_a_protocol_that_raises_costs_a_line_and_no_number(own, capsys, monkeypatch):
    from jssl.evals import Eval
    from jssl.evaluate import protocols as known

    def broken(features, final):
        raise RuntimeError("no\nluck")

    def also_broken(source, seed):
        return protocols(source, seed) | {"linear": known.Protocol(Eval("bad", broken))}

    monkeypatch.setattr(known, "protocols", also_broken)
    status, found = own(few(), "linear,knn", "--alone")
    assert status == 0
    assert found["failed"] == {"r10.safetensors: linear": "RuntimeError: no luck"}
    assert set(found["rows"]["r10.safetensors"]) == {"knn"}
    said = capsys.readouterr().err
    assert "r10.safetensors: linear failed: RuntimeError: no luck" in said
    assert "Traceback" not in said


def test_each_protocol_costs_a_line_and_a_slow_one_is_announced(capsys):
    from functools import partial
    from types import SimpleNamespace

    from jssl.evaluate.protocols import Protocol

    chosen = {
        "knn": Protocol(lambda features, final: {"knn": 0.5, "picture": "no number"}),
        "svm": Protocol(lambda features, final: {"svm": 0.25, "n": 3}, quick=False),
    }
    tried = partial(evaluate.attempt, {})
    made = evaluate.judge(SimpleNamespace(names=("h",)), chosen, "mae", tried)
    assert next(made) == {"knn": 0.5}
    said = capsys.readouterr().err
    assert re.fullmatch(r"mae: knn 0\.500  \(\d\.\d s\)\n", said)
    assert next(made) == {"svm": 0.25, "n": 3.0}
    slow, line = capsys.readouterr().err.splitlines()
    assert slow.startswith("mae: svm: exact linear L2-SVM") and "may take minutes" in slow
    assert line.startswith("mae: svm 0.250  n 3.000  (")


def test_pictures_that_cannot_be_drawn_cost_a_line(own, monkeypatch):
    from jssl import exhibits

    def broken(features, split):
        raise IndexError("no picture")

    monkeypatch.setattr(exhibits, "EXHIBITS", exhibits.EXHIBITS | {"maps": broken})
    status, found = own(few(), "knn", "--alone")
    assert status == 0
    assert "knn" in found["rows"]["r10.safetensors"]
    assert found["failed"] == {"r10.safetensors: maps": "IndexError: no picture"}


@pytest.mark.parametrize(
    ("number", "status", "name"),
    [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")],
)
def test_each_number_is_written_as_it_is_made_until_a_signal(
    number, status, name, own, monkeypatch, tmp_path, capsys
):
    from jssl.evals import Eval
    from jssl.evaluate import protocols as known

    seen = []

    def stopped(features, final):
        seen.append(json.loads((tmp_path / "evaluation.json").read_text()))
        os.kill(os.getpid(), number)
        return {"last": 1.0}

    def more(source, seed):
        last = known.Protocol(Eval("last", stopped))
        return {"knn": protocols(source, seed)["knn"], "last": last}

    monkeypatch.setattr(known, "protocols", more)
    passed = lambda number, frame: None  # a signal that is not handled fails the test
    calm = signal.default_int_handler if number == signal.SIGINT else passed
    before = signal.signal(number, calm)
    try:
        assert own(few(), "knn,last", "--alone")[0] == status
    finally:
        signal.signal(number, before)
    assert "knn" in seen[0]["rows"]["r10.safetensors"]
    said = f"jssl: stopped by {name}; the same command starts over"
    assert said in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (few(test=0), "no protocol fits few/train: few/train has no split 'test'"),
        (few(val=0), "has no split 'val'"),
    ],
)
def test_a_missing_split_is_told_before_work_starts(source, told, own, capsys):
    status, found = own(source, "knn")
    assert (status, found) == (1, None)
    assert told in capsys.readouterr().err


def test_the_help_lists_every_protocol(capsys):
    from jssl.evaluate import QUICK, SLOW

    known = protocols(few())
    assert {n for n, p in known.items() if p.quick} == {n for n in QUICK if "/" not in n}
    assert {n for n, p in known.items() if not p.quick} == set(SLOW)
    with pytest.raises(SystemExit):
        evaluate.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in QUICK | SLOW)


def test_scenes_have_the_channels_of_the_images():
    from jssl.evaluate.protocols import motions, places

    for source, channels in ((few(), 3), (data.load("digits", 4), 1)):
        assert places(source, 0)("val")["image"].shape[-1] == channels
        assert motions(source, 0)("val")["video"].shape[-1] == channels
