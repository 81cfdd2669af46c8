"""Context prediction: classification of the position of a patch relative to another.

    python -m jssl.main --config=experiments/relative_position.py
    python -m jssl.main --config=experiments/relative_position.py:gap=0,jitter=0
    python -m jssl.main --config=experiments/relative_position.py:paper,chroma=project

Doersch, Gupta and Efros 2015, https://arxiv.org/abs/1505.05192; `paper` has the settings of
https://github.com/cdoersch/deepcontext. Reference, AlexNet: 51.1 % mean average precision
in the detection of VOC 2007, fine-tuned; 31.7 % on ImageNet by a linear classifier on the
fourth convolution (Zhang, Isola and Efros 2017, https://arxiv.org/abs/1611.09842). Ours:
`paper` not run; `laptop` is in docs/results.md, the shortcuts that gap, jitter and chroma
close in docs/shortcuts.md.
"""

import math
from dataclasses import replace
from functools import partial

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, Fraction, tiny
from jssl.knobs import CONVNET, Images, Run, Small
from jssl.method import field
from jssl.methods.pretext.jigsaw import laid_out
from jssl.methods.pretext.relative_position import relative_position
from jssl.models.alexnet import WIDTHS, AlexNet
from jssl.models.heads import Trunk
from jssl.models.patch_pairs import PatchClassifier, PatchPairs
from jssl.ops.patch_pairs import PAIRS, nine_patches, standardize
from jssl.papers import LINEAR, PAPER, ImageNet, LinearEvaluation, of_layer

RUNS = {
    "": 5,
    "gap=0,jitter=0": 1,
    "source=stamps,size=64,patch=14,gap=7,epochs=150": 1,
}
CHANCE = {"loss": math.log(8)}


@tiny(CONVNET, strides=(1, 2), width=4, hidden=8, patch=2, gap=1, jitter=0, shift=0.0)
def laptop(
    run: Run = Run(save_every=500),
    images: Images = Images(epochs=60.0),
    small: Small = Small(widths=(16, 32, 64), strides=(1, 2, 2)),
    patch: Count = 7,
    gap: int = 2,
    jitter: int = 1,
    chroma: str = "drop",
    pixelate: Fraction = 0.0,
    shift: float = 2.0,
    width: Count = 64,
    hidden: Count = 128,
) -> list[Stage]:
    """A small network for small patches: about two minutes on two cores.

    The supervised baseline sees the same patches, without gap and jitter of training.

    Args:
      batch: Images per step, nine patches and 40 pairs each.
      patch: Side of a patch in pixels (digits: 2). Nine patches, their gaps and the jitter
        on either side must fit into an image.
      gap: Pixels between neighboring patches; 0 lets edges continue.
      jitter: Largest shift of each patch in pixels.
      chroma: Remedy against chromatic aberration in color images: drop, project or none.
      pixelate: Fraction of the patches that are reduced and enlarged again in training.
      shift: Largest shift of an image before patches are cut, in pixels.
      widths: Channels of each layer of the patch encoder.
      strides: Stride of each layer of the patch encoder.
      width: Width of a patch's description; h is the mean of the nine.
      hidden: Width of the layer between a pair and its logits.
    """
    train, encoder = images.load(run), small.encoder(maps=True)
    method = relative_position(
        nets.linen(PatchPairs(encoder, width, (hidden,))),
        small.adamw(train.steps(images.epochs)),
        patch,
        views.on(views.View(size=train.side, shift=shift)),
        gap=gap,
        jitter=jitter,
        chroma=chroma,
        pixelate=pixelate,
    )
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            laid_out(nets.linen(PatchClassifier(encoder, train.classes, width))),
            prepare=field("image", lambda x: standardize(nine_patches(x, patch, gap))),
            chance=CHANCE,
        )
    ]


