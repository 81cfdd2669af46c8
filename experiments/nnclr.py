"""NNCLR: contrastive learning with nearest neighbors in place of the other view.

    python -m jssl.main --config=experiments/nnclr.py
    python -m jssl.main --config=experiments/nnclr.py:queue=256
    python -m jssl.main --config=experiments/nnclr.py:cifar
    python -m jssl.main --config=experiments/nnclr.py:paper,mesh=data=128

Dwibedi et al. 2021, https://arxiv.org/abs/2104.14548. Reference, ResNet-50, 1,000 epochs:
75.4 % ImageNet top-1, linear. Ours: not run.
"""

import math
from functools import partial

from jssl import Stage, baselines, nets, optim, sharding
from jssl.config import Count, Counts, Positive, tiny
from jssl.knobs import CONVNET, GARMENTS, STAMPS, Run, Small, ViewedImages
from jssl.methods.contrastive.nnclr import nnclr
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.papers import CIFAR, RESNET, Cifar, ImageNet, Large, LinearEvaluation, part

RUNS = {"": 5, f"{GARMENTS},epochs=10,supervised_epochs=10": 1, STAMPS: 1}
QUEUE = [("queue/keys$", sharding.rows_sharded)]


@tiny(CONVNET, projector=(8, 4), predictor=(8,), queue=24)
def laptop(
    run: Run = Run(),
    images: ViewedImages = ViewedImages(batch=256, supervised_epochs=30.0),
    small: Small = Small(lr=0.006),
    temperature: Positive = 0.1,
    queue: Count = 1024,
    projector: Counts = (256, 256, 64),
    predictor: Counts = (256,),
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Args:
      temperature: Temperature of the similarities.
      queue: Number of projections among which neighbors are searched; at least the batch.
      projector: Widths of the projector's layers.
      predictor: Widths of the predictor's hidden layers.
    """
    train = images.load(run)
    head, predict = MLP(projector, last_norm="affine"), MLP((*predictor, projector[-1]))
    method = nnclr(
        nets.linen(Siamese(small.encoder(), head, predict)),
        small.adamw(train.steps(images.epochs)),
        images.augment(train),
        queue=queue,
        temperature=temperature,
    )
    classifier = nets.linen(Classifier(small.encoder(), train.classes))
    chance = {"loss": math.log(train.batch)}
    return [
        baselines.pretrain_stage(
            run, images, train, method, classifier, chance=chance, rules=QUEUE
        )
    ]


@tiny(RESNET, projector=(8, 8, 4), predictor=(8,), queue=32, warmup=0.01)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=1000.0, batch=4096, lr=0.3, warmup=10.0),
    resnet: Large = Large(),
    probe: LinearEvaluation = LinearEvaluation(),
    temperature: Positive = 0.1,
    queue: Count = 98304,
    projector: Counts = (2048, 2048, 256),
    predictor: Counts = (4096,),
) -> list[Stage]:
    """The published schedule on ImageNet: LARS, batches of 4,096, 1,000 epochs.

    Number to beat: 75.4 % top-1 of the 50,000 validation images after "linear"; 75.6 % with
    multi-crop, which is not here.

    Departures, or what is not known, as there is no released code: the views are BYOL's, as
    in solo-learn; the linear evaluation is SimCLR's (Nesterov's momentum, batches of 4,096,
    rate 0.1 for 256, 90 epochs, no decay); residual blocks start as the identity.

    Args:
      temperature: Temperature of the similarities.
      queue: Number of projections among which neighbors are searched.
      projector: Widths of the projector's layers; batch norm follows each.
      predictor: Widths of the predictor's hidden layers.
    """
    train, augment, prepare = images.viewed(run, "byol")
    head, predict = MLP(projector, last_norm="affine"), MLP((*predictor, projector[-1]))
    net = nets.linen(Siamese(resnet.encoder(images), head, predict))
    lars = optim.lars(images.schedule(train), weight_decay=1e-6)
    own = dict(queue=queue, temperature=temperature)
    method = nnclr(net, lars, augment, prepare=prepare, **own)
    sgd = partial(optim.decayed_sgd, decay=0.0, nesterov=True)
    return probe.with_pretraining(
        run, images, train, method, net, part("learner"), tx=sgd, rules=QUEUE
    )


@tiny(CIFAR, projector=(8, 8, 4), predictor=(8,), queue=32, warmup=0.01)
def cifar(
    run: Run = Run(save_every=1000),
    images: Cifar = Cifar(epochs=1000.0, batch=256, lr=0.4, warmup=10.0),
    resnet: Large = Large(depth=18),
    probe: LinearEvaluation = LinearEvaluation(linear_epochs=100.0, linear_batch=512),
    temperature: Positive = 0.2,
    queue: Count = 65536,
    projector: Counts = (2048, 2048, 256),
    predictor: Counts = (4096,),
) -> list[Stage]:
    """CIFAR-10: a ResNet-18, LARS, 1,000 epochs, one GPU, by the settings of solo-learn.

    Number to beat: 91.88 % of the 10,000 test images (solo-learn), by a classifier that is
    trained beside the encoder; here it is trained after it, as in SimCLR's code.

    Departures: the stem pads images by 1 pixel, there by 2, for maps of 34 x 34.

    Args:
      temperature: Temperature of the similarities.
      queue: Number of projections among which neighbors are searched.
      projector: Widths of the projector's layers; batch norm follows each.
      predictor: Widths of the predictor's hidden layers.
    """
    train, augment, prepare = images.viewed(run, "byol_cifar")
    encoder = resnet.encoder(images, stem="cifar", zero_last=False)
    head, predict = MLP(projector, last_norm="affine"), MLP((*predictor, projector[-1]))
    net = nets.linen(Siamese(encoder, head, predict))
    lars = optim.lars(images.schedule(train), weight_decay=1e-5, trust=0.02, clip=True)
    own = dict(queue=queue, temperature=temperature)
    method = nnclr(net, lars, augment, prepare=prepare, **own)
    sgd = partial(optim.decayed_sgd, decay=0.0, nesterov=True)
    return probe.with_pretraining(
        run, images, train, method, net, part("learner"), tx=sgd, rules=QUEUE
    )
