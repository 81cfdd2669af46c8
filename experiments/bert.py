"""BERT: prediction of masked words from both sides, and of the next sentence.

    python -m jssl.main --config=experiments/bert.py
    python -m jssl.main --config=experiments/bert.py:order=True
    python -m jssl.main --config=experiments/bert.py:tokens=wordpiece,whole=True
    python -m jssl.main --config=experiments/bert.py:brown
    python -m jssl.main --config=experiments/bert.py:paper,source=text:FOLDER,mesh=data=256

Devlin et al. 2019, https://arxiv.org/abs/1810.04805. Reference: GLUE 79.6 (base) and 82.1
(large), SQuAD 1.1 F1 88.5 and 90.9 (as remembered). Ours: `paper` not run; `laptop` and
`brown` are what docs/results.md holds.
"""

import math
from dataclasses import dataclass
from typing import Any

import optax

from jssl import Stage, baselines, evals, nets, optim, sharding
from jssl.config import Count, Fraction, Positive, tiny
from jssl.data import Source
from jssl.data.tokenizing import SPECIAL
from jssl.knobs import (
    TEXT,
    Run,
    SmallText,
    Text,
    continuations,
    decoder_of,
    located,
    row_length,
    sizes_of,
    special,
    text_window,
    words_of,
)
from jssl.method import Method
from jssl.methods.language.bert import bert
from jssl.models.transformer import BERT, BERT_SIZES, Transformer
from jssl.ops.sentence_pairs import sentence_pairs

RUNS = {"": 1, "brown": 1, "order=True": 1, "pairs=False": 1}


@dataclass(frozen=True, kw_only=True)
class Pretext:
    """The words that are masked, and the pairs of segments.

    Attributes:
      rate: Fraction of the tokens that are predicted.
      rule: Choice of the tokens: static (a fixed number of each text) or dynamic (each by
        itself).
      whole: Predict whole words, where tokens are parts of words.
      pairs: Predict the next sentence too.
      order: Predict the order of two segments instead of the next sentence (ALBERT).
      random: Fraction of the pairs whose second segment is of another document, or that
        have changed places.
      short: Fraction of the pairs that are shorter than a row.
    """

    rate: Fraction = 0.15
    rule: str = "static"
    whole: bool = False
    pairs: bool = True
    order: bool = False
    random: Fraction = 0.5
    short: Fraction = 0.1

    def method(
        self, train: Source, network: Transformer, tx: optax.GradientTransformation
    ) -> Method:
        """The method for rows of a corpus."""
        length, known = row_length(train), words_of(train)
        cls, sep, eos = (special(train, x) for x in ("[CLS]", "[SEP]", "[EOS]"))
        pad = network.pad

        def pairs(key, batch):
            return sentence_pairs(
                key,
                *located(batch),
                length + 2,
                cls=cls,
                sep=sep,
                eos=eos,
                pad=pad,
                random=self.random,
                short=self.short,
                order=self.order,
            )

        return bert(
            nets.linen(BERT(network)),
            tx,
            prepare=text_window(train),
            vocabulary=len(known),
            mask=special(train, "[MASK]"),
            cls=cls,
            sep=sep,
            pad=pad,
            pairs=pairs if self.pairs or self.order else None,
            rate=self.rate,
            rule=self.rule,
            continues=continuations(train) if self.whole else None,
            words=len(SPECIAL) if known[: len(SPECIAL)] == SPECIAL else 0,
            text=decoder_of(train),
        )


def encoder(train: Source, width: int, depth: int, heads: int, **more: Any) -> Transformer:
    """BERT's network for rows of a corpus, with [CLS] and [SEP] around them.

    Raises:
      ValueError: the tokenizer has no padding.
    """
    pad = special(train, "[PAD]")
    length = row_length(train) + 2
    words = len(words_of(train))
    return Transformer(words, length, width, depth, heads, kinds=2, pad=pad, **more)


def chance(train: Source, pretext: Pretext) -> dict[str, float]:
    """The losses of even distributions."""
    masked = math.log(len(words_of(train)))
    both = pretext.pairs or pretext.order
    return {"masked": masked} | ({"next": math.log(2)} if both else {})


def small(run, text, pretext, network):
    """A stage on a small corpus, with the usual evaluations and perplexity."""
    train = text.load(run)
    own = encoder(train, **network.sizes)
    return baselines.text_stage(
        run,
        text,
        network,
        train,
        pretext.method(train, own, network.adamw(train.steps(text.epochs))),
        own,
        prepare=text_window(train),
        pictures={"perplexity": evals.perplexity()},
        chance=chance(train, pretext),
    )


