"""Documents as a corpus: one sequence of tokens, of which rows are windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jssl.data.fields import Dataset, Field, Index, Labels, Spans, Tokens
from jssl.data.splits import tenths
from jssl.data.tokenizing import EOS, FILE, PAD, Tokenizer, read, trained


@dataclass(frozen=True)
class Document:
    """A text in sentences, with its label, and tags of its words.

    Attributes:
      sentences: in order; a second text of a pair begins at sentence `second`.
      label: class number; -1: none.
      tags: of each sentence, tag numbers of its words, which are split by spaces; None: no
        tags.
      second: number of the first sentence of the second text; 0: there is none.
      span: first and last character of a part of the second text, as an answer in it; None:
        there is none.
    """

    sentences: Sequence[str]
    label: int = -1
    tags: Sequence[Sequence[int]] | None = None
    second: int = 0
    span: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The tokens of a corpus, and the rows that are cut from it.

    Attributes:
      tokens: kind of the tokens: word, char, bpe or wordpiece.
      vocabulary: number of tokens; 0: all words or characters, 8,192 of BPE and WordPiece.
      least: occurrences in the training split of a word that has a token.
      tokenizer: file or run with the tokenizer, which is then not trained; "": none.
      length: tokens of a row.
      stride: tokens from one row to the next; 0: `length`.
      packed: rows go over the ends of documents, with [EOS] between two; else a row is
        within a document, and a shorter document is padded.
      aligned: rows begin where a sentence does.
      first: one row of each document, its beginning.
      second: the second text of a pair alone, as a control.
    """

    tokens: str = "word"
    vocabulary: int = 0
    least: int = 1
    tokenizer: str = ""
    length: int = 64
    stride: int = 0
    packed: bool = False
    aligned: bool = False
    first: bool = False
    second: bool = False

    def __post_init__(self):
        if self.length < 1 or self.stride < 0 or self.least < 1 or self.vocabulary < 0:
            raise ValueError(
                f"length and least must be positive, stride and vocabulary not negative: "
                f"got {self.length}, {self.least}, {self.stride}, {self.vocabulary}"
            )


class _Flat(NamedTuple):
    """A document in tokens."""

    tokens: list[int]
    sentences: list[int]  # of each token
    tags: list[int]  # of each token; -1: none
    span: tuple[int, int] | None  # first and last token


def corpus(
    splits: Mapping[str, Sequence[Document]],
    windows: Windows,
    *,
    names: Sequence[str] = (),
    tags: Sequence[str] = (),
    tokenizer: Tokenizer | None = None,
    license: str = "",
    summary: str = "",
) -> Dataset:
    """A data set of windows of a corpus.

    Columns: start int32 [n], of the window in the corpus; label int32 [n], if documents
    have labels; tags int32 [n, length], if their words have tags: at the first token of a
    word, else -1; spans int32 [n, 2], if they have spans: -1 if a row cuts them.
    Context: corpus, sentence and document, int32 [m], the tokens of all splits, and the
    number of the sentence and of the document of each. A document ends with [EOS]; padding
    is a part of the corpus. The two texts of a pair have [SEP] between them.

    The tokenizer is trained on the training split, and is a file of the data set.

    Args:
      splits: documents by split.
      windows: tokens and rows.
      names: of the classes.
      tags: names of the tags.
      tokenizer: instead of one that is trained or read.
      license: of the data.
      summary: what was found.

    Raises:
      ValueError: an empty split, or documents with labels, tags or spans and rows that go
        over their ends.
    """
    empty = [part for part, held in splits.items() if not held]
    if empty:
        raise ValueError(f"too few documents: the split {empty[0]} is empty")
    every = [doc for held in splits.values() for doc in held]
    spans = any(doc.span is not None for doc in every)
    if windows.packed and (names or tags or spans):
        raise ValueError("rows of packed documents have no labels: give packed=False")
    own = tokenizer or _tokenizer(splits["train"], windows)
    eos = EOS if own.vocabulary[EOS : EOS + 1] == ("[EOS]",) else own.number("[EOS]")
    pad = PAD if own.vocabulary[0] in ("[PAD]", "<pad>") else None
    maker = _Maker(windows, own, eos, PAD if pad is None else pad)
    tables: dict[str, dict[str, np.ndarray]] = {}
    for part, held in splits.items():
        columns = maker.rows(held)
        table = {"start": columns["start"]}
        if names:
            table["label"] = columns["label"]
        if tags:
            table["tags"] = columns["tags"]
        if spans:
            table["spans"] = columns["spans"]
        tables[part] = table
    kind = Tokens(own.vocabulary, pad=pad, join=own.join)
    kinds: dict[str, Field] = {
        "start": Index("corpus", windows.length, kind),
        "corpus": kind,
        "sentence": Field(),
        "document": Field(),
        "label": Labels(tuple(names)),
        "tags": Labels(tuple(tags)),
        "spans": Spans(),
    }
    held = ("start", "corpus", "sentence", "document", *next(iter(tables.values())))
    rows = ", ".join(f"{len(x['start']):,} {part}" for part, x in tables.items())
    counted = f"{maker.count:,} tokens of {len(every):,} documents, {len(own):,} known"
    return Dataset(
        tables,
        len(names),
        {name: kind for name, kind in kinds.items() if name in held},
        context=maker.context(),
        license=license,
        summary=f"{summary}{counted}; rows of {windows.length}: {rows}",
        files={FILE: own.saved},
    )


