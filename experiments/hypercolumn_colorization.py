"""Colorization with hypercolumns: histograms of hue and chroma at sampled pixels.

    python -m jssl.main --config=experiments/hypercolumn_colorization.py
    python -m jssl.main --config=experiments/hypercolumn_colorization.py:window=1,places=16
    python -m jssl.main --config=experiments/hypercolumn_colorization.py:paper

Larsson, Maire and Shakhnarovich 2016, https://arxiv.org/abs/1603.06668; 2017,
https://arxiv.org/abs/1703.04044. Reference, AlexNet fine-tuned for PASCAL VOC: 65.9 % mean
average precision of classification, 38.4 % mean intersection over union. Ours: `paper` not
run; `laptop` is in docs/results.md.
"""

import optax

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, Fraction, Positive, tiny
from jssl.knobs import DATA, Images, Run, in_color
from jssl.method import field
from jssl.methods.pretext.hypercolumn_colorization import gray, hypercolumn_colorization
from jssl.models.heads import Classifier
from jssl.models.hypercolumns import ConvolutionalVGG, Hypercolumns
from jssl.models.vgg import STAGES
from jssl.papers import PAPER, ImageNet

STAMPS = "source=stamps,size=32,epochs=50,supervised_epochs=30"
RUNS = {"": 1, STAMPS: 1}
TINY = dict(stages=((4,), (8,)), hidden=(8,), width=8, bins=4, places=4)


@tiny(DATA | TINY, source="photos", supervised_epochs=0.03)
def laptop(
    run: Run = Run(),
    images: Images = Images(source="photos", epochs=8.0),
    lr: Positive = 2e-3,
    stages: tuple = ((16,), (32,), (64,)),
    hidden: Counts = (128,),
    kernel: Count = 3,
    width: Count = 128,
    dropout: Fraction = 0.0,
    bins: Count = 32,
    places: Count = 64,
    window: Count = 3,
    edge: int = 2,
    hue_weight: float = 5.0,
    shift: float = 2.0,
) -> list[Stage]:
    """A small VGG on small color images: about two minutes on two cores.

    The encoder sees gray images; so does that of the supervised baseline.

    Args:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
      stages: Channels of the convolutions, a tuple for each stage; pooling follows each.
      hidden: Channels of the convolutions after the last pooling.
      kernel: Side of the kernel of the first of them.
      width: Units of the hidden layer on hypercolumns.
      dropout: Dropout rate of the hidden layer and after the last convolutions.
      bins: Bins of the histograms of hue and of chroma.
      places: Pixels of each image that are sampled in a step.
      window: Side in pixels of the squares of the histograms, odd.
      edge: Pixels at the border of the images that are not sampled.
      hue_weight: Weight of the hue.
      shift: Largest shift of an image, in pixels; half of the images are mirrored.
    """
    train = in_color(images.load(run))
    encoder = ConvolutionalVGG(stages, hidden, kernel, dropout)
    maps = ConvolutionalVGG(stages, hidden, kernel, dropout, maps=True)
    method = hypercolumn_colorization(
        nets.linen(Hypercolumns(maps, bins, width, dropout)),
        optim.adamw(lr, train.steps(images.epochs)),
        bins,
        views.on(views.View(size=train.side, shift=shift, flip=0.5)),
        places=places,
        window=window,
        edge=edge,
        hue_weight=hue_weight,
    )
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            nets.linen(Classifier(encoder, train.classes)),
            prepare=field("image", gray),
        )
    ]


@tiny(PAPER, TINY, size=24, edge=4, kernel=3)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(
        epochs=12.49, batch=8, whole=False, stored=384, size=352, lr=0.032
    ),
    stages: tuple = STAGES,
    hidden: Counts = (4096, 4096),
    kernel: Count = 7,
    width: Count = 1024,
    dropout: Fraction = 0.5,
    bins: Count = 32,
    places: Count = 128,
    window: Count = 7,
    edge: int = 96,
    hue_weight: float = 5.0,
    decay: float = 5e-4,
) -> list[Stage]:
    """The released setting: VGG-16 on ImageNet, two million steps of 8 images.

    Squares of 352 pixels, mirrored in half of the steps, and 128 pixels of each that are
    sampled 96 pixels from the border; a rate of 1e-3 that falls tenfold after 50, 75 and
    87.5 % of the steps: `train` of https://github.com/gustavla/autocolorize.

    No number to compare with: the paper's are errors of colors on other validation images,
    and those of networks fine-tuned for PASCAL VOC.

    Departures: squares are from the central 384 pixels, there from photographs with a short
    side of 352 to 600. Maps are sampled at half-pixel centers, there at their corners. The
    term of chroma has the same weight for all pixels, there less for very dark and bright
    ones. He's initialization, no biases before batch norm, there Xavier's.

    Args:
      lr: Initial learning rate for a batch of 256; scales with the batch.
      stages: Channels of the convolutions, a tuple for each stage; pooling follows each.
      hidden: Channels of fc6 and fc7.
      kernel: Side of the kernel of fc6.
      width: Units of the hidden layer on hypercolumns.
      dropout: Dropout rate of fc6, fc7 and the hidden layer.
      bins: Bins of the histograms of hue and of chroma.
      places: Pixels of each image that are sampled in a step.
      window: Side in pixels of the squares of the histograms, odd.
      edge: Pixels at the border of the images that are not sampled.
      hue_weight: Weight of the hue.
      decay: Weight decay, added to the gradient.
    """
    share = images.size / images.stored
    square = dict(area=(share**2, share**2), ratio=(1.0, 1.0))
    view = views.View(size=images.size, flip=0.5, **square)
    train, augment, prepare = images.viewed(run, view)
    steps, dtype = train.steps(images.epochs), images.dtype or None
    maps = ConvolutionalVGG(stages, hidden, kernel, dropout, maps=True, dtype=dtype)
    falls = {0.5: 0.1, 0.75: 0.1, 0.875: 0.1}
    method = hypercolumn_colorization(
        nets.linen(Hypercolumns(maps, bins, width, dropout, std=1e-4)),
        optax.chain(
            optax.add_decayed_weights(decay, optim.matrices),
            optax.trace(0.9),
            optim.scale_by_rate(optim.falling(images.peak, steps, falls)),
        ),
        bins,
        augment,
        places=places,
        window=window,
        edge=edge,
        hue_weight=hue_weight,
        prepare=prepare,
    )
    judged = evals.knn_if_labeled(train)
    return [run.stage("pretrain", method, train, steps, evals=judged)]
