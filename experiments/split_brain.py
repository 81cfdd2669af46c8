"""Split-brain autoencoder: lightness from color, and color from lightness.

    python -m jssl.main --config=experiments/split_brain.py
    python -m jssl.main --config=experiments/split_brain.py:source=stamps,size=32,epochs=50
    python -m jssl.main --config=experiments/split_brain.py:classes=False
    python -m jssl.main --config=experiments/split_brain.py:parts=depth,source=doom,size=32
    python -m jssl.main --config=experiments/split_brain.py:paper

Zhang, Isola and Efros 2017, https://arxiv.org/abs/1611.09842. Reference, AlexNet: 35.4 %
ImageNet top-1 by a linear layer on conv3. Ours: `paper` not run; `laptop` is in
docs/results.md.
"""

import math
from dataclasses import replace
from functools import partial

import jax.numpy as jnp

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, Positive, one_of, tiny
from jssl.knobs import CONVNET, Images, Run, Small, in_color
from jssl.method import field
from jssl.methods.pretext.split_brain import (
    LEVELS,
    depth_halves,
    joined,
    lab_halves,
    split_brain,
    split_depth,
    split_lab,
)
from jssl.models.colorization import (
    WIDTHS,
    Cells,
    ConvolutionalAlexNet,
    SplitBrain,
    SplitClassifier,
)
from jssl.ops.lab import ab_bins
from jssl.papers import LINEAR, PAPER, ImageNet, LinearEvaluation, behind, of_layer

STAMPS = "source=stamps,size=32,epochs=50,supervised_epochs=30"
RUNS = {"": 1, STAMPS: 1, f"{STAMPS},classes=False": 1}


