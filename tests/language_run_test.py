"""Runs of language models: samples of a prompt, export, and a start from an export."""

import json

import jax
import numpy as np
import pytest

from jssl import config, export, sample, weights
from jssl.checkpoint import Checkpoints
from jssl.engine import Engine
from jssl.initial import started
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
    """The files of a run, without the training: its config and a checkpoint."""
    workdir = tmp_path_factory.mktemp("runs") / request.param
    workdir.mkdir()
    experiment = config.load(f"experiments/{request.param}.py:{KNOBS[request.param]}")
    (stage,) = experiment.stages()
    state = Engine(stage).begin({})
    written = describe(experiment) | {"provenance": {}}
    (workdir / "config.json").write_text(json.dumps(written))
    with Checkpoints(workdir / stage.name) as saved:
        saved.save(1, state)
    return request.param, workdir, stage, state


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
