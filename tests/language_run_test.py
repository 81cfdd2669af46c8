"""Runs of language models: samples of a prompt, export, and a start from an export."""

import json
from argparse import Namespace

import jax
import numpy as np
import pytest

from jssl import config, export, sample, weights
from jssl.checkpoint import Checkpoints
from jssl.data.corpora import windows_of
from jssl.engine import Engine
from jssl.evaluate import __main__ as evaluate
from jssl.initial import started, text_encoder
from jssl.knobs import special
from jssl.pretrained import elsewhere
from jssl.session import describe

KNOBS = {
    "gpt": "tiny=True,new=4",
    "bert": "tiny=True,tokens=wordpiece,vocabulary=120,whole=True",
    "bart": "tiny=True,tokens=bpe,vocabulary=300",
    "pegasus": "tiny=True",
}
TYPES = {"gpt": "GPT", "bert": "BERT"}
SUBWORDS = {"bert": "WordPiece", "bart": "BPE"}  # words are jssl's own


@pytest.fixture(scope="module", params=KNOBS)
def run(request, tmp_path_factory):
    """The name, workdir, stage and state of a run."""
    workdir = tmp_path_factory.mktemp("runs") / request.param
    spec = f"experiments/{request.param}.py:{KNOBS[request.param]}"
    return request.param, workdir, *written(workdir, spec)


def written(workdir, spec):
    """Writes the files of a run, without the training: its config and a checkpoint."""
    workdir.mkdir()
    experiment = config.load(spec)
    (stage,) = experiment.stages()
    state = Engine(stage).begin({})
    told = describe(experiment) | {"provenance": {}}
    (workdir / "config.json").write_text(json.dumps(told))
    for name, content in stage.data.files.items():
        (workdir / name).write_text(content)
    with Checkpoints(workdir / stage.name) as saved:
        saved.save(1, state)
    return stage, state


def test_a_prompt_is_continued_in_a_file_of_text(run, tmp_path, capsys):
    name, workdir, _, _ = run
    out = tmp_path / "texts.txt"
    words = [f"--workdir={workdir}", f"--out={out}", "--number=3"]
    if name == "bert":
        assert sample.main(words) == 1
        assert "generates no samples" in capsys.readouterr().err
        return
    assert sample.main([*words, "--prompt=Finally she"]) == 0
    lines = out.read_text().split("\n")[:-1]
    assert len(lines) == 3
    if name == "gpt":
        assert all(line.startswith("[BOS] finally she") for line in lines)
    else:  # the prompt is read, and alike in all rows
        assert len(set(lines)) == 1
    assert sample.main([*words, "--prompt= "]) == 1
    assert "--prompt must have a word" in capsys.readouterr().err
    assert sample.main([words[0], f"--out={tmp_path / 'a.png'}"]) == 1
    size = {"gpt": 13, "bart": 16, "pegasus": 8}[name]
    assert f"no images, but corpus [64, {size}]: give" in capsys.readouterr().err


def test_a_network_goes_to_a_folder_of_transformers_and_starts_another_run(run, tmp_path):
    name, workdir, stage, state = run
    folder = tmp_path / "exported"
    assert export.main([f"--workdir={workdir}", f"--out={folder}/"]) == 0
    found = weights.load_language(folder)
    assert type(found.module).__name__ == TYPES.get(name, "EncoderDecoder")
    same = lambda a, b: np.testing.assert_array_equal(a, b)
    jax.tree.map(same, found.params, jax.device_get(state.params))
    assert SUBWORDS.get(name, "") in found.tokenizer
    assert bool(found.tokenizer) == (name in SUBWORDS)
    assert weights.is_language(folder) and not weights.is_language(workdir)
    spec = f"experiments/{name}.py:{KNOBS[name]},init={folder},seed=5"
    (other,) = config.load(spec).stages()
    begun = Engine(started(other)).begin({})
    jax.tree.map(same, begun.params["encoder"], state.params["encoder"])
    if name == "bert":
        assert not np.array_equal(
            begun.params["transform"]["kernel"], state.params["transform"]["kernel"]
        )


