"""Runs whose training includes val, and runs on crops of whole photographs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jssl import embed, loop
from jssl.baselines import fingerprint
from jssl.config import Stage
from jssl.data import Crops, dataset, load
from jssl.engine import Engine
from jssl.evals import Eval
from jssl.evaluate import __main__ as evaluate
from jssl.features import Features
from jssl.log import Log, read_lines
from jssl.main import main
from jssl.method import Method
from jssl.report import series, write_report

MAE = (
    "experiments/mae.py:source=digits,batch=16,patch=2,width=16,depth=1,heads=2,"
    "decoder=(8,1),epochs=0.1,supervised_epochs=0,dispatch=1,eval_every=2"
)


def adding(column):
    """A method that is initialized on images and adds up a column."""

    def init(key, batch):
        return {"sum": jnp.zeros(()), "scale": batch["image"].shape[1] * jnp.ones(())}

    def step(key, state, batch):
        x = batch[column]
        seen = jnp.sum(batch["index"] * x.reshape(len(x), -1).mean(1))
        return state | {"sum": state["sum"] + seen}, {"seen": seen}

    def embed(state, batch):
        return {"h": batch["image"].reshape(len(batch["image"]), -1) * state["scale"]}

    return Method(init, step, embed)


def fitted(features, final):
    """The number of rows that are fitted on, and that they are in no other split."""
    train, val = (features.rows(split)["image"] for split in ("train", "val"))
    both = {x.tobytes() for x in train} & {x.tobytes() for x in val}
    return {
        "fitted": len(train),
        "shared": len(both),
        "labels": len(features.labels("val")),
    }


def of_val(includes):
    bits = np.random.default_rng(0)
    train = {
        "image": bits.integers(0, 256, (32, 2, 2, 1), np.uint8),
        "label": np.arange(32) % 2,
    }
    val = {name: x[22:] for name, x in train.items()}
    test = {name: x[:8] for name, x in train.items()}
    places = {"val": np.arange(22, 32)} if includes else {}
    splits = {"train": train, "val": val, "test": test}
    return dataset("toy", splits, 8, classes=2, includes=places)


def stage(data, column="image", **more):
    judged = {"fit": Eval("rows that are fitted on", fitted, online=True)}
    return Stage(
        name="one", method=adding(column), data=data, steps=10, evals=judged, **more
    )


def run(folder, stage):
    return loop.run(stage, folder, {}, Log(folder))


@pytest.mark.parametrize(
    ("includes", "prefix"), [(True, "val (trained on)"), (False, "val")]
)
def test_val_is_named_as_trained_on_and_not_fitted_on(includes, prefix, tmp_path):
    finished = run(tmp_path, stage(of_val(includes), eval_every=5))
    rows = read_lines(tmp_path)
    every = {name.rpartition("/")[0] for row in rows for name in row if "fitted" in name}
    assert every == {prefix, "final"}
    found = {k: x for row in rows for k, x in row.items()}
    assert found[f"{prefix}/fitted"] == found["final/fitted"] == (22 if includes else 32)
    assert found["final/shared"] == (0 if includes else 10)
    assert found[f"{prefix}/labels"] == 10
    assert prefix in series(rows)["fitted"]
    history = Log(tmp_path).history("one")
    assert [step for step, _ in history] == [5]
    assert not any("doctor/" in name for name in history[0][1])
    assert finished.metrics["fitted"] == found["final/fitted"]


def test_all_rows_are_trained_on(tmp_path):
    engine = Engine(stage(of_val(True)))
    seen = np.concatenate(
        [
            x["index"].ravel()
            for _, x in zip(range(4), engine.batches(0, None), strict=False)
        ]
    )
    assert sorted(seen) == list(range(32))
    state = engine.begin({})
    assert len(Features(engine, state)("train")) == 22


def test_the_report_says_that_val_was_trained_on(tmp_path):
    whole = {"metrics": {"knn": 0.7}, "steps": 10, "seconds": 1.0, "baselines": []}
    whole |= {"samples_per_second": 1, "doctor": "Healthy.", "split": "val"}
    result = {
        "config": {"title": "x", "knobs": {}},
        "stages": {"pretrain": whole | {"trained_on": ["val"]}},
        "baselines": {"untrained network": {"knn": 0.5}},
        "protocols": {"knn": "kNN"},
        "data": {"name": "x", "rows": {"train": 90, "val": 10}, "trained_on": ["val"]}
        | {"classes": 0, "class_names": [], "license": ""},
        "provenance": {},
    }
    Log(tmp_path)
    page = write_report(tmp_path, result).read_text()
    assert "of 10 val (trained on) rows" in page
    assert "train 90, val 10 (trained on)" in page
    assert "<td>val (trained on)</td>" in page


@pytest.mark.slow
def test_a_run_writes_and_prints_it_everywhere(tmp_path, capsys):
    for name, more in (("held", ""), ("whole", ",hold_out=False")):
        folder = tmp_path / name
        assert main([f"--config={MAE}{more}", f"--workdir={folder}"]) == 0
        assert evaluate.main([f"--workdir={folder}", "--protocols=knn", "--alone"]) == 0
        told = capsys.readouterr()
        files = {
            file: (folder / file).read_text()
            for file in ("metrics.jsonl", "result.json", "report.html", "evaluation.json")
        }
        result, found = (json.loads(files[x]) for x in ("result.json", "evaluation.json"))
        stage = result["stages"]["pretrain"]
        assert stage["split"] == "test"
        places = [stage["trained_on"], result["data"]["trained_on"], found["trained_on"]]
        assert places == 3 * [["val"] if more else []]
        assert ('"val (trained on)/' in files["metrics.jsonl"]) == bool(more)
        assert ('"val/' in files["metrics.jsonl"]) != bool(more)
        assert ("val 360 (trained on)" in files["report.html"]) == bool(more)
        assert ("val (trained on): the protocols" in told.out) == bool(more)
        assert result["data"]["rows"]["train"] == (1_437 if more else 1_077)
        assert embed.main([f"--workdir={folder}", f"--out={folder}/h.npz"]) == 0
        with np.load(folder / "h.npz") as found:
            assert (found["split"] == "train").sum() == 1_077
            assert len(found["h"]) == 1_797


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    bits = np.random.default_rng(0)
    for i in range(40):
        pixels = bits.integers(0, 256, (20 + i % 5, 30, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{i:02}.png")
    return f"folder:{root}"


def test_a_stage_on_crops_starts_on_images_and_resumes_bit_for_bit(photos, tmp_path):
    crops = Crops(count=2, size=4)
    data = load(photos, 8, size=6, crops=crops)
    whole = run(tmp_path / "a", stage(data, "crops", save_every=4))
    assert whole.state["scale"] == 6
    assert whole.state["sum"] > 0
    part = Stage(**(vars(stage(data, "crops", save_every=4)) | {"steps": 4, "evals": {}}))
    run(tmp_path / "b", part)
    again = run(tmp_path / "b", stage(data, "crops", save_every=4))
    jax.tree.map(np.testing.assert_array_equal, whole.state, again.state)
    plain = load(photos, 8, size=6, resident=0)
    with pytest.raises(KeyError, match="image"):
        run(tmp_path / "c", stage(data, "image"))
    every = [fingerprint(stage(x, y)) for x, y in ((data, "crops"), (plain, "image"))]
    other = load(photos, 8, size=6, crops=Crops(count=2, size=4, area=(0.2, 1.0)))
    assert len({*every, fingerprint(stage(other, "crops"))}) == 3
