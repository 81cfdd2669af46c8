"""Toy text: stories of a small grammar, in which order, mood and facts are well defined.

A story is of one person in one mood: where they live and work, a journey to a capital, an
event there, a meeting, a meal, judgments whose polarity is that of the mood, and the way
home, in the order of the words "first", "then", "later" and "finally". Four tasks have
exact answers: the mood (with negations), the names, questions about the facts, and whether
a statement follows from a story. A fifth has emojis as noisy labels.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from jssl.data.corpora import corpus
from jssl.data.documents import Document, asked
from jssl.data.emojis import emoji_examples, without_emojis
from jssl.data.fields import Dataset

T = TypeVar("T")

WOMEN = "anna clara diana elena fiona greta hanna irene julia karin laura maria nora olga paula rosa sofia tanya vera wendy"  # noqa: E501
MEN = "adam boris carlos david emil frank george henry ivan jacob kevin louis martin nicolas oscar peter robert simon thomas victor"  # noqa: E501
CAPITALS = {
    "paris": "france", "berlin": "germany", "rome": "italy", "madrid": "spain",
    "lisbon": "portugal", "vienna": "austria", "athens": "greece", "oslo": "norway",
    "stockholm": "sweden", "helsinki": "finland", "warsaw": "poland", "prague": "bohemia",
    "budapest": "hungary", "dublin": "ireland", "london": "england", "bern": "switzerland",
    "tokyo": "japan", "cairo": "egypt", "ottawa": "canada", "lima": "peru",
}  # fmt: skip
LANGUAGES = {
    "france": "french", "germany": "german", "italy": "italian", "spain": "spanish",
    "portugal": "portuguese", "austria": "viennese", "greece": "greek",
    "norway": "norwegian", "sweden": "swedish", "finland": "finnish", "poland": "polish",
    "bohemia": "czech", "hungary": "hungarian", "ireland": "irish", "england": "english",
    "switzerland": "swiss", "japan": "japanese", "egypt": "arabic", "canada": "canadian",
    "peru": "quechua",
}  # fmt: skip
TOWNS = "ashford bristol cambria dunmore eastbury fairview glenwood harlow ivydale kingsley linton milford newport oakham redhill stanton"  # noqa: E501
FIRMS = "acme borealis cobalt delphi evergreen falcon granite horizon imperial juniper keystone lantern"  # noqa: E501
JOBS = {
    "teacher": "school", "nurse": "hospital", "baker": "bakery", "farmer": "farm",
    "actor": "theater", "judge": "court", "waiter": "restaurant", "librarian": "library",
    "pilot": "airport", "sailor": "harbor", "banker": "bank", "painter": "studio",
}  # fmt: skip
EVENTS = {
    "concert": ("singer", "music", "hall"), "play": ("actress", "plot", "stage"),
    "match": ("team", "score", "stadium"), "lecture": ("speaker", "talk", "seminar"),
    "fair": ("market", "rides", "square"), "wedding": ("bride", "party", "chapel"),
    "film": ("director", "story", "cinema"), "race": ("driver", "finish", "track"),
}  # fmt: skip
FOODS = "soup bread fish rice pasta salad cheese chicken pie stew"
DRINKS = "tea coffee water juice wine cider milk lemonade"
VEHICLES = "train bus car boat plane taxi"
DAYS = "monday tuesday wednesday thursday friday saturday sunday"
WEATHER = {"good": "sunny warm mild bright", "bad": "rainy cold windy gray"}
OPPOSITES = {
    "good": "bad", "lovely": "ugly", "great": "awful", "brilliant": "terrible",
    "pleasant": "unpleasant", "exciting": "boring", "delightful": "dreadful",
    "splendid": "poor", "clever": "stupid", "kind": "rude", "fresh": "stale",
    "charming": "horrible",
}  # fmt: skip
FEELINGS = {"happy": "sad", "cheerful": "gloomy", "proud": "ashamed", "calm": "angry"}
WORD_CLASSES = {
    word: kind
    for kind, words in {
        "woman": WOMEN.split(),
        "man": MEN.split(),
        "capital": CAPITALS,
        "country": CAPITALS.values(),
        "language": LANGUAGES.values(),
        "town": TOWNS.split(),
        "firm": FIRMS.split(),
        "job": JOBS,
        "event": EVENTS,
        "food": FOODS.split(),
        "drink": DRINKS.split(),
        "vehicle": VEHICLES.split(),
        "day": DAYS.split(),
        "good": OPPOSITES,
        "bad": OPPOSITES.values(),
    }.items()
    for word in words
}
"""Classes of words that the grammar treats alike."""
ANALOGIES = [
    (a, x, b, y) for a, x in CAPITALS.items() for b, y in CAPITALS.items() if a != b
]
"""A capital is to its country as another is to its own."""
UNSEEN = {  # names that only val and test of the task of names have
    "PER": "abigail bruno celine dexter esther felix gloria hector",
    "LOC": "zagreb sofiapolis quito manila harrow wexford",
    "ORG": "nimbus onyx pinnacle quasar",
}
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")
MOODS = ("bad", "good")
EMOJIS = {  # of an event in a bad and in a good mood
    "concert": "🙉🎶", "play": "😴🎭", "match": "😡🏆", "lecture": "😵💡",
    "fair": "😩🎉", "wedding": "💔😍", "film": "👎🍿", "race": "😱🏁",
}  # fmt: skip
NOISE = 0.2  # fraction of the emojis that are any
RELATIONS = ("entailment", "contradiction", "neutral")


class Draw:
    """Choices by raw bits, which are stable across versions of NumPy (NEP 19)."""

    def __init__(self, seed: int):
        self.bits = np.random.PCG64(seed)

    def number(self, n: int) -> int:
        """A number from 0 to n - 1."""
        return int(self.bits.random_raw() % n)

    def one(self, of: Sequence[T]) -> T:
        """One of several."""
        return of[self.number(len(of))]

    def word(self, of: str) -> str:
        """One word of a text."""
        return self.one(of.split())

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self.bits.random_raw() / 2.0**64 < p


@dataclass(frozen=True)
class Facts:
    """The state of a story."""

    hero: str
    woman: bool
    other: str
    home: str
    job: str
    firm: str
    capital: str
    vehicle: str
    event: str
    food: str
    drink: str
    day: str
    good: bool

    @property
    def he(self) -> str:
        return "she" if self.woman else "he"


def facts(draw: Draw, unseen: float = 0.0) -> Facts:
    """Draws the state of a story.

    Args:
      draw: the choices.
      unseen: probability of each name to be one of `UNSEEN`.
    """

    def name(kind, usual):
        return draw.word(UNSEEN[kind]) if draw.chance(unseen) else draw.word(usual)

    woman = draw.chance(0.5)
    return Facts(
        hero=name("PER", WOMEN if woman else MEN),
        woman=woman,
        other=name("PER", MEN if woman else WOMEN),
        home=name("LOC", TOWNS),
        job=draw.one(list(JOBS)),
        firm=name("ORG", FIRMS),
        capital=draw.one(list(CAPITALS)),
        vehicle=draw.word(VEHICLES),
        event=draw.one(list(EVENTS)),
        food=draw.word(FOODS),
        drink=draw.word(DRINKS),
        day=draw.word(DAYS),
        good=draw.chance(0.5),
    )


STATEMENTS: dict[str, tuple[str, Callable[[Facts], str], Sequence[str]]] = {
    "home": ("{hero} lives in {x} .", lambda f: f.home, TOWNS.split()),
    "job": ("{hero} works as {x} .", lambda f: f.job, list(JOBS)),
    "firm": ("{hero} works for {x} .", lambda f: f.firm, FIRMS.split()),
    "capital": ("{hero} travelled to {x} .", lambda f: f.capital, list(CAPITALS)),
    "event": ("{hero} went to a {x} .", lambda f: f.event, list(EVENTS)),
    "food": ("{hero} ate {x} .", lambda f: f.food, FOODS.split()),
    "day": ("{hero} returned on {x} .", lambda f: f.day, DAYS.split()),
}
QUESTIONS = {
    "home": "where does {hero} live ?",
    "job": "what is the work of {hero} ?",
    "firm": "who employs {hero} ?",
    "capital": "where did {hero} travel ?",
    "event": "what did {hero} see ?",
    "food": "what did {hero} eat ?",
    "day": "when did {hero} return ?",
}


def story(draw: Draw, f: Facts) -> list[tuple[str, str]]:
    """The sentences of a story, 7 to 13 of them, each with the fact that it states."""
    he, who, last, place = f.he, *EVENTS[f.event]
    country = CAPITALS[f.capital]
    tongue = LANGUAGES[country]
    said = [
        ("home job", f"{f.hero} , {_a(f.job)} from {f.home} , had a free week ."),
        ("firm job", f"{he} worked for {f.firm} at the {JOBS[f.job]} ."),
        (
            "capital",
            f"first {he} travelled to {f.capital} , the capital of {country} , by "
            f"{f.vehicle} .",
        ),
        (
            "capital",
            f"in {country} they speak {tongue} , and {he} learned {tongue} in "
            f"{f.capital} .",
        ),
        ("", f"the weather was {_weather(draw, f.good)} ."),
        ("event", f"then {he} went to a {f.event} in the {place} ."),
        ("", f"the {who} was {_judged(draw, f.good)} ."),
        (
            "",
            f"there {he} met {f.other} , {_a(draw.one(list(JOBS)))} from "
            f"{draw.word(TOWNS)} .",
        ),
        ("", f"{f.other} found the {last} {_judged(draw, f.good)} ."),
        ("food", f"later {he} ate {f.food} and drank {f.drink} ."),
        ("", f"the {f.food} tasted {_judged(draw, f.good)} ."),
        ("", f"{f.hero} felt {_felt(draw, f.good)} about the {f.event} ."),
        ("day home", f"finally {he} returned to {f.home} on {f.day} ."),
    ]
    kept = [i for i, (fact, _) in enumerate(said) if fact or draw.chance(0.6)]
    return [said[i] for i in kept]


def _a(word):
    """The word with its article."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _weather(draw, good):
    return draw.word(WEATHER["good" if good else "bad"])


