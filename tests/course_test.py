"""Whole runs on data of odd shapes, and their check before the first step."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jssl import course, data
from jssl.config import load
from jssl.main import main

ROOT = Path(__file__).parent.parent
SIMCLR = "widths=(4,8),projector=(8,4),supervised_epochs=0,eval_every=-1"


def save(folder, rows, shape=(10, 12), first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + rows):
        pixels = np.random.default_rng(i).integers(0, 256, (*shape, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")


def environment(cache):
    """A shell's: one device, little compilation."""
    level = "--xla_backend_optimization_level=0"
    given = {"JSSL_CACHE": str(cache), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": level}
    return dict(os.environ) | given


def train(config, work, capfd):
    """The exit status, the lines that begin with "jssl: ", and result.json."""
    status = main([f"--config={config}", f"--workdir={work}"])
    told = [x for x in capfd.readouterr().err.splitlines() if x.startswith("jssl: ")]
    path = work / "result.json"
    return status, told, json.loads(path.read_text()) if path.exists() else None


@pytest.mark.slow
def test_train_and_val_are_enough_and_a_line_says_so(tmp_path, capfd, caplog):
    for k, kind in enumerate(("cat", "dog")):
        save(tmp_path / "set" / "train" / kind, 24, first=100 * k)
        save(tmp_path / "set" / "val" / kind, 8, first=100 * k + 50)
    knobs = f"source=folder:{tmp_path / 'set'},size=8,batch=8,epochs=0.5,{SIMCLR}"
    status, told, result = train(f"simclr:{knobs}", tmp_path / "run", capfd)
    assert (status, told) == (0, [])
    assert "no test split: val is judged as test, and 4 images of train are val" in (
        caplog.text
    )
    stage = result["stages"]["pretrain"]
    assert (stage["split"], stage["failed"]) == ("test", {})
    assert {"knn", "linear"} <= stage["metrics"].keys()
    assert result["data"]["rows"] == {"train": 44, "val": 4, "test": 16}


def arrays(path, **changes):
    """An npz of 64 and 32 labeled images, with changes; None removes an array."""
    rng = np.random.default_rng(0)
    image = lambda n, side=8: rng.integers(0, 256, (n, side, side, 1), np.uint8)
    held = {"x_train": image(64), "y_train": np.arange(64) % 2}
    held |= {"x_test": image(32), "y_test": np.arange(32) % 2}
    changes = {k: image(32, x) if isinstance(x, int) else x for k, x in changes.items()}
    np.savez(path, **{k: x for k, x in (held | changes).items() if x is not None})
    return f"source=npz:{path},batch=8,epochs=0.5,{SIMCLR}"


def test_a_test_split_of_another_shape_is_told_before_the_first_step(tmp_path, capfd):
    knobs = arrays(tmp_path / "a.npz", x_test=6)
    status, told, _ = train(f"simclr:{knobs}", tmp_path / "run", capfd)
    assert status == 1
    assert len(told) == 1
    assert "images of test are [6, 6, 1], those of train [8, 8, 1]" in told[0]
    assert not (tmp_path / "run").exists()


def test_splits_of_streams_must_have_one_shape_too():
    """Those that no loader compares: a source of one's own."""
    rows = lambda n, side: {"image": np.zeros((n, side, side, 1), np.uint8)}
    source = data.dataset("own", {"train": rows(32, 8), "test": rows(8, 6)}, 8)
    (stage,) = load("simclr:source=digits,batch=8", ()).stages()
    with pytest.raises(ValueError, match=r"rows of \[8, 8, 1\] in train and rows of .6, 6"):
        course.check_splits(dataclasses.replace(stage, data=source))


@pytest.mark.slow
def test_an_unlabeled_test_split_leaves_labels_for_the_final_evals(tmp_path, capfd):
    knobs = arrays(tmp_path / "a.npz", y_test=None)
    status, told, result = train(f"simclr:{knobs}", tmp_path / "run", capfd)
    assert status == 0, told
    assert result["stages"]["pretrain"]["failed"] == {}
    assert "knn" in result["stages"]["pretrain"]["metrics"]


IMPOSSIBLE = {
    "moco:source=digits,batch=20": ("batch", "20"),
    "mae:paper,variant=Q/16,source=blank:imagenet2012": ("no ViT is called 'Q/16'",),
    "simclr:temperature=0": ("temperature must be above 0, got 0",),
    "simclr:lr=-1": ("lr must be", "got -1"),
    "simclr:epochs=-3": ("epochs must be above 0, got -3",),
    "mae:mask=1.5": ("mask must be from 0 to 1, got 1.5",),
    "simclr:widths=(4,0)": ("widths must be at least 1, got 0",),
    "byol:source=digits,batch=16,momentum=2": ("momentum must be from 0 to 1",),
    "simclr:source=digits,batch=16,save_every=-5": ("save_every must be", "got -5"),
    "simclr:source=digits,batch=16,limit=-5": ("limit must be", "got -5"),
    "simclr:source=digits,batch=16,workers=-1": ("workers must be", "got -1"),
    "simclr:source=digits,batch=16,supervised_epochs=-1": ("supervised_epochs must be",),
    "simclr:source=digits,batch=16,size=-4": ("size must be", "got -4"),
    "simclr:source=digits,batch=16,channels=2": ("channels",),
    "simclr:source=digits,batch=16,eval_every=-7": ("eval_every must be",),
    "gan:noise=0": ("noise must be at least 1, got 0",),
    "dcgan:noise=0": ("noise must be at least 1, got 0",),
}


@pytest.mark.parametrize("config", IMPOSSIBLE)
def test_knobs_that_cannot_be_cost_a_line_and_claim_nothing(config, tmp_path, capfd):
    status, told, _ = train(config, tmp_path / "run", capfd)
    assert status == 1
    assert len(told) == 1
    for words in IMPOSSIBLE[config]:
        assert words in told[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_batch_of_four_trains_to_its_pictures(tmp_path):
    knobs = f"source=digits,batch=4,epochs=0.02,baselines=False,{SIMCLR}"
    words = [f"--config=simclr:{knobs}", f"--workdir={tmp_path / 'run'}"]
    how = dict(cwd=ROOT, env=environment(tmp_path / "cache"), text=True)
    ran = subprocess.run(
        [sys.executable, "-m", "jssl.main", *words], capture_output=True, **how
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["stages"]["pretrain"]["failed"] == {}
    assert (tmp_path / "run" / "figures" / "pretrain--nearest-neighbors.png").exists()


@pytest.mark.slow
def test_a_first_try_that_failed_does_not_claim_the_workdir(tmp_path, capfd):
    work, knobs = tmp_path / "run", f"source=digits,batch=16,epochs=0.02,{SIMCLR}"
    status, told, _ = train(f"simclr:{knobs},mesh=data=3", work, capfd)
    assert status == 1 and "needs 3 devices" in told[0]
    assert not work.exists()
    work.mkdir()
    (work / "notes.txt").write_text("mine")
    status, told, _ = train(f"simclr:{knobs},source=minst", work, capfd)
    assert status == 1 and "mnist" in told[0]
    assert (work / "notes.txt").read_text() == "mine"
    more = "temperature=0.5,lr=1e38,epochs=0.2"
    status, told, _ = train(f"simclr:{knobs},{more}", work, capfd)  # fails in training
    assert status == 1 and "lower learning rate" in told[0]
    status, told, result = train(f"simclr:{knobs},baselines=False", work, capfd)
    assert (status, told) == (0, [])
    assert result["config"]["knobs"]["temperature"] == 0.2


def test_a_baseline_that_does_not_fit_is_named_before_the_first_step(tmp_path):
    (stage,) = load("simclr:tiny=True").stages()
    reference = stage.baselines["supervised reference"]

    def init(key, batch):
        raise KeyError("no such layer")

    wrong = dataclasses.replace(reference, method=reference.method._replace(init=init))
    stage = dataclasses.replace(stage, baselines={"supervised reference": wrong})
    with pytest.raises(ValueError, match="baseline supervised reference, cannot be traced"):
        course.check([stage], tmp_path, keep=2)
