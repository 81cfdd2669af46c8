"""Contrastive predictive coding: prediction of the rows of patches below from those above.

    python -m jssl.main --config=experiments/cpc_image.py
    python -m jssl.main --config=experiments/cpc_image.py:norm=layer,directions=4
    python -m jssl.main --config=experiments/cpc_image.py:paper,mesh=data=32
    python -m jssl.main --config=experiments/cpc_image.py:v2,mesh=data=32

van den Oord et al. 2018, https://arxiv.org/abs/1807.03748; Henaff et al. 2020,
https://arxiv.org/abs/1905.09272. Reference, ImageNet top-1, linear: v1, ResNet-101, 48.7 %;
v2, ResNet-50, 63.8 %, ResNet-161, 71.5 %. Ours: `paper` and `v2` not run; `laptop` is in
docs/results.md.
"""

import math
from functools import partial

import jax
import optax

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, Fraction, Positive, one_of, tiny
from jssl.knobs import FASHION, IMAGES, Images, Run
from jssl.methods.contrastive.cpc_image import cpc_image, on_grid
from jssl.models.cpc import PatchEncoder, PatchMean, PreactivationResNet, Predictive
from jssl.models.heads import Classifier
from jssl.ops.grids import DIRECTIONS, subcrop
from jssl.papers import LINEAR, PAPER, ImageNet, LinearEvaluation
from jssl.views.channels import drop_colors

V2 = "norm=layer,directions=4,patch=12,first=3,steps=2,jitter=0.8"
RUNS = {"": 1, V2: 1, f"{FASHION},epochs=7,supervised_epochs=4": 1}
SMALL = dict(blocks=1, inner=8)


@tiny(
    IMAGES,
    SMALL,
    patch=4,
    stride=2,
    crop=3,
    steps=1,
    groups=2,
    widths=(4, 8),
    strides=(1, 2),
)
def laptop(
    run: Run = Run(save_every=500),
    images: Images = Images(epochs=20.0),
    patch: Count = 8,
    stride: Count = 4,
    crop: int = 7,
    jitter: Fraction = 0.0,
    first: Count = 2,
    steps: Count = 3,
    directions: Count = 1,
    groups: Count = 4,
    scale: Positive = 0.1,
    norm: str = "none",
    widths: Counts = (16, 32, 64),
    strides: Counts = (1, 2, 2),
    blocks: Count = 2,
    inner: Count = 64,
    lr: Positive = 1e-3,
) -> list[Stage]:
    """Patches of 8 pixels on a grid of 6 x 6: about two minutes on two cores.

    Version 2 is norm=layer,directions=4, with larger patches (patch=12,first=3,steps=2)
    that are jittered one by one (jitter=0.8). The supervised baseline has the same encoder
    of patches, and the mean over them.

    Args:
      patch: Side of the patches, in pixels.
      stride: Distance of the patches, in pixels.
      crop: Side of the random square that is kept of each patch; 0: the whole patch.
      jitter: Fraction of the patches whose brightness and contrast are changed.
      first: First number of rows ahead that is predicted; patches must not overlap.
      steps: Number of predictions, each a row further ahead.
      directions: Number of directions of the predictions: 1 (down), 2 (and up) or 4.
      groups: Parts of the batch that are compared within themselves; the paper compares
        the 16 images of a device.
      scale: Factor of the predictions.
      norm: Norm of the encoder's layers: none or layer.
      widths: Channels of each layer of the patch encoder.
      strides: Stride of each layer of the patch encoder.
      blocks: Residual blocks of the context network.
      inner: Channels within a block of the context network.
      lr: Peak learning rate of AdamW: linear warm-up over 5 % of the steps, then cosine
        decay to 0.
    """
    train = images.load(run)
    encoder = PatchEncoder(widths, strides, norm)
    change = None
    if jitter:
        strength = (0.4, 0.4, 0.0, 0.0)
        change = views.View(size=patch, jitter=jitter, strength=strength)
    method = cpc_image(
        nets.linen(Predictive(encoder, steps, ways(directions), 0, blocks, inner)),
        optim.adamw(lr, train.steps(images.epochs)),
        patch=patch,
        stride=stride,
        first=first,
        scale=scale,
        groups=groups,
        distort=distorted(crop, change),
    )
    classifier = nets.linen(Classifier(PatchMean(encoder), train.classes))
    compared = images.batch // groups * cells(train.image_shape, patch, stride)
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            on_grid(classifier, patch, stride),
            chance={"loss": math.log(compared)},
        )
    ]


