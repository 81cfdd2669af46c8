"""Knobs of published settings, in groups: data sets at the scale of papers, protocols.

The groups are used as those of `jssl.knobs`: `ImageNet` and `Cifar` have a paper's images,
views and schedule, `LinearEvaluation` and `FineTuning` the stages that give its number.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl import data, evals, nets, optim, views
from jssl.config import Count, Fraction, Positive, Stage
from jssl.data import Source
from jssl.knobs import DATA, Data, Pictures, Run, SomeLabels, with_labels
from jssl.learner import Learner, ema_weights
from jssl.method import Augment, Prepare, field
from jssl.methods.transfer.linear import after, linear
from jssl.methods.transfer.supervised import supervised
from jssl.models import cnn13
from jssl.models.heads import Classifier, LinearHead
from jssl.models.resnet import ResNet
from jssl.models.wide_resnet import WideResNet
from jssl.nets import Net
from jssl.ops.ramps import fixmatch_cosine, gaussian_rampdown, sigmoid_rampup
from jssl.ops.whitening import contrast_normalize, zca


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
class Published(Pictures, ABC):
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
        return self._viewed(run, labeled, several, look)

    def cropped(
        self, run: Run, recipe: str, patch: int = 1
    ) -> tuple[Source, Augment, Prepare]:
        """As `viewed`, with views in groups of one size, as `views.multi_size`.

        The sides of small crops are multiples of `patch`. A recipe of views of one size
        gives one group.
        """
        several = views.recipe(recipe)
        largest = max(view.size for view in several)
        several = views.resized(several, self.scaled(largest), patch)
        look = partial(views.multi_size, views=several)
        return self._viewed(run, False, several, look)

    def _viewed(self, run, labeled, several, look):
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

    @abstractmethod
    def seen(self, run: Run, labeled: bool, several: Sequence[views.View]) -> Source:
        """The training split, for these views."""


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
        if len({(view.size, view.area) for view in several}) > 1:
            raise ValueError(
                "multi-crop needs whole=False: crops of several sizes are cut on the "
                f"device, from squares of stored={self.stored} pixels"
            )
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


def whitened(
    train: Source, *, epsilon: float = 0.0, contrast: bool = False
) -> Callable[[jax.Array], jax.Array]:
    """A function that whitens images by ZCA, fitted on those of a source.

    The fit to 50,000 images of 32 x 32 x 3 took 13 s on two cores.

    Args:
      train: the training split; images decode to [0, 1].
      epsilon: added to the variances.
      contrast: normalize the contrast of each image first, to a length of 55.
    """

    def even(images):
        return contrast_normalize(images) if contrast else images

    images = even(np.float32(train.column("image")) / 255)
    fitted = zca(images.reshape(len(images), -1), epsilon)
    return lambda images: fitted(even(images))


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
class ThirteenLayers(CifarFewLabels):
    """The setting of "Temporal Ensembling": 13 layers, Adam with ramps, shifts and noise.

    Laine and Aila 2017, https://arxiv.org/abs/1610.02242, by their released code.

    Attributes:
      lr: Peak learning rate of Adam.
      ramp: Fraction of the steps in which the learning rate, and the weight of unlabeled
        images, rise: 80 of 300 epochs.
      fall: Fraction of the steps, the last, in which the learning rate falls to 0 and
        Adam's first momentum from 0.9 to 0.5: 50 of 300 epochs.
      whiten: Whiten images by ZCA, fitted on the training images; off: normalize each image
        by its own mean and deviation, as the paper does for SVHN.
      flip: Probability of a horizontal flip; 0 for SVHN.
      noise: Standard deviation of the Gaussian noise of a view.
      dropout: Dropout rate.
      layers: Kernel size and width of each convolution.
    """

    lr: Positive = 3e-3
    ramp: Fraction = 4 / 15
    fall: Fraction = 1 / 6
    whiten: bool = True
    flip: Fraction = 0.5
    noise: float = 0.15
    dropout: Fraction = 0.5
    layers: tuple = cnn13.LAYERS

    def prepare(self, train: Source) -> Prepare:
        """The network's input outside training: whitened or normalized images."""
        if self.whiten:
            return field("image", whitened(train, epsilon=1e-5))
        even = float(np.prod(train.image_shape)) ** 0.5
        return field("image", partial(contrast_normalize, length=even))

    def looks(self, prepare: Prepare, count: int = 1) -> Augment:
        """(key, batch) -> a view [n, h, w, c] of each image, or `count` [n, count, ...].

        Views of an image are flipped together; their shifts and noise are independent.
        """
        [shift] = views.recipe("mean_teacher_convnet", flip=0.0)
        mirror = views.View(size=shift.size, flip=self.flip)

        def look(key, images):
            one, two = jax.random.split(key)
            x = shift(one, images)
            return x + self.noise * jax.random.normal(two, x.shape, x.dtype)

        def augment(key, batch):
            first, *rest = jax.random.split(key, 1 + count)
            images = mirror(first, prepare(batch))
            seen = [look(key, images) for key in rest]
            return seen[0] if count == 1 else jnp.stack(seen, 1)

        return augment

    def adam(self, train: Source) -> optax.GradientTransformation:
        """Adam for the whole training, with ramps of its rate and first momentum."""
        steps = train.steps(self.epochs)
        late = partial(gaussian_rampdown, total=steps, length=round(self.fall * steps))
        rise = self.rise(train)
        return optax.inject_hyperparams(optax.adam)(
            learning_rate=lambda step: self.lr * sigmoid_rampup(step, rise) * late(step),
            b1=lambda step: 0.5 + 0.4 * late(step),
        )

    def classifier(self, train: Source) -> Net:
        """The network of 13 layers: images -> {"logits", "h"}."""
        encoder = cnn13.CNN13(self.dropout, layers=self.layers, momentum=0.999)
        return nets.linen(Classifier(encoder, train.classes))

    def rise(self, train: Source) -> int:
        """Steps of the ramp."""
        return round(self.ramp * train.steps(self.epochs))

    def known(self, train: Source) -> float:
        """Fraction of the training images that are labeled."""
        return self.labels * train.classes / train.size


