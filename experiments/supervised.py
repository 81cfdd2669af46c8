"""Supervised learning: the reference with all labels, by default of a small ViT.

    python -m jssl.main --config=experiments/supervised.py
    python -m jssl.main --config=experiments/supervised.py:init=runs/mae
    python -m jssl.main --config=experiments/supervised.py:network=convnet,init=runs/simclr
    python -m jssl.main --config=supervised:transfer,first=fashion_mnist,labels=10

`sentiment`, `entities`, `answers` and `inference` fine-tune an encoder of text, of a run or
of a folder of transformers, on a task, or train one from scratch:

    python -m jssl.main --config=supervised:sentiment,init=runs/bert,labels=100
    python -m jssl.main --config=supervised:entities,crf=True
    python -m jssl.main --config=supervised:inference,premise=False

The recipe of Devlin et al. 2019, https://arxiv.org/abs/1810.04805, for pretrained networks
of published sizes: lr=5e-5, 3e-5 or 2e-5, batch=16 or 32, epochs=2 to 4, dropout=0.1.
Reference, of BERT base: SST-2 93.5, MNLI 84.6, SQuAD 1.1 F1 88.5, CoNLL-2003 F1 92.4, as
remembered; these data are not at hand. Ours: not run.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl import Stage, baselines, evals, initial, nets, optim
from jssl.config import Count, Counts, Fraction, Positive, one_of, tiny
from jssl.data import Source
from jssl.knobs import (
    CORPUS,
    DATA,
    FEW_LABELS,
    Data,
    FewLabels,
    LabeledText,
    Run,
    check_pairs,
    row_length,
    special,
    texts_of,
    window,
    words_of,
)
from jssl.learner import graft
from jssl.method import Prepare, field
from jssl.methods.transfer.supervised import (
    cross_entropy,
    span_cross_entropy,
    supervised,
    tag_cross_entropy,
    tag_likelihood,
)
from jssl.models import vit
from jssl.models.convnet import ConvNet
from jssl.models.encoder_decoder import frame_of
from jssl.models.heads import Classifier
from jssl.models.text_tasks import SpanFinder, Tagged, TextClassifier, TextTagger
from jssl.models.transformer import Transformer
from jssl.ops.framing import framed

RUNS = {
    "": 1,
    "transfer": 3,
    "sentiment": 3,
    "entities": 3,
    "entities,crf=True": 3,
    "inference": 3,
    "inference,premise=False": 3,
    "answers": 3,
    "answers,question=False": 3,
}


@tiny(DATA, patch=2, width=16, depth=1, widths=(4, 8))
def laptop(
    run: Run = Run(dispatch=4, save_every=0),
    images: Data = Data(epochs=20.0),
    lr: Positive = 1e-3,
    network: str = "vit",
    patch: Count = 7,
    width: Count = 96,
    depth: Count = 4,
    heads: Count = 4,
    pool: str = "grid",
    smoothing: Fraction = 0.0,
    widths: Counts = (32, 64, 128),
) -> list[Stage]:
    """A ViT, or a small convolutional network, with all labels: two minutes on two cores.

    Args:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
      network: Encoder: vit, as in `mae`, or convnet, as in the experiments with views.
      patch: Side of a patch of the ViT in pixels; must divide the image's (digits: 2).
      width: Width of the encoder.
      depth: Number of blocks of the encoder.
      heads: Attention heads of the encoder; must divide the width.
      pool: Pooling of the tokens into h: mean, cls, mean_max, grid (3 x 3 means) or flat.
      smoothing: Fraction of each label that is spread over all classes.
      widths: Channels of each layer of the convnet.
    """
    classifier, prepare, side = one_of("network", network, {
        "vit": (
            partial(
                vit.Classifier,
                vit.Encoder(width, depth, heads, patch),
                pool=pool,
                head_std=0.02,
            ),
            field("image", lambda x: 2 * x - 1),
            patch,
        ),
        "convnet": (partial(Classifier, ConvNet(widths)), field("image"), 1),
    })  # fmt: skip
    train = images.load(run, labeled=True, patch=side)
    steps = train.steps(images.epochs)
    method = supervised(
        nets.linen(classifier(classes=train.classes)),
        optim.adamw(lr, steps, decay=0.05),
        train.classes,
        prepare=prepare,
        smoothing=smoothing,
    )
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    further = {"top1": evals.accuracy(), "embedding": evals.embedding_picture()}
    return [
        run.stage(
            "train",
            method,
            train,
            steps,
            evals=judged | further,
            baselines=baselines.rows(run, method, train, judged),
        )
    ]


@tiny(FEW_LABELS, first="digits", first_epochs=0.03)
def transfer(
    run: Run = Run(),
    images: FewLabels = FewLabels(),
    first: str = "fashion_mnist",
    first_epochs: Positive = 2.0,
) -> list[Stage]:
    """Transfer from the labels of other images to few labels: two minutes on two cores.

    Oliver et al. 2018, https://arxiv.org/abs/1804.09170, section 4.3: with CIFAR-10 and
    4,000 labels, fine-tuning from ImageNet had a lower error (12.09 %) than any of the
    semi-supervised methods on the same network. Network, views and updates are those of
    `pi_model` and its like.

    Args:
      first: Source of the images of the first stage, which has all their labels.
      first_epochs: Passes over them.
    """
    train = images.load(run)
    others = replace(images, source=first, classes=0, mismatch=0.0).load(run, labeled=True)
    if others.image_shape != train.image_shape:
        raise ValueError(
            f"first must have images of {train.image_shape}, as {images.source} has, got "
            f"{others.image_shape} of {first}: give channels or size"
        )
    view, steps = images.view(train), others.steps(first_epochs)
    begun = supervised(
        images.classifier(others), optim.adamw(images.lr, steps), others.classes, view
    )
    return [
        run.stage("first", begun, others, steps, evals={"top1": evals.accuracy()}),
        baselines.few_label_stage(
            run,
            images,
            train,
            None,
            augment=view,
            start=lambda state, done: graft(state, encoder=done["first"]),
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class TextNetwork:
    """An encoder of text, and its optimizer.

    Attributes:
      lr: Peak learning rate: linear warm-up over the first 10 % of the steps, then cosine
        decay to 0.
      decay: Weight decay of matrices and embeddings.
      width: Width of the encoder; with `init`, its own.
      depth: Number of blocks; with `init`, its own.
      heads: Attention heads of each block; with `init`, its own.
      dropout: Rate of embeddings, attention, branches, and before the head.
    """

    lr: Positive = 5e-4
    decay: float = 0.01
    width: Count = 96
    depth: Count = 3
    heads: Count = 3
    dropout: Fraction = 0.1

    def encoder(self, train: Source, known: Transformer | None) -> Transformer:
        """BERT's encoder for rows of a corpus, or a known one.

        Raises:
          ValueError: the known one is of another vocabulary.
        """
        words = len(words_of(train))
        if known is None:
            sizes = (words, row_length(train) + 1, self.width, self.depth, self.heads)
            pad = special(train, "[PAD]")
            return Transformer(*sizes, kinds=2, pad=pad, dropout=self.dropout)
        if known.vocabulary != words:
            raise ValueError(
                f"the encoder has {known.vocabulary} tokens and the text {words}: give "
                f"tokenizer=, the run or the file of those that it was trained on"
            )
        return known.clone(dropout=self.dropout)


class _Task:
    """A corpus and an encoder for it, from which the config functions make their stages."""

    def __init__(self, run: Run, text: LabeledText, network: TextNetwork, **reading: Any):
        known = initial.text_encoder(run.init) if run.init else None
        text = replace(text, tokenizer=text.tokenizer or run.init)
        self.run, self.text, self.network = run, text, network
        self.whole = text.load(run, labeled=True, **reading)
        self.train = text.draw(run, self.whole)
        self.encoder = network.encoder(self.whole, known)

    def needs(self, there: Any, what: str) -> Any:
        """A property of the data.

        Raises:
          ValueError: data without it.
        """
        if not there:
            raise ValueError(f"source must be text with {what}, got {self.text.source!r}")
        return there

    def framed(self, batch):
        """The texts of a batch between the encoder's special tokens."""
        begin, end, sep, eos = (
            name and special(self.whole, name)
            for name in (*frame_of(self.encoder), "[SEP]", "[EOS]")
        )
        tokens, pad = window(row_length(self.whole))(batch), self.encoder.pad or 0
        return framed(tokens, begin=begin, end=end, sep=sep, eos=eos, pad=pad)

    def stage(
        self,
        module: nn.Module,
        judged: Mapping[str, Callable],
        *,
        classes: int | None = None,
        prepare: Prepare | None = None,
        pictures: Mapping[str, Callable] = {},
        others: Mapping[str, Stage] = {},
        **how: Any,
    ) -> list[Stage]:
        """The stage "train" of a network with a head, with its baselines.

        These are the untrained network and, if the encoder is pretrained, one from scratch.
        """
        run, steps = self.run, self.whole.steps(self.text.epochs)
        tx = optim.adamw(self.network.lr, steps, warmup=0.1, decay=self.network.decay)
        method = supervised(
            nets.linen(module), tx, classes, prepare=prepare or self.framed, **how
        )
        beside = {
            "untrained network": run.baseline(
                "untrained", method, self.train, 0, evals=judged
            )
        }
        if run.init:
            beside["from scratch"] = run.baseline(
                "from-scratch", method, self.train, steps, evals=judged
            )
        return [
            run.stage(
                "train",
                method,
                self.train,
                steps,
                evals=dict(judged) | dict(pictures),
                baselines=beside | dict(others),
                **({"chance": {"loss": math.log(classes)}} if classes else {}),
            )
        ]

    def classified(self, pool: str) -> list[Stage]:
        """The stage of a classifier of texts, beside TF-IDF."""
        classes = self.needs(self.whole.classes, "classes")
        own = self.encoder
        first, _ = frame_of(own)
        pool = pool or ("last" if own.causal else "first" if first else "mean")
        judged = {"top1": evals.accuracy(), "macro_f1": evals.macro_f1()}
        return self.stage(
            TextClassifier(own, classes, pool, self.network.dropout),
            judged,
            classes=classes,
            error=cross_entropy,
            pictures={"embedding": evals.embedding_picture()},
            others={"tf-idf": baselines.tfidf(self.run, self.train, texts_of(self.whole))},
        )


