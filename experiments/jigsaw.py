"""Jigsaw puzzles: classification of the permutation of nine tiles.

    python -m jssl.main --config=experiments/jigsaw.py
    python -m jssl.main --config=experiments/jigsaw.py:count=64,choice=maxmin

Noroozi and Favaro 2016, https://arxiv.org/abs/1603.09246. Reference, AlexNet, 1,000
permutations: 71 % of the puzzles, 53.2 % mean average precision in the detection of VOC
2007, fine-tuned. Ours: docs/results.md.
"""

import math

from jssl import Stage, baselines, nets, views
from jssl.config import Count, Counts, tiny
from jssl.knobs import CONVNET, Images, Run, Small
from jssl.method import field
from jssl.methods.pretext.jigsaw import jigsaw, laid_out
from jssl.models.jigsaw import ContextFree
from jssl.ops.permutations import permutation_set
from jssl.ops.puzzles import cut_tiles, normalize_tiles


@tiny(CONVNET, strides=(1, 2), width=4, hidden=8, count=4, tile=2, shift=0.0)
def laptop(
    run: Run = Run(save_every=500),
    images: Images = Images(epochs=60.0),
    small: Small = Small(widths=(16, 32, 64)),
    count: Count = 24,
    choice: str = "max",
    tile: Count = 7,
    shift: float = 2.0,
    strides: Counts = (1, 2, 2),
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
      shift: Largest shift of an image before it is cut, in pixels.
      widths: Channels of each layer of the tile encoder.
      strides: Stride of each layer of the tile encoder.
      width: Width of a tile's description; nine of them make h.
      hidden: Width of the layer between h and the logits.
    """
    train, encoder = images.load(run), small.encoder(strides=strides)
    method = jigsaw(
        nets.linen(ContextFree(encoder, count, width, hidden)),
        small.adamw(train.steps(images.epochs)),
        permutation_set(9, count, choice),
        tile,
        views.on(views.View(size=train.side, shift=shift)),
    )
    classifier = nets.linen(ContextFree(encoder, train.classes, width, hidden))
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            laid_out(classifier),
            prepare=field("image", lambda x: normalize_tiles(cut_tiles(x, tile))),
            chance={"loss": math.log(count)},
        )
    ]
