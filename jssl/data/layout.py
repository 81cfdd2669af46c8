"""The layout of a corpus: documents one after another as tokens, and the rows on them.

Its arrays grow in memory or in files, so that a corpus which does not fit in memory has the
same tokens and rows as one that does.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jssl.data.documents import Document, Windows
from jssl.data.tokenizing import EOS, PAD, Tokenizer

BLOCK = 4096  # sentences that are tokenized at once


class InMemory:
    """An array that grows at its end, in memory.

    >>> numbers = InMemory("numbers", np.int32)
    >>> numbers.extend([1, 2]), numbers.extend([3])
    (None, None)
    >>> numbers.size, numbers.array().tolist()
    (3, [1, 2, 3])
    """

    def __init__(self, name: str, dtype: Any):
        self.size, self._held = 0, np.empty(1024, dtype)

    def extend(self, values: Any) -> None:
        """Appends values."""
        end = self.size + len(values)
        if end > len(self._held):
            larger = np.empty(max(end, 2 * len(self._held)), self._held.dtype)
            larger[: self.size] = self.array()
            self._held = larger
        self._held[self.size : end] = values
        self.size = end

    def array(self) -> np.ndarray:
        """All values so far."""
        return self._held[: self.size]


class InFile:
    """An array that grows at its end, in a file of its values alone."""

    def __init__(self, path: Path, dtype: Any):
        self.size, self.dtype, self._file = 0, np.dtype(dtype), path.open("wb", 2**20)

    def extend(self, values: Any) -> None:
        """Appends values."""
        self._file.write(np.asarray(values, self.dtype).tobytes())
        self.size += len(values)

    def array(self) -> np.ndarray:
        """All values so far, which stay in the file."""
        self._file.flush()
        return mapped(self._file.name, self.dtype)

    def close(self) -> None:
        """Writes everything to the disk itself."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def mapped(path: str | Path, dtype: Any) -> np.ndarray:
    """The values of a file, read when they are used."""
    if not os.path.getsize(path):  # which cannot be mapped
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, dtype, "r"))


class _Flat(NamedTuple):
    """Sentences in tokens."""

    tokens: list[int]
    begins: list[int]  # first token of each sentence that has any
    tags: list[int]  # of each token; -1: none
    span: tuple[int, int] | None  # first and last token


