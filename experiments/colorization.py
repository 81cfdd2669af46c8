"""Colorization: classification of the colors of a gray image.

    python -m jssl.main --config=experiments/colorization.py
    python -m jssl.main --config=experiments/colorization.py:source=stamps,size=32,epochs=50
    python -m jssl.main --config=experiments/colorization.py:mix=1.0
    python -m jssl.main --config=experiments/colorization.py:paper

Zhang, Isola and Efros 2016, https://arxiv.org/abs/1603.08511. References: 32 % of the
colored images are taken for the original; AlexNet, 31.5 % ImageNet top-1 by a linear layer
on conv4. Ours: `paper` not run; `laptop` is in docs/results.md.
"""

import math
from functools import partial

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, Fraction, tiny
from jssl.knobs import CONVNET, Images, Run, Small, in_color
from jssl.method import field
from jssl.methods.pretext.colorization import colorization
from jssl.models.colorization import WIDTHS, Cells, ConvolutionalAlexNet
from jssl.models.heads import Classifier
from jssl.ops.lab import ab_bins, lightness
from jssl.papers import LINEAR, PAPER, ImageNet, LinearEvaluation, behind, of_layer

STAMPS = "source=stamps,size=32,epochs=50,supervised_epochs=30"
RUNS = {"": 1, STAMPS: 5, f"{STAMPS},mix=1.0": 1}


@tiny(CONVNET, source="photos", up=(4,), spacing=50)
def laptop(
    run: Run = Run(),
    images: Images = Images(source="photos", epochs=6.0),
    small: Small = Small(widths=(32, 64, 128)),
    up: Counts = (64, 32),
    spacing: Count = 10,
    neighbors: Count = 5,
    mix: Fraction = 0.5,
    shift: float = 2.0,
) -> list[Stage]:
    """A small convolutional network on small color images: about two minutes on two cores.

    The encoder sees lightness only; so does that of the supervised baseline.

    Args:
      up: Channels of the layers above the encoder, each of which doubles its maps.
      spacing: Distance of the color bins in a and b: 10 (313 bins), 20 (78) ... 50.
      neighbors: Bins of the soft code of a color; the released code has 10.
      mix: Fraction of a uniform distribution in the colors' frequencies, up to 1, which
        disables the rebalancing.
      shift: Largest shift of an image, in pixels; half of the images are mirrored.
    """
    train, bins = in_color(images.load(run)), ab_bins(spacing)
    steps = train.steps(images.epochs)
    method = colorization(
        nets.linen(Cells(small.encoder(maps=True), len(bins), up)),
        small.adamw(steps),
        bins,
        views.on(views.View(size=train.side, shift=shift, flip=0.5)),
        neighbors=neighbors,
        mix=mix,
    )
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            nets.linen(Classifier(small.encoder(), train.classes)),
            prepare=field("image", lightness),
            refresh_every=steps,
            chance={"loss": math.log(len(bins))},
        )
    ]


@tiny(
    PAPER,
    LINEAR,
    size=32,
    stride=2,
    widths=(4,) * 5,
    hidden=(8, 8),
    spacing=50,
    neighbors=5,
)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=28.1, batch=80, whole=False, size=180, lr=9.6e-5),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=28.0, linear_batch=256, linear_lr=0.01
    ),
    layer: Count = 4,
    stride: Count = 4,
    widths: Counts = WIDTHS,
    hidden: Counts = (4096, 4096),
    spacing: Count = 10,
    neighbors: Count = 10,
    mix: Fraction = 0.5,
    decay: float = 1e-3,
) -> list[Stage]:
    """The released setting for features: AlexNet on ImageNet, 450,000 steps of 80 images.

    Random squares of 180 pixels of the central 256, mirrored in half of the steps; colors
    at every eighth pixel; a rate of 3e-5 that falls to 1e-5, 3e-6 and 1e-6 after 240,000,
    300,000 and 400,000 steps; a decay in the gradient, of the weights without biases:
    `train_alexnet` of https://github.com/richzhang/colorization.

    Number to beat: 31.5 % top-1 of the 50,000 validation images after "linear", by a linear
    classifier on the fourth convolution, averaged to 9,600 numbers, with batch norm;
    30.4 % on the third (layer=3). The rates of "linear" are those of
    `feature_learning_tests/linear`.

    Departures: predictions at every sixteenth pixel are interpolated to every eighth by
    half-pixel centers, in the released code by another rule; its biases have twice the rate
    of weights, and lightness there has a range of 100, not 1, before the first convolution.
    "linear" has random crops of 8 to 100 % of the area, there squares of 227 of the central
    256 pixels. Frequencies of colors are those of the first pixels of cells in central
    squares. The paper's network for pictures, of 22 convolutions, is not here.

    Args:
      lr: Initial learning rate for a batch of 256; scales with the batch.
      layer: Convolution whose maps "linear" is trained on, from 1.
      stride: Stride of the first convolution; there are predictions at 4 strides.
      widths: Channels of the convolutions.
      hidden: Channels of fc6 and fc7.
      spacing: Distance of the color bins in a and b: 10 (313 bins), 20 (78) ... 50.
      neighbors: Bins of the soft code of a color; 5 in the paper.
      mix: Fraction of a uniform distribution in the colors' frequencies, above 0.
      decay: Weight decay, added to the gradient.
    """
    share = images.size / images.stored
    square = dict(area=(share**2, share**2), ratio=(1.0, 1.0))
    view = views.View(size=images.size, flip=0.5, **square)
    train, augment, prepare = images.viewed(run, view)
    steps, bins = train.steps(images.epochs), ab_bins(spacing)
    encoder = ConvolutionalAlexNet(stride, widths, hidden, dtype=images.dtype or None)
    net = nets.linen(Cells(encoder, len(bins), every=2 * stride))
    falls = {240 / 450: 1 / 3, 300 / 450: 0.3, 400 / 450: 1 / 3}
    method = colorization(
        net,
        optim.decayed_adam(optim.falling(images.peak, steps, falls), decay=decay),
        bins,
        augment,
        neighbors=neighbors,
        mix=mix,
        prepare=prepare,
    )
    return [
        run.stage(
            "pretrain",
            method,
            train,
            steps,
            evals=evals.knn_if_labeled(train),
            refresh_every=steps,
            chance={"loss": math.log(len(bins))},
        ),
        *probe.stages(
            run,
            images,
            train,
            of_layer(behind(lightness, net), layer),
            lambda state: state.learner,
            tx=partial(optim.decayed_sgd, decay=5e-4),
            falls={40 / 140: 0.1, 80 / 140: 0.1, 120 / 140: 0.1},
            norm=True,
            look=images.crop_and_flip(statistics=None),
        ),
    ]