def task(spec):
    (stage,) = config.load(f"experiments/supervised.py:{spec}").stages()
    return stage


def test_a_task_starts_from_the_encoder_of_a_run(run):
    """It has the architecture and the tokenizer of the run, whatever its own knobs are."""
    name, workdir, stage, state = run
    tuned = task(f"sentiment,tiny=True,labels=8,width=8,init={workdir}")
    assert tuned.data.files["tokenizer.json"] == stage.data.files["tokenizer.json"]
    assert np.bincount(tuned.data.labels()).tolist() == [4, 4]
    begun = Engine(started(tuned)).begin({})
    same = lambda a, b: np.testing.assert_array_equal(a, b)
    jax.tree.map(same, begun.params["encoder"], state.params["encoder"])
    scratch = tuned.baselines["from scratch"]
    assert scratch.steps == tuned.steps and not scratch.init
    batch = next(tuned.data.stream())
    tokens = np.asarray(tuned.data.context["corpus"])[
        batch["start"][:, None] + np.arange(16)
    ]
    assert tokens.max() < len(stage.data.field_of("corpus").vocabulary)
    size = 64 if name == "pegasus" else 65  # it has no token before a text
    with pytest.raises(ValueError, match=f"a text of {size} tokens is too long for the 1"):
        Engine(task(f"answers,tiny=True,init={workdir}"))


FRAMES = {
    "gpt": (["[BOS]"], "[EOS]", "last"),
    "bert": (["[CLS]"], "[SEP]", "first"),
    "bart": (["[BOS]"], "[EOS]", "first"),
    "pegasus": ([], "[EOS]", "mean"),
}


def test_the_frame_of_a_text_is_that_of_the_encoders_training(run):
    name, workdir, _, state = run
    before, end, pool = FRAMES[name]
    tuned = task(f"sentiment,tiny=True,init={workdir}")
    data, encoder = tuned.data, text_encoder(str(workdir))
    batch = decoded(data)
    row = windows_of(data, [0])[0].tolist()
    text = (
        row[: row.index(special(data, "[EOS]"))] if special(data, "[EOS]") in row else row
    )
    ids = [special(data, x) for x in before] + text[:15] + [special(data, end)]
    x = encoder.apply(
        {"params": state.params["encoder"]}, np.array([ids]), np.zeros((1, len(ids)), int)
    )[0]
    wanted = {"first": x[0], "last": x[-1], "mean": x.mean(0)}[pool]
    begun = Engine(started(tuned)).begin({})
    found = tuned.method.embed(begun, batch)["h"][0]
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def decoded(data):
    """The first rows of a split, as a method receives them."""
    return data.decode(next(data.scan()), data.decoded_context())


def test_a_task_starts_from_a_folder_of_transformers(run, tmp_path, capsys):
    name, workdir, stage, state = run
    folder = tmp_path / "exported"
    assert export.main([f"--workdir={workdir}", f"--out={folder}/"]) == 0
    spec = f"inference,tiny=True,premise=False,length=16,init={folder}"
    if name == "gpt":  # its words have no file of transformers
        with pytest.raises(ValueError, match="no tokenizer"):
            task(spec)
    tuned = task(f"{spec},tokenizer={workdir}")
    begun = Engine(started(tuned)).begin({})
    same = lambda a, b: np.testing.assert_array_equal(a, b)
    jax.tree.map(same, begun.params["encoder"], state.params["encoder"])


