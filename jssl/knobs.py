"""Knobs shared by many experiments, in groups, with functions of these knobs.

A config has a group as a parameter, with its own defaults; every field is then a knob of
that config, described here once:

    def laptop(run: Run = Run(), images: Images = Images(batch=256)) -> list[Stage]:

    --config=experiments/simclr.py:batch=64,mesh=data=2,lr=1e-3

A config may override the description of a knob under its "Args:".
"""

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl import data, nets, optim, views
from jssl.config import Count, Counts, Fraction, Positive, Range, Stage, one_of
from jssl.data import Source
from jssl.data.captioned import UNKNOWN, tokenized, vocabulary
from jssl.data.tokenizing import FILE, SPECIAL, parsed
from jssl.learner import ema_weights
from jssl.method import Augment, Method, Prepare, beneath, field
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.nets import Net


@dataclass(frozen=True, kw_only=True)
class Run:
    """Execution of the stages of a config.

    Attributes:
      seed: Random seed: weights, views, data order.
      mesh: Device mesh, e.g. data=8 or data=64;fsdp=4; empty: all devices on data.
      dispatch: Steps compiled into one call; larger values are faster for small networks.
      eval_every: Steps between evaluations of 1,024 rows, by the evals that take seconds;
        0: five in a stage, -1: only at the end.
      save_every: Steps between checkpoints; 0: only at the end.
      init: Workdir of a run, or file of weights, whose encoder is the start of every stage
        that does not continue an earlier one.
      baselines: Evaluate the baselines too: raw input, untrained network, supervised
        reference.
    """

    seed: int = 0
    mesh: str = ""
    dispatch: Count = 1
    eval_every: Annotated[int, Range(-1)] = 0
    save_every: int = 200
    init: str = ""
    baselines: bool = True

    def stage(
        self, name: str, method: Method, train: Source, steps: int, **more: Any
    ) -> Stage:
        """A stage with these settings; `more` are further fields."""
        fields = dict(vars(self))
        fields["eval_every"] = max(self.eval_every or -(-steps // 5), 0)
        fields["init"] = "" if more.get("start") else self.init
        fields["baselines"] = {}
        more = {k: x for k, x in more.items() if k != "baselines" or self.baselines}
        return Stage(name=name, method=method, data=train, steps=steps, **(fields | more))

    def baseline(
        self, name: str, method: Method, train: Source, steps: int, **more: Any
    ) -> Stage:
        """A stage without intermediate checkpoints and evaluations."""
        quiet = dict(eval_every=0, save_every=0, init="")
        return self.stage(name, method, train, steps, **(quiet | more))

    def layers(self, stack: Iterable[Method], train: Source, steps: int) -> list[Stage]:
        """Stages "layer1", "layer2" ... of a greedy stack of methods."""
        return [
            self.stage(
                f"layer{i + 1}",
                method,
                train,
                steps,
                start=beneath(f"layer{i}") if i else None,
            )
            for i, method in enumerate(stack)
        ]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A data set of images, how it is read, and the training budget.

    Attributes:
      source: Data set: mnist, fashion_mnist, digits, photos, folder:PATH, tfds:NAME ...
      limit: Number of training images used, stratified by class; 0: all.
      epochs: Passes over the training split.
      batch: Images per step.
      channels: Channels of the images, 1 (gray) or 3 (color); 0: those of the data set,
        and 3 for a folder.
      corrupt: Images in files that cannot be read: refuse raises an error, skip omits them.
      workers: Processes per host that read and decode images; 0: the main process.
      hold_out: Leave val out of training where it is cut from the published training
        images; off trains on all of them, and val is for choosing only.
      reading: Further arguments of the data set's loader, e.g. stride=4;data_dir=/tfds.
    """

    source: str = "mnist"
    limit: int = 0
    epochs: Positive = 30.0
    batch: Count = 64
    channels: int = 0
    corrupt: str = "refuse"
    workers: int = 0
    hold_out: bool = True
    reading: str = ""

    def read(self, run: Run, labeled: bool, **knobs: Any) -> Source:
        """The training split, shuffled by the run's seed; `knobs` are those of `data.load`.

        Raises:
          ValueError: knobs that the data set does not have.
        """
        if self.channels:
            knobs["channels"] = self.channels
        if self.corrupt != "refuse":
            knobs["corrupt"] = self.corrupt
        return data.load(
            self.source,
            self.batch,
            seed=run.seed,
            limit=self.limit,
            labeled=labeled,
            workers=self.workers,
            hold_out=self.hold_out,
            **knobs,
            **_arguments(self.reading),
        )


def _arguments(text: str) -> dict[str, Any]:
    """{name: value} of "name=value;name=value": numbers and booleans, else strings."""
    found: dict[str, Any] = {}
    for word in filter(None, text.split(";")):
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"reading must be NAME=VALUE;NAME=VALUE, got {word!r}")
        try:
            found[name.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name.strip()] = value
    return found


@dataclass(frozen=True, kw_only=True)
class Data(Pictures):
    """A small data set of images.

    Attributes:
      size: Side in pixels of the central square that is cut from every image, whose short
        side is first resized to it; 0: as they are if they have one size of at most 128,
        else 32 or, with patches, the largest multiple of the patch up to 32.
    """

    size: int = 0

    def load(self, run: Run, labeled: bool = False, patch: int = 1) -> Source:
        """The training split, shuffled by the run's seed.

        Args:
          run: has the seed.
          labeled: True includes labels in the batches.
          patch: side in pixels of the patches that images are divided into.

        Raises:
          ValueError: images that do not divide into patches.
        """
        cut = max(patch, 32 // patch * patch)
        size = {"size": self.size} if self.size else {}
        train = self.read(run, labeled, cut=cut, **size)
        h, w, _ = train.image_shape if patch > 1 else (0, 0, 0)
        if h % patch or w % patch:
            side = max(patch, min(h, w) // patch * patch)
            fits = [x for x in range(2, patch + 1) if h % x == w % x == 0]
            ways = f"size={side}" + (f" or patch={fits[-1]}" if fits else "")
            raise ValueError(
                f"images of {w}x{h} pixels do not divide into patches of {patch}: give "
                f"{ways}"
            )
        return train


@dataclass(frozen=True, kw_only=True)
class Images(Data):
    """A small data set that fits in memory, with a supervised baseline.

    Attributes:
      supervised_epochs: Training length of the supervised baseline (cached), in epochs; 0
        omits it.
    """

    supervised_epochs: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Text:
    """A corpus of text, its tokens, and the training budget.

    Attributes:
      source: Corpus: toy_text, text:PATH (a file or folder), python_docs, brown, tweets ...
      limit: Number of training rows used, the first ones, stratified by class; 0: all.
      epochs: Passes over the training split.
      batch: Rows per step.
      tokens: Tokens: word, char, bpe or wordpiece.
      vocabulary: Number of tokens; 0: all words or characters, 8192 of bpe and wordpiece.
      tokenizer: Workdir of a run, or file, whose tokenizer is used instead of a new one.
      length: Tokens of a row; 0: as is usual for the corpus.
      reading: Further arguments of the corpus's loader, e.g. stride=32;packed=True.
      supervised_epochs: Training length of the supervised baseline (cached), in epochs; 0
        trains none.
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
    supervised_epochs: float = 4.0

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
            **(more | given | _arguments(self.reading)),
        )


def row_length(train: Source) -> int:
    """Tokens of a row of a corpus."""
    return train.field_of("start").length  # type: ignore[attr-defined]


def words_of(train: Source) -> tuple[str, ...]:
    """The vocabulary of a corpus."""
    return train.field_of("corpus").vocabulary  # type: ignore[attr-defined]


def decoder_of(train: Source) -> Callable[[Iterable[int]], str]:
    """A function from token numbers to a text, for pictures."""
    kind = train.field_of("corpus")

    def decode(numbers):
        return str(kind.shown(np.asarray(numbers)[None, None], ())).strip()

    return decode


def special(train: Source, name: str) -> int:
    """Number of a special token, such as "[MASK]", of a corpus."""
    return parsed(train.files[FILE]).number(name)


def continuations(train: Source) -> np.ndarray:
    """bool [v], True for the tokens of a corpus that continue a word."""
    return np.array(parsed(train.files[FILE]).continues())


def token_counts(train: Source) -> np.ndarray:
    """Occurrences of each token in the training split, int [v]; 0 of special tokens."""
    start, corpus = train.column("start"), train.context["corpus"]
    held = corpus[start.min() : start.max() + row_length(train)]
    words = words_of(train)
    counts = np.bincount(held, minlength=len(words))
    return np.where([word in SPECIAL for word in words], 0, counts)


@dataclass(frozen=True, kw_only=True)
class ViewedImages(Images):
    """A small data set with augmented views.

    Attributes:
      recipe: Recipe of the views: digits, garments, photos, simclr_cifar ...; empty: digits
        for gray images, photos for color.
    """

    recipe: str = ""

    def recipe_of(self, train: Source) -> tuple[views.View, ...]:
        """The recipe's views, in the size of the images, not normalized, as `prepare`."""
        name = self.recipe or ("photos" if train.image_shape[-1] == 3 else "digits")
        return views.recipe(name, size=train.side, statistics=None)

    def augment(self, train: Source) -> Augment:
        """(key, batch) -> the recipe's views, [n, views, h, w, c]."""
        return views.on(partial(views.multi_view, views=self.recipe_of(train)))

    def one_view(self, train: Source) -> Augment:
        """(key, batch) -> the recipe's first view, [n, h, w, c]."""
        return views.on(self.recipe_of(train)[0])


@dataclass(frozen=True, kw_only=True)
class CroppedImages(ViewedImages):
    """A small data set with augmented views of two sizes: multi-crop.

    Attributes:
      recipe: Recipe of the views: digits_multicrop, garments_multicrop, cifar_multicrop; or
        one of two views, without small crops; empty: digits_multicrop for gray images,
        cifar_multicrop for color.
    """

    def recipe_of(self, train: Source, patch: int = 1) -> tuple[views.View, ...]:
        """The recipe's views, the large ones in the size of the images, not normalized.

        Args:
          train: the training split.
          patch: side of a patch in pixels, of which the sides of small crops are multiples.
        """
        color = train.image_shape[-1] == 3
        name = self.recipe or ("cifar_multicrop" if color else "digits_multicrop")
        return views.resized(views.recipe(name), train.side, patch, statistics=None)

    def augment(self, train: Source, patch: int = 1) -> Augment:
        """(key, batch) -> groups of views, ([n, 2, h, w, c], [n, k, h', w', c]).

        There is one group where all views have the same size. The args are those of
        `recipe_of`.
        """
        several = self.recipe_of(train, patch)
        return views.on(partial(views.multi_size, views=several))


@dataclass(frozen=True, kw_only=True)
class SomeLabels(Data):
    """A data set with few labels.

    Attributes:
      epochs: Passes over the unlabeled images, which are the whole training split.
      batch: Unlabeled images per step.
      labels: Labeled images of each class, chosen by the seed.
      labeled_batch: Labeled images per step.
      wrong: Fraction of the labels that are replaced by random ones, chosen by the seed.
      classes: Number of classes that have labels, the first ones, which alone are in val
        and test; 0: all.
      mismatch: Fraction of the unlabeled images whose class has no labels; needs classes.
    """

    batch: Count = 100
    labels: Count = 10
    labeled_batch: Count = 50
    wrong: Fraction = 0.0
    classes: int = 0
    mismatch: Fraction = 0.0

    def load(self, run: Run, labeled: bool = False, patch: int = 1) -> Source:
        """The unlabeled images; their split "train" has those that labels are drawn from.

        Raises:
          ValueError: foreign classes, and all classes have labels.
        """
        train = super().load(run, labeled, patch)
        if self.classes:
            return data.with_foreign(train, self.classes, self.mismatch, run.seed)
        if self.mismatch:
            raise ValueError(
                f"mismatch needs classes, the number of classes with labels, such as "
                f"classes=6, got mismatch={self.mismatch}"
            )
        return train

    def classifier(self, train: Source) -> Net:
        """The network of the baselines: images -> {"logits", "h"}."""
        raise NotImplementedError

    def averaged_adam(self, train: Source) -> optax.GradientTransformation:
        """The optimizer of the baselines."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class FewLabels(SomeLabels):
    """A small data set with few labels, a network, and its optimizer.

    Attributes:
      lr: Initial learning rate.
      schedule: Course of the learning rate: cosine (decay to 0), constant (MixMatch), or
        late (constant for two thirds of the steps, then linear decay to 0: VAT).
      shrink: Fraction of the kernels lost in each step, in units of the learning rate; 0.02
        in MixMatch.
      decay: Decay of the averaged weights, which are used for predictions.
      shift: Largest shift of a view, in pixels.
      widths: Channels of each layer of the encoder.
    """

    lr: Positive = 2e-3
    schedule: str = "cosine"
    shrink: float = 0.0
    decay: float = 0.99
    shift: float = 2.0
    widths: Counts = (32, 64, 128)

    def adam(self, train: Source) -> optax.GradientTransformation:
        """Adam for the whole training, then the decay of kernels if there is any."""
        steps, rest = train.steps(self.epochs), train.steps(self.epochs) // 3
        rate = one_of("schedule", self.schedule, {
            "cosine": optax.cosine_decay_schedule(self.lr, steps),
            "constant": optax.constant_schedule(self.lr),
            "late": optax.linear_schedule(self.lr, 0.0, max(rest, 1), steps - rest),
        })  # fmt: skip
        adam = optax.adam(rate)
        if not self.shrink:
            return adam
        return optax.chain(adam, optim.shrink(lambda step: self.shrink * rate(step)))

    def averaged_adam(self, train: Source) -> optax.GradientTransformation:
        """`adam`, with averaged weights for predictions."""
        return optax.chain(self.adam(train), ema_weights(self.decay))

    def classifier(self, train: Source) -> Net:
        """A small convolutional network: images -> {"logits", "h"}."""
        return nets.linen(Classifier(ConvNet(self.widths), train.classes))

    def view(self, train: Source, **more: Any) -> Augment:
        """(key, batch) -> a shifted view of each image; `more` are fields of `View`."""
        return views.on(views.View(size=train.side, shift=self.shift, **more))


@dataclass(frozen=True, kw_only=True)
class WeakAndStrong(FewLabels):
    """A small data set with few labels, and a weak and a strong view of its images.

    Attributes:
      recipe: Recipe of a weak and a strong view; empty: fixmatch_digits for gray images,
        fixmatch for color.
    """

    recipe: str = ""

    def weak_and_strong(self, train: Source) -> tuple[Augment, Augment]:
        """(key, batch) -> a weak view of each image, [n, h, w, c], and a strong one.

        They are in the size of the images and not normalized, as `prepare`; the square of
        the strong view is filled as the border is.

        Raises:
          ValueError: a recipe of other than two views, or without RandAugment.
        """
        color = train.image_shape[-1] == 3
        name = self.recipe or ("fixmatch" if color else "fixmatch_digits")
        changes = dict(size=train.side, shift=self.shift, pad=0, statistics=None)
        both = views.recipe(name, **changes)
        if len(both) != 2 or not both[1].randaugment:
            raise ValueError(
                f"recipe must have a weak and a strong view, as fixmatch does, got {name!r}"
            )
        weak, strong = both
        fill = views.RandAugment(*(strong.randaugment or ())).fill
        return views.on(weak), views.on(replace(strong, erase_fill=fill))


@dataclass(frozen=True, kw_only=True)
class Small:
    """A small convolutional network for images of 28 or 32 pixels, trained by AdamW.

    Attributes:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
      widths: Channels of each layer of the encoder.
      strides: Stride of each layer of the encoder; 2 everywhere if empty.
    """

    lr: Positive = 2e-3
    widths: Counts = (32, 64, 128)
    strides: tuple = ()

    def encoder(self, **more: Any) -> ConvNet:
        """Images [n, h, w, c] -> [n, widths[-1]].

        Raises:
          ValueError: strides that are not one positive number for each width.
        """
        whole = all(isinstance(x, int) and x > 0 for x in self.strides)
        if self.strides and not (whole and len(self.strides) == len(self.widths)):
            raise ValueError(
                f"strides must be one positive number for each of the {len(self.widths)} "
                f"widths, or empty, got {self.strides}"
            )
        return ConvNet(self.widths, self.strides, **more)

    def adamw(self, steps: int) -> optax.GradientTransformation:
        """AdamW for a training of `steps` steps."""
        return optim.adamw(self.lr, steps)


def mean_image(train: Source) -> jax.Array:
    """The mean of all training images, float [h * w * c] in [0, 1]."""
    return jnp.asarray(train.column("image").mean(0) / 255).ravel()


def in_color(train: Source) -> Source:
    """A source, after a check that its images have three channels.

    Raises:
      ValueError: they are gray, or have other channels.
    """
    channels = train.image_shape[-1]
    if channels != 3:
        raise ValueError(
            f"{train.data_name} must have images in color, of 3 channels, got {channels}: "
            "give another data set, such as source=photos"
        )
    return train


def with_labels(train: Source, **changes: Any) -> Source:
    """The same source, with labels in its batches."""
    return replace(train, labeled=True, **changes)


def captions(train: Source, length: int = 8) -> tuple[Prepare | None, int]:
    """The text of each row, batch -> tokens [n, l], and the size of its vocabulary.

    It is the caption of the row without unknown words; else, of labeled data, the name of
    its class, at most `length` words of it; else there is none. Padding is 0.
    """
    if "tokens" in train.row_shapes():
        known = train.field_of("tokens").vocabulary  # type: ignore[attr-defined]
        unknown = known.index(UNKNOWN) if UNKNOWN in known else -1
        return field("tokens", lambda x: jnp.where(x == unknown, 0, x)), len(known)
    if not train.classes:
        return None, 0
    known = vocabulary(train.class_names)
    named, _ = tokenized(train.class_names, known, length)
    named = np.pad(named, ((0, 1), (0, 0)))  # the last, number -1, is no class
    return field("label", lambda y: jnp.asarray(named)[y]), len(known)


FASHION = "source=fashion_mnist,limit=10000"  # the second data set of the results page
GARMENTS = f"{FASHION},recipe=garments"
FEW_GARMENTS = f"{FASHION},labels=40,epochs=10"  # for methods with few labels
# Knobs of tests.
DATA = dict(source="digits", batch=16, epochs=0.03, dispatch=1)
IMAGES = DATA | dict(supervised_epochs=0.03)
TEXT = dict(
    batch=16, epochs=0.2, supervised_epochs=0.2, length=16, dispatch=1,
    reading="documents=40",
)  # fmt: skip
CONVNET = IMAGES | dict(widths=(4, 8))
FEW_LABELS = DATA | dict(labels=2, labeled_batch=16, widths=(4, 8))
