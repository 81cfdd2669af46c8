"""Damaged jigsaw puzzles: the order of gray tiles, the missing one, and the colors.

    python -m jssl.main --config=experiments/damaged_jigsaw.py
    python -m jssl.main --config=experiments/damaged_jigsaw.py:inpaint=0,color=0
    python -m jssl.main --config=experiments/damaged_jigsaw.py:paper

Kim, Cho, Yoo and Kweon 2018, https://arxiv.org/abs/1802.01880. Reference, AlexNet: 69.2 %
mean average precision in the classification of PASCAL VOC 2007, 39.3 % mean intersection
over union in segmentation, fine-tuned (not checked in the paper). Ours: docs/results.md;
`paper` not run.
"""

import math

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, tiny
from jssl.knobs import CONVNET, Images, Run, Small, in_color
from jssl.method import field
from jssl.methods.pretext.damaged_jigsaw import damaged_jigsaw, gray_tiles
from jssl.methods.pretext.jigsaw import laid_out
from jssl.models.alexnet import WIDTHS, AlexNet
from jssl.models.jigsaw import ContextFree, DamagedPuzzle
from jssl.ops.lab import ab_bins
from jssl.ops.permutations import permutation_set
from jssl.ops.puzzles import cut_tiles
from jssl.papers import PAPER, ImageNet

STAMPS = "source=stamps,size=32,epochs=100,supervised_epochs=30"
RUNS = {
    "": 1,
    "inpaint=0,color=0": 1,
    STAMPS: 1,
    f"{STAMPS},inpaint=0,color=0": 1,
    f"{STAMPS},color=0": 1,
    f"{STAMPS},inpaint=0": 1,
}


@tiny(CONVNET, source="photos", strides=(1, 2), width=4, hidden=8, count=4, tile=4,
      decoder=(4, 4), spacing=50, shift=0.0)  # fmt: skip
def laptop(
    run: Run = Run(save_every=500),
    images: Images = Images(source="photos", epochs=20.0),
    small: Small = Small(widths=(16, 32, 64), strides=(1, 2, 1)),
    count: Count = 24,
    choice: str = "max",
    inpaint: float = 1.0,
    color: float = 1.0,
    tile: Count = 8,
    spacing: Count = 20,
    shift: float = 2.0,
    width: Count = 32,
    hidden: Count = 128,
    decoder: Counts = (32, 16),
) -> list[Stage]:
    """A small network for small tiles of color images: about two minutes on two cores.

    The supervised baseline sees the same gray tiles, in order.

    Args:
      count: Number of permutations.
      choice: Choice of permutations by their distances: max, maxmin, middle or min.
      inpaint: Weight of the squared error of the missing tile; 0: of no influence.
      color: Weight of the cross entropy of the colors; 0: of no influence.
      tile: Side of a tile in pixels; less than a third of the image's leaves a gap.
      spacing: Distance of the color bins in a and b: 10 (313 bins), 20 (78) ... 50.
      shift: Largest shift of an image before it is cut, in pixels; half of the images are
        mirrored.
      widths: Channels of each layer of the tile encoder.
      strides: Stride of each layer of the tile encoder.
      width: Width of a tile's description; nine of them make h.
      hidden: Width of the layer between h and the logits.
      decoder: Channels of the maps of the missing tile, each half as large as the next.
    """
    train, bins = in_color(images.load(run)), ab_bins(spacing)
    encoder = small.encoder(maps=True)
    net = DamagedPuzzle(encoder, count, len(bins), width, hidden, tuple(decoder))
    method = damaged_jigsaw(
        nets.linen(net),
        small.adamw(train.steps(images.epochs)),
        permutation_set(9, count, choice),
        tile,
        bins,
        views.on(views.View(size=train.side, shift=shift, flip=0.5)),
        inpaint=inpaint,
        color=color,
        sigma=spacing / 2,
    )
    classifier = nets.linen(ContextFree(small.encoder(), train.classes, width, hidden))
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            laid_out(classifier),
            prepare=field("image", lambda x: gray_tiles(cut_tiles(x, tile))),
            chance={"permutation": math.log(count), "color": math.log(len(bins))},
        )
    ]


@tiny(PAPER, size=60, stored=64, tile=18, stride=1, widths=(4,) * 5, split=1, width=4,
      hidden=8, count=4, decoder=(4, 4), spacing=50)  # fmt: skip
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=70.0, batch=256, lr=0.01, whole=False, size=225),
    count: Count = 1000,
    choice: str = "max",
    inpaint: float = 1.0,
    color: float = 1.0,
    tile: Count = 64,
    spacing: Count = 10,
    stride: Count = 2,
    widths: Counts = WIDTHS,
    split: Count = 2,
    width: Count = 512,
    hidden: Count = 4096,
    decoder: Counts = (512, 256, 128, 64),
) -> list[Stage]:
    """ImageNet at the scale of the paper: AlexNet's convolutions on nine gray tiles.

    The puzzle and its training are those of `paper` in experiments/jigsaw.py, which this
    method extends: 1,000 permutations, tiles of 64 of 75 pixels, 350,000 steps of 256
    images; colors in 313 bins.

    No number to compare with: those of the paper are of networks fine-tuned for PASCAL VOC.

    Departures: the weights of the three losses are 1, and the decoders are those of the
    laptop, with more channels; batch norm in place of local response normalization. The
    length and the rate are those of the jigsaw puzzle, a cosine, not the paper's.

    Args:
      count: Number of permutations.
      choice: Choice of permutations by their distances: max, maxmin, middle or min.
      inpaint: Weight of the squared error of the missing tile.
      color: Weight of the cross entropy of the colors.
      tile: Side of a tile in pixels.
      spacing: Distance of the color bins in a and b: 10 (313 bins), 20 (78) ... 50.
      stride: Stride of the first convolution; 2 for jigsaw puzzles.
      widths: Channels of the convolutions.
      split: Groups of channels in convolutions 2, 4 and 5.
      width: Width of a tile's description; nine of them make h.
      hidden: Width of the layer between h and the logits.
      decoder: Channels of the maps of the missing tile, each half as large as the next.
    """
    share = (images.size / images.stored) ** 2
    view = views.View(size=images.size, area=(share, share), ratio=(1.0, 1.0), flip=0.5)
    train, augment, prepare = images.viewed(run, view)
    bins, dtype = ab_bins(spacing), images.dtype or None
    encoder = AlexNet(
        stride, 0, tuple(widths), hidden=(), split=split, maps=True, dtype=dtype
    )
    net = DamagedPuzzle(
        encoder, count, len(bins), width, hidden, tuple(decoder), pool=False
    )
    method = damaged_jigsaw(
        nets.linen(net),
        optim.decayed_sgd(images.schedule(train), decay=5e-4),
        permutation_set(9, count, choice),
        tile,
        bins,
        augment,
        inpaint=inpaint,
        color=color,
        sigma=spacing / 2,
        prepare=prepare,
    )
    return [
        run.stage(
            "pretrain",
            method,
            train,
            train.steps(images.epochs),
            evals=evals.knn_if_labeled(train),
            chance={"permutation": math.log(count), "color": math.log(len(bins))},
        )
    ]
