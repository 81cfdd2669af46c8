"""Knobs of data sets with few labels, with a small network and its optimizer."""

from dataclasses import dataclass, replace
from typing import Any

import optax

from jssl import data, nets, optim, views
from jssl.config import Count, Counts, Fraction, Positive, one_of
from jssl.data import Source
from jssl.knobs.images import Data
from jssl.knobs.run import Run
from jssl.learner import ema_weights
from jssl.method import Augment
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.nets import Net


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