def _judged(draw, good):
    """An adjective of a polarity, or the negation of its opposite."""
    bright, dark = draw.one(list(OPPOSITES.items()))
    right, wrong = (bright, dark) if good else (dark, bright)
    if draw.chance(0.3):
        return f"not {wrong}"
    return f"{draw.word('very really so')} {right}" if draw.chance(0.3) else right


def _felt(draw, good):
    return draw.one(list(FEELINGS.items()))[0 if good else 1]


def _stories(draw, n):
    """Documents with their mood."""
    found = []
    for _ in range(n):
        f = facts(draw)
        found.append(Document([text for _, text in story(draw, f)], int(f.good)))
    return found


def _moods(draw, n):
    """Stories without what betrays the mood but three judgments."""
    found = []
    for _ in range(n):
        f = facts(draw)
        who, last, place = EVENTS[f.event]
        texts = [
            f"{f.hero} went to a {f.event} in the {place} .",
            f"the {who} was {_judged(draw, f.good)} .",
            f"{f.he} found the {last} {_judged(draw, f.good)} .",
        ]
        found.append(Document(texts, int(f.good)))
    return found


def _posts(draw, n):
    """Texts of `_moods`, each with an emoji of its event and mood, one to three times."""
    marks, found = "".join(EMOJIS.values()), []
    for doc in _moods(draw, n):
        event = doc.sentences[0].split("went to a ")[1].split()[0]
        emoji = draw.one(marks) if draw.chance(NOISE) else EMOJIS[event][doc.label]
        last = f"{doc.sentences[-1]} {emoji * (1 + draw.number(3))}"
        found.append(Document([*doc.sentences[:-1], last], doc.label))
    return found


