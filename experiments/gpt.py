"""GPT: a causal language model, which predicts each token from those before it.

    python -m jssl.main --config=experiments/gpt.py
    python -m jssl.main --config=experiments/gpt.py:source=python_docs,tokens=char
    python -m jssl.main --config=experiments/gpt.py:brown
    python -m jssl.main --config=experiments/gpt.py:paper,source=text:FOLDER,mesh=fsdp=8
    python -m jssl.main --config=experiments/gpt.py:first,source=text:FOLDER

Radford et al. 2018 (GPT) and 2019 (GPT-2). Reference, perplexity of WikiText-103 without
training on it: 124M 37.5, 355M 26.4, 774M 22.1, 1.5B 17.5. Ours: `paper` and `first` not
run; `laptop` and `brown` are what docs/results.md holds.
"""

from dataclasses import dataclass
from typing import Any

import optax

from jssl import Stage, baselines, evals, nets, optim, sharding
from jssl.config import Count, Fraction, Positive, tiny
from jssl.data import Source
from jssl.knobs import (
    TEXT,
    Decoding,
    Run,
    SmallText,
    Text,
    decoder_of,
    even_loss,
    row_length,
    sizes_of,
    special,
    window,
    words_of,
)
from jssl.method import Method
from jssl.methods.language.gpt import gpt
from jssl.models.transformer import GPT, GPT_SIZES, Transformer

RUNS = {"": 1, "brown": 1}


@dataclass(frozen=True, kw_only=True)
class Samples(Decoding):
    """Texts that are drawn for the report.

    Attributes:
      prompt: Tokens of a row that a sample continues.
      new: Tokens that are drawn for a sample; 0: as many as a row has.
    """

    prompt: Count = 8
    new: int = 0
    temperature: float = 0.8

    def drawn(self, train: Source) -> dict[str, Any]:
        """Arguments of the method."""
        room = row_length(train) - min(self.prompt, row_length(train) - 1)
        return dict(
            prompt=min(self.prompt, row_length(train) - 1),
            new=min(self.new or room, room),
            temperature=self.temperature,
            top_k=self.top_k,
        )


def encoder(train: Source, width: int, depth: int, heads: int, **more: Any) -> Transformer:
    """GPT-2's network for rows of a corpus, and the token that begins a text."""
    length = row_length(train) + 1
    how = dict(causal=True, pre_norm=True, pad=None, eps=1e-5, scaled=True)
    how = how | dict(activation="gelu_tanh")
    return Transformer(len(words_of(train)), length, width, depth, heads, **(how | more))


def pad_of(train: Source) -> int | None:
    """Number of the padding of a corpus, if it has any."""
    return train.field_of("corpus").pad  # type: ignore[attr-defined]


def method_of(
    train: Source, network: Transformer, tx: optax.GradientTransformation, samples: Samples
) -> Method:
    """The method for rows of a corpus."""
    return gpt(
        nets.linen(GPT(network, pad_of(train))),
        tx,
        prepare=window(row_length(train)),
        begin=special(train, "[BOS]"),
        pad=pad_of(train),
        text=decoder_of(train),
        **samples.drawn(train),
    )


def small(run, text, samples, network):
    """A stage on a small corpus, with the usual evaluations and perplexity."""
    train = text.load(run)
    own = encoder(train, **network.sizes)
    return baselines.text_stage(
        run,
        text,
        network,
        train,
        method_of(train, own, network.adamw(train.steps(text.epochs)), samples),
        own.clone(pad=pad_of(train)),
        prepare=window(row_length(train)),
        pictures={
            "perplexity": evals.perplexity(),
            "ngrams": evals.ngrams(begin=special(train, "[BOS]"), pad=pad_of(train)),
        },
        chance=even_loss(train),
    )


SIZES = dict(width=16, depth=1, heads=2)


@tiny(TEXT, SIZES, new=4)
def laptop(
    run: Run = Run(),
    text: Text = Text(epochs=6.0),
    samples: Samples = Samples(),
    network: SmallText = SmallText(),
) -> list[Stage]:
    """A small GPT-2 of stories, meant for minutes on two cores; not timed yet.

    A row is a story of at most 128 words.
    """
    return [small(run, text, samples, network)]


@tiny(TEXT, SIZES, source="toy_text", tokens="word", vocabulary=0, new=4)
def brown(
    run: Run = Run(save_every=500),
    text: Text = Text(
        source="brown",
        tokens="bpe",
        vocabulary=4096,
        length=64,
        epochs=4.0,
        batch=32,
        supervised_epochs=1.0,
    ),
    samples: Samples = Samples(),
    network: SmallText = SmallText(
        lr=1e-3, decay=0.1, width=128, depth=4, heads=4, dropout=0.1
    ),
) -> list[Stage]:
    """A small GPT-2 of a million words of English, in BPE; not timed yet."""
    return [small(run, text, samples, network)]


