"""SimCLR: contrastive learning of two views of each image against the rest of the batch.

    python -m jssl.main --config=experiments/simclr.py
    python -m jssl.main --config=experiments/simclr.py:source=fashion_mnist,recipe=garments
    python -m jssl.main --config=experiments/simclr.py:cifar
    python -m jssl.main --config=experiments/simclr.py:paper,mesh=data=128

Chen et al. 2020, https://arxiv.org/abs/2002.05709; settings from google-research/simclr.
Reference, ResNet-50, 1,000 epochs: 69.3 % ImageNet top-1, linear (the released weights
69.1 %). Ours: `paper` not run; `laptop` is in docs/results.md.
"""

import math
from functools import partial

from jssl import Stage, baselines, nets, optim
from jssl.config import Count, Counts, Positive, tiny
from jssl.knobs import CONVNET, GARMENTS, STAMPS, Run, Small, ViewedImages
from jssl.methods.contrastive.simclr import simclr
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.papers import CIFAR, RESNET, Cifar, ImageNet, Large, LinearEvaluation

RUNS = {"": 5, f"{GARMENTS},epochs=10,supervised_epochs=10": 1, STAMPS: 1}


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
    probe: LinearEvaluation = LinearEvaluation(),
    temperature: Positive = 0.1,
    decay: float = 1e-6,
    layers: Count = 2,
    recipe: str = "simclr",
    chunk: int = 0,
    remat: bool = False,
) -> list[Stage]:
    """The published schedule on ImageNet: LARS, batches of 4,096, 1,000 epochs.

    Number to beat: 69.3 % top-1 of the 50,000 validation images after "linear": Nesterov's
    momentum, batches of 4,096, rate 0.1 for 256, 90 epochs. The command in the README of
    the released code, epochs=100,decay=1e-4,layers=3,recipe=simclr_v2, gives 64.5 %.

    Departures: boxes of random crops are drawn as in torchvision (mean area 43 % of a
    photograph of 500 x 375 pixels, in TensorFlow 39 %), and crops are shrunk with
    antialiasing, there without; the head's kernels start at LeCun's scale, not at a
    deviation of 0.01, which the batch norm after them cancels.

    Args:
      width: Channels of the ResNet's first blocks; the paper's 2x and 4x are 128 and 256.
      temperature: Temperature of the similarities.
      decay: Weight decay, except of biases and norms.
      layers: Layers of the projection head.
      recipe: Recipe of the views: simclr, or simclr_v2 with multiplicative brightness.
      chunk: Candidates per block of similarities, to save memory; 0: all at once.
      remat: Recompute the blocks' activations in the backward pass, to save memory.
    """
    train, augment, prepare = images.viewed(run, recipe)
    encoder = resnet.encoder(images, remat=remat)
    head = MLP((encoder.features,) * (layers - 1) + (128,), last_norm="scale")
    tx = optim.lars(images.schedule(train), weight_decay=decay, rate_in_momentum=True)
    net = nets.linen(Siamese(encoder, head))
    method = simclr(
        net,
        tx,
        augment,
        temperature=temperature,
        scale=2.0,
        prepare=prepare,
        chunk=chunk or None,
    )
    sgd = partial(optim.decayed_sgd, decay=1e-6, nesterov=True)
    look = images.crop_and_flip(method="bicubic", statistics=None)
    return probe.with_pretraining(
        run, images, train, method, net, tx=sgd, look=look, std=0.0
    )


@tiny(CIFAR, warmup=0.01)
def cifar(
    run: Run = Run(save_every=1000),
    images: Cifar = Cifar(epochs=1000.0, batch=512, lr=1.0, warmup=10.0),
    resnet: Large = Large(depth=18),
    probe: LinearEvaluation = LinearEvaluation(linear_epochs=100.0, linear_batch=512),
    temperature: Positive = 0.5,
    decay: float = 1e-4,
    layers: Count = 3,
) -> list[Stage]:
    """The released code's setting for CIFAR-10: a ResNet-18, 1,000 epochs, one GPU.

    Number to beat: about 91 % of the 10,000 test images after "linear".

    Departures: boxes of random crops are drawn as in torchvision; the head's kernels start
    at LeCun's scale.

    Args:
      temperature: Temperature of the similarities.
      decay: Weight decay, except of biases and norms.
      layers: Layers of the projection head.
    """
    train, augment, prepare = images.viewed(run, "simclr_cifar")
    encoder = resnet.encoder(images, stem="cifar")
    head = MLP((encoder.features,) * (layers - 1) + (128,), last_norm="scale")
    net = nets.linen(Siamese(encoder, head))
    method = simclr(
        net,
        optim.lars(images.schedule(train), weight_decay=decay, rate_in_momentum=True),
        augment,
        temperature=temperature,
        scale=2.0,
        prepare=prepare,
    )
    sgd = partial(optim.decayed_sgd, decay=0.0, nesterov=True)
    look = images.crop_and_flip(method="bicubic", statistics=None)
    return probe.with_pretraining(
        run, images, train, method, net, tx=sgd, look=look, std=0.0
    )