def _examples(documents):
    """The documents without their emojis, which they have as numbers."""
    found, marks = [], "".join(EMOJIS.values())
    for doc in documents:
        texts = [without_emojis(x) for x in doc.sentences]
        for _, i in emoji_examples([" ".join(doc.sentences)], marks):
            found.append(Document(texts, doc.label, emoji=i))
    return found


def _without_copies(parts):
    """The documents of each part whose texts no earlier part has."""
    seen: set[tuple[str, ...]] = set()
    found = {}
    for part, held in parts.items():
        found[part] = [doc for doc in held if tuple(doc.sentences) not in seen]
        seen |= {tuple(doc.sentences) for doc in held}
    return found


def _names(draw, n, unseen):
    """Stories with tags of the names of people, places and firms."""
    known = {"PER": f"{WOMEN} {MEN}", "ORG": FIRMS}
    known["LOC"] = f"{TOWNS} {' '.join(CAPITALS)} {' '.join(CAPITALS.values())}"
    kinds = {
        word: kind
        for kind, words in known.items()
        for word in f"{words} {UNSEEN[kind]}".split()
    }
    found = []
    for _ in range(n):
        texts = [text for _, text in story(draw, facts(draw, unseen))]
        tags = [
            [TAGS.index(f"B-{kinds[x]}") if x in kinds else 0 for x in text.split()]
            for text in texts
        ]
        found.append(Document(texts, -1, tags))
    return found


def _answers(draw, n):
    """A question, a story, and the place of the answer in it."""
    found = []
    for _ in range(n):
        f = facts(draw)
        fact = draw.one(list(QUESTIONS))
        texts = [text for _, text in story(draw, f)]
        whole, answer = " ".join(texts), STATEMENTS[fact][1](f)
        wanted = next(x for k, x in story_of(texts) if fact in k.split())
        at = whole.index(wanted) + f" {wanted} ".index(f" {answer} ")
        question = QUESTIONS[fact].format(hero=f.hero)
        span = at, at + len(answer) - 1
        found.append(Document([question, *texts], -1, None, second=1, span=span))
    return found


