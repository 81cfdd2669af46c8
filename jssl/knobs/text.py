"""Knobs of corpora of text, and functions of their sources."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from jssl import data, optim
from jssl.config import Count, Fraction, Positive, one_of
from jssl.data import Source
from jssl.data.corpora import windows_of
from jssl.data.logged import warn_once
from jssl.data.splits import shuffled, stratified
from jssl.data.tokenizing import FILE, SPECIAL, parsed
from jssl.knobs.reading import arguments
from jssl.knobs.run import Run
from jssl.method import Prepare
from jssl.ops.text_ends import until


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus of text, its tokens, and the training budget.

    Attributes:
      source: Corpus: toy_text, text:PATH (a file or folder), posts:PATH, brown, tweets ...
      limit: Number of training rows used, the first ones, stratified by class; 0: all.
      epochs: Passes over the training split.
      batch: Rows per step.
      tokens: Tokens: word, char, bpe or wordpiece.
      vocabulary: Number of tokens; 0: all words or characters, 8192 of bpe and wordpiece.
      tokenizer: Workdir of a run, or file, whose tokenizer is used instead of a new one.
      length: Tokens of a row; 0: as is usual for the corpus.
      reading: Further arguments of the corpus's loader, e.g. stride=32;packed=True, or
        resident=BYTES of text:PATH: larger corpora are not held in memory.
    """

    source: str = "toy_text"
    limit: int = 0
    epochs: Positive = 10.0
    batch: Count = 32
    tokens: str = "word"
    vocabulary: int = 0
    tokenizer: str = ""
    length: int = 0
    reading: str = ""

    def load(self, run: Run, labeled: bool = False, **more: Any) -> Source:
        """The training split, shuffled by the run's seed.

        Args:
          run: has the seed.
          labeled: True includes labels in the batches.
          **more: further arguments of the loader; those of `reading` have precedence.

        Raises:
          ValueError: a data set that is no text.
        """
        given = {
            name: x
            for name in ("tokens", "vocabulary", "tokenizer", "length")
            if (x := getattr(self, name))
        }
        kind = self.source.partition(":")[0]
        if kind not in data.TEXTS:
            raise ValueError(
                f"source must be text, one of {', '.join(data.TEXTS)}, got {self.source!r}"
            )
        return data.load(
            self.source,
            self.batch,
            seed=run.seed,
            limit=self.limit,
            labeled=labeled,
            **(more | given | arguments(self.reading)),
        )


@dataclass(frozen=True, kw_only=True)
class Text(Corpus):
    """A corpus of text, with a supervised baseline.

    Attributes:
      supervised_epochs: Training length of the supervised baseline (cached), in epochs; 0
        trains none.
    """

    supervised_epochs: float = 4.0


