"""Every experiment: its functions trace by shape, and its laptop's learn photographs.

Where a file of the method or of the experiment changed since `make test-all`, published
settings run two tiny steps, and laptops a whole run; one laptop of every shape always does.
"""

import json
import shutil
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from jssl import config, course, export
from jssl.data.standins import texts
from jssl.engine import Engine
from jssl.main import main

pytestmark = pytest.mark.usefixtures("freed")
FILES = sorted((Path(__file__).parent.parent / "experiments").glob("*.py"))


def functions():
    return [(f, name) for f in FILES for name in config.functions(f)]


PUBLISHED = [(file, name) for file, name in functions() if name != "laptop"]
NAMES = [f"{file.stem}:{name}" for file, name in PUBLISHED]


def learns(stages):
    """Trains every stage for two steps; their states, by name."""
    done = {}
    for stage in stages:
        engine = Engine(stage)
        state = engine.begin(done)
        batches = engine.batches(0, None)
        for step, batch in enumerate(islice(batches, 2)):
            state, metrics = engine.advance(state, step, batch)
            assert all(np.isfinite(m).all() for m in metrics.values())
        done[stage.name] = state
    return done


@pytest.mark.parametrize(("file", "function"), PUBLISHED, ids=NAMES)
def test_a_published_setting_traces_from_its_start_to_its_pictures(
    file, function, tmp_path
):
    stages = config.load(f"{file}:{function},tiny=True").stages()
    assert [*course.check(stages, tmp_path, keep=2)] == [stage.name for stage in stages]


