"""Corpora as data sets: their tokens in device memory, or in a file that is read by row.

A corpus in memory is context, of which rows are positions. A larger one is tokenized once,
into files of the cache; its batches have the columns "corpus", "sentence" and "document" of
the same windows instead, which are read on the host.
"""

import errno
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from jssl.cache import built, cache_folder
from jssl.data.documents import Document, Windows
from jssl.data.fields import Dataset, Field, Index, Labels, Spans, Tokens, WeakLabels
from jssl.data.layout import InFile, Layout, blocks, mapped, numbered, token_dtype
from jssl.data.logged import inform_once
from jssl.data.records import Records
from jssl.data.splits import fingerprint
from jssl.data.tokenizing import FILE, Tokenizer, parsed, read, trained

RESIDENT = 64 * 2**20  # bytes of text: larger corpora are tokenized into files
_VERSION = "1"  # of the files
_CONTENTS = "corpus.json"


def corpus(
    splits: Mapping[str, Sequence[Document]],
    windows: Windows,
    *,
    names: Sequence[str] = (),
    tags: Sequence[str] = (),
    emojis: Sequence[str] = (),
    tokenizer: Tokenizer | None = None,
    license: str = "",
    summary: str = "",
) -> Dataset:
    """A data set of windows of a corpus that is held in memory.

    Columns: start int32 [n], of the window in the corpus; label int32 [n], if documents
    have labels; tags int32 [n, length], if their words have tags: at the first token of a
    word, else -1; spans int32 [n, 2], -1 if the row cuts them, and emoji int32 [n], if they
    have any. Context: corpus, sentence and document, int32 [m], the tokens of all splits,
    and the number of the sentence and of the document of each. A document ends with [EOS];
    padding is a part of the corpus. The two texts of a pair have [SEP] between them.

    The tokenizer is trained on the training split, and is a file of the data set.

    Args:
      splits: documents by split.
      windows: tokens and rows.
      names: of the classes.
      tags: names of the tags.
      emojis: those that documents have; they are no labels.
      tokenizer: instead of one that is trained or read.
      license: of the data.
      summary: what was found.

    Raises:
      ValueError: an empty split, or documents with labels, tags or spans and rows that go
        over their ends.
    """
    spans = any(doc.span is not None for held in splits.values() for doc in held)
    _check(splits, windows, names or tags or spans or emojis)
    own = tokenizer or _tokenizer(splits["train"], windows)
    layout = Layout(windows, own, tagged=bool(tags))
    parts = {part: layout.append(held) for part, held in splits.items()}
    starts, size = layout.starts.array().astype(np.int32), layout.tokens.size
    columns = {"start": starts}
    if names:
        columns["label"] = layout.labels.array()
    if emojis:
        columns["emoji"] = layout.emojis.array()
    if layout.tags is not None:
        places = starts[:, None] + np.arange(windows.length)
        columns["tags"] = layout.tags.array()[places]
    if spans:
        columns["spans"] = layout.spans.array().reshape(-1, 2)
    tables = {
        part: {name: x[rows] for name, x in columns.items()} for part, rows in parts.items()
    }
    kinds = _fields(own, layout.pad, names)
    kinds["start"] = Index("corpus", windows.length, kinds["corpus"])
    more: dict[str, Field] = {"tags": Labels(tuple(tags)), "spans": Spans()}
    more["emoji"] = WeakLabels(tuple(emojis))
    return Dataset(
        tables,
        len(names),
        kinds | {name: more[name] for name in more if name in columns},
        context={
            "corpus": layout.tokens.array().astype(np.int32),
            "sentence": numbered(layout.sentences.array(), 0, size),
            "document": numbered(layout.documents.array(), 0, size),
        },
        license=license,
        summary=summary + _counted(layout.count, splits, own, windows, parts),
        files={FILE: own.saved},
    )


def stored_corpus(
    identity: str,
    splits: Callable[[], Mapping[str, Sequence[Document]]],
    windows: Windows,
    *,
    names: Sequence[str] = (),
) -> Dataset:
    """A data set of windows of a corpus that is kept in files.

    Columns: corpus, sentence and document [n, length], and label [n] if there are classes:
    the windows of the context that `corpus` has, and in the same order. Their dtypes are
    uint16 or uint32, and int32.

    The corpus is tokenized when it is first used, one block of sentences after another, and
    is then in the cache as a whole or not at all.

    Args:
      identity: changes if the texts change.
      splits: gives the documents by split, which are read as they are tokenized.
      windows: tokens and rows.
      names: of the classes.

    Raises:
      ValueError: as `corpus`; or files that cannot be read or written.
    """
    parts = [_VERSION, identity, repr(windows), *names]
    if windows.tokenizer:
        parts += [read(windows.tokenizer).saved]
    key = fingerprint(*parts)
    folder = cache_folder() / "corpora" / key
    try:
        with built(folder) as part:
            if part is not None:
                inform_once(f"a large corpus is tokenized, once, into {folder}")
                _write(part, splits(), windows, names)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and str(cache_folder()) not in str(error.filename):
            raise ValueError(f"a corpus cannot be tokenized: {error}") from error
        raise ValueError(
            f"a corpus cannot be tokenized into {folder}: {error}; set JSSL_CACHE to a "
            f"folder with space, or give resident=BYTES to hold it in memory"
        ) from error
    held = json.loads((folder / _CONTENTS).read_text())
    own = parsed((folder / FILE).read_text(), folder / FILE)
    dtype = np.dtype(token_dtype(own)).str
    tables = {
        part: StoredWindows(
            *(str(folder), dtype, begin, end, windows.length),
            digest=fingerprint(key, part),
            labeled=bool(names),
        )
        for part, (begin, end) in held["rows"].items()
    }
    return Dataset(
        tables,
        len(names),
        _fields(own, held["pad"], names),
        summary=held["summary"],
        files={FILE: own.saved},
    )


