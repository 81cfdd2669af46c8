"""Jigsaw puzzles: classification of the permutation of nine tiles.

    python -m jssl.main --config=experiments/jigsaw.py
    python -m jssl.main --config=experiments/jigsaw.py:count=64,choice=maxmin
    python -m jssl.main --config=experiments/jigsaw.py:paper,count=64

Noroozi and Favaro 2016, https://arxiv.org/abs/1603.09246. Reference, AlexNet, 1,000
permutations: 71 % of the puzzles, 53.2 % mean average precision in the detection of VOC
2007, fine-tuned. Ours: docs/results.md.
"""

import math

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, Fraction, tiny
from jssl.knobs import CONVNET, Images, Run, Small
from jssl.method import field, identity
from jssl.methods.pretext.jigsaw import jigsaw, laid_out
from jssl.models.alexnet import WIDTHS, AlexNet
from jssl.models.jigsaw import ContextFree
from jssl.ops.permutations import permutation_set
from jssl.ops.puzzles import cut_tiles, normalize_tiles
from jssl.papers import PAPER, ImageNet

RUNS = {
    "": 1,
    **{f"epochs=20,count={count},choice=max": 1 for count in (4, 24, 96)},
    **{f"epochs=20,count=24,choice={choice}": 1 for choice in ("middle", "min")},
}


@tiny(CONVNET, strides=(1, 2), width=4, hidden=8, count=4, tile=2, shift=0.0)
def laptop(
    run: Run = Run(save_every=500),
    images: Images = Images(epochs=60.0),
    small: Small = Small(widths=(16, 32, 64), strides=(1, 2, 2)),
    count: Count = 24,
    choice: str = "max",
    tile: Count = 7,
    normalize: bool = True,
    shift: float = 2.0,
    width: Count = 32,
    hidden: Count = 128,
) -> list[Stage]:
    """A small network for small tiles: about two minutes on two cores.

    The supervised baseline sees the same tiles, in order.

    Args:
      count: Number of permutations.
      choice: Choice of permutations by their distances: max, maxmin, middle or min.
      tile: Side of a tile in pixels (digits: 2); less than a third of the image's leaves
        a gap.
      normalize: Standardize each tile; off, brightness betrays the places of tiles.
      shift: Largest shift of an image before it is cut, in pixels.
      widths: Channels of each layer of the tile encoder.
      strides: Stride of each layer of the tile encoder.
      width: Width of a tile's description; nine of them make h.
      hidden: Width of the layer between h and the logits.
    """
    train, encoder = images.load(run), small.encoder()
    method = jigsaw(
        nets.linen(ContextFree(encoder, count, width, hidden)),
        small.adamw(train.steps(images.epochs)),
        permutation_set(9, count, choice),
        tile,
        views.on(views.View(size=train.side, shift=shift)),
        normalize=normalize,
    )
    even = normalize_tiles if normalize else identity
    classifier = nets.linen(ContextFree(encoder, train.classes, width, hidden))
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            laid_out(classifier),
            prepare=field("image", lambda x: even(cut_tiles(x, tile))),
            chance={"loss": math.log(count)},
        )
    ]


@tiny(
    PAPER,
    size=60,
    stored=64,
    tile=18,
    stride=1,
    widths=(4,) * 5,
    split=1,
    width=4,
    hidden=8,
    count=4,
)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=70.0, batch=256, lr=0.01, whole=False, size=225),
    count: Count = 1000,
    choice: str = "max",
    tile: Count = 64,
    gray: Fraction = 0.3,
    stride: Count = 2,
    widths: Counts = WIDTHS,
    split: Count = 2,
    width: Count = 512,
    hidden: Count = 4096,
) -> list[Stage]:
    """The published setting for ImageNet: AlexNet's convolutions on nine tiles.

    Squares of 225 pixels at random places of the central 256 have nine cells of 75 pixels,
    and a tile of 64 at a random place in each; 350,000 steps of 256 images.

    No number to compare with: the paper's 71 % of the puzzles, with 1,000 permutations, are
    of images whose color channels are shifted, which closes a shortcut; "jigsaw_accuracy"
    is of training images that are not. Its other numbers are of networks fine-tuned for
    PASCAL VOC.

    Departures: batch norm in place of local response normalization, no dropout, no shift of
    the color channels (2 pixels there). The rate falls along a cosine; the paper states its
    beginning.

    Args:
      count: Number of permutations.
      choice: Choice of permutations by their distances: max, maxmin, middle or min.
      tile: Side of a tile in pixels.
      gray: Fraction of the images that are made gray.
      stride: Stride of the first convolution; 2 in the paper.
      widths: Channels of the convolutions.
      split: Groups of channels in convolutions 2, 4 and 5.
      width: Width of a tile's description; nine of them make h.
      hidden: Width of the layer between h and the logits.
    """
    share = images.size / images.stored
    view = views.View(
        size=images.size, area=(share**2, share**2), ratio=(1.0, 1.0), gray=gray
    )
    train, augment, prepare = images.viewed(run, view)
    encoder = AlexNet(stride, 0, widths, hidden=(), split=split, dtype=images.dtype or None)
    method = jigsaw(
        nets.linen(ContextFree(encoder, count, width, hidden)),
        optim.decayed_sgd(images.schedule(train), decay=5e-4),
        permutation_set(9, count, choice),
        tile,
        augment,
        prepare=prepare,
    )
    return [
        run.stage(
            "pretrain",
            method,
            train,
            train.steps(images.epochs),
            evals=evals.knn_if_labeled(train),
            chance={"loss": math.log(count)},
        )
    ]
