"""VICReg: invariance to views, with variance and covariance regularization.

    python -m jssl.main --config=experiments/vicreg.py
    python -m jssl.main --config=experiments/vicreg.py:source=fashion_mnist,recipe=garments
    python -m jssl.main --config=experiments/vicreg.py:paper,mesh=data=32

Bardes et al. 2022, https://arxiv.org/abs/2105.04906; settings from facebookresearch/vicreg.
Reference, ResNet-50, 1,000 epochs: 73.2 % ImageNet top-1, linear. Ours: `paper` not run;
`laptop` is in docs/results.md.
"""

from dataclasses import dataclass
from functools import partial

from jssl import Stage, baselines, nets, optim
from jssl.config import Counts, tiny
from jssl.knobs import CONVNET, Run, Small, ViewedImages
from jssl.methods.siamese.vicreg import vicreg
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.papers import CIFAR, RESNET, Cifar, ImageNet, Large, LinearEvaluation


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of the three terms.

    Attributes:
      invariance: Weight of the distance between views.
      variance: Weight of the variance term; 0: complete collapse.
      covariance: Weight of the covariance term; 0: dimensional collapse.
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0


@tiny(CONVNET, expander=(8, 8))
def laptop(
    run: Run = Run(),
    images: ViewedImages = ViewedImages(),
    small: Small = Small(lr=0.006),
    weights: Weights = Weights(),
    expander: Counts = (256, 256, 256),
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Args:
      expander: Widths of the expander's layers.
    """
    train = images.load(run)
    method = vicreg(
        nets.linen(Siamese(small.encoder(), MLP(expander, last_bias=False))),
        small.adamw(train.steps(images.epochs)),
        images.augment(train),
        **vars(weights),
    )
    classifier = nets.linen(Classifier(small.encoder(), train.classes))
    return [baselines.pretrain_stage(run, images, train, method, classifier)]


@tiny(RESNET, expander=(8, 8, 8), warmup=0.01)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=1000.0, batch=2048, lr=0.2, warmup=10.0),
    resnet: Large = Large(),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=100.0, linear_batch=256, linear_lr=0.02
    ),
    weights: Weights = Weights(),
    expander: Counts = (8192, 8192, 8192),
) -> list[Stage]:
    """The published schedule on ImageNet: LARS, batches of 2,048, 1,000 epochs.

    The learning rate falls to a thousandth of its peak.

    Number to beat: 73.2 % top-1 of the 50,000 validation images after "linear": SGD,
    batches of 256, rate 0.02, weight decay 1e-6, 100 epochs. For 100 epochs of pre-training
    the released code has epochs=100,batch=512,lr=0.3.

    Args:
      expander: Widths of the expander's layers.
    """
    train, augment, prepare = images.viewed(run, "vicreg")
    net = nets.linen(Siamese(resnet.encoder(images), MLP(expander, last_bias=False)))
    lars = optim.lars(images.schedule(train, end=1 / 1000), weight_decay=1e-6)
    method = vicreg(net, lars, augment, prepare=prepare, **vars(weights))
    sgd = partial(optim.decayed_sgd, decay=1e-6)
    return probe.with_pretraining(run, images, train, method, net, tx=sgd)


@tiny(CIFAR, expander=(8, 8), warmup=0.01)
def cifar(
    run: Run = Run(save_every=1000),
    images: Cifar = Cifar(epochs=1000.0, batch=256, lr=0.3, warmup=10.0),
    resnet: Large = Large(depth=18),
    probe: LinearEvaluation = LinearEvaluation(linear_epochs=100.0, linear_batch=512),
    weights: Weights = Weights(),
    expander: Counts = (2048, 2048, 2048),
) -> list[Stage]:
    """CIFAR-10: a ResNet-18, LARS, 1,000 epochs, one GPU, by the settings of solo-learn.

    Number to beat: 92.07 % of the 10,000 test images (solo-learn), by a classifier that is
    trained beside the encoder; here it is trained after it, as in SimCLR's code.

    Departures: the stem pads images by 1 pixel, there by 2, for maps of 34 x 34.

    Args:
      expander: Widths of the expander's layers.
    """
    train, augment, prepare = images.viewed(run, "vicreg_cifar")
    encoder = resnet.encoder(images, stem="cifar", zero_last=False)
    net = nets.linen(Siamese(encoder, MLP(expander)))
    lars = optim.lars(images.schedule(train), weight_decay=1e-4, trust=0.02, clip=True)
    method = vicreg(net, lars, augment, prepare=prepare, **vars(weights))
    sgd = partial(optim.decayed_sgd, decay=0.0, nesterov=True)
    return probe.with_pretraining(run, images, train, method, net, tx=sgd)