def ways(directions):
    """The directions of the predictions, by their number."""
    return one_of("directions", directions, {i: DIRECTIONS[:i] for i in (1, 2, 4)})


def cells(shape, patch, stride):
    """Patches of an image of a shape (h, w, c)."""
    return math.prod((side - patch) // stride + 1 for side in shape[:2])


def distorted(crop, *changes):
    """(key, patches) -> patches: changes in turn, then a random square in a black frame."""

    def distort(key, patches):
        keys = jax.random.split(key, len(changes) + 1)
        for own, change in zip(keys, changes, strict=False):
            patches = change(own, patches) if change else patches
        return subcrop(keys[-1], patches, crop) if crop else patches

    return distort


SCALED = dict(size=16, patch=8, stride=4, crop=7, steps=1, groups=2, outer=(4, 4, 8))
RESIDUAL = SCALED | dict(depths=(1, 1, 1), widths=(4, 4, 4))


@tiny(PAPER, LINEAR, RESIDUAL, SMALL)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(
        epochs=200.0, batch=512, lr=1e-4, whole=False, size=256, stored=300, channels=1
    ),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=136.0, linear_batch=2048, linear_lr=0.0125
    ),
    patch: Count = 64,
    stride: Count = 32,
    crop: int = 60,
    first: Count = 2,
    steps: Count = 4,
    groups: Count = 32,
    depths: Counts = (3, 4, 23),
    widths: Counts = (64, 128, 256),
    outer: Counts = (256, 512, 1024),
    blocks: Count = 5,
    inner: Count = 256,
) -> list[Stage]:
    """Version 1 on ImageNet: 7 x 7 gray patches of 64 pixels, a ResNet-101 of three stages.

    Squares of 256 pixels at random places of 300, mirrored half the time, gray; of each
    patch a random square of 60 pixels. Adam, rate 2e-4, 32 devices of 16 images, which are
    compared within a device. The mean of the patches' 1,024 numbers is classified.

    Number to beat: 48.7 % top-1 of the 50,000 validation images after "linear": momentum
    0.9, batches of 2,048, rates of 0.1, 0.01 and 0.001 for 50,000, 25,000 and 10,000 steps.

    Departures: the paper has no number of epochs, no initialization of a network without
    batch norm (here the last convolution of each block starts at 0), and no padding of the
    patches (here black). Rows 2 to 5 ahead are predicted; patches one row ahead overlap.
    The context network is that of version 2's pseudo-code. "linear" has random crops of
    whole squares too.

    Args:
      patch: Side of the patches, in pixels.
      stride: Distance of the patches, in pixels.
      crop: Side of the random square that is kept of each patch; 0: the whole patch.
      first: First number of rows ahead that is predicted; patches must not overlap.
      steps: Number of predictions, each a row further ahead.
      groups: Parts of the batch that are compared within themselves.
      depths: Blocks of each stage of the ResNet.
      widths: Channels of the 3 x 3 convolutions of each stage.
      outer: Channels of the output of each stage.
      blocks: Residual blocks of the context network.
      inner: Channels within a block of the context network.
    """
    encoder = PreactivationResNet(depths, widths, outer, dtype=images.dtype or None)
    net = nets.linen(Predictive(encoder, steps, DIRECTIONS[:1], 0, blocks, inner))
    train, augment, prepare = images.viewed(run, square(images))
    method = cpc_image(
        net,
        optax.chain(optax.scale_by_adam(), optim.scale_by_rate(images.peak)),
        patch=patch,
        stride=stride,
        first=first,
        groups=groups,
        augment=augment,
        distort=distorted(crop),
        prepare=prepare,
    )
    falls = {50 / 85: 0.1, 75 / 85: 0.1}
    return published(run, images, probe, train, method, on_grid(net, patch, stride), falls)


