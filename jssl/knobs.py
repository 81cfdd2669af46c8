"""Knobs shared by many experiments, in groups, with functions of these knobs.

A config has a group as a parameter, with its own defaults; every field is then a knob of
that config, described here once:

    def laptop(run: Run = Run(), images: Images = Images(batch=256)) -> list[Stage]:

    --config=experiments/simclr.py:batch=64,mesh=data=2,lr=1e-3

A config may override the description of a knob under its "Args:".
"""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from jssl import data, evals, nets, optim, views
from jssl.config import Count, Counts, Fraction, Positive, Range, Stage, one_of
from jssl.data import Source
from jssl.learner import Learner, ema_weights
from jssl.method import Augment, Method, Prepare, beneath
from jssl.methods.transfer.linear import after, linear
from jssl.methods.transfer.supervised import supervised
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier, LinearHead
from jssl.models.resnet import ResNet
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
class SomeLabels(Data):
    """A data set with few labels.

    Attributes:
      epochs: Passes over the unlabeled images, which are the whole training split.
      batch: Unlabeled images per step.
      labels: Labeled images of each class, chosen by the seed.
      labeled_batch: Labeled images per step.
    """

    batch: Count = 100
    labels: Count = 10
    labeled_batch: Count = 50

    def classifier(self, train: Source) -> Net:
        """The network of the baselines: images -> {"logits", "h"}."""
        raise NotImplementedError

    def averaged_adam(self, train: Source) -> optax.GradientTransformation:
        """The optimizer of the baselines."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class CifarFewLabels(SomeLabels):
    """CIFAR-10 with few labels, at the scale of a paper.

    Attributes:
      source: Data set: tfds:cifar10, cifar10:FOLDER or another of images of 32 pixels.
      lr: Learning rate of Adam, before ramps.
    """

    source: str = "tfds:cifar10"
    hold_out: bool = False
    labels: Count = 400
    lr: Positive = 1e-3


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
class Photos(Pictures):
    """A large data set, read from disk by many processes.

    Attributes:
      source: Data set: a prepared TFDS data set (tfds:NAME) or folder:PATH.
      stored: Side in pixels of the central square that is cut from every image on loading.
      workers: Processes per host that read and decode images.
    """

    stored: Count = 256
    workers: int = 16

    def load(
        self, run: Run, labeled: bool = False, crops: data.Crops | None = None
    ) -> Source:
        """The training split, as squares of `stored` pixels.

        Args:
          run: has the seed.
          labeled: True includes labels in the batches.
          crops: of whole photographs, in training batches in place of the squares; without
            effect on data sets that have no whole photographs.
        """
        whole = self.source.partition(":")[0] in data.CROPPED
        cut = crops if whole else None
        threads = 2 * self.workers + 2
        return self.read(run, labeled, size=self.stored, crops=cut, threads=threads)


@dataclass(frozen=True, kw_only=True)
class Published(Pictures):
    """Images, views and schedule of a paper.

    Attributes:
      hold_out: Leave val out of training where it is cut from the published training
        images; off trains on all of them, as the papers do, and val is for choosing only.
      dtype: Floating-point type of the network, e.g. bfloat16; empty: float32.
      lr: Peak learning rate for a batch of 256; scales with the batch.
      warmup: Epochs of linear warm-up of the learning rate.
    """

    hold_out: bool = False
    dtype: str = "bfloat16"
    lr: Positive = 0.1
    warmup: float = 0.0

    @property
    def peak(self) -> float:
        """The learning rate for this batch."""
        return self.lr * self.batch / 256

    def schedule(self, train: Source, end: float = 0.0) -> optax.Schedule:
        """Linear warm-up to the peak, then cosine decay to `end` times the peak."""
        warmup = train.steps(self.warmup) if self.warmup else 0
        steps = train.steps(self.epochs)
        return optim.warmup_cosine(self.peak, warmup, steps, end=self.peak * end)

    def viewed(
        self, run: Run, looks: str | views.View, labeled: bool = False
    ) -> tuple[Source, Augment, Prepare]:
        """The training split, its augmentation, and the input outside training.

        Inputs are normalized outside training as the views are.

        Args:
          run: has the seed.
          looks: a recipe, for [n, views, size, size, c]; or a view, for [n, size, size, c].
          labeled: True includes labels in the batches.
        """
        if isinstance(looks, str):
            several = views.recipe(looks)
            several = tuple(replace(x, size=self.scaled(x.size)) for x in several)
            look = partial(views.multi_view, views=several)
        else:
            several, look = (looks,), looks
        statistics = several[0].statistics

        def prepare(batch):
            x = self.centered(batch["image"])
            return x if statistics is None else views.normalize(x, *statistics)

        return self.seen(run, labeled, several), views.on(look), prepare

    def scaled(self, size: int) -> int:
        """The side of a recipe's view, in pixels."""
        return size

    def centered(self, images: jax.Array) -> jax.Array:
        """The part of images that is the network's input outside training."""
        return images

    def seen(self, run: Run, labeled: bool, several: Sequence[views.View]) -> Source:
        """The training split, for these views."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ImageNet(Published, Photos):
    """ImageNet at the scale of a paper.

    Attributes:
      whole: Cut random crops from whole photographs, on the host, as the papers do; off:
        from their central squares of `stored` pixels, on the device, which needs fewer
        cores of the host and never sees a quarter of a photograph of 500 x 375 pixels.
      size: Side in pixels of the network's input.
    """

    source: str = "tfds:imagenet2012"
    workers: int = 16
    whole: bool = True
    size: Count = 224

    def scaled(self, size: int) -> int:
        return round(size * self.size / 224)

    def centered(self, images: jax.Array) -> jax.Array:
        """The central squares of `size` pixels, [n, size, size, c]."""
        share = self.size / self.stored
        return jax.vmap(lambda image: views.center_crop(image, share))(images)

    def seen(self, run: Run, labeled: bool, several: Sequence[views.View]) -> Source:
        if not self.whole:
            return self.load(run, labeled)
        count, size, area, ratio, method = views.crop_of(several)
        crops = data.Crops(count=count, size=size, area=area, ratio=ratio, filter=method)
        return self.load(run, labeled, crops)

    def crop_and_flip(self, **changes: Any) -> views.View:
        """The view of linear evaluation: 8 to 100 % of the area, and a flip, normalized."""
        usual = views.View(
            size=self.size,
            area=(0.08, 1.0),
            antialias=True,
            flip=0.5,
            statistics=views.IMAGENET,
        )
        return replace(usual, **changes)


@dataclass(frozen=True, kw_only=True)
class Cifar(Published, Data):
    """CIFAR-10 at the scale of a paper, held in memory.

    Attributes:
      source: Data set: tfds:cifar10, cifar10:FOLDER or another of images of 32 pixels.
    """

    source: str = "tfds:cifar10"

    def seen(self, run: Run, labeled: bool, several: Sequence[views.View]) -> Source:
        return self.load(run, labeled)

    def crop_and_flip(self, **changes: Any) -> views.View:
        """The view of linear evaluation: 8 to 100 % of the area, and a flip, normalized."""
        usual = views.View(size=32, area=(0.08, 1.0), flip=0.5, statistics=views.CIFAR10)
        return replace(usual, **changes)


@dataclass(frozen=True, kw_only=True)
class LinearEvaluation:
    """Linear evaluation after a paper's pre-training, by its own protocol.

    Attributes:
      linear_epochs: Epochs of the linear evaluation; 0 omits it.
      linear_batch: Images per step of the linear evaluation.
      linear_lr: Peak learning rate of the linear evaluation for a batch of 256; scales with
        the batch.
    """

    linear_epochs: float = 90.0
    linear_batch: Count = 4096
    linear_lr: Positive = 0.1

    def stages(
        self,
        run: Run,
        images: "ImageNet | Cifar",
        train: Source,
        net: Net,
        learner: Callable[[Any], Learner] | None = lambda state: state,
        *,
        tx: Callable[[optax.Schedule], optax.GradientTransformation],
        falls: Mapping[float, float] = MappingProxyType({}),
        warmup: float = 0.0,
        norm: bool = False,
        std: float = 0.01,
        look: views.View | None = None,
        output: str = "h",
        **fields: Any,
    ) -> list[Stage]:
        """The stage "linear" on the frozen network of "pretrain"; none without labels.

        Args:
          run: settings of all stages.
          images: the data set.
          train: the source of "pretrain".
          net: the pre-trained network.
          learner: state of "pretrain" -> the Learner of the network; None: the network is
            that of `run.init`.
          tx: schedule -> the optimizer of the head.
          falls: factors of the learning rate, by the fraction of the steps from which they
            apply; empty: cosine decay to 0.
          warmup: epochs of linear warm-up, before a cosine.
          norm, std: of `LinearHead`.
          look: view of the training images; None: `images.crop_and_flip()`.
          output: name of the network's output that is classified, as in `linear`.
          **fields: further fields of the stage.
        """
        if not (self.linear_epochs and train.classes):
            return []
        look = look or images.crop_and_flip()
        wide = replace(images, batch=self.linear_batch)
        train, augment, prepare = wide.viewed(run, look, labeled=True)
        steps = train.steps(self.linear_epochs)
        peak = self.linear_lr * train.batch / 256
        if falls:
            at = {int(share * steps): factor for share, factor in falls.items()}
            schedule = optax.piecewise_constant_schedule(peak, at)
        else:
            early = train.steps(warmup) if warmup else 0
            schedule = optim.warmup_cosine(peak, early, steps)
        method = linear(
            net,
            nets.linen(LinearHead(train.classes, norm, std)),
            tx(schedule),
            train.classes,
            augment,
            prepare=prepare,
            output=output,
        )
        named = {"top1": evals.accuracy()}
        start = after("pretrain", learner) if learner else None
        return [
            run.stage("linear", method, train, steps, evals=named, start=start, **fields)
        ]


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Fine-tuning of a pre-trained encoder with all labels, by SGD.

    Attributes:
      tune_epochs: Passes over the labeled images in fine-tuning; 0 omits it.
      tune_batch: Images per step of fine-tuning.
      tune_lr: Initial learning rate of fine-tuning, which falls along a cosine to 0.
      tune_momentum: Momentum of SGD in fine-tuning.
    """

    tune_epochs: float = 50.0
    tune_batch: Count = 100
    tune_lr: Positive = 0.1
    tune_momentum: Fraction = 0.9

    def stages(
        self, run: Run, train: Source, classifier: Net, start: Callable
    ) -> list[Stage]:
        """The stage "fine-tune", with random weights as baseline; none without labels.

        Args:
          run: settings of all stages.
          train: the source of the pre-training.
          classifier: images -> {"logits", "h"}.
          start: (state, done) -> the state with the pre-trained encoder.
        """
        if not (self.tune_epochs and train.classes):
            return []
        labeled = with_labels(train, batch=self.tune_batch)
        steps, named = labeled.steps(self.tune_epochs), {"top1": evals.accuracy()}
        rate = optim.warmup_cosine(self.tune_lr, 0, steps)
        sgd = optim.decayed_sgd(rate, decay=0.0, momentum=self.tune_momentum)
        method = supervised(classifier, sgd, train.classes)
        scratch = run.baseline("scratch", method, labeled, steps, evals=named)
        return [
            run.stage(
                "fine-tune",
                method,
                labeled,
                steps,
                evals=named,
                start=start,
                baselines={"same labels, random weights": scratch},
            )
        ]


