"""The command that draws samples from a run, and what it says to mistakes."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jssl import data
from jssl.checkpoint import Checkpoints
from jssl.config import load
from jssl.sample import main, text, write
from jssl.session import describe

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
RUNS = {
    "ddpm": "ddpm:tiny=True,conditional=True",
    "gan": "gan:tiny=True",
    "ring": "gan:ring,tiny=True",
    "dcgan": "dcgan:tiny=True",
    "rbm": "rbm:tiny=True",
    "dbn": "dbn:tiny=True",
    "simsiam": "simsiam:tiny=True",
    "latent": "latent_diffusion:tiny=True",
}


def begun(workdir, spec):
    """The files of a run, without the training: its config and a checkpoint."""
    name, _, rest = spec.partition(":")
    experiment = load(f"{EXPERIMENTS / name}.py:{rest}")
    stages = experiment.stages()
    workdir.mkdir()
    config = describe(experiment) | {"provenance": {}}
    (workdir / "config.json").write_text(json.dumps(config))
    stage = stages[-1]
    shapes = jax.eval_shape(stage.data.decode, stage.data.initial_shapes())
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    state = jax.jit(stage.method.init)(jax.random.key(7), zeros)
    with Checkpoints(workdir / stage.name) as saved:
        saved.save(3, state)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a run, made when it is first asked for."""
    root = tmp_path_factory.mktemp("runs")

    def made(name):
        if not (root / name).exists():
            begun(root / name, RUNS[name])
        return [f"--workdir={root / name}", f"--config={EXPERIMENTS / load_name(name)}.py"]

    return made


def load_name(name):
    return RUNS[name].partition(":")[0]


def arrays(words, out):
    assert main([*words, f"--out={out}"]) == 0
    with np.load(out) as found:
        return dict(found)


@pytest.mark.parametrize("name", ["ddpm", "gan", "dcgan", "rbm", "dbn"])
def test_any_method_that_generates_gives_images_of_its_data(name, run, tmp_path, capsys):
    out = tmp_path / "x.npz"
    made = arrays([*run(name), "--number=20"], out)
    assert made["image"].shape == (20, 8, 8, 1)
    assert "image [20, 8, 8, 1]" in capsys.readouterr().out
    told = json.loads(str(made["metadata"]))
    assert told["number"] == 20 and told["config"]["title"].startswith(load_name(name))
    assert len(np.unique(made["image"], axis=0)) > 10  # of two batches, each its own noise


