"""Texts with a tokenizer whose padding is not token 0, and rows of several texts."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.knobs import Run, Text, decoder_of, text_window

tokenizers = pytest.importorskip("tokenizers")
EXPERIMENTS = Path(__file__).parent.parent / "experiments"
WORDS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "Cats", "Dogs", "run", "sleep", ".")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A tokenizer in the manner of RoBERTa, and thirty texts of two sentences."""
    root = tmp_path_factory.mktemp("roberta")
    known = {word: i for i, word in enumerate(WORDS)}
    model = tokenizers.models.WordPiece(known, unk_token="<unk>")
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(root / "tokenizer.json"))
    (root / "texts").mkdir()
    for i in range(30):
        (root / "texts" / f"{i}.txt").write_text(
            f"Cats {('run', 'sleep')[i % 2]}. Dogs sleep."
        )
    return root


def corpus(files, reading=""):
    knobs = dict(source=f"text:{files}/texts", tokenizer=f"{files}/tokenizer.json")
    train = Text(length=16, batch=4, reading=reading, **knobs).load(Run())
    return train, jax.tree.map(jnp.asarray, next(train.scan()) | train.context)


def test_texts_are_decoded_without_padding(files):
    train, batch = corpus(files)
    rows = np.asarray(text_window(train)(batch))
    assert (rows == 1).any()  # behind the texts
    for row in rows:
        assert "pad" not in decoder_of(train)(row)


@pytest.mark.parametrize("reading", ["", "aligned=True;packed=True"])
def test_sentences_of_a_row_are_of_its_first_text_and_those_missing_the_last(
    files, reading
):
    train, batch = corpus(files, reading)
    spec = importlib.util.spec_from_file_location("cpc_text", EXPERIMENTS / "cpc_text.py")
    experiment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(experiment)
    grid = experiment.Sentences(sentences=4, words=6).prepare(train)(batch)
    there = (np.asarray(grid) != 1).any(-1)  # 1: padding
    assert (there[:, :-1] >= there[:, 1:]).all() and there.sum(1).max() == 2
    assert reading or there.sum(1).min() == 2
