"""CIFAR-10 with few labels: the settings of papers, and their networks and optimizers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl import nets, optim, views
from jssl.config import Count, Fraction, Positive
from jssl.data import Source
from jssl.knobs import SomeLabels
from jssl.learner import ema_weights
from jssl.method import Augment, Prepare, field
from jssl.models import cnn13
from jssl.models.heads import Classifier
from jssl.models.wide_resnet import WideResNet
from jssl.nets import Net
from jssl.ops.ramps import fixmatch_cosine, gaussian_rampdown, sigmoid_rampup
from jssl.ops.whitening import contrast_normalize, zca


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

    def classifier(self, train: Source, momentum: float = 0.999) -> Net:
        """The network of 13 layers: images -> {"logits", "h"}.

        Args:
          train: has the classes.
          momentum: of its batch norms.
        """
        encoder = cnn13.CNN13(self.dropout, layers=self.layers, momentum=momentum)
        return nets.linen(Classifier(encoder, train.classes))

    def rise(self, train: Source) -> int:
        """Steps of the ramp."""
        return round(self.ramp * train.steps(self.epochs))

    def known(self, train: Source) -> float:
        """Fraction of the training images that are labeled."""
        return self.labels * train.classes / train.size


@dataclass(frozen=True, kw_only=True)
class CifarWide(CifarFewLabels):
    """MixMatch's setting for CIFAR-10: WRN-28-2, Adam, 2^20 steps of 64 + 64 images.

    Berthelot et al. 2019, https://arxiv.org/abs/1905.02249, by their released code.

    Attributes:
      lr: Learning rate of Adam.
      shrink: Fraction of the kernels lost in each step, in units of the learning rate.
      decay: Decay of the averaged weights, which are used for predictions.
      flip: Probability of a horizontal flip; 0 for SVHN.
      depth: Layers of the network, 6 k + 4.
      widen: Factor of the widths of the network.
    """

    epochs: Positive = 1491.6
    batch: Count = 64
    hold_out: bool = True
    labeled_batch: Count = 64
    lr: Positive = 2e-3
    shrink: Fraction = 0.02
    decay: Fraction = 0.999
    flip: Fraction = 0.5
    depth: Count = 28
    widen: Count = 2

    def shifted(self) -> tuple[Augment, Prepare]:
        """A view, flipped and shifted by whole pixels, and the input outside training."""
        [view] = views.recipe("mixmatch", flip=self.flip)
        return views.on(view), _normalized(view)

    def classifier(self, train: Source) -> Net:
        """A wide residual network: images -> {"logits", "h"}."""
        return nets.linen(Classifier(WideResNet(self.depth, self.widen), train.classes))

    def averaged_adam(self, train: Source) -> optax.GradientTransformation:
        """Adam at a constant rate, with averaged weights for predictions."""
        return optax.chain(
            optax.adam(self.lr),
            optim.shrink(self.shrink * self.lr),
            ema_weights(self.decay),
        )


def _normalized(view: views.View) -> Prepare:
    """The input outside training, for training images that are normalized by a view."""
    statistics = view.statistics
    return field("image", lambda x: views.normalize(x, *statistics) if statistics else x)


@dataclass(frozen=True, kw_only=True)
class CifarWeakAndStrong(CifarWide):
    """FixMatch's setting for CIFAR-10: WRN-28-2, 2^20 steps of 64 + 448 images.

    Attributes:
      lr: Learning rate of SGD with Nesterov momentum of 0.9, which falls to 0.195 of it
        along cos(7 pi t / 16).
      shrink: Weight decay of kernels, as a part of their gradient.
      recipe: Recipe of a weak and a strong view.
      flip: Probability of a horizontal flip; the papers have 0 for the digits of SVHN.
    """

    epochs: Positive = 9446.63
    batch: Count = 448
    hold_out: bool = False
    labels: Count = 25
    lr: Positive = 0.03
    shrink: Fraction = 5e-4
    recipe: str = "fixmatch"

    def weak_and_strong(self) -> tuple[Augment, Augment, Prepare]:
        """A weak and a strong view of each image, and the input outside training."""
        weak, strong = views.recipe(self.recipe, flip=self.flip)
        return views.on(weak), views.on(strong), _normalized(weak)

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