@tiny(
    PAPER,
    LINEAR,
    size=48,
    stored=56,
    patch=12,
    gap=2,
    jitter=1,
    stride=1,
    widths=(4,) * 5,
    width=4,
    hidden=(8, 8),
    probe_size=32,
)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(
        epochs=74.0, batch=56, lr=1e-5 * len(PAIRS) * 256, size=400, stored=448
    ),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=35.0, linear_batch=192, linear_lr=0.04 / 3
    ),
    patch: Count = 96,
    gap: int = 48,
    jitter: int = 7,
    chroma: str = "drop",
    pixelate: Fraction = 1 / 3,
    rms: float = 50.0,
    momentum: Fraction = 0.0,
    stride: Count = 4,
    widths: Counts = WIDTHS,
    width: Count = 4096,
    hidden: Counts = (4096, 4096),
    layer: Count = 4,
    probe_size: Count = 224,
) -> list[Stage]:
    """The released setting for ImageNet: AlexNet, SGD at a constant rate, 504 patches.

    The rate is 1e-5 for the sum of the errors of all pairs, here 40 of each image, without
    weight decay; the paper recommends a momentum of up to 0.999, the released code has
    none. 1.7 million steps of 56 grids are about 74 epochs. Photographs have 150,000 to
    450,000 pixels there, of which a grid takes 400 x 400: the random squares are of 36 to
    100 % of the area.

    Number to beat: 31.7 % top-1 of the 50,000 validation images after "linear", by a linear
    classifier on the fourth convolution; the last has 29.6 % (layer=5).

    Departures: one grid of 3 x 3 patches per image and step, there four grids in a row with
    as many patches as fit; the eight positions have equal weight, there that of their
    number; batch norm in place of local response normalization and of none in the first two
    convolutions, and another initial scale of the convolutions. The rate of "linear" is
    RotNet's, on squares of `probe_size` pixels.

    Args:
      batch: Images per step, nine patches and 40 pairs each.
      lr: Learning rate for a batch of 256; scales with the batch.
      patch: Side of a patch in pixels.
      gap: Pixels between neighboring patches.
      jitter: Largest shift of each patch in pixels.
      chroma: Remedy against chromatic aberration: drop, project or none.
      pixelate: Fraction of the patches that are reduced and enlarged again.
      rms: Root mean square of a patch as the network receives it.
      momentum: Momentum of SGD.
      stride: Stride of the first convolution.
      widths: Channels of the convolutions.
      width: Width of a patch's description (fc6).
      hidden: Units of the layers between a pair and its logits (fc7, fc8).
      layer: Convolution whose maps "linear" is trained on, from 1.
      probe_size: Side in pixels of the images of "linear".
    """
    # A grid is that large a part of photographs of 150,000 to 450,000 pixels.
    view = views.View(size=images.size, area=(0.356, 1.0), ratio=(1.0, 1.0), antialias=True)
    train, augment, prepare = images.viewed(run, view)
    dtype = images.dtype or None
    encoder = AlexNet(stride, 5, widths, hidden=(), affine=False, dtype=dtype)
    sgd = partial(optim.decayed_sgd, decay=0.0, momentum=momentum)
    method = relative_position(
        nets.linen(PatchPairs(encoder, width, hidden)),
        sgd(images.peak),
        patch,
        augment,
        gap=gap,
        jitter=jitter,
        chroma=chroma,
        pixelate=pixelate,
        rms=rms,
        prepare=prepare,
    )
    mean, std = views.IMAGENET
    scaled = views.Statistics(mean, tuple(x / rms for x in std))  # as of the patches
    photographs = replace(images, size=probe_size, stored=probe_size * 8 // 7)
    return [
        run.stage(
            "pretrain",
            method,
            train,
            train.steps(images.epochs),
            evals=evals.knn_if_labeled(train),
            chance=CHANCE,
        ),
        *probe.stages(
            run,
            photographs,
            train,
            of_layer(nets.linen(Trunk(encoder)), layer),
            tx=partial(optim.decayed_sgd, decay=5e-4, nesterov=True),
            falls={5 / 35: 0.2, 15 / 35: 0.2, 25 / 35: 0.2},
            look=photographs.crop_and_flip(statistics=scaled),
        ),
    ]