@tiny(CONVNET, source="photos", up=(4,), spacing=50)
def laptop(
    run: Run = Run(),
    images: Images = Images(source="photos", epochs=6.0),
    small: Small = Small(widths=(32, 64, 128)),
    parts: str = "lab",
    classes: bool = True,
    up: Counts = (32, 32),
    spacing: Count = 10,
    neighbors: Count = 5,
    shift: float = 2.0,
    far: Positive = 1834.0,
) -> list[Stage]:
    """Two halves of a small convolutional network: about two minutes on two cores.

    The supervised baseline has both halves, too.

    Args:
      widths: Channels of each layer of both encoders together, half of them in each.
      parts: Parts of the channels: lab (lightness and color), or depth (color and the
        column "depth" of the data set, e.g. source=doom).
      classes: Classification of quantized lightness and color; off, and for depth:
        regression.
      up: Channels of the layers above each encoder, each of which doubles its maps.
      spacing: Distance of the color bins in a and b: 10 (313 bins), 20 (78) ... 50.
      neighbors: Bins of the soft code of a color.
      shift: Largest shift of an image, in pixels; half of the images are mirrored.
      far: Depth that is scaled to 1: the largest of doom, in map units.
    """
    train = in_color(images.load(run))
    bins = ab_bins(spacing) if classes else None
    halves = one_of("parts", parts, {
        "lab": lab_halves(bins, neighbors),
        "depth": depth_halves(),
    })  # fmt: skip
    deep = parts == "depth"
    if deep and "depth" not in train.row_shapes():
        raise ValueError(
            f"split_brain: parts=depth needs a column of depths, which {train.data_name} "
            "does not have: give source=doom"
        )
    view = views.View(size=train.side, shift=shift, flip=0.5)
    with_depth = partial(split_depth, far=far)

    def moved(key, batch):
        if not deep:
            return split_lab(view(key, batch["image"]))
        seen = view(key, 0.5 + jnp.concatenate(with_depth(batch), -1))
        return seen[..., :3] - 0.5, seen[..., 3:] - 0.5

    prepare = with_depth if deep else field("image", split_lab)
    half = replace(small, widths=tuple(max(1, width // 2) for width in small.widths))
    one = Cells(half.encoder(maps=True), halves.second.outputs, up)
    two = Cells(half.encoder(maps=True), halves.first.outputs, up)
    method = split_brain(
        nets.linen(SplitBrain(one, two)),
        small.adamw(train.steps(images.epochs)),
        halves,
        moved,
        prepare=prepare,
    )
    chance = {} if deep or not classes else _chance(bins)
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            nets.linen(SplitClassifier(half.encoder(), half.encoder(), train.classes)),
            prepare=prepare,
            chance=chance,
        )
    ]


def _chance(bins):
    """Losses of uniform predictions of color and lightness."""
    second, first = math.log(len(bins)), math.log(LEVELS)
    return {"second/loss": second, "first/loss": first, "loss": first + second}


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
    layer: Count = 3,
    stride: Count = 4,
    widths: Counts = WIDTHS,
    hidden: Counts = (4096, 4096),
    spacing: Count = 10,
    neighbors: Count = 10,
    decay: float = 1e-3,
) -> list[Stage]:
    """The published setting for ImageNet: AlexNet in two halves, 313 colors, 100 levels.

    Random squares of 180 pixels; predictions for 12 x 12 cells; half of AlexNet's channels
    in each half.

    Number to beat: 35.4 % top-1 of the 50,000 validation images after "linear", by a linear
    classifier on the third convolutions of both halves, averaged to 9,600 numbers, with
    batch norm; 35.2 % on the fourth (layer=4).

    Departures: the training code is not published; optimizer, rates, batch, length, soft
    code and "linear" are those released for colorization, `experiments/colorization.py`,
    without its rebalancing, and with its departures. Targets are the first pixels of cells
    of 15 pixels.

    Args:
      lr: Initial learning rate for a batch of 256; scales with the batch.
      layer: Convolutions whose maps "linear" is trained on, from 1.
      stride: Stride of the first convolutions; there are predictions at 4 strides.
      widths: Channels of the convolutions of both halves together.
      hidden: Channels of fc6 and fc7 of both halves together.
      spacing: Distance of the color bins in a and b: 10 (313 bins), 20 (78) ... 50.
      neighbors: Bins of the soft code of a color.
      decay: Weight decay, added to the gradient.
    """
    share = images.size / images.stored
    square = dict(area=(share**2, share**2), ratio=(1.0, 1.0))
    view = views.View(size=images.size, flip=0.5, **square)
    train, augment, prepare = images.viewed(run, view)
    steps, bins = train.steps(images.epochs), ab_bins(spacing)
    halves = lab_halves(bins, neighbors)
    half = lambda sizes: tuple(size // 2 for size in sizes)
    dtype = images.dtype or None
    encoder = lambda: ConvolutionalAlexNet(
        stride, half(widths), half(hidden), split=1, dtype=dtype
    )
    one = Cells(encoder(), halves.second.outputs)
    two = Cells(encoder(), halves.first.outputs)
    net = nets.linen(SplitBrain(one, two))
    falls = {240 / 450: 1 / 3, 300 / 450: 0.3, 400 / 450: 1 / 3}
    method = split_brain(
        net,
        optim.decayed_adam(optim.falling(images.peak, steps, falls), decay=decay),
        halves,
        lambda key, batch: split_lab(augment(key, batch)),
        prepare=lambda batch: split_lab(prepare(batch)),
    )
    return [
        run.stage(
            "pretrain",
            method,
            train,
            steps,
            evals=evals.knn_if_labeled(train),
            chance=_chance(bins),
        ),
        *probe.stages(
            run,
            images,
            train,
            of_layer(behind(split_lab, joined(net)), layer),
            tx=partial(optim.decayed_sgd, decay=5e-4),
            falls={40 / 140: 0.1, 80 / 140: 0.1, 120 / 140: 0.1},
            norm=True,
            look=images.crop_and_flip(statistics=None),
        ),
    ]