class Layout:
    """The tokens of documents, and windows on them.

    Args:
      windows: the rows.
      tokenizer: of the sentences.
      grown: (name, dtype) -> an array such as `InMemory`.
      tagged: True keeps the tags of words.

    Attributes:
      tokens: all tokens; a document ends with [EOS], and a short one is padded.
      sentences: first token of each sentence; a final [EOS] is one.
      documents: first token of each document.
      tags: of each token, if they are kept.
      starts: first token of each row.
      labels: of each row, that of its document.
      emojis: likewise.
      spans: of each row, first and last token of the document's span, in turn; -1 if the
        row cuts it.
      count: number of tokens without [EOS] and padding.
      pad: number of the padding token; None: there is none, and token 0 is in its place.
    """

    def __init__(
        self,
        windows: Windows,
        tokenizer: Tokenizer,
        grown: Callable[[str, Any], Any] = InMemory,
        tagged: bool = False,
    ):
        self.windows, self.tokenizer, self.count = windows, tokenizer, 0
        own = tokenizer.vocabulary[EOS : EOS + 1] == ("[EOS]",)
        self._eos = EOS if own else tokenizer.number("[EOS]")
        self.pad = PAD if tokenizer.vocabulary[0] in ("[PAD]", "<pad>") else None
        self.tokens = grown("tokens", token_dtype(tokenizer))
        self.sentences, self.documents = (
            grown(name, np.int64) for name in ("sentences", "documents")
        )
        self.tags = grown("tags", np.int32) if tagged else None
        self.starts, self.labels = grown("starts", np.int64), grown("labels", np.int32)
        self.emojis, self.spans = grown("emojis", np.int32), grown("spans", np.int32)

    def append(self, documents: Iterable[Document]) -> slice:
        """Appends the documents of a split; its rows.

        Raises:
          ValueError: second texts of documents that are no pairs.
        """
        row, begin, sentence = self.starts.size, self.tokens.size, self.sentences.size
        for doc in documents:
            if self.windows.second:
                if not doc.second:
                    raise ValueError(
                        "the second text of a pair alone needs pairs, got a document of "
                        "one text: give second=False (premise=True, question=True)"
                    )
                doc = replace(doc, sentences=doc.sentences[doc.second :], second=0)
            at, number = self.tokens.size, self.sentences.size
            span = self._append(doc)
            if not self.windows.packed:
                self._cut(at, number, doc, span)
        if self.windows.packed:
            self._cut(begin, sentence, Document(()), None)
        return slice(row, self.starts.size)

    def _append(self, doc):
        """Appends a document; its span in tokens."""
        self.documents.extend([self.tokens.size])
        span = None
        for flat in self._flats(doc):
            self.sentences.extend(self.tokens.size + np.array(flat.begins, np.int64))
            self._extend(flat.tokens, flat.tags)
            self.count += len(flat.tokens)
            span = flat.span
        self.sentences.extend([self.tokens.size])
        self._extend([self._eos], [-1])
        return span

    def _extend(self, tokens, tags):
        self.tokens.extend(tokens)
        if self.tags is not None:
            self.tags.extend(tags)

    def _cut(self, begin, sentence, doc, span):
        """Appends the rows from a token and a sentence on, and padding of a short one."""
        length = self.windows.length
        last = max(self.tokens.size - length, begin)
        found = np.arange(begin, last + 1, self.windows.stride or length)
        if self.windows.aligned:
            bounds = self.sentences.array()[sentence:]
            found = np.unique(bounds[np.searchsorted(bounds, found, "right") - 1])
        if self.windows.first and not self.windows.packed:
            found = found[:1]
        short = max(begin + length - self.tokens.size, 0)
        self._extend([PAD] * short, [-1] * short)
        self.starts.extend(found)
        self.labels.extend([doc.label] * len(found))
        self.emojis.extend([doc.emoji] * len(found))
        # The last token may give way to that which ends a text.
        cut = span is None or span[1] >= length - 1
        self.spans.extend(((-1, -1) if cut else span) * len(found))

    def _flats(self, doc: Document) -> Iterator[_Flat]:
        if doc.tags is not None:
            yield self._tagged(doc)
        elif doc.span is not None:
            yield self._flat(doc, list(doc.sentences), 0)
        else:
            for i, block in enumerate(blocks(doc.sentences)):
                yield self._flat(doc, block, i * BLOCK)

    def _flat(self, doc, sentences, first):
        """Sentences of a document from number `first` on; all of them, if it has a span."""
        texts = [
            " " + x if self._spaced and i not in (0, doc.second) else x
            for i, x in enumerate(sentences, first)
        ]
        tokens: list[int] = []
        begins: list[int] = []
        span, at = None, 0
        encoded = self.tokenizer.encode_all(texts)
        for i, (text, ids) in enumerate(zip(texts, encoded, strict=True), first):
            if doc.second and i == doc.second:
                tokens.append(self.tokenizer.number("[SEP]"))
            if doc.span is not None and i >= doc.second:
                begin = at - len(text) + len(sentences[i])  # of `text`, with its space
                if at <= doc.span[0] < at + len(sentences[i]):
                    span = tuple(
                        len(tokens) + self._count(text[: x - begin])
                        for x in (doc.span[0], doc.span[1] + 1)
                    )
                    span = span[0], span[1] - 1
                at += len(sentences[i]) + 1
            begins += [len(tokens)] * bool(ids)
            tokens += ids
        return _Flat(tokens, begins, [-1] * len(tokens), span)

    def _count(self, prefix):
        """Number of tokens before a character."""
        whole = self.tokenizer.kind == "bpe"  # of bytes: a space is of the next word
        return len(self.tokenizer.encode(prefix.rstrip() if whole else prefix))

    @property
    def _spaced(self):
        """True if spaces are tokens, or parts of them."""
        return self.tokenizer.kind in ("char", "bpe")

    def _tagged(self, doc):
        """Words are encoded one by one; the first token of each has its tag."""
        tokens: list[int] = []
        begins, tags = [], []
        for i, (text, own) in enumerate(zip(doc.sentences, doc.tags, strict=True)):
            words = text.split(" ")
            if len(words) != len(own):
                raise ValueError(f"{len(own)} tags of {len(words)} words: {text!r}")
            begin = len(tokens)
            texts = [
                " " + x if self._spaced and (i or j) else x for j, x in enumerate(words)
            ]
            encoded = self.tokenizer.encode_all(texts)
            for word, ids, tag in zip(texts, encoded, own, strict=True):
                space = [-1] * (self.tokenizer.kind == "char" and word.startswith(" "))
                tokens += ids
                tags += [*space, tag, *([-1] * len(ids))][: len(ids)]
            begins += [begin] * (len(tokens) > begin)
        return _Flat(tokens, begins, tags, None)


def token_dtype(tokenizer: Tokenizer) -> Any:
    """The smallest unsigned dtype of a tokenizer's numbers, of 2 bytes or 4."""
    return np.uint16 if len(tokenizer) <= 2**16 else np.uint32


def blocks(sentences: Iterable[str]) -> Iterator[list[str]]:
    """Up to `BLOCK` sentences at a time."""
    rest = iter(sentences)
    while block := list(itertools.islice(rest, BLOCK)):
        yield block


def numbered(begins: Int[np.ndarray, " k"], begin: int, end: int) -> np.ndarray:
    """Number of the sentence or document of each token from `begin` to `end`, int32.

    Args:
      begins: first token of each, ascending, the first at 0.
      begin, end: range of tokens.

    >>> numbered(np.array([0, 2, 5]), 1, 7).tolist()
    [0, 1, 1, 1, 2, 2]
    """
    first, last = np.searchsorted(begins, (begin, end - 1), "right") - 1
    edges = np.empty(last - first + 2, np.int64)
    edges[0], edges[1:-1], edges[-1] = begin, begins[first + 1 : last + 1], end
    return np.repeat(np.arange(first, last + 1, dtype=np.int32), edges[1:] - edges[:-1])