@pytest.mark.changed
@pytest.mark.parametrize(("file", "function"), PUBLISHED, ids=NAMES)
def test_a_published_setting_runs_two_tiny_steps(file, function):
    stages = config.load(f"{file}:{function},tiny=True").stages()
    done = learns(stages)
    last = stages[-1]
    if file.stem != "word2vec":  # whose h is no network's
        for arrays, layout, _ in export.encoders(last, done[last.name]):
            assert arrays and json.loads(json.dumps(layout))["network"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of JPEGs of many sizes, in two classes."""
    root = tmp_path_factory.mktemp("photographs")
    whole = [Image.fromarray(x) for x in load_sample_images().images]
    for i in range(160):
        w, h = 60 + 9 * (i % 11), 80 + 5 * (i % 7)
        path = root / ("temple", "flower")[i % 2] / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        whole[i % 2].crop((3 * i, i, 3 * i + w, i + h)).save(path)
    return root


@pytest.fixture(scope="module")
def unlabeled(photographs, tmp_path_factory):
    """Sixty of the photographs in one folder, without classes."""
    root = tmp_path_factory.mktemp("unlabeled") / "flat"
    root.mkdir()
    for path in sorted(photographs.rglob("*.jpg"))[:60]:
        shutil.copy(path, root)
    return root


NEED_LABELS = {
    "augmentation",
    "age_gan",
    "conditional_gan",
    "distil",
    "fixmatch",
    "flexmatch",
    "freematch",
    "interpolation_consistency",
    "linear",
    "mean_teacher",
    "mixmatch",
    "pi_model",
    "pseudo_label",
    "remixmatch",
    "s4l",
    "stackgan",
    "supervised",
    "temporal_ensembling",
    "uda",
    "vat",
}


OF_TEXT = {"bart", "bert", "cpc_text", "gpt", "pegasus", "word2vec"}
OF_POSTS = {"deepmoji"}
OF_VIDEO = {
    "camera_pose",
    "cubic_puzzles",
    "order_prediction",
    "order_verification",
    "tracking",
}
OF_IMAGES = [file for file in FILES if file.stem not in OF_TEXT | OF_POSTS | OF_VIDEO]


@pytest.mark.whole
@pytest.mark.parametrize("name", sorted(OF_TEXT))
def test_files_of_text_without_labels_train_to_the_report(name, tmp_path, capfd):
    """The tokenizer is kept with the run, and another run takes it."""
    texts(tmp_path / "texts", files=12)
    file = FILES[0].with_name(f"{name}.py")
    own = f"tiny=True,source=text:{tmp_path / 'texts'},eval_every=-1"
    work = tmp_path / "run"
    status = main([f"--config={file}:{own},reading=stride=8", f"--workdir={work}"])
    err = capfd.readouterr().err
    assert status == 0, err
    result = json.loads((work / "result.json").read_text())
    (stage,) = result["stages"].values()
    assert stage["failed"] == {} and stage["split"] == "test"
    assert stage["tokens_per_second"] > 0 and "tokens/s" in err
    known = json.loads((work / "tokenizer.json").read_text())["vocabulary"]
    assert "travelled" in known
    page = (work / "report.html").read_text()
    assert "tokens/s" in page and "nearest neighbors" in page
    pictures = {path.name for path in (work / "figures").iterdir()}
    assert any(name.endswith(".txt") for name in pictures)
    again = f"{file}:tiny=True,tokenizer={work}"
    (stage,) = config.load(again).stages()
    assert list(stage.data.field_of("corpus").vocabulary) == known


@pytest.mark.parametrize("name", sorted(OF_VIDEO))
def test_images_in_place_of_clips_are_refused_in_one_line(name):
    file = FILES[0].with_name(f"{name}.py")
    with pytest.raises(ValueError, match="digits must have clips of .* got none"):
        config.load(f"{file}:tiny=True,source=digits,reading=,channels=0").stages()


@pytest.mark.whole
@pytest.mark.parametrize("file", OF_IMAGES, ids=[f"{f.stem}:unlabeled" for f in OF_IMAGES])
def test_photographs_without_labels_train_to_the_report(file, unlabeled, tmp_path, capfd):
    """Every laptop experiment of images, or one line that says that it needs labels."""
    knobs = f"tiny=True,source=folder:{unlabeled},size=16,batch=8,epochs=0.3,eval_every=-1"
    work = tmp_path / "run"
    status = main([f"--config={file}:{knobs}", f"--workdir={work}"])
    told = [x for x in capfd.readouterr().err.splitlines() if x.startswith("jssl: ")]
    if file.stem in NEED_LABELS:
        assert status == 1
        assert len(told) == 1 and "has no labels, which are needed here" in told[0]
        assert not work.exists()
        return
    assert (status, told) == (0, [])
    result = json.loads((work / "result.json").read_text())
    assert result["baselines"] == {}
    for name, stage in result["stages"].items():
        assert stage["failed"] == {}
        assert stage["doctor"] and stage["split"] == "test"
        assert any(metric.startswith("doctor/h/") for metric in stage["metrics"])
        for picture in ("nearest-neighbors", "spectrum"):
            assert (work / "figures" / f"{name}--{picture}.png").exists()
    page = (work / "report.html").read_text()
    assert "nearest neighbors" in page and "evals that need them" in page


@pytest.mark.parametrize("name", ["mae", "simclr_v2"])
def test_a_paper_without_labels_ends_with_its_pre_training(name, unlabeled):
    file = next(file for file in FILES if file.stem == name)
    stages = config.load(f"{file}:paper,tiny=True,source=folder:{unlabeled}").stages()
    assert [(stage.name, list(stage.evals)) for stage in stages] == [("pretrain", [])]


@pytest.mark.whole
@pytest.mark.parametrize("name", sorted(NEED_LABELS))
def test_a_laptop_experiment_learns_photographs_with_labels(name, photographs):
    """Those that do not learn without labels, above."""
    file = FILES[0].with_name(f"{name}.py")
    own = f"source=folder:{photographs},epochs=1.0,batch=8"
    has_size = "size" in config.schema(config.functions(file)["laptop"])
    learns(config.load(f"{file}:tiny=True,{own if has_size else ''}").stages())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_knob_of_an_experiment_is_described_in_a_sentence(file):
    for name in config.functions(file):
        for knob, _, _, words in config.listing(config.load(f"{file}:{name}")):
            assert words[:1].isupper(), f"{name}: {knob}: {words!r}"
            assert words.endswith("."), f"{name}: {knob}: {words!r}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_runs_that_an_experiment_declares_are_of_knobs_that_it_has(file):
    assert all(seeds >= 1 for seeds in config.evidence(file).values())


@pytest.mark.changed
@pytest.mark.parametrize(
    ("variant", "encoder"),
    [("L/16", 303_099_904), ("H/14", 630_435_840)],  # B/16 is rehearsed: papers_test
    ids=["mae:L/16", "mae:H/14"],
)
def test_the_published_mae_traces_by_shape(variant, encoder):
    """The real networks, batches and schedules, on blank images of ImageNet's shapes."""
    path = Path(__file__).parent.parent / "experiments" / "mae.py"
    stages = config.load(
        f"{path}:paper,variant={variant},source=blank:imagenet2012"
    ).stages()
    for stage in stages:
        initial = jax.eval_shape(stage.data.decode, stage.data.initial_shapes())
        batch = jax.eval_shape(stage.data.decode, stage.data.shapes())
        key = jax.random.key(0)
        state = jax.eval_shape(stage.method.init, key, initial)
        after, _ = jax.eval_shape(stage.method.step, key, state, batch)
        assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(
            lambda x: x.shape, state
        )
        if stage.name == "pretrain":
            leaves = jax.tree.leaves(state.params["encoder"])
            assert sum(x.size for x in leaves) == encoder


@pytest.mark.parametrize(
    ("file", "function"), functions(), ids=[f"{f.stem}:{name}" for f, name in functions()]
)
def test_length_batch_and_rate_of_every_training_are_knobs(file, function):
    known = set(config.schema(config.functions(file)[function]))
    assert {"epochs", "batch", "lr"} <= known
    for length in (x for x in known if x.endswith(("_epochs", "_steps"))):
        stage = length.rpartition("_")[0]
        if stage in {"tune", "distil"} and function == "paper":
            assert {f"{stage}_batch", f"{stage}_lr"} <= known


LENGTHS = {  # epochs and images of a step
    "moco.py:paper,version=2,epochs=800": (800, 256),
    "moco.py:v3,epochs=100,lr=0.6": (100, 4096),
    "moco.py:v3,epochs=1000,decay=1.5e-6,momentum=0.996": (1000, 4096),
    "byol.py:paper,epochs=100,lr=0.45,decay=1e-6,momentum=0.99": (100, 4096),
    "vicreg.py:paper,epochs=100,batch=512,lr=0.3": (100, 512),
}


@pytest.mark.parametrize("setting", LENGTHS)
def test_the_published_trainings_of_other_lengths_can_be_asked_for(setting):
    epochs, batch = LENGTHS[setting]
    name = f"{FILES[0].parent / setting},source=blank:imagenet2012"
    [stage, *_] = config.load(name).stages()
    assert stage.steps == round(epochs * (stage.data.size // batch))
