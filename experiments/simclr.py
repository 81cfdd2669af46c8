"""SimCLR: contrastive learning of two views of each image against the rest of the batch.

    python -m jssl.main --config=experiments/simclr.py
    python -m jssl.main --config=experiments/simclr.py:source=fashion_mnist,recipe=garments
    python -m jssl.main --config=experiments/simclr.py:paper,mesh=data=128

Chen et al. 2020, https://arxiv.org/abs/2002.05709; settings from google-research/simclr.
Reference, ResNet-50, 1,000 epochs: 69.3 % ImageNet top-1, linear (the released weights
69.1 %). Ours: `paper` not run; `laptop` is in docs/results.md.
"""

import math

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Counts, Positive, tiny
from jssl.knobs import CONVNET, GARMENTS, RESNET, ImageNet, Large, Run, Small, ViewedImages
from jssl.methods.contrastive.simclr import simclr
from jssl.models.heads import MLP, Classifier, Siamese

RUNS = {"": 5, f"{GARMENTS},epochs=10,supervised_epochs=10": 1}


@tiny(CONVNET, projector=(8, 4))
def laptop(
    run: Run = Run(),
    images: ViewedImages = ViewedImages(batch=256, supervised_epochs=30.0),
    small: Small = Small(lr=2e-3),
    temperature: Positive = 0.2,
    projector: Counts = (128, 64),
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Args:
      temperature: Temperature of the similarities.
      projector: Widths of the projector's layers.
    """
    train = images.load(run)
    method = simclr(
        nets.linen(Siamese(small.encoder(), MLP(projector))),
        small.adamw(train.steps(images.epochs)),
        images.augment(train),
        temperature=temperature,
    )
    classifier = nets.linen(Classifier(small.encoder(), train.classes))
    chance = {"loss": math.log(2 * images.batch - 1)}
    return [baselines.pretrain_stage(run, images, train, method, classifier, chance=chance)]


@tiny(RESNET, warmup=0.01)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=1000.0, batch=4096, lr=0.3, warmup=10.0),
    resnet: Large = Large(),
    temperature: Positive = 0.1,
    chunk: int = 0,
    remat: bool = False,
) -> list[Stage]:
    """The published schedule on ImageNet: LARS, batches of 4,096, 1,000 epochs.

    Number to beat: 69.3 % top-1 of the 50,000 validation images, by a linear classifier of
    the frozen h, which is trained on random crops and flips of all labeled images.

    Departures: the head's kernels start at LeCun's scale, not at a deviation of 0.01, which
    the batch norm after them cancels.

    Args:
      width: Channels of the ResNet's first blocks; the paper's 2x and 4x are 128 and 256.
      temperature: Temperature of the similarities.
      chunk: Candidates per block of similarities, to save memory; 0: all at once.
      remat: Recompute the blocks' activations in the backward pass, to save memory.
    """
    train = images.load(run)
    encoder = resnet.encoder(images, remat=remat)
    head = MLP((encoder.features, 128), last_norm="scale")
    tx = optim.lars(images.schedule(train), weight_decay=1e-6, rate_in_momentum=True)
    method = simclr(
        nets.linen(Siamese(encoder, head)),
        tx,
        views.augment("simclr", size=images.size),
        temperature=temperature,
        scale=2.0,
        prepare=images.prepare,
        chunk=chunk or None,
    )
    steps, judged = train.steps(images.epochs), evals.knn_if_labeled(train)
    return [run.stage("pretrain", method, train, steps, evals=judged)]
