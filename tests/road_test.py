"""A run from its start to its end and beyond: stopped, broken, extended, reused."""

import json
import shutil
import signal

import jax
import numpy as np
import pytest

from jssl import export, initial
from jssl.config import load
from jssl.engine import Engine
from jssl.log import read_lines
from jssl.main import main
from jssl.runs import read_config, restore

CONFIG = """
import os
from dataclasses import replace

from jssl import Stage
from jssl.config import load
from jssl.evals import Eval


def mine(features, final):
    trouble = os.environ.get("TROUBLE", "")
    if final and trouble.isdigit():
        os.kill(os.getpid(), int(trouble))
    if trouble == "eval":
        raise RuntimeError("gone wrong")
    return {"mine": 1.0}


def laptop(epochs: float = 0.1) -> list[Stage]:
    (stage,) = load(f"simclr:{KNOBS},epochs={epochs}").stages()
    render = stage.method.render

    def broken(key, state, rows, collect):
        if os.environ.get("TROUBLE") == "picture":
            float(rows["image"][0, 0, 0, 0])  # cannot be traced
            raise IndexError("list index out of range")
        return render(key, state, rows, collect)

    evals = dict(stage.evals) | {"mine": Eval("mine", mine)}
    return [replace(stage, method=stage.method._replace(render=broken), evals=evals)]
"""
SMALL = (
    "source=digits,batch=16,widths=(4,8),projector=(8,4),eval_every=-1,save_every=4,"
    "baselines=False"
)


def told(capfd):
    said = capfd.readouterr().err
    assert "Traceback" not in said
    return [line for line in said.splitlines() if line.startswith("jssl: ")]


def result(work):
    return json.loads((work / "result.json").read_text())


def saved(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


@pytest.fixture
def own(tmp_path):
    """The words of a run with an eval and a picture that may fail, and its workdir."""
    file = tmp_path / "own.py"
    file.write_text(CONFIG.replace("{KNOBS}", SMALL))
    return [f"--config={file}", f"--workdir={tmp_path / 'run'}"], tmp_path / "run"


@pytest.mark.parametrize(
    ("number", "status", "name"),
    [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")],
)
def test_a_signal_in_the_final_evals_costs_a_line(
    own, number, status, name, monkeypatch, capfd
):
    words, work = own
    if number == signal.SIGINT:  # a shell ignores it in its background jobs
        signal.signal(number, signal.default_int_handler)
    before = signal.getsignal(number)
    monkeypatch.setenv("TROUBLE", str(int(number)))
    assert main(words) == status
    assert told(capfd) == [f"jssl: stopped by {name}; the same command resumes"]
    assert signal.getsignal(number) == before
    assert not (work / "result.json").exists()
    (last,) = {row["step"] for row in read_lines(work) if "final/knn" in row}
    assert saved(work / "pretrain")[-1] == last
    monkeypatch.delenv("TROUBLE")
    assert main(words) == 0
    assert {"knn", "linear", "mine"} <= result(work)["stages"]["pretrain"]["metrics"].keys()


@pytest.mark.parametrize(
    ("part", "name"), [("eval", "mine"), ("picture", "pictures of the method")]
)
def test_what_fails_at_the_end_is_repeated_by_the_same_command(
    own, part, name, monkeypatch, capfd
):
    words, work = own
    monkeypatch.setenv("TROUBLE", part)
    assert main(words) == 0
    lines = told(capfd)
    assert len(lines) == 1 and f"pretrain: {name} failed and is omitted: " in lines[0]
    assert list(result(work)["stages"]["pretrain"]["failed"]) == [name]
    assert "knn" in result(work)["stages"]["pretrain"]["metrics"]
    assert (work / "report.html").exists()
    monkeypatch.delenv("TROUBLE")
    assert main(words) == 0
    assert told(capfd) == []
    assert result(work)["stages"]["pretrain"]["failed"] == {}
    assert result(work)["stages"]["pretrain"]["metrics"]["mine"] == 1.0


@pytest.mark.slow
def test_an_extended_run_continues_and_later_stages_are_trained_anew(tmp_path, capfd):
    work = tmp_path / "run"
    knobs = "tiny=True,batch=16,dispatch=1,epochs=0.1,tune_epochs=1.0,baselines=False"
    words = lambda *more: main(
        [f"--config=stacked_denoising:{','.join((knobs, *more))}", f"--workdir={work}"]
    )
    assert words() == 0
    steps = {name: x["steps"] for name, x in result(work)["stages"].items()}
    before = read_lines(work)
    assert words("epochs=0.2") == 1
    said = told(capfd)[0]
    assert "contains a run with epochs=0.1, not 0.2: give --extend to continue it" in said
    extend = lambda *more: main(
        [
            f"--config=stacked_denoising:{','.join((knobs, *more))}",
            f"--workdir={work}",
            "--extend",
        ]
    )
    for more, why in (
        ("epochs=0.05", "epochs=0.1, not 0.05"),
        ("epochs=0.2,lr=0.5", "lr=0.001, not 0.5"),
        ("epochs=0.2,batch=8", "batch=16, not 8"),
    ):
        assert extend(more) == 1
        lines = told(capfd)
        assert len(lines) == 1 and why in lines[0]
    assert read_lines(work) == before
    assert extend("epochs=0.2") == 0
    said = capfd.readouterr()
    assert f"layer1 continues from step {steps['layer1']} to" in said.out
    for name in ("layer2", "layer3", "fine-tune"):
        assert f"{name} is trained anew" in said.out
        assert (work / f"{name}.before-extension-1").is_dir()
    config = read_config(work)
    assert config["knobs"]["epochs"] == 0.2
    assert [entry["knobs"]["epochs"] for entry in config["extended"]] == [0.1]
    after = result(work)["stages"]
    assert after["layer1"]["steps"] > steps["layer1"]
    first = [row for row in before if row["stage"] == "layer1" and "loss" in row]
    rows = [row for row in read_lines(work) if "loss" in row]
    assert [row for row in rows if row["stage"] == "layer1"][: len(first)] == first
    for name, stage in after.items():
        trained = [row["step"] for row in rows if row["stage"] == name]
        assert trained == [*range(1, stage["steps"] + 1)]


def pretrained(folder):
    """The workdir of a short run."""
    work = folder / "first"
    assert main([f"--config=byol:{SMALL},epochs=0.1", f"--workdir={work}"]) == 0
    return work


def leaves(state):
    """{path: leaf} of a state."""
    flat = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): x for p, x in flat}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["run", "file"])
