"""Corpora in files: the rows of those in memory, bit for bit, whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.data import corpora, layout, load, texts
from jssl.data.__main__ import main
from jssl.knobs import located, row_length, token_counts, window, words_of
from jssl.ops.sentence_pairs import sentence_pairs

STORY = "It rained on day {}. The cat {} slept. A dog barked at {}."


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def folder(places):
    """Twenty files in two classes, of 3 to 60 sentences, one of them empty."""
    for i in range(20):
        file = places / "all" / ("sad", "glad")[i % 2] / f"{i}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            "\n\n".join(STORY.format(i, j, i * j) for j in range(i)), encoding="utf-8"
        )
    return places / "all"


@pytest.fixture
def book(places):
    """One file of 300 sentences."""
    file = places / "book.txt"
    file.write_text(" ".join(STORY.format(i, i % 7, i // 9) for i in range(100)))
    return file


SETTINGS = [
    dict(length=8),
    dict(length=8, labeled=True),
    dict(length=8, stride=3, aligned=True),
    dict(length=32, first=True, labeled=True, tokens="char"),
    dict(length=8, packed=True, stride=5),
    dict(length=8, packed=True, aligned=True, tokens="wordpiece", vocabulary=200),
    dict(length=16, tokens="bpe", vocabulary=300),
]


def both(path, **how):
    """The source in memory and in files."""
    found = [load(f"text:{path}", 4, resident=size, **how) for size in (2**20, 0)]
    assert found[0].table is not None and found[1].table is None
    return found


def assert_equal_batches(held, stored, one, two):
    """A batch of windows of a context, and one that has them."""
    rows = one["start"][:, None] + np.arange(row_length(held))
    for name in ("corpus", "sentence", "document"):
        np.testing.assert_array_equal(held.context[name][rows], two[name])
    for name in {*one} - {"start"}:
        np.testing.assert_array_equal(one[name], two[name])
    assert {*two} - {*one} == {"corpus", "sentence", "document"}


@pytest.mark.parametrize("how", SETTINGS, ids=str)
def test_rows_in_files_are_those_in_memory(folder, how):
    held, stored = both(folder, **how)
    assert words_of(held) == words_of(stored)
    assert row_length(held) == row_length(stored) == how["length"]
    assert held.summary == stored.summary
    for split in held.split_names():
        one, two = held.split(split), stored.split(split)
        assert len(one) == len(two)
        if "packed" not in how:
            np.testing.assert_array_equal(one.labels(), two.labels())
        for batches in zip(one.scan(), two.scan(), strict=True):
            assert_equal_batches(one, two, *batches)


def test_a_stream_is_the_same_from_every_step(book):
    held, stored = both(book, length=8, seed=3)
    whole = held.stream()
    for _ in range(held.steps(1) + 2):  # into the second epoch
        last = next(whole)
    again = next(stored.stream(start=held.steps(1) + 1))
    assert_equal_batches(held, stored, last, again)
    assert again["corpus"].dtype == np.uint16


def test_processes_read_their_own_rows(book, monkeypatch):
    from jssl.data import rows

    _, stored = both(book, length=8)
    whole = next(stored.stream(5))
    parts = []
    for i in range(2):
        monkeypatch.setattr(rows, "process", lambda i=i: (i, 2))
        parts.append(next(stored.stream(5)))
    for name, x in whole.items():
        np.testing.assert_array_equal(x, np.concatenate([part[name] for part in parts]))


def test_worker_processes_read_the_same_rows(book):
    _, stored = both(book, length=8)
    _, other = both(book, length=8, workers=1)
    for name, x in next(stored.stream()).items():
        np.testing.assert_array_equal(x, next(other.stream())[name])


def decoded(source, batch):
    return source.decode(jax.tree.map(jnp.asarray, batch), source.decoded_context())


def test_windows_and_pairs_of_segments_are_the_same(book):
    held, stored = both(book, length=12, aligned=True)
    batches = [decoded(x, next(x.stream())) for x in (held, stored)]
    np.testing.assert_array_equal(*(window(12)(x) for x in batches))
    for order in (False, True):
        pairs = [
            sentence_pairs(
                jax.random.key(1), *located(x), 14, cls=2, sep=3, eos=6, order=order
            )
            for x in batches
        ]
        jax.tree.map(np.testing.assert_array_equal, *pairs)
        assert pairs[0].segments.any()


def test_counts_are_those_of_the_rows(folder):
    held, stored = both(folder, length=6, packed=True)
    rows = corpora.windows_of(stored, range(len(stored)))
    counts = token_counts(stored)
    special = np.arange(len(counts)) < 7
    wanted = np.bincount(rows.ravel(), minlength=len(counts))
    np.testing.assert_array_equal(counts, np.where(special, 0, wanted))
    np.testing.assert_array_equal(counts, token_counts(held))  # windows do not overlap


def test_plain_features_are_counts_of_words(folder):
    held, stored = both(folder, length=8)
    one, two = (x.plain(decoded(x, next(x.scan()))) for x in (held, stored))
    np.testing.assert_array_equal(one, two)


def test_blocks_of_sentences_change_nothing(book, monkeypatch):
    held, _ = both(book, length=8, tokens="bpe", vocabulary=300)
    wanted = held.context["corpus"]
    own = held.files["tokenizer.json"]
    (book.parent / "tokenizer.json").write_text(own)
    monkeypatch.setattr(layout, "BLOCK", 7)
    other, stored = both(book, length=8, tokenizer=str(book.parent))
    np.testing.assert_array_equal(other.context["corpus"], wanted)
    np.testing.assert_array_equal(
        *(corpora.windows_of(x, range(len(x))) for x in (held, stored))
    )


def test_a_long_paragraph_ends_at_a_line(places, monkeypatch):
    monkeypatch.setattr(texts, "LONGEST", 30)
    file = places / "lines.txt"
    file.write_text("one two three\nfour five six\nseven eight nine\nten\n\nlast")
    held = texts.FileSentences(file)
    assert [*held] == ["one two three four five six seven eight nine", "ten", "last"]
    assert [*held[1:]] == ["ten", "last"] and held[1] == "ten" and len(held[:2]) == 2


def test_a_corpus_is_tokenized_once_and_anew_if_it_changes(book, monkeypatch):
    calls = []
    real = corpora._write
    monkeypatch.setattr(corpora, "_write", lambda *a: calls.append(a) or real(*a))
    for _ in range(2):
        load(f"text:{book}", 4, resident=0, length=8)
    assert len(calls) == 1
    load(f"text:{book}", 4, resident=0, length=9)
    assert len(calls) == 2
    book.write_text(book.read_text() + " The end came.")
    load(f"text:{book}", 4, resident=0, length=8)
    assert len(calls) == 3


def test_equal_names_sizes_and_times_of_another_folder_are_another_corpus(places):
    seen = []
    for word in ("cat", "dog"):
        file = places / word / "book.txt"
        file.parent.mkdir()
        file.write_text(f"A {word} slept. " * 30)
        os.utime(file, (0, 0))
        seen.append(words_of(load(f"text:{file.parent}", 4, resident=0, length=8)))
    assert ["cat" in seen[0], "dog" in seen[1]] == [True, True]


def test_an_interrupted_tokenization_leaves_nothing(book, places, monkeypatch):
    real = layout.Layout.append
    count = []

    def fails(self, documents):
        count.append(1)
        if len(count) == 2:
            raise OSError(28, "No space left on device")
        return real(self, documents)

    monkeypatch.setattr(layout.Layout, "append", fails)
    with pytest.raises(ValueError, match="No space left on device; set JSSL_CACHE to a"):
        load(f"text:{book}", 4, resident=0)
    folder = places / "cache" / "corpora"
    assert all(x.name.endswith(".lock") for x in folder.iterdir())
    assert len(load(f"text:{book}", 4, resident=0)) > 0


def test_every_file_is_on_the_disk_before_the_corpus_has_its_name(
    book, places, monkeypatch
):
    real, synced = os.fsync, set()
    monkeypatch.setattr(os, "fsync", lambda n: synced.add(os.fstat(n).st_ino) or real(n))
    load(f"text:{book}", 4, resident=0)
    (folder,) = (x for x in (places / "cache" / "corpora").iterdir() if x.is_dir())
    assert {x.name for x in folder.iterdir()} >= {"corpus.json", "tokenizer.json"}
    assert {x.stat().st_ino for x in folder.iterdir()} <= synced


def test_a_file_that_cannot_be_read_is_no_fault_of_the_cache(book, monkeypatch):
    def fails(self, documents):
        raise PermissionError(errno.EACCES, "Permission denied", str(book))

    monkeypatch.setattr(layout.Layout, "append", fails)
    with pytest.raises(ValueError, match="tokenized: .*Permission denied: .*book") as told:
        load(f"text:{book}", 4, resident=0)
    assert "JSSL_CACHE" not in str(told.value)


KILLED = """
    import time
    from jssl.data import layout, load
    real = layout.Layout.append

    def slow(self, documents):
        found = real(self, documents)
        print("half", flush=True)
        time.sleep(600)

    layout.Layout.append = slow
    load("text:{}", 4, resident=0)
