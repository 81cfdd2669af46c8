"""Tokenizers: vocabularies of words and of characters, byte-level BPE, and WordPiece.

BPE and WordPiece are those of the package `tokenizers`; a tokenizer is trained on the
training split. All are kept as one file, tokenizer.json, in the format of that package for
its kinds.

Sennrich, Haddow and Birch 2016, https://arxiv.org/abs/1508.07909 (BPE); Radford et al. 2019
(of bytes); Wu et al. 2016, https://arxiv.org/abs/1609.08144 (WordPiece).
"""

import collections
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jssl.cache import cache_folder, written

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[BOS]", "[EOS]")
PAD, UNK, CLS, SEP, MASK, BOS, EOS = range(len(SPECIAL))
KINDS = ("word", "char", "bpe", "wordpiece")
FILE = "tokenizer.json"
SIZE = 8192  # tokens of a trained BPE or WordPiece
_WORD = re.compile(r"\w+(?:['’.-]\w+)*|[^\w\s]+")
_BREAK = re.compile(
    r"(?:(?<=[.!?])|(?<=[.!?]['\"’”)]))(?<!\b[A-Z]\.)(?<!\b(?:Mr|Ms|Dr|St)\.)(?<!\bMrs\.)"
    r"\s+(?=['\"‘“(]?[A-Z0-9])"
)
_TIGHT = re.compile(r" (?=[.,;:!?)%])|(?<=[(]) ")


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary, and the functions between text and token numbers.

    Attributes:
      kind: "word", "char", "bpe" or "wordpiece".
      saved: content of tokenizer.json.
      vocabulary: the tokens; the first ones are `SPECIAL`, unless the file is of another
        library.
    """

    kind: str
    saved: str
    vocabulary: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.vocabulary)

    @cached_property
    def _numbers(self):
        return {token: i for i, token in enumerate(self.vocabulary)}

    @cached_property
    def _trained(self):
        return _library().Tokenizer.from_str(self.saved)

    def number(self, name: str) -> int:
        """Number of a special token, such as "[MASK]".

        Raises:
          ValueError: there is none of this name.
        """
        names = (name, *_NAMES.get(name, ()))
        found = next((x for x in names if x in self._numbers), None)
        if found is None:
            raise ValueError(f"the tokenizer has no token {' or '.join(names)}")
        return self._numbers[found]

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text, without special tokens."""
        if self.kind in ("bpe", "wordpiece"):
            return self._trained.encode(text, add_special_tokens=False).ids
        return [self._numbers.get(x, UNK) for x in pieces(text, self.kind)]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, in parallel where the library can."""
        if self.kind in ("bpe", "wordpiece"):
            found = self._trained.encode_batch(list(texts), add_special_tokens=False)
            return [each.ids for each in found]
        return [self.encode(text) for text in texts]

    def join(self, tokens: Sequence[str]) -> str:
        """The text of some tokens; special tokens are shown as they are."""
        if self.kind == "char":
            return "".join(tokens)
        if self.kind == "word":
            return _TIGHT.sub("", " ".join(tokens))
        if self.kind == "wordpiece":
            return _TIGHT.sub("", " ".join(tokens).replace(" ##", ""))
        return self._trained.decoder.decode(list(tokens))

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of token numbers, without padding."""
        pad = self.vocabulary[0] if self.vocabulary[0] in ("[PAD]", "<pad>") else ""
        return self.join([t for i in numbers if (t := self.vocabulary[int(i)]) != pad])

    def continues(self) -> list[bool]:
        """True for each token of the vocabulary that continues a word.

        Of characters all but spaces and punctuation are; special tokens are not.
        """
        begins = {
            "word": lambda token: True,
            "char": lambda token: not token.isalnum(),
            "wordpiece": lambda token: not token.startswith("##"),
            "bpe": lambda token: token.startswith(("Ġ", "Ċ")) or not token[:1].isalnum(),
        }[self.kind]
        special = {*SPECIAL, *(x for names in _NAMES.values() for x in names)}
        return [not begins(x) and x not in special for x in self.vocabulary]


_NAMES = {  # of the special tokens in files of other libraries
    "[PAD]": ("<pad>",),
    "[UNK]": ("<unk>", "<|endoftext|>"),
    "[CLS]": ("<s>", "<|endoftext|>"),
    "[SEP]": ("</s>", "<|endoftext|>"),
    "[MASK]": ("<mask>",),
    "[BOS]": ("<s>", "<|endoftext|>", "[CLS]"),
    "[EOS]": ("</s>", "<|endoftext|>", "[SEP]"),
}


def pieces(text: str, kind: str = "word") -> list[str]:
    """Lower-case words and runs of punctuation of a text, or its characters.

    >>> pieces("It's 9 a.m., Mrs. Jones!")
    ["it's", '9', 'a.m', '.,', 'mrs', '.', 'jones', '!']
    """
    return list(text) if kind == "char" else _WORD.findall(text.lower())


