"""Barlow Twins: features equal in two views and uncorrelated with each other.

    python -m jssl.main --config=experiments/barlow_twins.py
    python -m jssl.main --config=experiments/barlow_twins.py:lam=0.0
    python -m jssl.main --config=experiments/barlow_twins.py:cifar
    python -m jssl.main --config=experiments/barlow_twins.py:paper,mesh=data=32

Zbontar et al. 2021, https://arxiv.org/abs/2103.03230; settings from
facebookresearch/barlowtwins. Reference, ResNet-50, 1,000 epochs: 73.2 % ImageNet top-1,
linear, in the paper, 73.5 % of the released network. Ours: not run.
"""

from functools import partial

from jssl import Stage, baselines, nets, optim
from jssl.config import Counts, Positive, tiny
from jssl.knobs import CONVNET, GARMENTS, STAMPS, Run, Small, ViewedImages
from jssl.methods.siamese.barlow_twins import barlow_twins
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.papers import CIFAR, RESNET, Cifar, ImageNet, Large, LinearEvaluation

RUNS = {"": 5, f"{GARMENTS},epochs=10,supervised_epochs=10": 1, STAMPS: 1}


@tiny(CONVNET, projector=(8, 8))
def laptop(
    run: Run = Run(),
    images: ViewedImages = ViewedImages(),
    small: Small = Small(lr=0.006),
    lam: float = 0.0051,
    projector: Counts = (256, 256, 256),
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Args:
      lam: Weight of the correlations of different features; 0: redundant features.
      projector: Widths of the projector's layers.
    """
    train = images.load(run)
    method = barlow_twins(
        nets.linen(Siamese(small.encoder(), MLP(projector, last_bias=False))),
        small.adamw(train.steps(images.epochs)),
        images.augment(train),
        lam=lam,
    )
    classifier = nets.linen(Classifier(small.encoder(), train.classes))
    return [baselines.pretrain_stage(run, images, train, method, classifier)]


@tiny(RESNET, projector=(8, 8, 8), warmup=0.01)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=1000.0, batch=2048, lr=0.2, warmup=10.0),
    resnet: Large = Large(),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=100.0, linear_batch=256, linear_lr=0.3
    ),
    bias_lr: Positive = 0.0048,
    decay: float = 1e-6,
    lam: float = 0.0051,
    projector: Counts = (8192, 8192, 8192),
) -> list[Stage]:
    """The published schedule on ImageNet: LARS, batches of 2,048, 1,000 epochs.

    The learning rates fall to a thousandth of their peaks.

    Numbers to beat, top-1 of the 50,000 validation images after "linear" (SGD, batches of
    256, rate 0.3, weight decay 1e-6, 100 epochs): 73.2 % in the paper, 73.5 % of the
    released network (README of facebookresearch/barlowtwins), whose decay of 1e-6 we have;
    the paper's is 1.5e-6 (decay=1.5e-6).

    Args:
      lr: Peak learning rate of matrices for a batch of 256; scales with the batch.
      bias_lr: Peak learning rate of biases and norms for a batch of 256.
      decay: Weight decay, except of biases and norms.
      lam: Weight of the correlations of different features.
      projector: Widths of the projector's layers.
    """
    train, augment, prepare = images.viewed(run, "barlow_twins")
    net = nets.linen(Siamese(resnet.encoder(images), MLP(projector, last_bias=False)))
    rate, slower = images.schedule(train, end=1 / 1000), bias_lr / images.lr
    lars = optim.lars(rate, weight_decay=decay, vectors=slower)
    method = barlow_twins(net, lars, augment, lam=lam, prepare=prepare)
    sgd = partial(optim.decayed_sgd, decay=1e-6)
    return probe.with_pretraining(run, images, train, method, net, tx=sgd)


@tiny(CIFAR, projector=(8, 8), warmup=0.01)
def cifar(
    run: Run = Run(save_every=1000),
    images: Cifar = Cifar(epochs=1000.0, batch=256, lr=0.3, warmup=10.0),
    resnet: Large = Large(depth=18),
    probe: LinearEvaluation = LinearEvaluation(linear_epochs=100.0, linear_batch=512),
    lam: float = 0.0051,
    scale: Positive = 0.1,
    projector: Counts = (2048, 2048, 2048),
) -> list[Stage]:
    """CIFAR-10: a ResNet-18, LARS, 1,000 epochs, one GPU, by the settings of solo-learn.

    Number to beat: 92.10 % of the 10,000 test images (solo-learn), by a classifier that is
    trained beside the encoder; here it is trained after it, as in SimCLR's code.

    Departures: the stem pads images by 1 pixel, there by 2, for maps of 34 x 34.

    Args:
      lam: Weight of the correlations of different features.
      scale: Factor of the loss.
      projector: Widths of the projector's layers.
    """
    train, augment, prepare = images.viewed(run, "barlow_twins_cifar")
    encoder = resnet.encoder(images, stem="cifar", zero_last=False)
    net = nets.linen(Siamese(encoder, MLP(projector)))
    lars = optim.lars(images.schedule(train), weight_decay=1e-4, trust=0.02, clip=True)
    method = barlow_twins(net, lars, augment, lam=lam, scale=scale, prepare=prepare)
    sgd = partial(optim.decayed_sgd, decay=0.0, nesterov=True)
    return probe.with_pretraining(run, images, train, method, net, tx=sgd)