@dataclass(frozen=True, eq=False)
class StoredWindows(Records):
    """Windows of a corpus in the files of a folder.

    Attributes:
      folder: that `stored_corpus` has written.
      dtype: of the tokens.
      begin, end: range of rows, of all splits.
      length: tokens of a row.
      digest: fingerprint of the content.
      labeled: True if rows have labels.
    """

    folder: str
    dtype: str
    begin: int
    end: int
    length: int
    digest: str
    labeled: bool

    def __len__(self) -> int:
        return self.end - self.begin

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        first = int(self._array("starts")[self.begin + row])
        last = first + self.length
        found = {
            "corpus": np.array(self._array("tokens", self.dtype)[first:last]),
            "sentence": numbered(self._array("sentences"), first, last),
            "document": numbered(self._array("documents"), first, last),
        }
        label = self.labels
        return found if label is None else found | {"label": label[row]}

    @property
    def labels(self) -> np.ndarray | None:
        """Labels of all rows, or None."""
        if not self.labeled:
            return None
        return self._array("labels", "<i4")[self.begin : self.end]

    def _array(self, name, dtype="<i8"):
        return _opened(f"{self.folder}/{name}", dtype)


_opened = functools.lru_cache(maxsize=64)(mapped)  # once in each process


def windows_of(source: Any, rows: Any) -> Int[np.ndarray, "k l"]:
    """The tokens of rows of a corpus, on the host, wherever it is held."""
    found = source.at(rows)
    if "corpus" in found:
        return found["corpus"].astype(np.int32)
    places = found["start"][:, None] + np.arange(source.row_tokens)
    return source.context["corpus"][places]


def _check(splits, windows, targets):
    empty = [part for part, held in splits.items() if not held]
    if empty:
        raise ValueError(f"too few documents: the split {empty[0]} is empty")
    if windows.packed and targets:
        raise ValueError("rows of packed documents have no labels: give packed=False")


def _write(folder, splits, windows, names):
    """Tokenizes documents into the files of a folder."""
    _check(splits, windows, names)
    own, files = _tokenizer(splits["train"], windows), []

    def grown(name, dtype):
        files.append(InFile(folder / name, dtype))
        return files[-1]

    layout = Layout(windows, own, grown)
    try:
        parts = {part: layout.append(held) for part, held in splits.items()}
    finally:
        for file in files:
            file.close()
    held = {
        "rows": {part: [rows.start, rows.stop] for part, rows in parts.items()},
        "pad": layout.pad,
        "summary": _counted(layout.count, splits, own, windows, parts),
    }
    for name, content in {FILE: own.saved, _CONTENTS: json.dumps(held)}.items():
        with (folder / name).open("w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _fields(tokenizer, pad, names) -> dict[str, Field]:
    """Fields of the tokens and their numbers, and of labels."""
    kind = Tokens(tokenizer.vocabulary, pad=pad, join=tokenizer.join)
    known: dict[str, Field] = {"corpus": kind, "sentence": Field(), "document": Field()}
    return known | ({"label": Labels(tuple(names))} if names else {})


def _counted(tokens, splits, tokenizer, windows, parts):
    """Numbers of tokens, documents, and rows of each split, for a summary."""
    rows = ", ".join(f"{x.stop - x.start:,} {part}" for part, x in parts.items())
    count = sum(map(len, splits.values()))
    return (
        f"{tokens:,} tokens of {count:,} documents, {len(tokenizer):,} known; rows of "
        f"{windows.length}: {rows}"
    )


def _tokenizer(train, windows) -> Tokenizer:
    if windows.tokenizer:
        return read(windows.tokenizer)
    return trained(windows.tokens, _Texts(train), windows.vocabulary, windows.least)


@dataclass(frozen=True)
class _Texts(Iterable[str]):
    """The texts of documents, which are read again in every pass."""

    documents: Sequence[Document]

    def __iter__(self) -> Iterator[str]:
        for doc in self.documents:
            for block in blocks(doc.sentences):
                yield " ".join(block)
