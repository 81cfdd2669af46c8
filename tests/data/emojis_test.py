"""Emojis as weak labels: they are taken from the texts, which are split by their words."""

import collections

import numpy as np
import pytest

from jssl.data import corpora, load
from jssl.data.emojis import emoji_examples, without_emojis
from jssl.data.toy_text import EMOJIS


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_no_emoji_is_left_in_a_text():
    text = "a 👩‍👩‍👧 b 🇩🇪 c ☀️ d 5️⃣ e 👍🏿 f ⌚ g ⬛"
    assert without_emojis(text) == "a b c d 5 e f g"
    assert emoji_examples([text, "😍😍", "plain"], "👍😍") == [(without_emojis(text), 0)]


def words_of(source):
    known = source.field_of("corpus").vocabulary
    rows = corpora.windows_of(source, range(len(source)))
    return [" ".join(known[i] for i in row if i > 6) for row in rows]


def test_toy_emojis_tell_event_and_mood_but_for_the_noise():
    train = load("toy_text:emoji", 4)
    marks = train.field_of("emoji").names
    assert "emoji" in train.row_shapes() and "label" not in train.shapes()
    texts, y, moods = words_of(train), train.column("emoji"), train.labels()
    assert not any(mark in text for text in texts for mark in marks)
    event = [text.split("went to a ")[1].split()[0] for text in texts]
    true = [EMOJIS[e][mood] for e, mood in zip(event, moods, strict=True)]
    right = np.mean([marks[i] == t for i, t in zip(y, true, strict=True)])
    error = np.sqrt(right * (1 - right) / len(y))
    assert abs(right - (0.8 + 0.2 / 16)) < 4 * error
    assert np.bincount(y).min() > 0.6 * len(y) / 16
    for part in ("val", "test"):
        assert len(train.split(part)) > 400
        assert not set(words_of(train.split(part))) & set(texts)


def test_posts_are_a_row_for_each_frequent_emoji(places):
    lines = [
        f"text {' '.join(bin(i)[2:])} {'😍' * (1 + i % 2)}{'🎉' * (i % 3 == 0)}"
        for i in range(60)
    ]
    lines += ["no emoji here", "rare 🏁", "😍"]
    (places / "posts.txt").write_text("\n".join(lines), "utf-8")
    train = load(f"posts:{places / 'posts.txt'}", 2, emojis=2)
    assert train.field_of("emoji").names == ("😍", "🎉")
    assert train.classes == 0 and "2 emojis; " in train.summary
    found = collections.Counter()
    seen = {}
    for name in train.split_names():
        part = train.split(name)
        y = part.column("emoji")
        found.update(y.tolist())
        for text in words_of(part):
            assert seen.setdefault(text, name) == name  # a text is in one split
    assert found == {0: 60, 1: 20}


def test_posts_without_emojis_are_refused(places):
    (places / "posts.txt").write_text("a\nb\n")
    with pytest.raises(
        ValueError, match="texts with emojis, one a line, got 0 emojis in 2"
    ):
        load(f"posts:{places / 'posts.txt'}", 2)
    with pytest.raises(ValueError, match="emojis must be at least 2, got 1"):
        load(f"posts:{places / 'posts.txt'}", 2, emojis=1)