@dataclass(frozen=True, kw_only=True)
class Large:
    """The network of a published setting, and its optimizer.

    Attributes:
      variant: Size of the network: 124M, 355M, 774M, 1.5B, or WIDTHxDEPTHxHEADS.
      lr: Peak learning rate; 0: that of the size.
      warmup: Steps of linear warm-up, before the cosine decay.
      decay: Weight decay of matrices and embeddings.
      clip: Largest norm of the gradient.
      dropout: Rate of embeddings, attention and branches.
      accumulate: Steps whose gradients are averaged into one update.
      dtype: Floating-point type of the network; empty: float32.
      remat: Recompute the blocks' activations in the backward pass, to save memory.
    """

    variant: str = "124M"
    lr: float = 0.0
    warmup: Count = 2000
    decay: float = 0.1
    clip: Positive = 1.0
    dropout: Fraction = 0.1
    accumulate: Count = 1
    dtype: str = "bfloat16"
    remat: bool = True

    def stage(
        self, run: Run, text: Text, samples: Samples, end: float, **network: Any
    ) -> Stage:
        """The stage of a published setting.

        Args:
          run, text, samples: further knobs.
          end: final learning rate, as a fraction of the peak.
          network: arguments of the network.
        """
        train = text.load(run)
        how = dict(dropout=self.dropout, remat=self.remat, dtype=self.dtype or None)
        own = encoder(train, *sizes_of(self.variant, GPT_SIZES), **(how | network))
        peak = self.lr or RATES.get(self.variant, 6e-4)
        updates = train.steps(text.epochs) // self.accumulate
        adamw = optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.scale_by_adam(b2=0.95 if own.pre_norm else 0.999),
            optax.add_decayed_weights(self.decay, optim.matrices),
            optim.scale_by_rate(
                optim.warmup_cosine(peak, self.warmup, updates, end=peak * end)
            ),
        )
        if self.accumulate > 1:
            adamw = optax.MultiSteps(adamw, self.accumulate)
        return run.stage(
            "pretrain",
            method_of(train, own, adamw, samples),
            train,
            train.steps(text.epochs),
            evals={"perplexity": evals.perplexity()},
            chance=even_loss(train),
            rules=sharding.TRANSFORMER,
        )


RATES = {"124M": 6e-4, "355M": 3e-4, "774M": 2.5e-4, "1.5B": 2e-4}
SMALL = dict(source="toy_text", tokens="word", vocabulary=0, new=4, reading="documents=40",
             variant="16x1x2")  # fmt: skip


@tiny(TEXT, SMALL, warmup=1)
def paper(
    run: Run = Run(save_every=1000),
    text: Text = Text(
        source="text:corpus",
        tokens="bpe",
        vocabulary=50257,
        length=1023,
        epochs=10.0,
        batch=512,
        reading="packed=True",
    ),
    samples: Samples = Samples(new=64),
    large: Large = Large(),
) -> list[Stage]:
    """GPT-2 of 124 million to 1.5 billion weights: packed texts of 1,024 tokens, batch 512.

    Numbers to beat, perplexity of WikiText-103 without training on it: 37.50, 26.37, 22.05
    and 17.48. The mesh axis fsdp cuts weights and moments, tensor heads and hidden units.

    Departures: WebText is not published, give a corpus of your own (source=text:FOLDER); of
    more than 64 MB it is tokenized into the cache, and read by batch. The paper has neither
    optimizer nor rate: these are those of GPT-3's models of like sizes (Brown et al. 2020,
    table 2.1, https://arxiv.org/abs/2005.14165, as remembered). Texts are joined by [EOS],
    and each row begins with [BOS].
    """
    return [large.stage(run, text, samples, end=0.1)]


@tiny(TEXT, SMALL, warmup=1)
def first(
    run: Run = Run(save_every=1000),
    text: Text = Text(
        source="text:corpus",
        tokens="bpe",
        vocabulary=40478,
        length=511,
        epochs=100.0,
        batch=64,
        reading="packed=True",
    ),
    samples: Samples = Samples(new=64),
    large: Large = Large(lr=2.5e-4, decay=0.01, remat=False),
) -> list[Stage]:
    """The first GPT: post-norm blocks, 100 passes over 7,000 books in batches of 64 x 512.

    Adam with rate 2.5e-4, 2,000 steps of warm-up, cosine decay to 0, weight decay 0.01,
    dropout 0.1. Reference, perplexity of the books: 18.4 (as remembered).

    Departures: the books are not published, give a corpus of your own (source=text:FOLDER);
    its BPE is of bytes.
    """
    post = dict(pre_norm=False, first_norm=False, scaled=False)
    return [large.stage(run, text, samples, end=0.0, **post)]