@dataclass(frozen=True, kw_only=True)
class Small:
    """A small convolutional network for images of 28 or 32 pixels, trained by AdamW.

    Attributes:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
      widths: Channels of each layer of the encoder.
    """

    lr: Positive = 2e-3
    widths: Counts = (32, 64, 128)

    def encoder(self, **more: Any) -> ConvNet:
        """Images [n, h, w, c] -> [n, widths[-1]]."""
        return ConvNet(self.widths, **more)

    def adamw(self, steps: int) -> optax.GradientTransformation:
        """AdamW for a training of `steps` steps."""
        return optim.adamw(self.lr, steps)


@dataclass(frozen=True, kw_only=True)
class Large:
    """A residual network.

    Attributes:
      depth: Depth of the ResNet: 6, 10, 18, 34, 50, 101 or 152.
      width: Channels of the ResNet's first blocks.
    """

    depth: Count = 50
    width: Count = 64

    def encoder(self, images: Published, **more: Any) -> ResNet:
        """Images [n, h, w, c] -> [n, d], computed in `images.dtype`."""
        return ResNet(self.depth, width=self.width, dtype=images.dtype or None, **more)


def of_layer(net: Net, layer: int, budget: int = 9600) -> Net:
    """A network whose "h" is one of the "layers", averaged over a grid of cells.

    The grid is the finest with at most `budget` numbers, e.g. 5 x 5 x 384: the features of
    linear classifiers on convolutions (Zhang et al. 2016,
    https://arxiv.org/abs/1603.08511). Outside training only.

    Args:
      net: images -> {"layers": maps [n, h, w, c], ...}.
      layer: number of the layer, from 1.
      budget: largest number of features.
    """

    def apply(*inputs, **how):
        out, stats = net.apply(*inputs, **how)
        layers = out["layers"]
        if not 1 <= layer <= len(layers):
            raise ValueError(f"layer must be 1 to {len(layers)}, got {layer}")
        return {"h": evals.pool_to_budget(layers[layer - 1], budget)}, stats

    return net._replace(apply=apply)