def test_a_task_says_what_it_cannot_use(tmp_path):
    with pytest.raises(ValueError, match="is in a run or a folder of transformers"):
        task(f"sentiment,tiny=True,init={tmp_path / 'resnet.safetensors'}")
    with pytest.raises(ValueError, match="must be text with tags, got 'toy_text'"):
        task("entities,tiny=True,source=toy_text")
    with pytest.raises(ValueError, match="must be text with classes, got 'toy_text:ans"):
        task("sentiment,tiny=True,source=toy_text:answers")
    with pytest.raises(ValueError, match="needs pairs, got a document of one text"):
        task("inference,tiny=True,source=toy_text,premise=False")
    with pytest.raises(ValueError, match="labels must be 0 to 40, the rows of toy_text"):
        task("sentiment,tiny=True,labels=41")


def test_the_second_text_of_a_pair_alone_is_the_control():
    both, alone = (task(f"answers,tiny=True,question={x}").data for x in (True, False))
    for row in range(8):
        told = []
        for data in (both, alone):
            start, span = data.column("start")[row], data.column("spans")[row]
            corpus = data.context["corpus"]
            told.append((corpus[start : start + 64].tolist(), span.tolist()))
        (words, span), (rest, other) = told
        cut = words.index(3) + 1
        assert rest[: 64 - cut] == words[cut:]
        if span[0] >= 0:
            assert other == [x - cut for x in span]


@pytest.mark.parametrize("crf", [False, True])
def test_a_tag_of_a_token_that_the_end_of_a_text_replaces_does_not_count(crf):
    stage = task(f"entities,tiny=True,length=8,crf={crf},dropout=0.0")
    batch = decoded(stage.data)
    tags, state = batch["tags"], Engine(stage).begin({})
    cut = np.asarray(tags[:, -1]) >= 0
    assert cut.any()
    changed = np.array(tags)
    changed[cut, -1] = 1 - changed[cut, -1] % 2
    other = batch | {"tags": changed}
    step = jax.jit(stage.method.step)
    losses = [step(jax.random.key(0), state, x)[1]["loss"] for x in (batch, other)]
    assert losses[0] == losses[1]
    found = np.asarray(stage.method.embed(state, batch)["tags"])
    assert (found[:, -1] == -1).all() and (found[:, :-1] >= 0).any()


def test_a_run_of_text_is_evaluated_on_other_text_with_its_own_tokens(
    run, tmp_path, capsys
):
    name, workdir, stage, _ = run
    words = [f"--workdir={workdir}", "--alone", "--batch=16"]
    out = tmp_path / "evaluation.json"
    given = [*words, "--source=toy_text:entities", f"--out={out}"]
    assert evaluate.main([*given, "--protocols=entities/tags"]) == 0
    (row,) = json.loads(out.read_text())["rows"].values()
    assert 0 < row["entity_f1"] <= 1
    assert evaluate.main([*words, "--source=digits"]) == 1
    assert "the run has text, digits is none: give a --source of toy" in (
        capsys.readouterr().err
    )
    options = Namespace(workdir=workdir, source="toy_text:sentiment", batch=16, size=None,
                        corrupt="refuse")  # fmt: skip
    other = elsewhere(stage, None, options).data
    assert other.field_of("start").length == 16
    assert other.field_of("corpus").vocabulary == stage.data.field_of("corpus").vocabulary


def test_a_task_starts_from_any_encoder_of_text(tmp_path):
    """Of data2vec's student, and of a task that is its own: here of one after another."""
    first, second = tmp_path / "first", tmp_path / "second"
    stage, state = written(first, "experiments/data2vec.py:text,tiny=True")
    spec = f"experiments/supervised.py:sentiment,tiny=True,seed=5,init={first}"
    tuned, learned = written(second, spec)
    begun = Engine(started(tuned)).begin({})
    same = lambda a, b: np.testing.assert_array_equal(a, b)
    student = state.student.params["encoder"]
    jax.tree.map(same, begun.params["encoder"], student)
    next_ = Engine(started(task(f"entities,tiny=True,crf=True,init={second}"))).begin({})
    jax.tree.map(same, next_.params["encoder"], learned.params["encoder"])
    other = learned.params["encoder"]["words"]["embedding"]
    assert not np.array_equal(other, student["words"]["embedding"])