NETWORK = dict(width=16, depth=1, heads=2)


@tiny(CORPUS, NETWORK)
def sentiment(
    run: Run = Run(),
    text: LabeledText = LabeledText(source="toy_text:sentiment", epochs=8.0),
    network: TextNetwork = TextNetwork(),
    pool: str = "",
) -> list[Stage]:
    """Classes of texts, by default the mood of three sentences; not timed yet.

    The data may be any text with classes: source=tweets, spam, text:FOLDER. The head is
    linear, on the output of one token. Beside it stands logistic regression on TF-IDF.

    Departures: BERT has a layer with tanh between [CLS] and the linear one, whose weights
    are pretrained.

    Args:
      pool: Output that is classified: first, last or mean; empty: of causal encoders the
        last, of PEGASUS the mean, else the first.
    """
    return _Task(run, text, network).classified(pool)


@tiny(CORPUS, NETWORK, length=128)
def inference(
    run: Run = Run(),
    text: LabeledText = LabeledText(source="toy_text:inference", epochs=12.0),
    network: TextNetwork = TextNetwork(),
    pool: str = "",
    premise: bool = True,
) -> list[Stage]:
    """Entailment, contradiction or neither, of a story and a statement; not timed yet.

    A text is [CLS] premise [SEP] hypothesis [SEP]; of causal encoders and BART [BOS]
    premise [SEP] hypothesis [EOS]; of PEGASUS the same without [BOS]. A row without a
    hypothesis is counted, in a warning. Otherwise as `sentiment`.

    Args:
      pool: Output that is classified: first, last or mean; empty: of causal encoders the
        last, of PEGASUS the mean, else the first.
      premise: Read the premise too; off is a control, at chance (1/3) if hypotheses do not
        betray their labels (Gururangan et al. 2018, https://arxiv.org/abs/1803.02324).
    """
    task = _Task(run, text, network, second=not premise)
    if premise:
        check_pairs(task.train)
    return task.classified(pool)


