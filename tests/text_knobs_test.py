"""Functions of corpora of text: the texts of rows, and the labels that are drawn."""

import re

import numpy as np
import pytest

from jssl import config
from jssl.data import load
from jssl.data.corpora import windows_of
from jssl.engine import Engine
from jssl.features import Features
from jssl.knobs import LabeledText, Run, texts_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Forty files of two classes, of three words each."""
    for i in range(40):
        file = tmp_path / "all" / ("dogs", "cats")[i % 2] / f"{i}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"one {('dog', 'cat')[i % 2]} {i}")
    return tmp_path / "all"


@pytest.mark.parametrize("size", [2**20, 0])
def test_texts_of_rows_are_those_of_the_files_wherever_they_are_held(folder, size):
    train = load(f"text:{folder}", 4, resident=size, length=5, labeled=True)
    batch = next(train.scan())
    texts = texts_of(train)(batch)
    animals = [text.split()[1] for text in texts]
    assert all(len(text.split()) == 3 for text in texts)
    assert animals == [("cat", "dog")[i] for i in batch["label"]]
    assert texts_of(train)(batch, np.array([[1, 1]] * 4)) == animals


@pytest.mark.parametrize("tokens", ["word", "char", "bpe", "wordpiece"])
def test_texts_of_pairs_have_no_special_tokens(tokens):
    train = load("toy_text:inference", 2, tokens=tokens, documents=8, length=999)
    (text, _) = texts_of(train)(next(train.scan()))
    assert "[SEP]" not in text and "[EOS]" not in text
    first, second = re.split(r" ?\. ", text)[-2:]
    assert first.startswith("finally ") and len(second.split()) in (4, 5, 6)


def test_the_baseline_of_texts_reads_a_corpus_in_files(folder):
    spec = f"sentiment,tiny=True,source=text:{folder},reading=resident=0"
    (stage,) = config.load(f"experiments/supervised.py:{spec}").stages()
    other = stage.baselines["tf-idf"]
    assert other.data.table is None
    (judge,) = other.evals.values()
    engine = Engine(other)
    features = Features(engine, engine.begin({}))
    assert 0 <= judge(features, False)["top1"] <= 1


def test_labels_are_none_or_some_of_the_rows(folder):
    for count in (-5, 33):
        with pytest.raises(ValueError, match=f"labels must be 0 to 32, .*got {count}"):
            text = LabeledText(source=f"text:{folder}", labels=count)
            text.draw(Run(), text.load(Run(), labeled=True))


def test_rows_without_a_second_text_are_counted_or_refused(caplog):
    """Of characters, no row of 60 has the whole story, and of 400 some have."""
    spec = "experiments/supervised.py:inference,tiny=True,tokens=char"
    with pytest.raises(ValueError, match="40 of 40 rows of .* have no second text within"):
        config.load(f"{spec},length=60").stages()
    train = config.load(f"{spec},length=400").stages()[0].data
    seps = sum(np.count_nonzero(windows_of(train, [i])[:, :-2] == 3) for i in range(40))
    assert 0 < seps < 40
    assert f"{40 - seps} of 40 rows of {train.name} have no second text, and" in caplog.text
    caplog.clear()
    config.load(f"{spec},length=999").stages()
    assert "second text" not in caplog.text
