import json

import numpy as np
import pytest
import tokenizers

from jssl.data.corpora import corpus
from jssl.data.documents import Document, Windows
from jssl.data.tokenizing import SPECIAL, parsed, pieces, read, sentences, trained

TEXTS = ["the lower lake is lower than the newer lake"] * 5 + ["a widest zebra, it's new."]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["word", "char", "bpe", "wordpiece"])
def test_a_text_of_known_words_survives_its_tokens(kind):
    own = trained(kind, TEXTS, size=300)
    assert own.vocabulary[: len(SPECIAL)] == SPECIAL
    text = "the zebra, lower than the lake."
    ids = own.encode(text)
    assert own.decode(ids) == text
    assert own.decode([0, *ids, 0]) == text  # padding is not shown
    assert own.encode_all([text, "the lake"]) == [ids, own.encode("the lake")]
    assert min(ids) >= len(SPECIAL)


@pytest.mark.parametrize("kind", ["word", "char", "bpe", "wordpiece"])
def test_a_saved_tokenizer_is_read_from_its_file_or_a_runs_folder(kind, tmp_path):
    own = trained(kind, TEXTS, size=300)
    (tmp_path / "tokenizer.json").write_text(own.saved)
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        again = read(place)
        assert (again.kind, again.vocabulary) == (own.kind, own.vocabulary)
        assert again.encode(TEXTS[0]) == own.encode(TEXTS[0])


def test_bytes_of_every_text_have_tokens_and_words_do_not():
    text = "naïve 東京 \U0001f600"
    own = trained("bpe", TEXTS, size=300)
    assert own.decode(own.encode(text)) == text
    assert trained("word", TEXTS).encode("東京") == [1]


def test_merges_are_those_of_the_most_frequent_pairs():
    """ "lake" and "lower" occur ten times in the training text, "widest" once."""
    own = trained("bpe", TEXTS, size=290)
    assert len(own) == 290
    assert len(own.encode(" lower")) < len(own.encode(" widest"))
    once = trained("wordpiece", TEXTS, size=60)
    assert {"the", "lake"} <= set(once.vocabulary)


def test_a_vocabulary_of_words_is_by_frequency_with_the_rare_ones_left_out():
    own = trained("word", TEXTS, least=2)
    assert own.vocabulary[len(SPECIAL) :] == ("lake", "lower", "the", "is", "newer", "than")
    assert len(trained("word", TEXTS, size=9)) == 9
    assert own.encode("the zebra") == [9, 1]


def test_continuations_are_the_later_pieces_of_words():
    own = trained("wordpiece", TEXTS, size=60)
    continues = np.array(own.continues())
    names = np.array(own.vocabulary)
    assert set(names[continues]) == {x for x in own.vocabulary if x.startswith("##")}
    own = trained("bpe", TEXTS, size=290)
    flags = dict(zip(own.vocabulary, own.continues(), strict=True))
    assert not flags["Ġthe"] and not flags["[MASK]"] and not flags[","] and flags["e"]
    assert not any(trained("word", TEXTS).continues())


def test_training_again_takes_the_cached_tokenizer(tmp_path):
    first = trained("bpe", TEXTS, size=280)
    (file,) = (tmp_path / "cache" / "tokenizers").iterdir()
    held = json.loads(file.read_text())
    held["model"]["merges"] = []
    file.write_text(json.dumps(held))
    assert trained("bpe", TEXTS, size=280).encode("the") != first.encode("the")
    assert trained("bpe", [*TEXTS, "more"], size=280).encode("the") == first.encode("the")


def test_other_files_and_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="tokens must be one of word, char, bpe"):
        trained("letters", TEXTS)
    with pytest.raises(ValueError, match="more than 7 tokens: 7"):
        trained("bpe", TEXTS, size=7)
    with pytest.raises(ValueError, match="no tokenizer .*tokenizer.json"):
        read(tmp_path)
    with pytest.raises(ValueError, match="must be a tokenizer.json of jssl"):
        parsed("[]")
    with pytest.raises(ValueError, match="mine must be a tokenizer.json .*'Unigram'"):
        parsed('{"model": {"type": "Unigram"}}', "mine")


def test_numbers_of_a_foreign_tokenizer_have_no_gaps():
    """They index the rows of an embedding."""
    model = tokenizers.models.WordPiece({"[UNK]": 0, "a": 1, "b": 5}, unk_token="[UNK]")
    with pytest.raises(ValueError, match="mine must number its 3 tokens .*up to 5"):
        parsed(tokenizers.Tokenizer(model).to_str(), "mine")


def test_special_tokens_are_found_under_the_names_of_other_libraries():
    own = trained("word", TEXTS)
    assert [own.number(x) for x in SPECIAL] == list(range(7))
    gpt2 = parsed(json.dumps({"kind": "word", "vocabulary": ["a", "<|endoftext|>"]}))
    assert gpt2.number("[EOS]") == gpt2.number("[BOS]") == 1
    with pytest.raises(ValueError, match=r"no token \[MASK\] or <mask>"):
        gpt2.number("[MASK]")


def test_texts_of_berts_own_tokenizer_end_with_its_separator(tmp_path):
    """It has no [EOS], and its special tokens have other numbers than ours."""
    file = tmp_path / "tokenizer.json"
    names = ["[PAD]", "[unused]", "a", "b", "c", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    own = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({x: i for i, x in enumerate(names)}, unk_token="[UNK]")
    )
    own.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    own.save(str(file))
    splits = {"train": [Document(["a b", "c a"], second=1, span=(2, 2))]}
    found = corpus(splits, Windows(tokenizer=str(file), length=8))
    assert found.context["corpus"].tolist() == [2, 3, 7, 4, 2, 7, 0, 0]
    assert found.splits["train"]["spans"].tolist() == [[4, 4]]
    short = corpus(splits, Windows(tokenizer=str(file), length=5))
    assert short.splits["train"]["spans"].tolist() == [[-1, -1]]  # it is cut


def test_sentences_end_before_capitals_but_not_after_titles_and_initials():
    text = 'Dr. J. Hill came at 9 a.m. sharp! "Who?"\n  asked she. 12 men left'
    wanted = ["Dr. J. Hill came at 9 a.m. sharp!", '"Who?" asked she.', "12 men left"]
    assert sentences(text) == wanted
    assert sentences("  ") == []
    assert pieces("ab c", "char") == ["a", "b", " ", "c"]