def mean_image(train: Source) -> jax.Array:
    """The mean of all training images, float [h * w * c] in [0, 1]."""
    return jnp.asarray(train.column("image").mean(0) / 255).ravel()


def with_labels(train: Source, **changes: Any) -> Source:
    """The same source, with labels in its batches."""
    return replace(train, labeled=True, **changes)


FASHION = "source=fashion_mnist,limit=10000"  # the second data set of the results page
GARMENTS = f"{FASHION},recipe=garments"
# Knobs of tests.
DATA = dict(source="digits", batch=16, epochs=0.03, dispatch=1)
IMAGES = DATA | dict(supervised_epochs=0.03)
CONVNET = IMAGES | dict(widths=(4, 8))
TUNED = dict(tune_epochs=0.03, tune_batch=16)
FEW_CIFAR = DATA | dict(source="photos", epochs=0.02, labels=2, labeled_batch=16)
LAYERS = dict(layers=((3, 4),) * 6 + ((3, 8), (1, 8), (1, 4)))
FEW_LABELS = DATA | dict(labels=2, labeled_batch=16, widths=(4, 8))
PHOTOS = dict(source="photos", batch=16, epochs=0.02, workers=0)
LINEAR = dict(linear_epochs=0.02, linear_batch=16)
PAPER = PHOTOS | dict(size=16, stored=32, dtype="")
CIFAR = DATA | LINEAR | dict(source="photos", epochs=0.02, dtype="", depth=10, width=4)
RESNET = PAPER | LINEAR | dict(depth=10, width=4)