def sentences(text: str) -> list[str]:
    """Splits a text after full stops, question and exclamation marks before a new word.

    Abbreviations before a capital letter are not told apart, except single letters and
    titles.

    >>> sentences('He left. "Why?" she asked Mr. Hill. Nobody knew.')
    ['He left.', '"Why?" she asked Mr. Hill.', 'Nobody knew.']
    """
    return [part for part in _BREAK.split(" ".join(text.split())) if part]


def trained(kind: str, texts: Iterable[str], size: int = 0, least: int = 1) -> Tokenizer:
    """Trains a tokenizer; BPE and WordPiece are cached by the digest of the texts.

    Args:
      kind: "word", "char", "bpe" or "wordpiece".
      texts: of the training split; read up to twice.
      size: number of tokens, with the special ones; 0: all words or characters, 8,192 of
        BPE and WordPiece.
      least: occurrences of a word or character that has a token.

    Raises:
      ValueError: an unknown kind, or a size that is too small.
    """
    if kind not in KINDS:
        raise ValueError(f"tokens must be one of {', '.join(KINDS)}, got {kind!r}")
    if size and size <= len(SPECIAL):
        raise ValueError(f"a vocabulary must have more than {len(SPECIAL)} tokens: {size}")
    if kind in ("word", "char"):
        return _listed(kind, texts, size, least)
    sha = hashlib.sha256(f"{kind} {size or SIZE}\n".encode())
    for text in texts:
        sha.update(text.encode("utf-8", "replace") + b"\0")
    file = cache_folder() / "tokenizers" / f"{kind}-{sha.hexdigest()[:16]}.json"
    if not file.exists():
        saved = _train(kind, texts, size or SIZE)
        file.parent.mkdir(parents=True, exist_ok=True)
        with written(file) as part:
            part.write_text(saved)
    return parsed(file.read_text(), file)


def _listed(kind, texts, size, least):
    counts = collections.Counter(x for text in texts for x in pieces(text, kind))
    found = [x for x, n in counts.items() if n >= least and x not in SPECIAL]
    found.sort(key=lambda x: (-counts[x], x))
    vocabulary = (*SPECIAL, *found)[: size or None]
    saved = json.dumps({"kind": kind, "vocabulary": vocabulary}, ensure_ascii=False)
    return Tokenizer(kind, saved, vocabulary)


def _train(kind, texts, size):
    library = _library()
    common = dict(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
    if kind == "bpe":
        bytewise = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        own = library.Tokenizer(library.models.BPE())
        own.pre_tokenizer, own.decoder = bytewise, library.decoders.ByteLevel()
        alphabet = library.pre_tokenizers.ByteLevel.alphabet()
        trainer = library.trainers.BpeTrainer(initial_alphabet=alphabet, **common)
    else:
        own = library.Tokenizer(library.models.WordPiece(unk_token="[UNK]"))
        own.normalizer = library.normalizers.BertNormalizer(lowercase=True)
        own.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
        own.decoder = library.decoders.WordPiece()
        trainer = library.trainers.WordPieceTrainer(**common)
    own.train_from_iterator(texts, trainer)
    return own.to_str()


def parsed(text: str, where: Any = FILE) -> Tokenizer:
    """The tokenizer in the text of a tokenizer.json.

    Raises:
      ValueError: it is neither one of jssl nor a BPE or WordPiece of `tokenizers`, or its
        numbers have gaps.
    """
    try:
        held = json.loads(text)
        if held.get("kind") in ("word", "char"):
            return Tokenizer(held["kind"], text, tuple(held["vocabulary"]))
        kind = {"BPE": "bpe", "WordPiece": "wordpiece"}[held["model"]["type"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{where} must be a tokenizer.json of jssl, or a BPE or WordPiece of the "
            f"package tokenizers: {type(error).__name__} {error}"
        ) from error
    numbers = _library().Tokenizer.from_str(text).get_vocab(with_added_tokens=True)
    ordered = sorted(numbers, key=numbers.__getitem__)
    if [numbers[token] for token in ordered] != [*range(len(ordered))]:
        raise ValueError(
            f"{where} must number its {len(ordered)} tokens from 0 without gaps, got "
            f"numbers up to {max(numbers.values(), default=-1)}: add the missing ones"
        )
    return Tokenizer(kind, text, tuple(ordered))


def read(path: str | Path) -> Tokenizer:
    """Reads a tokenizer.json, of a file or of a run's folder.

    Raises:
      ValueError: no such file, or another content.
    """
    path = Path(path).expanduser()
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"no tokenizer {file}")
    return parsed(file.read_text(), file)


def _library():
    import tokenizers

    return tokenizers