@dataclass(frozen=True, kw_only=True)
class LabeledText(Corpus):
    """A corpus of labeled text, all or few of whose labels are used.

    Attributes:
      labels: Labeled rows, drawn by the seed and stratified by class where there are
        classes; 0: all. The number of updates is that of all rows.
    """

    labels: int = 0

    def draw(self, run: Run, train: Source) -> Source:
        """The labeled rows of a training split.

        Raises:
          ValueError: fewer rows, or a negative number.
        """
        if not self.labels:
            return train
        if not 0 <= self.labels <= train.size:
            raise ValueError(
                f"labels must be 0 to {train.size}, the rows of {train.name}, got "
                f"{self.labels}"
            )
        n, known = train.size, train.classes
        order = stratified(train.labels(), run.seed) if known else shuffled(n, run.seed)
        batch = min(train.batch, self.labels)
        return data.subset(train, order[: self.labels], batch=batch)


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Choice of the tokens of texts that are written.

    Attributes:
      temperature: Temperature of what is written; 0 takes the most probable token.
      top_k: Number of most probable tokens that can be drawn; 0: all.
    """

    temperature: float = 0.0
    top_k: int = 0


@dataclass(frozen=True, kw_only=True)
class SmallText:
    """A small transformer of text, and its optimizer.

    Attributes:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
      decay: Weight decay of matrices and embeddings.
      width: Width of the network; even for sinusoidal positions, those of PEGASUS.
      depth: Number of blocks; of an encoder-decoder, of each half.
      heads: Attention heads of each block; must divide the width.
      dropout: Rate of embeddings, attention and branches.
    """

    lr: Positive = 2e-3
    decay: float = 0.01
    width: Count = 96
    depth: Count = 3
    heads: Count = 3
    dropout: Fraction = 0.0

    @property
    def sizes(self) -> dict[str, Any]:
        """Arguments of the network."""
        names = ("width", "depth", "heads", "dropout")
        return {name: getattr(self, name) for name in names}

    def adamw(self, steps: int) -> optax.GradientTransformation:
        """AdamW for a training of `steps` steps."""
        return optim.adamw(self.lr, steps, decay=self.decay)


def row_length(train: Source) -> int:
    """Tokens of a row of a corpus."""
    return train.row_tokens


def words_of(train: Source) -> tuple[str, ...]:
    """The vocabulary of a corpus."""
    return train.field_of("corpus").vocabulary  # type: ignore[attr-defined]


def even_loss(train: Source) -> dict[str, float]:
    """The loss of an even distribution over the vocabulary, as `chance` of a stage."""
    return {"loss": math.log(len(words_of(train)))}


def decoder_of(train: Source) -> Callable[[Iterable[int]], str]:
    """A function from token numbers to a text without padding, for pictures."""
    kind = train.field_of("corpus")
    pads = [i for i, word in enumerate(words_of(train)) if word in ("[PAD]", "<pad>")]

    def decode(numbers):
        there = np.asarray(numbers)[~np.isin(numbers, pads)]
        return str(kind.shown(there[None, None], ())).strip()

    return decode


def special(train: Source, name: str) -> int:
    """Number of a special token, such as "[MASK]", of a corpus."""
    return parsed(train.files[FILE]).number(name)


def continuations(train: Source) -> np.ndarray:
    """bool [v], True for the tokens of a corpus that continue a word."""
    return np.array(parsed(train.files[FILE]).continues())


def check_pairs(train: Source) -> None:
    """Warns of rows whose second text is cut, with their number.

    Raises:
      ValueError: no row has a second text.
    """
    n, sep = train.size, special(train, "[SEP]")
    cut = sum(int((~(x[:, :-2] == sep).any(1)).sum()) for x in _windows(train))
    told = f"{cut:,} of {n:,} rows of {train.name} have no second text"
    if cut == n:
        raise ValueError(
            f"{told} within length={row_length(train)} tokens: give a larger length, or a "
            f"source of pairs"
        )
    if cut:
        warn_once(f"{told}, and are at chance: a larger length keeps it")


def _windows(train):
    """The tokens of all rows, 1,024 rows at a time."""
    for i in range(0, train.size, 1024):
        yield windows_of(train, range(i, min(i + 1024, train.size)))


def token_counts(train: Source) -> np.ndarray:
    """Occurrences of each token in the training split, int [v]; 0 of special tokens.

    Of a corpus that is not in memory, occurrences in the rows.
    """
    words = words_of(train)
    if train.table is None:
        held: Iterable[Any] = _windows(train)
    else:
        start = train.column("start")
        held = [train.context["corpus"][start.min() : start.max() + row_length(train)]]
    counts = sum(np.bincount(np.ravel(x), minlength=len(words)) for x in held)
    return np.where([word in SPECIAL for word in words], 0, counts)


def texts_of(train: Source) -> Callable[..., list[str]]:
    """A function (decoded columns, spans int [n, 2] or None) -> texts of rows.

    They are those of whole rows, or of spans, first and last token; without [SEP] and
    [EOS]. The columns have the windows themselves if the corpus is not in memory.
    """
    decode, length = decoder_of(train), row_length(train)
    ends = [special(train, name) for name in ("[SEP]", "[EOS]")]

    def row(columns, i):
        if "corpus" in columns:
            return np.asarray(columns["corpus"][i])
        return train.context["corpus"][columns["start"][i] :][:length]

    def text(tokens):
        parts = np.split(tokens, np.flatnonzero(np.isin(tokens, ends)))
        return " ".join(decode(x[~np.isin(x, ends)]) for x in parts).strip()

    def read(columns: Any, spans: np.ndarray | None = None) -> list[str]:
        columns = {
            name: np.asarray(columns[name])
            for name in ("corpus", "start")
            if name in columns
        }
        n = len(next(iter(columns.values())))
        if spans is None:
            return [text(row(columns, i)) for i in range(n)]
        return [text(row(columns, i)[a : b + 1]) for i, (a, b) in enumerate(spans)]

    return read


def window(length: int, of: str = "corpus", at: str = "start") -> Prepare:
    """A function from a batch to windows [n, length] of a context array, at a column.

    If the batch has the windows themselves, [n, length] in place of the context, it is they
    that are returned.

    >>> batch = {"corpus": jnp.arange(10), "start": jnp.array([2, 6])}
    >>> window(3)(batch).tolist()
    [[2, 3, 4], [6, 7, 8]]
    """
    return lambda batch: (
        batch[of]
        if batch[of].ndim == 2
        else batch[of][batch[at][:, None] + jnp.arange(length)]
    )


def located(batch: Any) -> tuple[Any, Any, Any, Any]:
    """Corpus, sentence and document [m] of a batch, and the start [n] of its rows there.

    Rows that are windows [n, length] are laid one after another.

    >>> rows = jnp.array([[5, 6], [7, 8]])
    >>> corpus, *_, start = located({"corpus": rows, "sentence": rows, "document": rows})
    >>> corpus.tolist(), start.tolist()
    ([5, 6, 7, 8], [0, 2])
    """
    held = batch["corpus"], batch["sentence"], batch["document"]
    if held[0].ndim == 1:
        return *held, batch["start"]
    n, length = held[0].shape
    return *(x.ravel() for x in held), jnp.arange(n) * length


def text_window(train: Source) -> Prepare:
    """A function from a batch to texts int [n, length]: windows that end with the document.

    Behind a document is padding, also in rows that go on with the next one.

    Raises:
      ValueError: the tokenizer has no padding or no end.
    """
    eos, pad = special(train, "[EOS]"), special(train, "[PAD]")
    take = window(row_length(train))
    return lambda batch: until(take(batch), eos, pad)


def sizes_of(
    variant: str, known: Mapping[str, tuple[int, int, int]]
) -> tuple[int, int, int]:
    """Width, depth and heads of a transformer.

    Args:
      variant: name of a size, or WIDTHxDEPTHxHEADS.
      known: sizes by name.

    Raises:
      ValueError: neither.

    >>> sizes_of("96x3x4", {"base": (768, 12, 12)})
    (96, 3, 4)
    """
    own = variant.split("x")
    if len(own) == 3 and all(x.isdigit() for x in own):
        width, depth, heads = map(int, own)
        return width, depth, heads
    return one_of("variant", variant, known)
