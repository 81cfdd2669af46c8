"""Counting: an image has as many visual primitives as its four quarters together.

    python -m jssl.main --config=experiments/counting.py
    python -m jssl.main --config=experiments/counting.py:margin=0.0
    python -m jssl.main --config=experiments/counting.py:paper

Noroozi, Pirsiavash and Favaro 2017, https://arxiv.org/abs/1708.06734. Reference, AlexNet:
34.3 % on ImageNet by a linear classifier on the third convolution, and 51.4 % mean average
precision in the detection of VOC 2007, fine-tuned. Ours: `paper` not run; `laptop` is in
docs/results.md.
"""

from dataclasses import replace
from functools import partial

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, Fraction, tiny
from jssl.knobs import CONVNET, FASHION, Images, Run, Small
from jssl.method import field
from jssl.methods.pretext.counting import counting
from jssl.models.alexnet import WIDTHS, AlexNet
from jssl.models.heads import MLP, Classifier, Siamese, Trunk
from jssl.ops.halving import halve
from jssl.papers import LINEAR, PAPER, ImageNet, LinearEvaluation, of_layer

RUNS = {"": 1, "margin=0.0": 1, f"{FASHION},epochs=10,supervised_epochs=10": 1}


@tiny(CONVNET, strides=(1, 2), hidden=8, units=8, shift=0.0)
def laptop(
    run: Run = Run(save_every=500),
    images: Images = Images(epochs=30.0),
    small: Small = Small(strides=(1, 2, 2)),
    margin: float = 10.0,
    shift: float = 2.0,
    hidden: Count = 128,
    units: Count = 64,
) -> list[Stage]:
    """A small network for images of half the size: about two minutes on two cores.

    The supervised baseline sees the same reduced images.

    Args:
      batch: Images per step, each with four quarters.
      margin: Margin of the contrastive term; 0 omits it, and counts become 0.
      shift: Largest shift of an image before it is cut, in pixels.
      strides: Stride of each layer of the encoder.
      hidden: Width of the layer between h and the counts.
      units: Number of counts.
    """
    train, encoder = images.load(run), small.encoder()
    method = counting(
        nets.linen(Siamese(encoder, MLP((hidden, units)))),
        small.adamw(train.steps(images.epochs)),
        views.on(views.View(size=train.side, shift=shift)),
        margin=margin,
    )
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            nets.linen(Classifier(encoder, train.classes)),
            prepare=field("image", halve),
            chance={"loss": margin},
        )
    ]


@tiny(PAPER, LINEAR, size=32, stored=36, stride=1, widths=(4,) * 5, hidden=(8, 8), units=8)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=40.0, batch=256, lr=1e-4, whole=False, size=228),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=35.0, linear_batch=192, linear_lr=0.04 / 3
    ),
    margin: float = 10.0,
    gray: Fraction = 0.67,
    stride: Count = 4,
    widths: Counts = WIDTHS,
    hidden: Counts = (4096, 4096),
    units: Count = 1000,
    layer: Count = 3,
) -> list[Stage]:
    """The published setting for ImageNet: AlexNet on images of 114 pixels, 1,000 counts.

    Squares of 228 pixels at random places of the central 256, reduced to 114 by a random
    filter, and their quarters; SGD with momentum 0.9, for 200,000 steps.

    Number to beat: 34.3 % top-1 of the 50,000 validation images after "linear", by a linear
    classifier on the third convolution; the others have 18.0, 30.6, 32.5 and 25.7 %.

    Departures: batch norm in place of local response normalization, also of the dense
    layers, and no dropout. The rate falls along a cosine, and its batch is assumed; the
    fraction of gray images is that of re-implementations. The rate of "linear" is RotNet's.

    Args:
      batch: Images per step, each with four quarters.
      margin: Margin of the contrastive term.
      gray: Fraction of the images that are made gray, with their quarters.
      stride: Stride of the first convolution.
      widths: Channels of the convolutions.
      hidden: Units of the dense layers.
      units: Number of counts.
      layer: Convolution whose maps "linear" is trained on, from 1.
    """
    share = (images.size / images.stored) ** 2
    view = views.View(
        size=images.size,
        area=(share, share),
        ratio=(1.0, 1.0),
        gray=gray,
        statistics=views.IMAGENET,
    )
    train, augment, prepare = images.viewed(run, view)
    encoder = AlexNet(stride, widths=widths, hidden=(), dtype=images.dtype or None)
    method = counting(
        nets.linen(Siamese(encoder, MLP((*hidden, units)))),
        optim.decayed_sgd(images.schedule(train), decay=5e-4),
        augment,
        margin=margin,
        prepare=prepare,
    )
    photographs = replace(images, whole=True, size=224 * images.size // 228)
    return [
        run.stage(
            "pretrain",
            method,
            train,
            train.steps(images.epochs),
            evals=evals.knn_if_labeled(train),
            chance={"loss": margin},
        ),
        *probe.stages(
            run,
            photographs,
            train,
            of_layer(nets.linen(Trunk(encoder)), layer),
            tx=partial(optim.decayed_sgd, decay=5e-4, nesterov=True),
            falls={5 / 35: 0.2, 15 / 35: 0.2, 25 / 35: 0.2},
        ),
    ]
