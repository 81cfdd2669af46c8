"""The command that fine-tunes: its model, its numbers, and what it refuses."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import data, finetune, weights
from jssl.models import vit
from jssl.models.resnet import ResNet


def _resnet():
    module = ResNet(10, "cifar", 4)
    made = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    stats = {"batch_stats": made["batch_stats"]}
    return weights.to_torch(module, made["params"], stats), {}


def _vit(pool="cls"):
    encoder = vit.Encoder(16, 1, 2, 2, grid=(4, 4), final_norm=pool == "cls")
    made = vit.Pooled(encoder, pool).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    return weights.to_torch(encoder, made["params"]), {"layout": json.dumps({"heads": 2})}


NETWORKS = {"resnet": _resnet, "vit": _vit, "vit mean": lambda: _vit("mean")}
SETTINGS = ["--source=digits", "--batch=64", "--epochs=5", "--lr=3e-3", "--mean=0.5"]


@pytest.fixture(scope="module", params=NETWORKS)
def tuned(request, tmp_path_factory):
    """A fine-tuned network: its workdir, its command."""
    folder = tmp_path_factory.mktemp("tuned")
    arrays, info = NETWORKS[request.param]()
    weights.write(folder / "w.safetensors", arrays, info)
    words = [f"--weights={folder}/w.safetensors", *SETTINGS, "--std=0.5"]
    assert finetune.main([*words, f"--out={folder}/run"]) == 0
    return folder / "run", words


@pytest.mark.slow
def test_the_file_has_the_logits_of_the_run_under_the_names_of_timm(tuned):
    """The encoder is loaded back; its head is a matrix product in the file."""
    folder, words = tuned
    path = folder / "model.safetensors"
    loaded, arrays = weights.load(path), weights.read(path)
    head = "fc" if "fc.weight" in arrays else "head"
    test = data.load("digits", 64).split("test")
    images = jnp.asarray(test.column("image") / np.float32(255))
    prepare = weights.preprocessing(path, 1)
    assert (prepare.mean, prepare.std, prepare.size) == ((0.5,), (0.5,), (8, 8))
    h = loaded.module.apply({"params": loaded.params, **loaded.stats}, prepare(images))
    logits = np.asarray(h) @ arrays[f"{head}.weight"].T + arrays[f"{head}.bias"]
    right = float(np.mean(logits.argmax(1) == test.labels()))
    result = json.loads((folder / "result.json").read_text())["metrics"]
    assert result["top1"] == pytest.approx(right, abs=0.006)  # two rows, by rounding
    assert result["top1"] > 0.15  # of ten classes, after 80 steps
    assert "top1/val" in result
    told = weights.metadata(path)
    assert json.loads(told["classes"]) == [str(i) for i in range(10)]
    assert json.loads(told["preprocessing"])["num_classes"] == 10


@pytest.mark.slow
def test_the_encoder_is_trained_from_the_given_weights(tuned):
    folder, _ = tuned
    first = weights.read(folder.parent / "w.safetensors")
    last = weights.read(folder / "model.safetensors")
    shared = [n for n in first if n.endswith("weight") and first[n].ndim > 1]
    for name in shared:
        a, b = first[name].ravel(), last[name].ravel()
        assert not np.array_equal(a, b)
        assert np.corrcoef(a, b)[0, 1] > 0.8


@pytest.mark.slow
def test_the_same_command_resumes_and_another_is_refused(tuned, capsys):
    folder, words = tuned
    before = weights.read(folder / "model.safetensors")
    assert finetune.main([*words, f"--out={folder}"]) == 0
    for name, x in weights.read(folder / "model.safetensors").items():
        np.testing.assert_array_equal(x, before[name])
    assert finetune.main([*words, f"--out={folder}", "--seed=1"]) == 1
    assert "contains a run with seed=0, not 1" in capsys.readouterr().err


MISTAKES = {
    "nothing": ([], "give one of --workdir"),
    "no data": (["--weights=x", "--out=o"], "give --source"),
    "no folder": (["--weights=x", "--source=digits"], "give --out"),
    "lr": (["--weights=x", "--source=digits", "--out=o", "--lr=-1"], "lr must be positive"),
    "labels": (
        ["--weights=x", "--source=digits", "--out=o", "--labels=-1"],
        "labels must be at least 0",
    ),
    "nan": (
        ["--weights=x", "--source=digits", "--out=o", "--epochs=nan"],
        "epochs must be positive",
    ),
    "no file": (["--weights=x.npz", "--source=digits", "--out=o"], "no file of weights"),
    "no run": (["--workdir=none", "--source=digits", "--out=o"], "contains no run"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_line_and_leaves_nothing(
    mistake, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words, told = MISTAKES[mistake]
    assert finetune.main(words) == 1
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_numbers_are_named_with_their_splits():
    found = {"loss": 1.5, "top1/val": 0.25, "top1": 0.5}
    assert finetune.summary(found, data.load("digits", 64)) == [
        "top1 of 360 val images: 25.0 %",
        "top1 of 360 test images: 50.0 %",
        "last step of training: loss 1.5",
    ]


@pytest.mark.slow
def test_a_run_is_tuned_on_its_own_data(tmp_path, capfd):
    from jssl.main import main

    run, out = tmp_path / "run", tmp_path / "tuned"
    assert main(["--config=mae:tiny=True,baselines=False", f"--workdir={run}"]) == 0
    capfd.readouterr()
    words = [f"--workdir={run}", f"--out={out}", "--epochs=0.1"]
    assert finetune.main(words) == 0
    said = capfd.readouterr()
    assert said.out.count("images normalized by") == 1
    assert "top1 of 360 test images: " in said.out
    assert json.loads((out / "result.json").read_text())["data"] == "digits"
    assert finetune.main([*words[:1], f"--out={tmp_path}/other", "--size=8"]) == 1
    assert "--size and --corrupt are for --source" in capfd.readouterr().err