@dataclass(frozen=True, kw_only=True)
class CifarWeakAndStrong(CifarFewLabels):
    """FixMatch's setting for CIFAR-10: WRN-28-2, 2^20 steps of 64 + 448 images.

    Attributes:
      lr: Learning rate of SGD with Nesterov momentum of 0.9, which falls to 0.195 of it
        along cos(7 pi t / 16).
      shrink: Weight decay of kernels, as a part of their gradient.
      decay: Decay of the averaged weights, which are used for predictions.
      recipe: Recipe of a weak and a strong view.
      flip: Probability of a horizontal flip; the papers have 0 for the digits of SVHN.
      depth: Layers of the network, 6 k + 4.
      widen: Factor of the widths of the network.
    """

    epochs: Positive = 9446.63
    batch: Count = 448
    labels: Count = 25
    labeled_batch: Count = 64
    lr: Positive = 0.03
    shrink: Fraction = 5e-4
    decay: Fraction = 0.999
    recipe: str = "fixmatch"
    flip: Fraction = 0.5
    depth: Count = 28
    widen: Count = 2

    def weak_and_strong(self) -> tuple[Augment, Augment, Prepare]:
        """A weak and a strong view of each image, and the input outside training."""
        weak, strong = views.recipe(self.recipe, flip=self.flip)
        statistics = weak.statistics

        def normalized(x):
            return x if statistics is None else views.normalize(x, *statistics)

        prepare = field("image", normalized)
        return views.on(weak), views.on(strong), prepare

    def classifier(self, train: Source) -> Net:
        """A wide residual network: images -> {"logits", "h"}."""
        return nets.linen(Classifier(WideResNet(self.depth, self.widen), train.classes))

    def averaged_sgd(self, train: Source) -> optax.GradientTransformation:
        """SGD for the whole training, with averaged weights for predictions."""
        steps = train.steps(self.epochs)
        sgd = optim.decayed_sgd(
            lambda step: self.lr * fixmatch_cosine(step, steps),
            decay=self.shrink,
            nesterov=True,
            mask=optim.kernels,
        )
        return optax.chain(sgd, ema_weights(self.decay))


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
            schedule = optim.falling(peak, steps, falls)
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


def of_layer(net: Net, layer: int, pooled: Callable | None = None) -> Net:
    """A network whose "h" is one of the "layers", pooled over a grid of cells.

    The features of linear classifiers on convolutions (Zhang et al. 2016,
    https://arxiv.org/abs/1603.08511). Outside training only.

    Args:
      net: images -> {"layers": maps [n, h, w, c], ...}.
      layer: number of the layer, from 1.
      pooled: maps -> features [n, ...]; None: means over the finest grid with at most 9,600
        numbers, e.g. 5 x 5 x 384, as [n, d].
    """
    pooled = pooled or partial(evals.pool_to_budget, budget=9600)

    def apply(*inputs, **how):
        out, stats = net.apply(*inputs, **how)
        layers = out["layers"]
        if not 1 <= layer <= len(layers):
            raise ValueError(f"layer must be 1 to {len(layers)}, got {layer}")
        return {"h": pooled(layers[layer - 1])}, stats

    return net._replace(apply=apply)


def behind(fixed: Callable, net: Net) -> Net:
    """A network whose input is a fixed function of the images: lightness, edges."""

    def apply(params, stats, images, **how):
        inputs = images if how.get("method") else fixed(images)
        return net.apply(params, stats, inputs, **how)

    return Net(lambda key, images: net.init(key, fixed(images)), apply)


# Knobs of tests.
TUNED = dict(tune_epochs=0.03, tune_batch=16)
FEW_CIFAR = DATA | dict(source="photos", epochs=0.02, labels=2, labeled_batch=16)
WEAK_STRONG_CIFAR = FEW_CIFAR | dict(depth=10, widen=1)
LAYERS = dict(layers=((3, 4),) * 6 + ((3, 8), (1, 8), (1, 4)))
PHOTOS = dict(source="photos", batch=16, epochs=0.02, workers=0)
LINEAR = dict(linear_epochs=0.02, linear_batch=16)
PAPER = PHOTOS | dict(size=16, stored=32, dtype="")
CIFAR = DATA | LINEAR | dict(source="photos", epochs=0.02, dtype="", depth=6, width=4)
RESNET = PAPER | LINEAR | dict(depth=6, width=4)