"""


def test_what_a_killed_tokenization_has_left_is_removed(book, places):
    code = textwrap.dedent(KILLED.format(book))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"half\n"
        os.kill(process.pid, signal.SIGKILL)
    folder = places / "cache" / "corpora"
    assert any(x.name.endswith(".part") for x in folder.iterdir())
    begin = time.monotonic()
    held, stored = both(book)
    assert time.monotonic() - begin < 300  # it does not wait for the dead
    assert not any(x.name.endswith(".part") for x in folder.iterdir())
    np.testing.assert_array_equal(
        *(corpora.windows_of(x, range(len(x))) for x in (held, stored))
    )


def test_errors_name_the_file_and_what_to_do(places):
    bad = places / "bad.txt"
    bad.write_bytes(b"A cat. " * 50 + b"\xff\xfe")
    with pytest.raises(ValueError, match="bad.txt is not UTF-8"):
        load(f"text:{bad}", 4, resident=0)
    bad.write_text("Too short. Really.")
    with pytest.raises(ValueError, match="too little text .*one of 2 sentences"):
        load(f"text:{bad}", 4, resident=0)


def test_packed_rows_have_no_classes(folder):
    for source in both(folder, packed=True, length=8):
        assert source.classes == 0 and "label" not in source.row_shapes()


def test_the_command_shows_rows_of_a_corpus_in_files(folder, capsys, monkeypatch):
    monkeypatch.setattr(texts.text, "__kwdefaults__", {"resident": 0})
    assert main([f"text:{folder}", "--limit", "5"]) == 0
    told = capsys.readouterr().out
    assert "tokens of 20 documents" in told and "  train: " in told
    assert "It rained" in told or "it rained" in told
