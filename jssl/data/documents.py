"""Documents in sentences, their splits, and the rows that are cut from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Int

from jssl.data.splits import tenths


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
      emoji: number of an emoji that the text had; -1: none.
    """

    sentences: Sequence[str]
    label: int = -1
    tags: Sequence[Sequence[int]] | None = None
    second: int = 0
    span: tuple[int, int] | None = None
    emoji: int = -1


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
