"""DeepMoji: prediction of the emojis that a text had.

    python -m jssl.main --config=experiments/deepmoji.py
    python -m jssl.main --config=experiments/deepmoji.py:source=posts:FILE
    python -m jssl.main --config=experiments/deepmoji.py:labels=5
    python -m jssl.main --config=experiments/deepmoji.py:paper,source=posts:FILE

Felbo et al. 2017, https://arxiv.org/abs/1708.00524. Reference, 64 emojis of tweets: top-1
17.0 %, top-5 43.8 % (as remembered). Ours: `paper` not run.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import jax
import optax

from jssl import Stage, baselines, evals, nets, optim
from jssl.config import Count, Fraction, Positive, tiny
from jssl.data import Source, labels_per_class
from jssl.knobs import (
    TEXT,
    Run,
    Text,
    decoder_of,
    special,
    text_window,
    with_labels,
    words_of,
)
from jssl.learner import graft
from jssl.method import Method, field
from jssl.methods.language.deepmoji import deepmoji
from jssl.methods.transfer.supervised import supervised
from jssl.models.heads import Classifier
from jssl.models.recurrent import AttentiveLSTM

RUNS = {"": 3, "balanced=False": 1}
LAYERS = ("^head", "embedding", "lstm0", "lstm1", "attention")  # in the order of chain-thaw


@dataclass(frozen=True, kw_only=True)
class Network:
    """The recurrent network, and the prediction of emojis.

    Attributes:
      embedding: Width of the embedding.
      width: Width of the state of each direction of an LSTM.
      dropout: Rate of channels of the embedding, and of the output.
      balanced: Draw every emoji equally often.
    """

    embedding: Count = 64
    width: Count = 32
    dropout: Fraction = 0.1
    balanced: bool = True

    def encoder(self, train: Source) -> AttentiveLSTM:
        """The network for rows of a corpus."""
        pad = special(train, "[PAD]")
        size = len(words_of(train))
        return AttentiveLSTM(size, self.embedding, self.width, pad, self.dropout)

    def method(self, train: Source, tx: optax.GradientTransformation) -> Method:
        """The method for rows of a corpus with emojis."""
        names = emojis(train)
        return deepmoji(
            nets.linen(Classifier(self.encoder(train), len(names))),
            tx,
            prepare=text_window(train),
            emoji=field("emoji"),
            balanced=self.balanced,
            names=names,
            words=decoder_of(train),
            pad=special(train, "[PAD]"),
        )


def emojis(train: Source) -> tuple[str, ...]:
    """The emojis of a corpus.

    Raises:
      ValueError: it has none.
    """
    if "emoji" not in train.row_shapes():
        raise ValueError(
            f"{train.data_name} has no emojis: give source=posts:FILE or toy_text:emoji"
        )
    return train.field_of("emoji").names  # type: ignore[attr-defined]


def judges(train: Source) -> dict:
    """Evals of the predicted emojis."""
    tops = {f"emoji/top{k}": k for k in (1, 5) if k < len(emojis(train))}
    return {name: evals.accuracy("emojis", name, "emoji", k) for name, k in tops.items()}


@tiny(
    TEXT, source="toy_text:emoji", vocabulary=0, tokens="word", embedding=8, width=4,
    labels=2, thaw=1,
)  # fmt: skip
def laptop(
    run: Run = Run(),
    text: Text = Text(source="toy_text:emoji", epochs=10.0),
    network: Network = Network(),
    lr: Positive = 3e-3,
    labels: int = 10,
    thaw: Count = 40,
    thaw_lr: Positive = 1e-3,
) -> list[Stage]:
    """Sixteen emojis of stories, a fifth of them noise; not timed yet.

    The best possible top-1 is 81 %. The stage "transfer" learns the mood of the texts from
    few labels by chain-thaw, beside a network from scratch. Data without labels end with
    the pre-training.

    Args:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
      labels: Labels of each class of the transfer; 0: no transfer.
      thaw: Steps of each of the six phases of chain-thaw: the new layer, each of the other
        layers, and all.
      thaw_lr: Learning rate of the transfer.
    """
    train = text.load(run)
    adamw = partial(optim.adamw, lr)
    pretrain = baselines.pretrain_stage(
        run,
        text,
        train,
        network.method(train, adamw(train.steps(text.epochs))),
        nets.linen(Classifier(network.encoder(train), max(train.classes, 1))),
        prepare=text_window(train),
        tx=adamw,
        pictures=judges(train),
        chance={"loss": math.log(len(emojis(train)))},
        refresh_every=train.steps(1),
    )
    if not train.classes or not labels:
        return [pretrain]
    return [pretrain, transfer(run, network, train, labels, thaw, thaw_lr)]


def transfer(run, network, train, labels, steps, lr):
    """Learns few labels by chain-thaw, beside a network from scratch."""
    few = labels_per_class(with_labels(train, batch=1), labels, run.seed)
    few = replace(few, batch=min(train.batch, few.size))
    net = nets.linen(Classifier(network.encoder(train), train.classes))
    whole = (len(LAYERS) + 1) * steps

    def learned(tx):
        return supervised(net, tx, train.classes, prepare=text_window(train))

    adam = optim.chain_thaw(optax.adam(lr), LAYERS, steps)
    judged = {"top1": evals.accuracy()}
    scratch = run.baseline("scratch", learned(optax.adam(lr)), few, whole, evals=judged)
    return run.stage(
        "transfer",
        learned(adam),
        few,
        whole,
        evals=judged,
        start=lambda state, done: graft(state, encoder=done["pretrain"]),
        baselines={f"from scratch, {labels} labels a class": scratch},
    )


def of_embedding(params):
    """A mask of weights: True for the embedding."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key == "embedding", params
    )


@tiny(TEXT, source="toy_text:emoji", vocabulary=0, embedding=8, width=4)
def paper(
    run: Run = Run(save_every=5000),
    text: Text = Text(
        source="posts:tweets.txt", vocabulary=50_000, length=32, epochs=1.0, batch=250
    ),
    network: Network = Network(embedding=256, width=512, dropout=0.0),
    lr: Positive = 1e-3,
    clip: Positive = 1.0,
    decay: float = 1e-6,
) -> list[Stage]:
    """64 emojis of 1.2 billion tweets: 50,000 words, two BiLSTMs of 512 and 512.

    Adam with rate 1e-3, gradients clipped to a norm of 1, L2 of 1e-6 on the embedding.
    Numbers to beat, of a balanced test set: top-1 17.0 %, top-5 43.8 %. All numbers are as
    remembered; the paper was not at hand.

    Departures: the tweets are not published, give texts of your own with emojis
    (source=posts:FILE), which are held in memory; the split follows from a text's words,
    and val and test are not balanced. Batches of 250 and one pass are of no source. Words
    are those of our tokenizer, in lower case.

    Args:
      lr: Learning rate.
      clip: Largest norm of the gradient.
      decay: L2 regularization of the embedding.
    """
    train = text.load(run)
    adam = optax.chain(
        optax.add_decayed_weights(decay, of_embedding),
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(),
        optim.scale_by_rate(lr),
    )
    return [
        run.stage(
            "pretrain",
            network.method(train, adam),
            train,
            train.steps(text.epochs),
            evals=judges(train),
            chance={"loss": math.log(len(emojis(train)))},
            refresh_every=train.steps(1),
        )
    ]
