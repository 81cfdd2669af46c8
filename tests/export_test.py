"""The command that writes a run's encoder, and what it says to mistakes."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jssl import weights
from jssl.checkpoint import Checkpoints
from jssl.config import load
from jssl.export import main
from jssl.session import describe

ROOT = Path(__file__).parent.parent
MAE = f"{ROOT}/experiments/mae.py"
KNOBS = "source=digits,batch=16,patch=2,width=16,depth=1,heads=2,decoder=(8,1)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a run of MAE leaves, without the training: its config and a checkpoint."""
    workdir = tmp_path_factory.mktemp("run")
    experiment = load(f"{MAE}:{KNOBS}")
    (stage,) = experiment.stages()
    config = describe(experiment) | {"provenance": {"commit": "0123456789ab"}}
    (workdir / "config.json").write_text(json.dumps(config))
    batch = jax.eval_shape(stage.data.decode, stage.data.shapes())
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), batch)
    state = jax.jit(stage.method.init)(jax.random.key(7), zeros)
    with Checkpoints(workdir / stage.name) as saved:
        saved.save(3, state)
    return workdir, stage, state


def test_a_run_goes_out_under_the_names_of_timm_and_comes_back(run, tmp_path, capsys):
    workdir, stage, state = run
    out = tmp_path / "mae.safetensors"
    assert main([f"--workdir={workdir}", f"--out={out}", f"--config={MAE}"]) == 0
    assert "ViT of" in capsys.readouterr().out
    told = weights.metadata(out)
    assert told["format"] == "pt"
    assert told["commit"] == "0123456789ab"
    assert json.loads(told["config"])["knobs"]["decoder"] == [8, 1]
    layout = json.loads(told["layout"])
    assert (layout["heads"], layout["grid"], layout["patch"]) == (2, [4, 4], 2)
    loaded = weights.load(out)
    assert loaded.info["heads_are"] == "written in the file"
    images = jax.random.uniform(jax.random.key(0), (2, 8, 8, 1))
    prepare = weights.preprocessing(out, 1)
    assert (prepare.mean, prepare.std, prepare.size) == ((0.5,), (0.5,), (8, 8))
    h = loaded.module.apply({"params": loaded.params}, prepare(images))
    wanted = stage.method.embed(state, {"image": images})["h"]  # of pool=grid
    np.testing.assert_allclose(h, wanted, rtol=0, atol=1e-5)
    assert list(tmp_path.iterdir()) == [out]


MISTAKES = {
    "nothing": ([], "--workdir=FOLDER and --out=FILE.safetensors"),
    "unknown flag": (["--wrokdir=x"], "unknown argument '--wrokdir=x'"),
    "no run": (["--workdir={empty}", "--out={out}"], "contains no run", "config.json"),
    "damaged config": (["--workdir={damaged}", "--out={out}"], "is not a run's config"),
    "no checkpoint": (["--workdir={bare}", "--out={out}"], "no checkpoint of its stage"),
    "another knob": (["--workdir={old}", "--out={out}"], "no longer has the knob 'gone'"),
    "another model": (["--workdir={other}", "--out={out}"], "is of another model"),
    "no stage": (["--workdir={run}", "--out={out}", "--stage=x"], "known are pretrain"),
    "no folder": (
        ["--workdir={run}", "--out={empty}/a/b.safetensors"],
        "no such folder",
        "/a",
    ),
    "another kind": (
        ["--workdir={run}", "--out={empty}/b.pth"],
        "must be FILE.safetensors",
    ),
    "no experiment": (
        ["--workdir={run}", "--out={out}", "--config=none/mae.py"],
        "no config file none/mae.py",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_clear_line_and_writes_nothing(mistake, run, tmp_path, capfd):
    arguments, *told = MISTAKES[mistake]
    places = {"run": run[0], "out": tmp_path / "x.safetensors"}
    config = json.loads((run[0] / "config.json").read_text())
    for name in ("empty", "damaged", "bare", "old", "other"):
        places[name] = tmp_path / name
        places[name].mkdir()
    knobs = config["knobs"]
    broken = {
        "damaged": {"title": "mae"},
        "bare": config,
        "old": config | {"knobs": knobs | {"gone": 1}},
        "other": config | {"knobs": knobs | {"decoder": [16, 1]}},
    }
    for name, content in broken.items():
        (places[name] / "config.json").write_text(json.dumps(content))
    (places["other"] / "pretrain").symlink_to(run[0] / "pretrain")
    before = sorted(tmp_path.rglob("*"))
    arguments = [a.format(**places) for a in [f"--config={MAE}", *arguments]]
    assert main(arguments) == 1
    said = capfd.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("jssl: ")]
    assert len(lines) == 1
    assert "Traceback" not in said.err
    for words in told:
        assert words in lines[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_exported_weights_are_judged_as_the_run_is(run, tmp_path, capsys):
    """`center` and the grid of means are those of the file."""
    from jssl.evaluate.__main__ import main as evaluate

    workdir, _, _ = run
    out = tmp_path / "mae.safetensors"
    assert main([f"--workdir={workdir}", f"--out={out}", f"--config={MAE}"]) == 0
    assert "images: mean 0.5, std 0.5 (measured)" in capsys.readouterr().out
    common = ["--protocols=knn,linear", "--alone"]
    assert evaluate([f"--workdir={workdir}", f"--config={MAE}", *common]) == 0
    own = json.loads((workdir / "evaluation.json").read_text())["rows"]
    report = tmp_path / "evaluation.json"
    given = [f"--weights={out}", "--source=digits", "--batch=16", f"--out={report}"]
    assert evaluate([*given, *common]) == 0
    assert (
        "normalized by mean 0.5, std 0.5 (written in the file)" in capsys.readouterr().out
    )
    found = json.loads(report.read_text())
    (ours,), (theirs,) = own.values(), found["rows"].values()
    assert theirs == pytest.approx(ours, abs=0.006)  # two of 360 rows, by rounding
    assert found["preprocessing"]["mean"] == [0.5]
    assert evaluate([*given, "--mean=0", "--std=1", *common]) == 0
    other = json.loads(report.read_text())
    assert other["preprocessing"]["origin"] == "given"
    assert other["rows"] != found["rows"]


def test_options_that_are_no_numbers_cost_a_line(run, tmp_path, capsys):
    from jssl.evaluate.__main__ import main as evaluate

    workdir, _, _ = run
    out = tmp_path / "mae.safetensors"
    assert main([f"--workdir={workdir}", f"--out={out}", f"--config={MAE}"]) == 0
    for option, told in (("--mean=a", "--mean must be"), ("--std=0", "std must be 1")):
        assert evaluate([f"--weights={out}", "--source=digits", option]) == 1
        assert told in capsys.readouterr().err


@pytest.mark.slow
def test_the_encoder_of_a_run_is_fine_tuned(run, tmp_path, capsys):
    from jssl import finetune

    workdir, _, _ = run
    words = [f"--workdir={workdir}", f"--config={MAE}", "--source=digits", "--labels=4"]
    out = tmp_path / "tuned"
    assert finetune.main([*words, "--epochs=2", "--batch=16", f"--out={out}"]) == 0
    assert "mean 0.5, std 0.5 (written in the file)" in capsys.readouterr().out
    told = weights.metadata(out / "model.safetensors")
    assert json.loads(told["preprocessing"])["mean"] == [0.5]
    assert json.loads(told["layout"])["pool"] == "mean"  # grid has no name in timm
    assert weights.read(out / "model.safetensors")["head.weight"].shape == (10, 16)
