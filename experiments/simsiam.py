"""SimSiam: prediction of one view's projection from the other's, with stop-gradient.

    python -m jssl.main --config=experiments/simsiam.py
    python -m jssl.main --config=experiments/simsiam.py:source=fashion_mnist,recipe=garments
    python -m jssl.main --config=experiments/simsiam.py:cifar
    python -m jssl.main --config=experiments/simsiam.py:paper,mesh=data=8

Chen and He 2021, https://arxiv.org/abs/2011.10566. Reference, ResNet-50, 100 epochs: 68.1 %
ImageNet top-1, linear. Ours: `paper` not run; `laptop` is in docs/results.md.
"""

from functools import partial

import optax

from jssl import Stage, baselines, nets, optim
from jssl.config import Count, Counts, tiny
from jssl.knobs import CONVNET, Run, Small, ViewedImages
from jssl.methods.siamese.simsiam import simsiam
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.papers import CIFAR, RESNET, Cifar, ImageNet, Large, LinearEvaluation


@tiny(CONVNET, projector=(8, 8), bottleneck=4)
def laptop(
    run: Run = Run(),
    images: ViewedImages = ViewedImages(epochs=25.0),
    small: Small = Small(lr=0.2),
    stop_gradient: bool = True,
    projector: Counts = (128, 128),
    bottleneck: Count = 32,
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Args:
      lr: Initial learning rate of SGD, with cosine decay; the predictor's is constant.
      stop_gradient: Stop the gradient at the target; without it the embeddings collapse.
      projector: Widths of the projector's layers.
      bottleneck: Hidden width of the predictor.
    """
    train = images.load(run)
    head = MLP(projector, last_norm="plain")
    predictor = MLP((bottleneck, projector[-1]))
    method = simsiam(
        nets.linen(Siamese(small.encoder(), head, predictor)),
        falling(small.lr, optim.warmup_cosine(small.lr, 0, train.steps(images.epochs))),
        images.augment(train),
        stop_gradient=stop_gradient,
    )
    classifier = nets.linen(Classifier(small.encoder(), train.classes))
    return [baselines.pretrain_stage(run, images, train, method, classifier)]


@tiny(RESNET, projector=(8, 8, 8), bottleneck=2)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=100.0, batch=512, lr=0.05),
    resnet: Large = Large(),
    probe: LinearEvaluation = LinearEvaluation(),
    projector: Counts = (2048, 2048, 2048),
    bottleneck: Count = 512,
) -> list[Stage]:
    """The published schedule on ImageNet: SGD, batches of 512, 100 epochs.

    Number to beat: 68.1 % top-1 of the 50,000 validation images after "linear": LARS,
    batches of 4,096, rate 0.1 for 256, 90 epochs.

    Departures: computed in bfloat16, in the paper in float32 (dtype=); LARS scales the
    steps of the classifier's matrix, in the released code those of its bias too.

    Args:
      projector: Widths of the projector's layers.
      bottleneck: Hidden width of the predictor.
    """
    train, augment, prepare = images.viewed(run, "simsiam")
    head = MLP(projector, last_norm="plain")
    predictor = MLP((bottleneck, projector[-1]))
    net = nets.linen(Siamese(resnet.encoder(images), head, predictor))
    sgd = falling(images.peak, images.schedule(train))
    method = simsiam(net, sgd, augment, prepare=prepare)
    return probe.with_pretraining(run, images, train, method, net, tx=optim.lars)


@tiny(CIFAR, projector=(8, 8), bottleneck=4)
def cifar(
    run: Run = Run(save_every=1000),
    images: Cifar = Cifar(epochs=800.0, batch=512, lr=0.03),
    resnet: Large = Large(depth=18),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=100.0, linear_batch=256, linear_lr=30.0
    ),
    projector: Counts = (2048, 2048),
    bottleneck: Count = 512,
) -> list[Stage]:
    """The paper's setting for CIFAR-10 (appendix D): a ResNet-18, 800 epochs, one GPU.

    Number to beat: 91.8 % of the 10,000 test images after "linear".

    Departures: the appendix does not give the settings of its linear evaluation; these are
    MoCo's, for 100 epochs with a cosine.

    Args:
      projector: Widths of the projector's layers.
      bottleneck: Hidden width of the predictor.
    """
    train, augment, prepare = images.viewed(run, "simsiam_cifar")
    head = MLP(projector, last_norm="plain")
    predictor = MLP((bottleneck, projector[-1]))
    net = nets.linen(Siamese(resnet.encoder(images, stem="cifar"), head, predictor))
    sgd = falling(images.peak, images.schedule(train), decay=5e-4)
    method = simsiam(net, sgd, augment, prepare=prepare)
    head_sgd = partial(optim.decayed_sgd, decay=0.0)
    return probe.with_pretraining(run, images, train, method, net, tx=head_sgd)


def falling(lr, schedule, decay=1e-4):
    """SGD whose rate follows the schedule, except the predictor's, which stays."""

    def player(params):
        return {k: "predictor" if k == "predictor" else "rest" for k in params}

    sgd = {
        "rest": optim.decayed_sgd(schedule, decay=decay),
        "predictor": optim.decayed_sgd(lr, decay=decay),
    }
    return optax.partition(sgd, player)
