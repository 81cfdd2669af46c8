"""SwAV: prediction of the cluster of one view of an image from another view.

    python -m jssl.main --config=experiments/swav.py
    python -m jssl.main --config=experiments/swav.py:iterations=0
    python -m jssl.main --config=experiments/swav.py:cifar
    python -m jssl.main --config=experiments/swav.py:paper,mesh=data=64

Caron et al. 2020, https://arxiv.org/abs/2006.09882; settings from facebookresearch/swav.
Reference, ResNet-50, 800 epochs: 75.3 % ImageNet top-1, linear. Ours: not run.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import optax

from jssl import Stage, baselines, nets, optim, sharding, views
from jssl.config import Count, Counts, Positive, tiny
from jssl.data import Source
from jssl.knobs import CONVNET, CROPPED_GARMENTS, STAMPS, CroppedImages, Run, Small
from jssl.methods.clustering.swav import swav
from jssl.models.heads import MLP, Classifier
from jssl.models.prototypes import Prototypes
from jssl.papers import CIFAR, RESNET, Cifar, ImageNet, Large, LinearEvaluation, part

RUNS = {"": 5, f"{CROPPED_GARMENTS},epochs=10,supervised_epochs=10": 1, STAMPS: 1}
QUEUE = [("queue/keys$", sharding.rows_sharded)]


@dataclass(frozen=True, kw_only=True)
class Codes:
    """Assignment of projections to prototypes.

    Attributes:
      prototypes: Number of prototypes.
      temperature: Temperature of the predicted assignments.
      epsilon: Entropy of the codes; smaller values give sharper ones.
      iterations: Iterations of Sinkhorn; 0: plain softmax, which leads to collapse.
      freeze: Epochs in which the prototypes stay as they are.
      queue: Earlier projections that are assigned together with a batch; 0: none.
      queue_epoch: Epoch from which the queue is used.
    """

    prototypes: Count = 3000
    temperature: Positive = 0.1
    epsilon: Positive = 0.05
    iterations: int = 3
    freeze: float = 1.0
    queue: int = 0
    queue_epoch: float = 15.0

    def frozen(self, train: Source) -> int:
        """Steps in which the prototypes stay as they are."""
        return train.steps(self.freeze) if self.freeze else 0

    def knobs(self, train: Source) -> dict:
        """The arguments of the method, with epochs as steps."""
        return dict(
            temperature=self.temperature,
            epsilon=self.epsilon,
            iterations=self.iterations,
            queue=self.queue,
            queue_from=train.steps(self.queue_epoch) if self.queue_epoch else 0,
        )


@tiny(CONVNET, projector=(8, 4), prototypes=6, freeze=0.01)
def laptop(
    run: Run = Run(),
    images: CroppedImages = CroppedImages(),
    small: Small = Small(lr=0.006),
    codes: Codes = Codes(prototypes=32, queue_epoch=1.0),
    projector: Counts = (256, 64),
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Two large crops, and two small ones at half the size.

    Args:
      projector: Widths of the projector's layers.
    """
    train = images.load(run)
    net = nets.linen(Prototypes(small.encoder(), MLP(projector), codes.prototypes))
    steps = train.steps(images.epochs)
    rate, late = optim.warmup_cosine(small.lr, steps // 20, steps), codes.frozen(train)
    adamw = optim.distillation_adamw(rate, 1e-4, clip=0, freeze=late, last="prototypes")
    method = swav(net, adamw, images.augment(train), **codes.knobs(train))
    classifier = nets.linen(Classifier(small.encoder(), train.classes))
    chance = {"loss": math.log(codes.prototypes)}
    return [
        baselines.pretrain_stage(
            run, images, train, method, classifier, chance=chance, rules=QUEUE
        )
    ]


@tiny(RESNET, size=32, projector=(8, 4), prototypes=6, freeze=0.01, warmup=0.01, queue=16,
      queue_epoch=0.01)  # fmt: skip
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=800.0, batch=4096, lr=0.3, warmup=10.0, whole=False),
    resnet: Large = Large(),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=100.0, linear_batch=256, linear_lr=0.3
    ),
    codes: Codes = Codes(),
    projector: Counts = (2048, 128),
) -> list[Stage]:
    """The published schedule on ImageNet: LARS, batches of 4,096, 2 + 6 crops, 800 epochs.

    The learning rate falls to a thousandth of its peak. LARS scales biases and norms, too,
    and decays them, as in the released code.

    Numbers to beat, top-1 of the 50,000 validation images after "linear" (SGD, batches of
    256, rate 0.3, weight decay 1e-6, 100 epochs): 75.3 % after 800 epochs, 74.6 % after
    400, 73.9 % after 200, 72.1 % after 100 (epochs=100). With batches of 256 and a queue
    (batch=256,lr=0.6,warmup=0,queue=3840): 74.3 % after 400 epochs, 72.7 % after 200.

    Departures: crops are cut from the central squares of photographs, on the device, in the
    released code from whole ones (as in "linear" here); the warm-up begins at 0, there at
    0.3 of 4.8; the queue is filled from the first step on, there from the epoch in which it
    is first used.

    Args:
      projector: Widths of the projector's layers.
    """
    train, augment, prepare = images.cropped(run, "swav")
    encoder = resnet.encoder(images, zero_last=False)
    net = nets.linen(Prototypes(encoder, MLP(projector), codes.prototypes))
    late = partial(optim.held, where="prototypes", steps=codes.frozen(train))
    lars = optax.chain(
        optax.add_decayed_weights(1e-6),
        optax.scale_by_trust_ratio(trust_coefficient=0.001),
        late(optax.trace(0.9)),
        optim.scale_by_rate(images.schedule(train, end=1 / 1000)),
        late(optax.identity()),
    )
    method = swav(net, lars, augment, prepare=prepare, **codes.knobs(train))
    sgd = partial(optim.decayed_sgd, decay=1e-6)
    whole = replace(images, whole=True)
    look = whole.crop_and_flip(statistics=views.IMAGENET_SWAV)
    return probe.with_pretraining(
        run, whole, train, method, net, part("learner"), tx=sgd, look=look, rules=QUEUE
    )