@tiny(CORPUS, NETWORK)
def entities(
    run: Run = Run(),
    text: LabeledText = LabeledText(source="toy_text:entities", epochs=4.0),
    network: TextNetwork = TextNetwork(),
    crf: bool = False,
) -> list[Stage]:
    """Named entities, as BIO tags of words: people, places, firms; not timed yet.

    The first token of a word has its tag; others have no loss, nor has the last one of a
    text that is longer than a row, which [SEP] replaces. Half of the people and firms of
    val and test, and 15 % of their places, are not in the training split: as words they are
    [UNK], and only their place tells their tags.

    Args:
      crf: Predict the tags of a text jointly, by a conditional random field, instead of one
        by one (Lample et al. 2016, https://arxiv.org/abs/1603.01360).
    """
    task = _Task(run, text, network)
    task.needs("tags" in task.whole.target_columns(), "tags")
    names = task.whole.field_of("tags").names  # type: ignore[attr-defined]

    def prepare(batch):
        texts = task.framed(batch)
        inner = texts.inner[:, texts.first :]
        return Tagged(texts, inner & (batch["tags"] >= 0))

    def target(batch):
        return jnp.where(prepare(batch).known, batch["tags"], -1)

    return task.stage(
        TextTagger(task.encoder, len(names), crf, network.dropout),
        {"entities": evals.entities(names)},
        prepare=prepare,
        target=target,
        error=tag_likelihood if crf else tag_cross_entropy,
    )


@tiny(CORPUS, NETWORK, length=64)
def answers(
    run: Run = Run(),
    text: LabeledText = LabeledText(source="toy_text:answers", epochs=12.0),
    network: TextNetwork = TextNetwork(),
    question: bool = True,
    longest: Count = 30,
) -> list[Stage]:
    """Extractive question answering, by default of stories; not timed yet.

    A text is [CLS] question [SEP] story [SEP]; of causal encoders and BART [BOS] question
    [SEP] story [EOS]; of PEGASUS the same without [BOS]. Start and end of the answer are a
    softmax each over all places of the row, those of padding too; the predicted answer is
    within the story.

    Departures: [CLS] is no place, since every question has an answer.

    Args:
      question: Read the question too; off is a control, of what stories alone betray
        (Kaushik and Lipton 2018, https://arxiv.org/abs/1808.04926).
      longest: Largest number of tokens of a predicted answer.
    """
    task = _Task(run, text, network, second=not question)
    task.needs("spans" in task.whole.target_columns(), "spans")
    return task.stage(
        SpanFinder(task.encoder, longest, network.dropout),
        {"answers": evals.answers(texts_of(task.whole))},
        target=field("spans"),
        error=span_cross_entropy,
    )
