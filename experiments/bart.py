"""BART: reconstruction of a corrupted text by an encoder-decoder transformer.

    python -m jssl.main --config=experiments/bart.py
    python -m jssl.main --config=experiments/bart.py:infill=0.0,permute=0.0,rotate=1.0
    python -m jssl.main --config=experiments/bart.py:brown
    python -m jssl.main --config=experiments/bart.py:paper,source=text:FOLDER,mesh=fsdp=8

Lewis et al. 2020, https://arxiv.org/abs/1910.13461. Reference of BART large, after
fine-tuning: SQuAD 1.1 F1 94.6, MNLI 89.9, ROUGE-1, 2 and L of CNN/DailyMail 44.2, 21.3 and
40.9 (as remembered). Ours: no function has been run.
"""

from collections.abc import Mapping
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
    text_window,
    window,
    words_of,
)
from jssl.method import Method
from jssl.methods.language.bart import bart, corruption
from jssl.models.encoder_decoder import BART, EncoderDecoder, encoder_decoder

RUNS = {"": 1, "brown": 1, "permute=0.0": 1, "infill=0.0": 1}
SIZES = {"base": (768, 6, 12), "large": (1024, 12, 16)}  # width, depth of each half, heads


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Corruption of the text that is read, in this order.

    Attributes:
      permute: Fraction of the sentences that are permuted.
      masked: Fraction of the tokens that are masked one by one.
      deleted: Fraction of the tokens that are deleted.
      infill: Fraction of the tokens that are replaced, in spans, by one mask each.
      span: Mean length of the spans.
      rotate: Probability that a text is rotated, to begin with any of its tokens.
    """

    permute: Fraction = 1.0
    masked: Fraction = 0.0
    deleted: Fraction = 0.0
    infill: Fraction = 0.3
    span: Positive = 3.0
    rotate: Fraction = 0.0

    def method(
        self,
        train: Source,
        network: EncoderDecoder,
        tx: optax.GradientTransformation,
        **more: Any,
    ) -> Method:
        """The method for rows of a corpus."""
        texts, pad = text_window(train), special(train, "[PAD]")
        corrupt = corruption(
            texts,
            window(row_length(train), "sentence"),
            mask=special(train, "[MASK]"),
            pad=pad,
            **vars(self),
        )
        return bart(
            nets.linen(network),
            tx,
            prepare=texts,
            corrupt=corrupt,
            bos=special(train, "[BOS]"),
            eos=special(train, "[EOS]"),
            pad=pad,
            text=decoder_of(train),
            **more,
        )


def network_of(
    train: Source, width: int, depth: int, heads: int, **more: Any
) -> EncoderDecoder:
    """BART's network for rows of a corpus, with [BOS] and [EOS] around them."""
    how: Mapping[str, Any] = BART | dict(pad=special(train, "[PAD]")) | more
    length = row_length(train) + 2
    return encoder_decoder(len(words_of(train)), length, width, depth, heads, **how)


def judges(train: Source) -> dict[str, evals.Eval]:
    """Evaluations of reconstructions."""
    return {"perplexity": evals.perplexity(), "rouge": evals.rouge(decoder_of(train))}


def small(run, text, noise, decoding, network):
    """A stage on a small corpus, with the usual evaluations."""
    train = text.load(run)
    own = network_of(train, **network.sizes)
    return baselines.text_stage(
        run,
        text,
        network,
        train,
        noise.method(train, own, network.adamw(train.steps(text.epochs)), **vars(decoding)),
        own.encoder,
        prepare=text_window(train),
        pictures=judges(train),
        chance=even_loss(train),
    )


SMALL = dict(width=16, depth=1, heads=2)


@tiny(TEXT, SMALL)
def laptop(
    run: Run = Run(),
    text: Text = Text(epochs=5.0),
    noise: Noise = Noise(),
    decoding: Decoding = Decoding(),
    network: SmallText = SmallText(depth=2),
) -> list[Stage]:
    """A small BART of stories, meant for minutes on two cores; not timed yet.

    A row is a story of at most 128 words.
    """
    return [small(run, text, noise, decoding, network)]