@tiny(CIFAR, projector=(8, 4), prototypes=6, freeze=0.01, warmup=0.01, queue=16,
      queue_epoch=0.01)  # fmt: skip
def cifar(
    run: Run = Run(save_every=1000),
    images: Cifar = Cifar(epochs=1000.0, batch=256, lr=0.6, warmup=10.0),
    resnet: Large = Large(depth=18),
    probe: LinearEvaluation = LinearEvaluation(linear_epochs=100.0, linear_batch=512),
    codes: Codes = Codes(freeze=2.0, queue=3840, queue_epoch=50.0),
    projector: Counts = (2048, 128),
) -> list[Stage]:
    """CIFAR-10: a ResNet-18, LARS, two crops, 1,000 epochs, by the settings of solo-learn.

    Number to beat: 89.17 % of the 10,000 test images (solo-learn), by a classifier that is
    trained beside the encoder; here it is trained after it, as in SimCLR's code.

    Departures: the stem pads images by 1 pixel, there by 2, for maps of 34 x 34; prototypes
    have length 1, there learned lengths.

    Args:
      projector: Widths of the projector's layers.
    """
    train, augment, prepare = images.cropped(run, "swav_cifar")
    encoder = resnet.encoder(images, stem="cifar", zero_last=False)
    net = nets.linen(Prototypes(encoder, MLP(projector), codes.prototypes))
    lars = optim.lars(
        images.schedule(train),
        weight_decay=1e-6,
        trust=0.02,
        clip=True,
        freeze=codes.frozen(train),
        last="prototypes",
    )
    method = swav(net, lars, augment, prepare=prepare, **codes.knobs(train))
    sgd = partial(optim.decayed_sgd, decay=0.0, nesterov=True)
    return probe.with_pretraining(
        run, images, train, method, net, part("learner"), tx=sgd, rules=QUEUE
    )
