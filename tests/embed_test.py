"""The command that writes features: of a run, of weights, and what it refuses."""

import importlib.util
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import data, embed, weights
from jssl.models.resnet import ResNet


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small ResNet, and its variables."""
    module = ResNet(10, "cifar", 4)
    made = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    stats = {"batch_stats": made["batch_stats"]}
    path = tmp_path_factory.mktemp("weights") / "r10.safetensors"
    weights.write(path, weights.to_torch(module, made["params"], stats), {})
    return path, lambda images: module.apply(made, images)


def test_rows_are_those_of_the_network_in_the_order_of_the_split(file, tmp_path, capsys):
    path, network = file
    out = tmp_path / "h.npz"
    words = [f"--weights={path}", "--source=digits", f"--out={out}", "--split=test,val"]
    assert embed.main([*words, "--mean=0.5", "--std=0.25"]) == 0
    assert "images normalized by mean 0.5, std 0.25 (given)" in capsys.readouterr().out
    with np.load(out) as found:
        found = dict(found)
    source = data.load("digits", 64)
    test, val = source.split("test"), source.split("val")
    assert found["h"].shape == (test.size + val.size, 32)
    assert found["split"][[0, test.size]].tolist() == ["test", "val"]
    np.testing.assert_array_equal(found["index"][: test.size], np.arange(test.size))
    np.testing.assert_array_equal(found["label"][: test.size], test.labels())
    assert found["class"][0] == str(test.labels()[0])
    images = test.at(np.arange(5))["image"] / np.float32(255)
    np.testing.assert_allclose(found["h"][:5], network((images - 0.5) / 0.25), atol=1e-4)
    told = json.loads(str(found["metadata"]))
    assert told["splits"] == {"test": test.size, "val": val.size}
    assert told["preprocessing"]["mean"] == [0.5]
    assert told["weights"] == str(path)
    assert told["provenance"]["commit"]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("number", "status", "name"),
    [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")],
)
def test_a_signal_is_a_line_and_a_status(
    number, status, name, file, tmp_path, monkeypatch, capfd
):
    scan = data.Source.scan

    def stopped(source):
        os.kill(os.getpid(), number)
        return scan(source)

    monkeypatch.setattr(data.Source, "scan", stopped)
    passed = lambda number, frame: None  # a signal that is not handled fails the test
    calm = signal.default_int_handler if number == signal.SIGINT else passed
    before = signal.signal(number, calm)
    try:
        words = [f"--weights={file[0]}", "--source=digits", f"--out={tmp_path / 'h.npz'}"]
        assert embed.main(words) == status
        assert signal.getsignal(number) == calm
    finally:
        signal.signal(number, before)
    told = [line for line in capfd.readouterr().err.splitlines() if "jssl: " in line]
    assert told == [f"jssl: stopped by {name}; the same command starts over"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_is_embedded_with_its_own_data_or_others(tmp_path):
    from jssl.main import main

    run, out = tmp_path / "run", tmp_path / "h.npz"
    assert main(["--config=experiments/simclr.py:tiny=True", f"--workdir={run}"]) == 0
    assert embed.main([f"--workdir={run}", f"--out={out}"]) == 0
    own = dict(np.load(out))
    assert set(own["split"]) == {"train", "val", "test"}
    image = np.zeros((16, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "x.npz", image=image)
    words = [f"--workdir={run}", f"--source=npz:{tmp_path}/x.npz", f"--out={out}"]
    assert embed.main([*words, "--batch=8"]) == 0
    other = dict(np.load(out))
    assert other["h"].shape[1] == own["h"].shape[1]
    assert np.ptp(other["h"], axis=0).max() < 1e-5
    assert "label" not in other


@pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="parquet files need pyarrow"
)
def test_a_parquet_file_holds_the_same(file, tmp_path):
    import pyarrow.parquet

    h = np.arange(6, dtype=np.float32).reshape(3, 2)
    columns = {"h": h, "index": np.arange(3), "split": np.array(["test"] * 3)}
    embed.write(tmp_path / "h.parquet", columns, {"data": "x"})
    table = pyarrow.parquet.read_table(tmp_path / "h.parquet")
    assert table["h"].to_pylist() == h.tolist()
    assert json.loads(table.schema.metadata[b"jssl"]) == {"data": "x"}
    with pytest.raises(ValueError, match="use npz"):
        embed.write(tmp_path / "g.parquet", {"h": np.zeros((2, 2, 2))}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["h.parquet"]


MISTAKES = {
    "nothing": ([], "give one of --workdir"),
    "no data": (["--weights={file}", "--out={out}.npz"], "give --source=DATA"),
    "no file": (["--weights={file}", "--source=digits"], "must be FILE.npz or"),
    "kind": (["--weights={file}", "--source=digits", "--out=a.csv"], "got 'a.csv'"),
    "split": (
        ["--weights={file}", "--source=digits", "--out={out}.npz", "--split=dev"],
        "no split 'dev'",
    ),
    "output": (
        ["--weights={file}", "--source=digits", "--out={out}.npz", "--name=z"],
        "no output 'z'; it has maps, h, layers",
    ),
    "run": (["--workdir={out}", "--out={out}.npz"], "contains no run"),
    "not a run's": (["--workdir={out}", "--out={out}.npz", "--mean=0"], "for --weights"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_line_and_writes_nothing(mistake, file, tmp_path, capsys):
    words, told = MISTAKES[mistake]
    places = {"file": file[0], "out": tmp_path / "h"}
    assert embed.main([word.format(**places) for word in words]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_before_work_starts(file, tmp_path, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    words = [f"--weights={file[0]}", "--source=digits", f"--out={tmp_path}/h.parquet"]
    assert embed.main(words) == 1
    assert "pip install pyarrow" in capsys.readouterr().err


def test_damaged_files_of_a_folder_are_skipped_on_request(file, tmp_path, capsys):
    from PIL import Image

    folder, out = tmp_path / "photos", tmp_path / "h.npz"
    for i in range(30):
        place = folder / ("cat", "dog")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (20, 10 + i), np.uint8)
        Image.fromarray(pixels).save(place / f"{i:02}.png")
    (folder / "cat" / "04.png").write_bytes(b"\x89PNG not really")
    words = [
        f"--weights={file[0]}",
        f"--source=folder:{folder}",
        "--size=8",
        f"--out={out}",
    ]
    assert embed.main(words) == 1
    assert "04.png" in capsys.readouterr().err and not out.exists()
    assert embed.main([*words, "--corrupt=skip"]) == 0
    found = dict(np.load(out))
    assert found["h"].shape == (29, 32)
    assert set(found["class"]) == {"cat", "dog"}
    told = json.loads(str(found["metadata"]))
    assert told["data"] == f"folder:{folder}"
