"""BYOL: prediction of the target network's projection of the other view.

    python -m jssl.main --config=experiments/byol.py
    python -m jssl.main --config=experiments/byol.py:source=fashion_mnist,recipe=garments
    python -m jssl.main --config=experiments/byol.py:cifar
    python -m jssl.main --config=experiments/byol.py:paper,mesh=data=128

Grill et al. 2020, https://arxiv.org/abs/2006.07733. Reference, ResNet-50, 1,000 epochs:
74.3 % ImageNet top-1, linear. Ours: `paper` not run; `laptop` is in docs/results.md.
"""

from functools import partial

from jssl import Stage, baselines, nets, optim
from jssl.config import Counts, Fraction, tiny
from jssl.knobs import CONVNET, GARMENTS, Run, Small, ViewedImages
from jssl.methods.siamese.byol import byol
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.papers import CIFAR, RESNET, Cifar, ImageNet, Large, LinearEvaluation, part

RUNS = {"": 5, f"{GARMENTS},epochs=10,supervised_epochs=10": 1}


@tiny(CONVNET, projector=(8, 4))
def laptop(
    run: Run = Run(),
    images: ViewedImages = ViewedImages(),
    small: Small = Small(lr=0.006),
    momentum: Fraction = 0.98,
    predictor: bool = True,
    projector: Counts = (256, 64),
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Args:
      momentum: Initial momentum of the target, rising to 1 along a cosine.
      predictor: Use the predictor; without it the embeddings collapse.
      projector: Widths of the projector's layers, and of the predictor's.
    """
    train = images.load(run)
    steps = train.steps(images.epochs)
    head = MLP(projector) if predictor else None
    method = byol(
        nets.linen(Siamese(small.encoder(), MLP(projector), head)),
        small.adamw(steps),
        images.augment(train),
        steps=steps,
        momentum=momentum,
    )
    classifier = nets.linen(Classifier(small.encoder(), train.classes))
    return [baselines.pretrain_stage(run, images, train, method, classifier)]


@tiny(RESNET, projector=(8, 4), warmup=0.01)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=1000.0, batch=4096, lr=0.2, warmup=10.0),
    resnet: Large = Large(),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=80.0, linear_batch=1024, linear_lr=0.2
    ),
    decay: float = 1.5e-6,
    momentum: Fraction = 0.996,
    projector: Counts = (4096, 256),
) -> list[Stage]:
    """The published schedule on ImageNet: LARS, batches of 4,096, 1,000 epochs.

    Number to beat: 74.3 % top-1 of the 50,000 validation images after "linear": Nesterov's
    momentum, batches of 1,024, 80 epochs, the best rate of 0.4, 0.3, 0.2, 0.1, 0.05 for 256
    on val (linear_lr). Shorter trainings of the released code:
    epochs=300,lr=0.3,decay=1e-6,momentum=0.99; epochs=100,lr=0.45,decay=1e-6,momentum=0.99;
    epochs=40,lr=0.45,decay=1e-6,momentum=0.97.

    Departures: boxes of random crops are drawn as in torchvision (mean area 43 % of a
    photograph of 500 x 375 pixels, by the released code's one clamped draw 52 %), and crops
    are shrunk with antialiasing, there without; convolutions start at He's scale of a
    normal distribution, not of Haiku's truncated one; batch norm follows each of them.

    Args:
      decay: Weight decay, except of biases and norms.
      momentum: Initial momentum of the target, rising to 1 along a cosine.
      projector: Widths of the projector's layers, and of the predictor's.
    """
    train, augment, prepare = images.viewed(run, "byol")
    steps = train.steps(images.epochs)
    heads = (MLP(projector, last_bias=False) for _ in range(2))
    net = nets.linen(Siamese(resnet.encoder(images), *heads))
    method = byol(
        net,
        optim.lars(images.schedule(train), weight_decay=decay),
        augment,
        steps=steps,
        momentum=momentum,
        prepare=prepare,
    )
    sgd = partial(optim.decayed_sgd, decay=0.0, nesterov=True)
    look = images.crop_and_flip(method="bicubic")
    return probe.with_pretraining(
        run, images, train, method, net, part("online"), tx=sgd, look=look
    )


@tiny(CIFAR, projector=(8, 4), warmup=0.01)
def cifar(
    run: Run = Run(save_every=1000),
    images: Cifar = Cifar(epochs=1000.0, batch=256, lr=1.0, warmup=10.0),
    resnet: Large = Large(depth=18),
    probe: LinearEvaluation = LinearEvaluation(linear_epochs=100.0, linear_batch=512),
    decay: float = 1e-5,
    momentum: Fraction = 0.99,
    projector: Counts = (4096, 256),
) -> list[Stage]:
    """CIFAR-10: a ResNet-18, LARS, 1,000 epochs, one GPU, by the settings of solo-learn.

    Number to beat: 92.58 % of the 10,000 test images (solo-learn), by a classifier that is
    trained beside the encoder; here it is trained after it, as in SimCLR's code.

    Departures: the stem pads images by 1 pixel, there by 2, for maps of 34 x 34.

    Args:
      decay: Weight decay, except of biases and norms.
      momentum: Initial momentum of the target, rising to 1 along a cosine.
      projector: Widths of the projector's layers, and of the predictor's.
    """
    train, augment, prepare = images.viewed(run, "byol_cifar")
    steps = train.steps(images.epochs)
    heads = (MLP(projector) for _ in range(2))
    net = nets.linen(Siamese(resnet.encoder(images, stem="cifar", zero_last=False), *heads))
    method = byol(
        net,
        optim.lars(images.schedule(train), weight_decay=decay, trust=0.02, clip=True),
        augment,
        steps=steps,
        momentum=momentum,
        prepare=prepare,
    )
    sgd = partial(optim.decayed_sgd, decay=0.0, nesterov=True)
    return probe.with_pretraining(run, images, train, method, net, part("online"), tx=sgd)