def _tokenizer(train, windows) -> Tokenizer:
    if windows.tokenizer:
        return read(windows.tokenizer)
    texts = [" ".join(doc.sentences) for doc in train]
    return trained(windows.tokens, texts, windows.vocabulary, windows.least)


class _Maker:
    """Appends the documents of one split after another to a corpus."""

    def __init__(self, windows, tokenizer, eos, pad):
        self.windows, self.tokenizer, self.eos, self.pad = windows, tokenizer, eos, pad
        self.parts: list[list[int]] = [[], [], []]
        self.tags: list[int] = []
        self.count = self.documents = 0

    def context(self) -> dict[str, np.ndarray]:
        names = ("corpus", "sentence", "document")
        arrays = (np.array(part, np.int32) for part in self.parts)
        return dict(zip(names, arrays, strict=True))

    def rows(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        """Appends documents; the columns of their windows."""
        length, first = self.windows.length, len(self.parts[0])
        starts, labels, spans = [], [], []
        for doc in documents:
            if self.windows.second:
                doc = replace(doc, sentences=doc.sentences[doc.second :], second=0)
            flat = self._flat(doc)
            begin = len(self.parts[0])
            self._append(flat)
            if self.windows.packed:
                continue
            found = self._starts(begin, len(self.parts[0]))
            found = found[:1] if self.windows.first else found
            self._pad(begin + length - len(self.parts[0]))
            starts += found
            labels += [doc.label] * len(found)
            # The last token may give way to that which ends a text.
            cut = flat.span is None or flat.span[1] >= length - 1
            spans += [(-1, -1) if cut else flat.span] * len(found)
        if self.windows.packed:
            starts = self._starts(first, len(self.parts[0]))
            self._pad(first + length - len(self.parts[0]))
        start = np.array(starts, np.int32)
        tags = np.array(self.tags, np.int32)[start[:, None] + np.arange(length)]
        return {
            "start": start,
            "label": np.array(labels, np.int32),
            "tags": tags,
            "spans": np.array(spans, np.int32).reshape(-1, 2),
        }

    def _starts(self, begin, end):
        """Starts of windows within a range; the first one, if it is shorter than any."""
        stride = self.windows.stride or self.windows.length
        last = max(end - self.windows.length, begin)
        found = range(begin, last + 1, stride)
        if not self.windows.aligned:
            return list(found)
        sentence = self.parts[1]

        def back(i):
            while i > begin and sentence[i - 1] == sentence[i]:
                i -= 1
            return i

        return list(dict.fromkeys(map(back, found)))

    def _append(self, flat):
        number = self.parts[1][-1] + 1 if self.parts[1] else 0
        self.parts[0] += [*flat.tokens, self.eos]
        ends = flat.sentences[-1] + 1 if flat.sentences else 0
        self.parts[1] += [number + x for x in (*flat.sentences, ends)]
        self.parts[2] += [self.documents] * (len(flat.tokens) + 1)
        self.tags += [*flat.tags, -1]
        self.documents += 1
        self.count += len(flat.tokens)

    def _pad(self, count):
        if count > 0:
            self.parts[0] += [self.pad] * count
            self.parts[1] += [self.parts[1][-1]] * count
            self.parts[2] += [self.parts[2][-1]] * count
            self.tags += [-1] * count

    def _flat(self, doc: Document) -> _Flat:
        if doc.tags is not None:
            return self._tagged(doc)
        spaced = self.tokenizer.kind in (
            "char",
            "bpe",
        )  # spaces are tokens, or parts of them
        texts = [
            " " + x if spaced and i not in (0, doc.second) else x
            for i, x in enumerate(doc.sentences)
        ]
        tokens: list[int] = []
        numbers: list[int] = []
        span, at = None, 0
        for i, (text, ids) in enumerate(
            zip(texts, self.tokenizer.encode_all(texts), strict=True)
        ):
            if doc.second and i == doc.second:
                tokens.append(self.tokenizer.number("[SEP]"))
                numbers.append(i - 1)
            if doc.span is not None and i >= doc.second:
                begin = at - len(text) + len(doc.sentences[i])  # of `text`, with its space
                if at <= doc.span[0] < at + len(doc.sentences[i]):
                    span = tuple(
                        len(tokens) + self._count(text[: x - begin])
                        for x in (doc.span[0], doc.span[1] + 1)
                    )
                    span = span[0], span[1] - 1
                at += len(doc.sentences[i]) + 1
            tokens += ids
            numbers += [i] * len(ids)
        return _Flat(tokens, numbers, [-1] * len(tokens), span)

    def _count(self, prefix):
        """Number of tokens before a character."""
        whole = self.tokenizer.kind == "bpe"  # of bytes: a space is of the next word
        return len(self.tokenizer.encode(prefix.rstrip() if whole else prefix))

    def _tagged(self, doc):
        """Words are encoded one by one; the first token of each has its tag."""
        tokens, numbers, tags = [], [], []
        for i, (text, own) in enumerate(zip(doc.sentences, doc.tags or (), strict=True)):
            words = text.split(" ")
            if len(words) != len(own):
                raise ValueError(f"{len(own)} tags of {len(words)} words: {text!r}")
            leading = self.tokenizer.kind == "bpe"  # of bytes: a space is of the next word
            texts = [" " + x if leading and j else x for j, x in enumerate(words)]
            for ids, tag in zip(self.tokenizer.encode_all(texts), own, strict=True):
                tokens += ids
                numbers += [i] * len(ids)
                tags += [tag, *([-1] * (len(ids) - 1))][: len(ids)]
        return _Flat(tokens, numbers, tags, None)


def in_tenths(
    documents: Sequence[Document], labels: Int[np.ndarray, " n"] | None = None
) -> dict[str, list[Document]]:
    """Splits documents: a tenth each for val and test, stratified by labels.

    Fewer than ten documents are each cut, at sentences: the last fifth is val and test.
    """
    if len(documents) >= 10:
        parts = tenths(len(documents), labels, "val", "test")
        return {part: [documents[i] for i in rows] for part, rows in parts.items()}
    found: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
    for doc in documents:
        n = len(doc.sentences)
        if n < 10:
            raise ValueError(
                f"too little text to cut val and test from it: {len(documents)} documents, "
                f"one of {n} sentences; ten documents, or ten sentences in each, are needed"
            )
        a, b = n - 2 * (n // 10), n - n // 10
        cuts = {"train": (0, a), "val": (a, b), "test": (b, n)}
        for part, (i, j) in cuts.items():
            found[part].append(Document(doc.sentences[i:j], doc.label))
    return found


def asked(given: Mapping[str, Any], **defaults: Any) -> Windows:
    """The windows of a loader's keyword arguments, and its defaults.

    Raises:
      ValueError: an unknown argument.
    """
    known = [field.name for field in fields(Windows)]
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(
            f"a corpus has no argument {unknown[0]!r}; it has {', '.join(known)}"
        )
    return Windows(**(defaults | dict(given)))