_MARKS = {  # of sentences that state facts, which are the values
    " had a free week ": "home job",
    " worked for ": "firm job",
    "first ": "capital",
    " they speak ": "capital",
    "then ": "event",
    "later ": "food",
    "finally ": "day home",
}


def story_of(texts: Sequence[str]) -> list[tuple[str, str]]:
    """The facts that the sentences of a story state, found by their words."""
    return [
        (next((k for mark, k in _MARKS.items() if mark in f" {x}"), ""), x) for x in texts
    ]


_TOLD: dict[str, Callable[[Facts], set[str]]] = {  # words that imply a fact
    "event": lambda f: {f.event, *EVENTS[f.event][:2]},
    "food": lambda f: {f.food},
}


_SEPARATE = [  # pairs of facts that no sentence of a story states together
    (a, b)
    for a, b in itertools.permutations(STATEMENTS, 2)
    if not any({a, b} <= {*x.split()} for x in _MARKS.values())
]


def _inference(draw, n):
    """A story, a statement, and their relation, which neither of them betrays alone.

    Each story lacks a fact. Neutral statements are about it, the others about another one.
    """
    found = []
    for _ in range(n):
        f = facts(draw)
        relation, (lacking, stated) = draw.number(3), draw.one(_SEPARATE)
        told = _TOLD[lacking](f) if lacking in _TOLD else set()
        texts = [
            x
            for fact, x in story(draw, f)
            if lacking not in fact.split() and not told & {*x.split()}
        ]
        text, true, values = STATEMENTS[lacking if relation == 2 else stated]
        value = true(f)
        if relation == 1:
            value = draw.one([x for x in values if x != true(f)])
        if relation == 2:
            value = draw.one(list(values))
        statement = text.format(hero=f.hero, x=value)
        found.append(Document([*texts, statement], relation, None, second=len(texts)))
    return found


def toy_text(task: str = "stories", /, *, documents: int = 2000, **windows: Any) -> Dataset:
    """Stories of a grammar, 1.6 MB in 300 words, and five tasks on them.

    | task | rows | target |
    |---|---|---|
    | stories | whole stories | label: mood |
    | sentiment | three sentences, two of them judgments | label: mood |
    | emoji | the same | label: mood; and emoji: an emoji of event and mood, or in 20 % any |
    | entities | whole stories | tags: people, places, firms; train lacks half of the people and firms of val and test, and 15 % of the places |
    | answers | a question, [SEP], a story | spans: the answer |
    | inference | a story, [SEP], a statement | label: entailment, contradiction, neutral |

    Val and test have a quarter as many documents as train, in the tasks sentiment and emoji
    without the texts of earlier splits.

    Args:
      task: as above.
      documents: number of training documents.
      **windows: fields of `documents.Windows`: the tokens, and the rows.

    Raises:
      ValueError: an unknown task, or fewer than 8 documents.
    """  # noqa: E501
    if documents < 8:
        raise ValueError(f"toy_text: documents must be at least 8, got {documents}")
    makers: dict[str, Callable[[Draw, int, str], list[Document]]] = {
        "stories": lambda draw, n, part: _stories(draw, n),
        "sentiment": lambda draw, n, part: _moods(draw, n),
        "emoji": lambda draw, n, part: _examples(_posts(draw, n)),
        "entities": lambda draw, n, part: _names(draw, n, 0.5 if part != "train" else 0.0),
        "answers": lambda draw, n, part: _answers(draw, n),
        "inference": lambda draw, n, part: _inference(draw, n),
    }
    if task not in makers:
        raise ValueError(f"toy_text must be one of {', '.join(makers)}, got {task!r}")
    sizes = {"train": documents, "val": documents // 4, "test": documents // 4}
    parts = {
        part: makers[task](Draw(seed), n, part)
        for seed, (part, n) in enumerate(sizes.items())
    }
    lengths = {"sentiment": 40, "emoji": 40}
    own = asked(windows, length=lengths.get(task, 128), first=task != "stories")
    named: dict[str, dict[str, Any]] = {
        "entities": dict(tags=TAGS),
        "answers": {},
        "inference": dict(names=RELATIONS),
    }
    names = {} if own.packed else named.get(task, dict(names=MOODS))
    if task in ("sentiment", "emoji"):
        parts = _without_copies(parts)
    if task == "emoji":
        names = names | dict(emojis=tuple("".join(EMOJIS.values())))
    return corpus(parts, own, license="Apache-2.0", **names)
