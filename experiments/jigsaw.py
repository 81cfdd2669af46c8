"""Jigsaw: tell in which of some known orders the nine tiles of an image were laid.

    python -m jssl.main --config=experiments/jigsaw.py
    python -m jssl.main --config=experiments/jigsaw.py:count=64,choice=maxmin

Noroozi and Favaro 2016, https://arxiv.org/abs/1603.09246. Reference, AlexNet, 1,000
permutations: 71 % of the puzzles, 53.2 % mean average precision in the detection of VOC
2007, fine-tuned. Ours: docs/results.md.
"""

import math

import optax

from jssl import Stage, baselines, data, nets, optim, views
from jssl.methods.pretext.jigsaw import jigsaw, laid_out
from jssl.models.convnet import ConvNet
from jssl.models.jigsaw import ContextFree
from jssl.ops.permutations import permutation_set
from jssl.ops.puzzles import cut_tiles, normalize_tiles


def laptop(
    source: str = "mnist",
    epochs: float = 60.0,
    batch: int = 64,
    lr: float = 0.002,
    count: int = 24,
    choice: str = "max",
    tile: int = 7,
    shift: float = 2.0,
    widths: tuple[int, ...] = (16, 32, 64),
    strides: tuple[int, ...] = (1, 2, 2),
    width: int = 32,
    hidden: int = 128,
    supervised_epochs: float = 10.0,
    save_every: int = 500,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """A small network for small tiles: about two minutes on two cores.

    The supervised reference sees the same tiles, in order.

    Args:
      source: mnist, fashion_mnist, digits (tile=2), folder:PATH, tfds:NAME ...
      epochs: passes over the training split.
      batch: images a step, one puzzle of each.
      lr: peak of the learning rate; a twentieth of the steps warm up, then a cosine.
      count: of the permutations.
      choice: of the permutations: max, maxmin, middle or min, by their distances.
      tile: side of the tiles; less than a third of the image's leaves a gap.
      shift: most pixels by which an image is moved before it is cut.
      widths: channels of the tile encoder's layers.
      strides: of its layers.
      width: of a tile's description; nine of them make h.
      hidden: units between h and the answer.
      supervised_epochs: of the supervised reference, computed once and cached.
      save_every: steps between checkpoints.
      seed: of weights, puzzles and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, widths, strides, width, hidden = "digits", 16, (4, 8), (1, 2), 4, 8
        count, tile, shift, epochs, supervised_epochs = 4, 2, 0.0, 0.03, 0.03
    train = data.load(source, batch, seed=seed)
    steps, encoder = train.steps(epochs), ConvNet(widths, strides)
    size = train.shapes()["image"].shape[1]
    schedule = optim.warmup_cosine(lr, steps // 20, steps)
    method = jigsaw(
        nets.linen(ContextFree(encoder, count, width, hidden)),
        optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices),
        permutation_set(9, count, choice),
        tile,
        augment=views.View(size=size, shift=shift),
    )
    return [
        baselines.compared(
            method,
            train,
            steps,
            laid_out(nets.linen(ContextFree(encoder, train.classes, width, hidden))),
            data.load(source, batch, seed=seed, labeled=True),
            supervised_epochs,
            prepare=lambda images: normalize_tiles(cut_tiles(images, tile)),
            chance={"loss": math.log(count)},
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]