SIZES = dict(width=16, depth=1, heads=2)


@tiny(TEXT, SIZES)
def laptop(
    run: Run = Run(),
    text: Text = Text(epochs=8.0),
    pretext: Pretext = Pretext(),
    network: SmallText = SmallText(),
) -> list[Stage]:
    """A small BERT of stories, meant for minutes on two cores; not timed yet.

    A row is a story of at most 128 words.
    """
    return [small(run, text, pretext, network)]


@tiny(TEXT, SIZES, source="toy_text", tokens="word", vocabulary=0)
def brown(
    run: Run = Run(save_every=500),
    text: Text = Text(
        source="brown",
        tokens="wordpiece",
        vocabulary=4096,
        length=64,
        epochs=6.0,
        batch=32,
        reading="aligned=True",
    ),
    pretext: Pretext = Pretext(whole=True),
    network: SmallText = SmallText(lr=1e-3, width=128, depth=4, heads=4, dropout=0.1),
) -> list[Stage]:
    """A small BERT of a million words of English, in WordPiece; not timed yet."""
    return [small(run, text, pretext, network)]


@tiny(
    TEXT, source="toy_text", tokens="word", vocabulary=0, variant="16x1x2", warmup=1,
)  # fmt: skip
def paper(
    run: Run = Run(save_every=1000),
    text: Text = Text(
        source="text:corpus",
        tokens="wordpiece",
        vocabulary=30522,
        length=126,
        epochs=40.0,
        batch=256,
        reading="aligned=True",
    ),
    pretext: Pretext = Pretext(),
    variant: str = "base",
    lr: Positive = 1e-4,
    warmup: Count = 10_000,
    decay: float = 0.01,
    clip: Positive = 1.0,
    dropout: Fraction = 0.1,
    accumulate: Count = 1,
    dtype: str = "bfloat16",
    remat: bool = False,
) -> list[Stage]:
    """BERT base and large: a million steps of 256 texts of 128 tokens, 40 passes.

    Adam with rate 1e-4, 10,000 steps of warm-up, linear decay to 0, weight decay 0.01,
    gradients clipped to a norm of 1, dropout 0.1; 15 % of the tokens are predicted, at most
    20 of a text. Numbers to beat, after fine-tuning: GLUE 79.6 (base) and 82.1 (large),
    as remembered.

    Departures: the paper trains 900,000 steps of 128 tokens and 100,000 of 512: length=510
    is a run of its own, with init= the first and its tokenizer. Pairs of segments are drawn
    anew in every step (see `jssl.ops.sentence_pairs`); Adam's moments are corrected for
    their bias, in the released code they are not. Wikipedia and the books are not at
    hand, give a corpus of your own (source=text:FOLDER); of more than 64 MB it is tokenized
    into the cache, and read by batch.

    Args:
      variant: Size of the network: base, large, or WIDTHxDEPTHxHEADS.
      lr: Peak learning rate.
      warmup: Steps of linear warm-up, before the linear decay to 0.
      decay: Weight decay of matrices and embeddings.
      clip: Largest norm of the gradient.
      dropout: Rate of embeddings, attention and branches.
      accumulate: Steps whose gradients are averaged into one update.
      dtype: Floating-point type of the network; empty: float32.
      remat: Recompute the blocks' activations in the backward pass, to save memory.
    """
    train = text.load(run)
    updates = train.steps(text.epochs) // accumulate
    rate = optax.schedules.warmup_constant_schedule(0.0, lr, warmup)
    falls = optax.linear_schedule(1.0, 0.0, max(updates, 1))
    adamw = optax.chain(
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(eps=1e-6),
        optax.add_decayed_weights(decay, optim.matrices),
        optim.scale_by_rate(lambda step: rate(step) * falls(step)),
    )
    adamw = optax.MultiSteps(adamw, accumulate) if accumulate > 1 else adamw
    how = dict(dropout=dropout, remat=remat, dtype=dtype or None)
    sizes = sizes_of(variant, BERT_SIZES)
    return [
        run.stage(
            "pretrain",
            pretext.method(train, encoder(train, *sizes, **how), adamw),
            train,
            train.steps(text.epochs),
            evals={"perplexity": evals.perplexity()},
            chance=chance(train, pretext),
            rules=sharding.TRANSFORMER,
        )
    ]
