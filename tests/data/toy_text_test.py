import collections

import numpy as np
import pytest

from jssl.data import load
from jssl.data.toy_text import (
    EVENTS,
    FOODS,
    JOBS,
    QUESTIONS,
    RELATIONS,
    STATEMENTS,
    UNSEEN,
    Draw,
    facts,
    story,
    story_of,
)


def words(source, row):
    field = source.field_of("start")
    start = source.column("start")[row]
    ids = source.context["corpus"][start : start + field.length]
    return [field.kind.vocabulary[i] for i in ids]


def test_a_story_is_the_same_on_every_machine():
    draw = Draw(0)
    f = facts(draw)
    assert (f.hero, f.home, f.capital, f.day) == ("emil", "stanton", "paris", "sunday")
    assert story(draw, f)[0][1] == "emil , a nurse from stanton , had a free week ."


def test_the_choices_are_even():
    draw = Draw(1)
    counts = np.bincount([draw.number(12) for _ in range(12_000)])
    assert ((counts - 1000) ** 2 / 1000).sum() < 31.3  # chi-square, 11 degrees, p = 0.001


def test_every_fact_is_stated_once_or_more_and_in_the_order_of_the_words():
    draw = Draw(2)
    for _ in range(50):
        f = facts(draw)
        said = story(draw, f)
        assert 7 <= len(said) <= 13
        assert [(k, x) for k, x in said] == story_of([x for _, x in said])
        text = " ".join(x for _, x in said)
        for _, (_, true, _) in STATEMENTS.items():
            assert f" {true(f)} " in f" {text} "
        places = [text.index(x) for x in ("first ", "then ", "later ", "finally ")]
        assert places == sorted(places)


def test_the_default_is_a_corpus_whose_labels_are_moods():
    train = load("toy_text", 4, labeled=True)
    assert train.class_names == ("bad", "good")
    text = train.field_of("corpus").shown(train.context["corpus"][None, None])
    assert 1.2e6 < len(text) < 2e6
    assert (train.context["corpus"] != 1).all()  # all words are known
    assert abs(train.labels().mean() - 0.5) < 0.05
    assert "label" not in load("toy_text", 4, packed=True).row_shapes()


def test_the_names_of_val_are_in_part_new_and_tagged():
    train = load("toy_text:entities", 4, documents=200, labeled=True)
    names = train.field_of("tags").names
    val = train.split("val")
    unseen = {x for held in UNSEEN.values() for x in held.split()}
    assert not unseen & set(train.field_of("start").kind.vocabulary)
    for part, new in ((train, False), (val, True)):
        tags = part.column("tags")
        found = collections.Counter(
            (names[tag], word == "[UNK]")
            for row in range(len(part))
            for word, tag in zip(words(part, row), tags[row], strict=True)
            if tag >= 0
        )
        assert all(found[kind, False] > 100 for kind in ("B-PER", "B-LOC", "B-ORG")) or new
        assert (found["B-PER", True] > 20) == new
        assert found["O", True] == 0
        for kind, share in {"PER": 0.5, "ORG": 0.5, "LOC": 0.15}.items():
            unknown, known = (found[f"B-{kind}", x] for x in (True, False))
            assert unknown / (unknown + known) == pytest.approx(share * new, abs=0.1)


def test_an_answer_is_the_fact_that_the_question_asks_for():
    train = load("toy_text:answers", 4, documents=200, labeled=True)
    spans = train.column("spans")
    asked = {tuple(text.split("{hero}")): fact for fact, text in QUESTIONS.items()}
    seen = set()
    for row in range(len(train)):
        held = words(train, row)
        question = " ".join(held[: held.index("[SEP]")])
        fact = next(
            x
            for (begin, end), x in asked.items()
            if question.startswith(begin) and question.endswith(end)
        )
        answer = " ".join(held[spans[row, 0] : spans[row, 1] + 1])
        assert answer in STATEMENTS[fact][2]
        assert spans[row, 0] > held.index("[SEP]")
        seen.add(fact)
    assert seen == set(QUESTIONS)


@pytest.mark.parametrize("part", ["story", "statement"])
def test_neither_half_betrays_the_relation(part):
    """Naive Bayes on the words of one half is at chance; the relations are right."""
    train = load("toy_text:inference", 4, labeled=True)
    label = train.labels()
    counts = np.ones((3, len(train.field_of("start").kind.vocabulary)))
    said = []
    for row in range(len(train)):
        start = train.column("start")[row]
        ids = train.context["corpus"][start : start + 128]
        cut = int((ids == 3).argmax())
        own = ids[cut + 1 :][: int((ids[cut + 1 :] == 6).argmax())]
        half = own if part == "statement" else np.unique(ids[:cut])
        said.append(half)
        if row < 1500:
            np.add.at(counts[label[row]], half, 1)
        story_words = {*words(train, row)[:cut]}
        value = words(train, row)[cut + 1 : cut + 1 + len(own)][-2]
        if label[row] == 0:
            assert value in story_words
    logs = np.log(counts / counts.sum(1, keepdims=True))
    guess = np.array([logs[:, own].sum(1).argmax() for own in said[1500:]])
    assert abs((guess == label[1500:]).mean() - 1 / 3) < 0.1


@pytest.mark.parametrize("fact", STATEMENTS)
def test_a_neutral_statement_is_about_a_fact_that_the_story_leaves_out(fact):
    draw = Draw(3)
    for _ in range(20):
        f = facts(draw)
        kept = [x for k, x in story(draw, f) if fact not in k.split()]
        value = STATEMENTS[fact][1](f)
        others = " ".join(kept).replace(f" met {f.other} , ", " ")
        ambiguous = fact in ("home", "job", "food", "event")  # of others, and of judgments
        assert ambiguous or f" {value} " not in f" {others} "
        if fact == "job":
            assert JOBS[value] not in others


@pytest.mark.parametrize("verb", ["went to a ", "ate "])
def test_a_neutral_story_has_no_word_of_its_event_or_its_food(verb):
    """The singer, the music and how it felt tell of a concert as well."""
    train = load("toy_text:inference", 4, labeled=True)
    told = {*EVENTS, *(x for words in EVENTS.values() for x in words[:2])}
    told = told if "went" in verb else {*FOODS.split()}
    count = 0
    for row in np.flatnonzero(train.labels() == RELATIONS.index("neutral")):
        held = words(train, row)
        cut = held.index("[SEP]")
        if verb in " ".join(held[cut:]):
            count += 1
            assert not told & {*held[:cut]}
    assert count > 50


def test_texts_of_val_and_test_are_not_in_train():
    train = load("toy_text:sentiment", 4)
    held = [
        {tuple(words(part, row)) for row in range(len(part))}
        for part in map(train.split, train.split_names())
    ]
    assert all(len(x) > 400 for x in held)
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]


def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="toy_text must be one of stories, sentiment"):
        load("toy_text:poems", 4)
    with pytest.raises(ValueError, match="documents must be at least 8, got 2"):
        load("toy_text", 4, documents=2)