@tiny(TEXT, SMALL, source="toy_text", tokens="word", vocabulary=0)
def brown(
    run: Run = Run(save_every=500),
    text: Text = Text(
        source="brown",
        tokens="bpe",
        vocabulary=4096,
        length=64,
        epochs=6.0,
        batch=32,
        supervised_epochs=1.0,
        reading="aligned=True",
    ),
    noise: Noise = Noise(),
    decoding: Decoding = Decoding(),
    network: SmallText = SmallText(lr=1e-3, width=128, heads=4, dropout=0.1),
) -> list[Stage]:
    """A small BART of a million words of English, in BPE; not timed yet."""
    return [small(run, text, noise, decoding, network)]


@tiny(
    TEXT, source="toy_text", tokens="word", vocabulary=0, variant="16x1x2", warmup=1,
)  # fmt: skip
def paper(
    run: Run = Run(save_every=1000),
    text: Text = Text(
        source="text:corpus",
        tokens="bpe",
        vocabulary=50265,
        length=510,
        epochs=40.0,
        batch=200,
        reading="aligned=True",
    ),
    noise: Noise = Noise(),
    decoding: Decoding = Decoding(),
    variant: str = "large",
    lr: Positive = 4e-4,
    warmup: Count = 30_000,
    decay: float = 0.01,
    dropout: Fraction = 0.1,
    accumulate: Count = 40,
    dtype: str = "bfloat16",
    remat: bool = True,
) -> list[Stage]:
    """BART base and large: 500,000 updates of 8,000 texts of 512 tokens, some 40 passes.

    Spans of 30 % of the tokens are infilled, all sentences permuted. Numbers to beat, after
    fine-tuning: those above. The mesh axis fsdp cuts weights and moments, tensor heads and
    hidden units.

    Departures: the paper has no learning rate: rate, warm-up, linear decay to 0, Adam's
    second moment of 0.98, its epsilon of 1e-6 and the weight decay are those of RoBERTa
    large (Liu et al. 2019, table 9, https://arxiv.org/abs/1907.11692, as remembered), on
    whose schedule BART's is modeled. Dropout stays on in the last tenth of the training.
    Spans are of tokens, not of whole words as in the released code. News, books, stories
    and web text are not at hand, give a corpus of your own (source=text:FOLDER); of more
    than 64 MB it is tokenized into the cache, and read by batch.

    Args:
      variant: Size of the network: base, large, or WIDTHxDEPTHxHEADS.
      lr: Peak learning rate.
      warmup: Steps of linear warm-up, before the linear decay to 0.
      decay: Weight decay of matrices and embeddings.
      dropout: Rate of embeddings, attention and branches.
      accumulate: Steps whose gradients are averaged into one update, of `batch` texts each.
      dtype: Floating-point type of the network; empty: float32.
      remat: Recompute the blocks' activations in the backward pass, to save memory.
    """
    train = text.load(run)
    updates = train.steps(text.epochs) // accumulate
    warmup = min(warmup, max(updates - 1, 0))
    rate = optax.schedules.warmup_constant_schedule(0.0, lr, warmup)
    falls = optax.linear_schedule(1.0, 0.0, max(updates - warmup, 1), warmup)
    adamw = optax.chain(
        optax.scale_by_adam(b2=0.98, eps=1e-6),
        optax.add_decayed_weights(decay, optim.matrices),
        optim.scale_by_rate(lambda step: rate(step) * falls(step)),
    )
    adamw = optax.MultiSteps(adamw, accumulate) if accumulate > 1 else adamw
    how = dict(dropout=dropout, remat=remat, dtype=dtype or None)
    own = network_of(train, *sizes_of(variant, SIZES), **how)
    return [
        run.stage(
            "pretrain",
            noise.method(train, own, adamw, **vars(decoding)),
            train,
            train.steps(text.epochs),
            evals=judges(train),
            chance=even_loss(train),
            rules=sharding.TRANSFORMER,
        )
    ]