def test_the_seed_alone_decides_and_a_picture_shows_the_same(run, tmp_path):
    out, words = tmp_path / "x.npz", run("gan")
    one, same, other = (
        arrays([*words, "--number=5", f"--seed={seed}"], out)["image"] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any((1, 2, 3)).all()
    picture = tmp_path / "x.png"
    assert main([*words, "--number=5", "--seed=1", f"--out={picture}"]) == 0
    pixels = np.asarray(Image.open(picture))
    assert pixels.shape == (2 * 9, 3 * 9)  # two rows of three, and gaps
    np.testing.assert_array_equal(pixels[9:17, 9:17], np.rint(255 * one[4, ..., 0]))
    assert (pixels[9:, 18:] == 255).all()
    assert {x.name for x in tmp_path.iterdir()} == {"x.npz", "x.png"}


def test_the_images_of_a_sample_are_adjacent_if_they_have_one_shape(tmp_path):
    made = {
        "edges": np.ones((3, 8, 8, 1), np.float32),
        "edits": np.ones((3, 4, 8, 8, 1), np.float32),
        "image": np.zeros((3, 8, 8, 1), np.float32),
        "low": np.zeros((3, 4, 4, 1), np.float32),
    }
    write(tmp_path / "x.png", made, {})
    pixels = np.asarray(Image.open(tmp_path / "x.png"))
    assert pixels.shape == (2 * 9, 4 * 9)  # two pairs a row
    cells = pixels[:, 4::9][[4, 13]]
    np.testing.assert_array_equal(cells, [[255, 0, 255, 0], [255, 0, 255, 255]])


def test_a_class_and_an_image_are_conditions(run, tmp_path):
    words, out = [*run("ddpm"), "--number=3"], tmp_path / "x.npz"
    of_rows, three = (
        arrays(words, out)["image"],
        arrays([*words, "--label=3"], out)["image"],
    )
    assert of_rows.shape == three.shape
    face = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(face).save(tmp_path / "face.png")
    like = [*words, f"--like={tmp_path / 'face.png'}"]
    kept = arrays([*like, "--strength=0"], out)["image"]
    np.testing.assert_allclose(
        kept, np.broadcast_to(face[..., None] / 255, kept.shape), atol=1e-6
    )
    half, whole = (arrays([*like, f"--strength={s}"], out)["image"] for s in (0.5, 1))
    assert np.abs(half - kept).max() > 0.01
    assert np.abs(whole - kept).mean() > np.abs(half - kept).mean()


def test_a_text_is_a_condition_and_an_image_is_decoded_from_its_code(run, tmp_path):
    words, out = [*run("latent"), "--number=3"], tmp_path / "x.npz"
    told = lambda text: arrays([*words, f"--caption={text}"], out)["image"]
    bold = told("a bold seven on white")
    assert bold.shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(bold, told("A bold seven, on white."))
    face = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(face).save(tmp_path / "face.png")
    like = [*words, f"--like={tmp_path / 'face.png'}"]
    kept, seed = (
        arrays([*like, "--strength=0", f"--seed={seed}"], out)["image"] for seed in (0, 1)
    )
    np.testing.assert_array_equal(kept, seed)
    # Rounding depends on the place in a batch.
    np.testing.assert_allclose(kept[0], kept[1], rtol=0, atol=2e-6)


def test_the_words_of_a_caption_of_fixed_length_are_those_of_the_data():
    source = data.load("bounce16", 4)
    tokens = text("3 up-left", source)["tokens"]
    np.testing.assert_array_equal(tokens, [3, 10])
    with pytest.raises(ValueError, match="captions of bounce16 have 2 words.*got 1"):
        text("3", source)
    with pytest.raises(ValueError, match="has the word 'left'"):
        text("3 left", source)


MISTAKES = {
    "nothing": ("gan", ["--out="], "--workdir=FOLDER and --out=FILE.png"),
    "another kind": ("gan", ["--out=x.jpg"], "--out=FILE.png, FILE.npz or FILE.txt"),
    "no folder": ("gan", ["--out=none/at/all.png"], "no such folder none/at"),
    "no run": ("gan", ["--workdir=none"], "contains no run"),
    "no samples": ("gan", ["--number=0"], "--number must be positive, got 0"),
    "no image": ("ddpm", ["--strength=0.5"], "give --like=IMAGE"),
    "too strong": ("ddpm", ["--like={text}", "--strength=2"], "--strength must be 0 to 1"),
    "a text": ("ddpm", ["--like={text}"], "text.png"),
    "no class": ("ddpm", ["--label=ten"], "no class 'ten'; digits has 0, 1, 2"),
    "no captions": ("ddpm", ["--caption=a seven"], "digits has no captions"),
    "no such word": ("latent", ["--caption=a bald seven"], "words are bold"),
    "too many words": ("latent", ["--caption=a a a a a a a a"], "at most 7 words, got 8"),
    "class without effect": ("gan", ["--label=3"], "do not depend on a 'label'"),
    "image without effect": ("gan", ["--like={image}"], "do not depend on a 'like'"),
    "no generator": ("simsiam", [], "generates no samples"),
    "no picture": ("ring", [], "the samples are no images, but image [64, 2]"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_clear_line_and_writes_nothing(mistake, run, tmp_path, capfd):
    name, words, told = MISTAKES[mistake]
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "image.png")
    (tmp_path / "text.png").write_text("no image")
    places = {k: tmp_path / f"{k}.png" for k in ("image", "text")}
    before = sorted(tmp_path.iterdir())
    words = [word.format(**places) for word in words]
    assert main([*run(name), f"--out={tmp_path / 'x.png'}", *words]) == 1
    said = capfd.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("jssl: ")]
    assert len(lines) == 1 and told in lines[0]
    assert "Traceback" not in said
    assert sorted(tmp_path.iterdir()) == before
