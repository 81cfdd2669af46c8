"""The command that judges: a run, somebody else's weights, and bad input."""

import json

import numpy as np
import pytest

from jssl import data
from jssl.evaluate import __main__ as evaluate
from jssl.evaluate.protocols import protocols
from jssl.main import main

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give one of --workdir"),
        (["--workdir=nowhere"], "contains no run"),
        (["--workdir={run}", "--protocols=knm"], "unknown protocol 'knm'"),
        (["--workdir={run}", "--stage=two"], "unknown stage 'two'"),
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
