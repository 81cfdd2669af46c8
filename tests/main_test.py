"""The command line, as people type it, and what it says to their mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jssl.checkpoint import Checkpoints
from jssl.config import load
from jssl.main import main
from jssl.session import describe

ROOT = Path(__file__).parent.parent
MAE = f"{ROOT}/experiments/mae.py"
KNOBS = (
    "source=digits,batch=16,patch=2,width=16,depth=1,heads=2,decoder=(8,1),"
    "epochs=0.1,supervised_epochs=0.03,dispatch=1,save_every=2"
)
TINY = f"--config={MAE}:{KNOBS}"


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(40):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    (folder / "17.png").write_bytes(b"\x89PNG not really")
    return folder


MISTAKES = {
    "no config": ([], "no experiment given"),
    "unknown flag": ([TINY, "--wrokdir=x"], "unknown argument '--wrokdir=x'"),
    "unknown file": ([f"--config={ROOT}/experiments/mea.py"], "did you mean", "mae.py"),
    "unknown function": ([f"--config={MAE}:papre"], "did you mean paper"),
    "unknown knob": ([f"--config={MAE}:epoch=2"], "did you mean epochs"),
    "unknown knob, other spelling": ([TINY, "--config.epoch=2"], "did you mean epochs"),
    "wrong type": ([f"--config={MAE}:batch=many"], "batch must be of type int"),
    "float for int": ([f"--config={MAE}:batch=6.5"], "batch must be of type int"),
    "unknown data set": ([TINY, "--config.source=minst"], "mnist"),
    "missing folder": ([TINY, "--config.source=folder:/no/such/place"], "/no/such/place"),
    "missing npz": ([TINY, "--config.source=npz:/no/such.npz"], "/no/such.npz"),
    "data not prepared": ([TINY, "--config.source=tfds:no_such_set"], "no_such_set"),
    "corrupt file": ([TINY, "--config.source=folder:{images}"], "17.png"),
    "corrupt npz": ([TINY, "--config.source=npz:{images}/17.png"], "17.png"),
    "patch": ([TINY, "--config.patch=3"], "8x8 pixels do not divide into patches of 3"),
    "devices": ([TINY, "--config.batch=12"], "batch of 12 does not divide among 8"),
    "batch too large": ([TINY, "--config.batch=80000"], "80000"),
    "mesh": ([TINY, "--config.mesh=data=3"], "needs 3 devices, there are 8"),
    "heads": ([TINY, "--config.heads=3"], "3 heads do not divide a width of 16"),
    "pooling": ([TINY, "--config.pool=median"], "no pooling is called 'median'"),
    "mask": ([TINY, "--config.mask=0.99"], "masking 0.99 of 16 tokens leaves 0 visible"),
    "another run's workdir": ([TINY, "--workdir={other}"], "contains a run with epochs=7"),
    "another model's checkpoint": ([TINY, "--workdir={model}"], "is of another model"),
    "unwritable workdir": ([TINY, "--workdir={file}/x"], "cannot write to the workdir"),
    "learning rate": (
        [TINY, "--config.lr=1e30", "--config.eval_every=-1"],
        "loss is nan at step 2 of pretrain",
    ),
    "a bucket for a workdir": ([TINY, "--workdir=gs://mine/run"], "mount the bucket"),
    "half of a cluster": ([TINY, "--process=0"], "give all three of"),
    "a knob as a flag": ([TINY, "--epochs", "3"], "--config=FILE:epochs=VALUE"),
    "a negative rate": ([f"--config={MAE}:lr=-1"], "lr must be above 0, got -1.0"),
    "negative epochs": ([f"--config={MAE}:epochs=-3"], "epochs must be"),
    "an infinite rate": ([f"--config={MAE}:lr=1e999"], "lr must be above 0, got inf"),
    "an open bracket": (
        [f"--config={MAE}:source=folder:a(b,patch=2"],
        "open bracket",
        "--config.source=VALUE",
    ),
    "nothing to extend": ([TINY, "--extend"], "contains no run"),
    "no run to start from": (
        [TINY, "--config.init=/no/such.safetensors"],
        "/no/such.safetensors",
    ),
    "variant": ([f"--config={MAE}:paper,variant=B16,tiny=True"], "no ViT is called 'B16'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_clear_line(mistake, tmp_path, images, capfd):
    arguments, *told = MISTAKES[mistake]
    places = {"images": images, "other": tmp_path / "other", "model": tmp_path / "model"}
    places["file"] = tmp_path / "file"
    places["file"].write_text("not a folder")
    prepare_workdirs(places)
    work = (
        [] if any("workdir" in a for a in arguments) else [f"--workdir={tmp_path / 'run'}"]
    )
    arguments = [a.format(**places) for a in arguments]
    before = snapshot(places["other"])
    status = main([*arguments, *work])
    said = capfd.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("jssl: ")]
    assert status == 1
    assert len(lines) == 1
    assert "Traceback" not in said.err
    for words in told:
        assert words in lines[0]
    assert snapshot(places["other"]) == before
    assert not (tmp_path / "run" / "result.json").exists()


def prepare_workdirs(places):
    with Checkpoints(places["model"] / "pretrain") as saved:
        saved.save(3, {"params": jnp.zeros(3)})
    for place in ("other", "model"):
        places[place].mkdir(exist_ok=True)
        config = describe(load(TINY.removeprefix("--config=")))
        if place == "other":
            config["knobs"]["epochs"] = 7
            (places[place] / "pretrain" / "3").mkdir(parents=True)
            (places[place] / "pretrain" / "3" / "_CHECKPOINT_METADATA").write_text("{}")
        (places[place] / "config.json").write_text(json.dumps(config))


def snapshot(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def environment(cache):
    """A shell's: one device, and the suite's caches and its level of compilation."""
    level = "--xla_backend_optimization_level=1"
    given = {"JSSL_CACHE": str(cache), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": level}
    return dict(os.environ) | given


def command(workdir, *more):
    base = [
        sys.executable,
        "-m",
        "jssl.main",
        TINY,
        "--config.epochs=6",
        "--config.save_every=20",
    ]
    return [*base, f"--workdir={workdir}", *more]


def until_saved(workdir, process):
    """Waits for the first whole checkpoint."""
    folder = workdir / "pretrain"
    for _ in range(1200):
        if folder.exists() and any(p.name.isdigit() for p in folder.iterdir()):
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("the run does not get on")


def scores(workdir):
    result = json.loads((workdir / "result.json").read_text())
    metrics = {name: stage["metrics"] for name, stage in result["stages"].items()}
    return metrics | {"baselines": result["baselines"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The workdir of an undisturbed run, with the cache of its baselines beside it."""
    folder = tmp_path_factory.mktemp("whole")
    how = dict(cwd=ROOT, env=environment(folder / "cache"), capture_output=True)
    subprocess.run(command(folder / "run"), check=True, **how)
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize(("kill", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_killed_run_ends_where_the_undisturbed_one_does(kill, status, whole, tmp_path):
    how = dict(cwd=ROOT, env=environment(whole.parent / "cache"), text=True)
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process = subprocess.Popen(command(tmp_path / "cut"), **pipes, **how)
    until_saved(tmp_path / "cut", process)
    process.send_signal(kill)
    _, said = process.communicate()
    assert process.returncode == status
    assert ("stopped by SIGTERM" in said) == (kill == signal.SIGTERM)
    assert not (tmp_path / "cut" / "result.json").exists()
    again = subprocess.run(command(tmp_path / "cut"), capture_output=True, **how)
    assert again.returncode == 0
    assert "resuming at step" in again.stderr
    assert scores(tmp_path / "cut") == scores(whole)
    page = (tmp_path / "cut" / "report.html").read_text()
    assert page.count("data:image/png;base64") >= 4
    assert "http" not in page.replace("https://", "")


@pytest.mark.slow
def test_two_processes_train_as_one_does(whole, tmp_path):
    import socket

    def losses(workdir):
        rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
        return [r["loss"] for r in rows if r["stage"] == "pretrain" and "loss" in r]

    how = dict(cwd=ROOT, env=environment(whole.parent / "cache"), text=True)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    both = [
        subprocess.Popen(
            command(
                tmp_path / "two",
                f"--coordinator={address}",
                "--processes=2",
                f"--process={i}",
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **how,
        )
        for i in range(2)
    ]
    for process in both:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    one, two = losses(whole), losses(tmp_path / "two")
    assert len(one) == len(two)
    np.testing.assert_allclose(two[:50], one[:50], atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize(("size", "begins"), [("96k", False), ("1300k", True)])
def test_a_full_disk_costs_a_line_and_leaves_nothing_half_written(tmp_path, size, begins):
    """Too small for one checkpoint: refused; for the kept ones: warned, then stopped."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        how = dict(cwd=ROOT, env=environment(tmp_path / "cache"), text=True)
        ran = subprocess.run(command(disk / "run"), capture_output=True, **how)
        assert ran.returncode == 1
        lines = [x for x in ran.stderr.splitlines() if x.startswith("jssl: ")]
        assert len(lines) == 1 + begins
        assert "No space left" in lines[-1]
        assert "Traceback" not in ran.stderr
        assert not (disk / "run" / "result.json").exists()
        assert (disk / "run").exists() == begins
        folders = (disk / "run" / "pretrain").glob("*")
        whole = [folder for folder in folders if folder.name.isdigit()]
        assert bool(whole) == begins
        assert all((folder / "_CHECKPOINT_METADATA").exists() for folder in whole)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_package_in_the_folder_of_another_repository_has_its_version(
    tmp_path, monkeypatch
):
    """Its provenance is neither "unknown" nor the commit of that repository."""
    from jssl import session

    installed = f"jssl {version('jssl')}"
    place = tmp_path / "lib" / "site-packages" / "jssl"
    place.mkdir(parents=True)
    monkeypatch.setattr(session, "__file__", str(place / "session.py"))
    assert session.commit() == installed
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x", "--allow-empty"]):
        who = ["-c", "user.name=x", "-c", "user.email=x@x"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True)
    assert session.commit() == installed
    monkeypatch.setattr(session, "__file__", str(tmp_path / "jssl" / "session.py"))
    (tmp_path / "jssl").mkdir()
    assert len(session.commit().rstrip("+")) == 12


def test_help_explains_the_language_and_lists_the_experiments(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--config=mae:epochs=2,batch=64" in said
    assert "  mae  MAE: reconstruction of masked patches" in said


def test_knobs_are_listed_with_types_defaults_and_a_line_each(capsys):
    assert main([f"--config={MAE}", "--knobs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(
        x.split()[:5] == ["epochs", "float", "above", "0", "40.0"] and "Passes" in x
        for x in lines
    )