@tiny(PAPER, LINEAR, RESIDUAL, SMALL, first=2, directions=2, target=4)
def v2(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(
        epochs=200.0, batch=512, lr=2e-4, whole=False, size=260, stored=300
    ),
    probe: LinearEvaluation = LinearEvaluation(linear_batch=2048),
    patch: Count = 80,
    stride: Count = 36,
    crop: int = 0,
    jitter: Fraction = 0.8,
    gray: Fraction = 0.25,
    drop: Fraction = 0.5,
    first: Count = 3,
    steps: Count = 1,
    directions: Count = 4,
    target: Count = 64,
    scale: Positive = 0.1,
    groups: Count = 1,
    depths: Counts = (3, 4, 46),
    widths: Counts = (64, 128, 512),
    outer: Counts = (256, 512, 4096),
    blocks: Count = 5,
    inner: Count = 256,
) -> list[Stage]:
    """Version 2 on ImageNet: 6 x 6 patches of 80 pixels, four directions, a ResNet-161.

    Squares of 260 pixels; layer norm; every patch is mirrored, jittered, and may lose two
    of its colors. As in the pseudo-code, the third row ahead is predicted, in 64 numbers
    that are a linear map of the latents, and predictions are scaled by 0.1. Adam, rate
    4e-4, beta1 0.8, gradients clipped to a norm of 0.01, batches of 512, 200 epochs.

    Number to beat: 71.5 % top-1 of the 50,000 validation images after "linear"; 63.8 % for
    a ResNet-50.

    Departures: of the augmentation of patches, color dropping, mirroring and color jitter
    are here, with probabilities of our own; shearing, elastic deformation and
    AutoAugment's transformations are not. The axes of the layer norm are ours: positions
    and channels of a patch. The rate is constant, and "linear" has the optimizer of
    version 1 and a rate that falls along a cosine; the paper's are not known to us.

    Args:
      patch: Side of the patches, in pixels.
      stride: Distance of the patches, in pixels.
      crop: Side of the random square that is kept of each patch; 0: the whole patch.
      jitter: Fraction of the patches whose colors are jittered.
      gray: Fraction of the patches that are made gray.
      drop: Fraction of the patches that keep one color channel only.
      first: First number of rows ahead that is predicted; patches must not overlap.
      steps: Number of predictions, each a row further ahead.
      directions: Number of directions of the predictions: 1 (down), 2 (and up) or 4.
      target: Width of the linear map of the latents that is predicted.
      scale: Factor of the predictions.
      groups: Parts of the batch that are compared within themselves.
      depths: Blocks of each stage of the ResNet.
      widths: Channels of the 3 x 3 convolutions of each stage.
      outer: Channels of the output of each stage.
      blocks: Residual blocks of each context network.
      inner: Channels within a block of the context networks.
    """
    encoder = PreactivationResNet(depths, widths, outer, "layer", images.dtype or None)
    net = nets.linen(Predictive(encoder, steps, ways(directions), target, blocks, inner))
    train, augment, prepare = images.viewed(run, square(images))
    strength = (0.4, 0.4, 0.4, 0.1)
    look = views.View(size=patch, flip=0.5, jitter=jitter, strength=strength, gray=gray)
    adam = optax.scale_by_adam(b1=0.8, b2=0.999)
    method = cpc_image(
        net,
        optax.chain(
            optax.clip_by_global_norm(0.01), adam, optim.scale_by_rate(images.peak)
        ),
        patch=patch,
        stride=stride,
        first=first,
        scale=scale,
        groups=groups,
        augment=augment,
        distort=distorted(crop, look, partial(drop_colors, probability=drop)),
        prepare=prepare,
    )
    return published(run, images, probe, train, method, on_grid(net, patch, stride), {})


def square(images):
    """The view of the pre-training: a square at a random place, mirrored half the time."""
    share = images.size / images.stored
    area, ratio = (share**2, share**2), (1.0, 1.0)
    return views.View(size=images.size, area=area, ratio=ratio, flip=0.5)


def published(run, images, probe, train, method, net, falls):
    """Pre-training, and linear evaluation of the mean over patches."""
    stage = run.stage(
        "pretrain",
        method,
        train,
        train.steps(images.epochs),
        evals=evals.knn_if_labeled(train),
    )
    sgd = partial(optim.decayed_sgd, decay=0.0)
    linear = probe.stages(run, images, train, net, tx=sgd, falls=falls, look=square(images))
    return [stage, *linear]