def test_a_run_starts_from_an_encoder_and_its_statistics(form, tmp_path):
    work = pretrained(tmp_path)
    where = work
    if form == "file":
        where = tmp_path / "encoder.safetensors"
        assert export.main([f"--workdir={work}", f"--out={where}"]) == 0
    there = leaves(restore(work, read_config(work))[1])
    (stage,) = load(f"byol:{SMALL},epochs=0.1", [f"init={where}"]).stages()
    stage = initial.started(stage)
    engine = Engine(stage)
    begun = leaves(engine.begin({}))
    fresh = leaves(Engine(load(f"byol:{SMALL},epochs=0.1").stages()[0]).begin({}))
    copied = [p for p in begun if "/encoder/" in f"/{p}" and "opt/" not in p]
    online = [p for p in copied if "target" not in p]
    assert any("target" in p for p in copied) and any("stats" in p for p in copied)
    for path in copied:
        source = path if path in online else path.replace("target/", "online/")
        np.testing.assert_array_equal(begun[path], there[source])
    for path in begun.keys() - set(copied):
        if not jax.dtypes.issubdtype(begun[path].dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(begun[path], fresh[path])


@pytest.mark.slow
def test_an_encoder_that_does_not_fit_costs_a_line_and_nothing_else(tmp_path, capfd):
    first, work = pretrained(tmp_path), tmp_path / "run"
    file = tmp_path / "encoder.safetensors"
    assert export.main([f"--workdir={first}", f"--out={file}"]) == 0
    whole = file.read_bytes()
    damaged = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "noise": np.random.default_rng(0).bytes(2000),
        "header": b"\xff" * 8 + whole[8:],
    }
    for name, content in damaged.items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    cases = {f"simclr:{SMALL},init={tmp_path / name}.safetensors": name for name in damaged}
    for where in (first, file):
        other = SMALL.replace("(4,8)", "(4,16)")
        cases[f"simclr:{other},init={where}"] = "give the network the knobs"
        cases[f"rbm:source=digits,batch=16,dispatch=1,init={where}"] = "init="
    cases[f"simclr:{SMALL},init={tmp_path}"] = "contains no run"
    capfd.readouterr()
    for config, words in cases.items():
        assert main([f"--config={config}", f"--workdir={work}"]) == 1, config
        lines = told(capfd)
        assert len(lines) == 1 and words in lines[0], (config, lines)
        assert not work.exists()


def test_an_interrupted_extension_is_resumed_without_the_flag(tmp_path, monkeypatch):
    work = tmp_path / "run"
    words = lambda epochs: [f"--config=simclr:{SMALL},epochs={epochs}", f"--workdir={work}"]
    assert main(words(0.05)) == 0
    short = result(work)["stages"]["pretrain"]["steps"]

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("jssl.loop.run", interrupted)
        assert main([*words(0.1), "--extend"]) == 130
    assert not (work / "result.json").exists()
    assert (work / "result.before-extension-1.json").exists()
    assert main(words(0.1)) == 0
    assert result(work)["stages"]["pretrain"]["steps"] > short


def test_a_finished_stage_needs_no_room_for_checkpoints(tmp_path, monkeypatch):
    work = tmp_path / "run"
    words = [f"--config=simclr:{SMALL},epochs=0.05", f"--workdir={work}"]
    assert main(words) == 0
    (work / "result.json").unlink()
    full = type(shutil.disk_usage(tmp_path))(10**9, 10**9, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    assert main(words) == 0
    assert {"knn", "linear"} <= result(work)["stages"]["pretrain"]["metrics"].keys()


@pytest.mark.slow
def test_a_convnet_of_a_run_is_fine_tuned_by_the_supervised_experiment(tmp_path):
    """The words of the README and of `jssl finetune`."""
    pre, work = tmp_path / "pre", tmp_path / "tuned"
    small = "source=digits,batch=16,widths=(4,8),baselines=False"
    pretrained = f"--config=simclr:{small},projector=(8,4),epochs=0.1"
    assert main([pretrained, f"--workdir={pre}"]) == 0
    tuned = f"--config=supervised:network=convnet,init={pre},{small},epochs=0.1"
    assert main([tuned, f"--workdir={work}"]) == 0
    (stage,) = load(tuned.removeprefix("--config=")).stages()
    begun = Engine(initial.started(stage)).begin({})
    _, state = restore(pre, read_config(pre))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params["encoder"]):
        copied = begun.params["encoder"]
        for key in path:
            copied = copied[key.key]
        np.testing.assert_array_equal(copied, leaf)
    assert "top1" in result(work)["stages"]["train"]["metrics"]
