"""Instance discrimination: classification of every image as its own class, by a memory.

    python -m jssl.main --config=experiments/instance_discrimination.py
    python -m jssl.main --config=experiments/instance_discrimination.py:noise=512
    python -m jssl.main --config=experiments/instance_discrimination.py:parametric=True
    python -m jssl.main --config=experiments/instance_discrimination.py:cifar
    python -m jssl.main --config=experiments/instance_discrimination.py:paper

Wu et al. 2018, https://arxiv.org/abs/1805.01978; settings from
https://github.com/zhirongw/lemniscate.pytorch. Reference, top-1 by weighted votes of 200
neighbors of the embedding: ImageNet, ResNet-50, 46.8 % (the released model); CIFAR-10,
ResNet-18, 80.8 %. Ours: `paper` and `cifar` not run; `laptop` is in docs/results.md.
"""

import math
from dataclasses import replace
from functools import partial

from jssl import Stage, baselines, evals, nets, optim, sharding, views
from jssl.config import Count, Fraction, Positive, tiny
from jssl.knobs import CONVNET, GARMENTS, Run, Small, ViewedImages
from jssl.methods.contrastive.instance_discrimination import instance_discrimination
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.papers import CIFAR, RESNET, Cifar, ImageNet, Large, LinearEvaluation

RUNS = {
    "": 5,
    **{f"width={width}": 1 for width in (8, 16, 32, 128)},
    **{f"noise={noise}": 1 for noise in (1, 10, 100, 1000)},
    "noise=1000,momentum=0.0,proximal=30.0": 1,
    "parametric=True": 1,
    f"{GARMENTS},epochs=20,supervised_epochs=10": 1,
}
BANK = [("bank$", sharding.rows_sharded)]
FALLS = {0.6: 0.1, 0.8: 0.1}  # of the learning rate, after shares of the steps


@tiny(CONVNET, width=4)
def laptop(
    run: Run = Run(),
    images: ViewedImages = ViewedImages(epochs=60.0, batch=128, supervised_epochs=30.0),
    small: Small = Small(lr=2e-3),
    width: Count = 64,
    noise: int = 0,
    temperature: Positive = 0.1,
    momentum: Fraction = 0.5,
    proximal: float = 0.0,
    parametric: bool = False,
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    "knn/z" is the accuracy of the normalized embedding, as in the paper; "knn" and "linear"
    are those of the representation before it.

    Args:
      width: Numbers of the embedding.
      noise: Noise samples of each image; 0: the softmax over all images.
      temperature: Temperature of the similarities.
      momentum: Momentum of the rows of the memory bank.
      proximal: Weight of the squared distance from the row of the memory bank.
      parametric: Learn a weight vector of each image in place of the memory bank; noise,
        temperature, momentum and proximal are then without effect.
    """
    train = images.load(run)
    method = instance_discrimination(
        network(small.encoder(), width, train.size if parametric else 0),
        small.adamw(train.steps(images.epochs)),
        images.one_view(train),
        size=train.size,
        noise=noise,
        temperature=temperature,
        momentum=momentum,
        proximal=proximal,
        parametric=parametric,
    )
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            nets.linen(Classifier(small.encoder(), train.classes)),
            pictures=of_embedding(train, 20, temperature),
            chance={"loss": chance(train.size, 0 if parametric else noise)},
            rules=BANK,
        )
    ]


@tiny(RESNET, features=4, noise=8)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=200.0, batch=256, lr=0.03),
    resnet: Large = Large(),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=100.0, linear_batch=256, linear_lr=30.0
    ),
    features: Count = 128,
    noise: int = 4096,
    temperature: Positive = 0.07,
    momentum: Fraction = 0.5,
    proximal: float = 0.0,
    decay: float = 1e-4,
    chunk: Count = 8192,
) -> list[Stage]:
    """The released setting for ImageNet: ResNet-50, SGD, batches of 256, 200 epochs.

    The learning rate falls tenfold at epochs 120 and 160.

    Numbers to beat, top-1 of the 50,000 validation images: 46.8 % "knn/z" (41.0 % with
    depth=18), by weighted votes of 200 neighbors at temperature 0.07; by a linear
    classifier on the last convolutions the paper has 54.0 %.

    The memory bank of 1.28 million rows takes 656 MB, divided among the devices; rows of
    the noise samples of a batch take 537 MB.

    Departures: computed in bfloat16, in the released code in float32 (dtype=). Z is that of
    the first batch, as there, and the bank starts with unit vectors as in the paper, there
    with vectors of unit length on average. Neighbors are those of embeddings after
    training, there of the bank. "linear" is MoCo's protocol, on averaged maps: batches of
    256, rate 30, divided by 10 at 60 and 80 of 100 epochs; the paper describes none.

    Args:
      features: Numbers of the embedding.
      noise: Noise samples of each image; 0: the softmax over all images.
      temperature: Temperature of the similarities.
      momentum: Momentum of the rows of the memory bank; 0 in the paper.
      proximal: Weight of the squared distance from the row of the bank; 30 in the paper.
      decay: Weight decay.
      chunk: Rows of the bank per block of the softmax over all images, to save memory.
    """
    (view,) = views.recipe("npid", size=images.size)
    train, augment, prepare = images.viewed(run, view)
    steps = train.steps(images.epochs)
    net = network(resnet.encoder(images, zero_last=False), features)
    method = instance_discrimination(
        net,
        optim.decayed_sgd(optim.falling(images.peak, steps, FALLS), decay=decay),
        augment,
        size=train.size,
        noise=noise,
        temperature=temperature,
        momentum=momentum,
        proximal=proximal,
        prepare=prepare,
        chunk=chunk,
    )
    plain = dict(tx=partial(optim.decayed_sgd, decay=0.0), falls=FALLS)
    return [
        run.stage(
            "pretrain",
            method,
            train,
            steps,
            evals=evals.knn_if_labeled(train) | of_embedding(train, 200, temperature),
            chance={"loss": chance(train.size, noise)},
            rules=BANK,
        ),
        *probe.stages(run, images, train, net, online, **plain),
    ]


@tiny(CIFAR, features=4)
def cifar(
    run: Run = Run(save_every=1000),
    images: Cifar = Cifar(epochs=200.0, batch=128, lr=0.06, dtype=""),
    resnet: Large = Large(depth=18),
    probe: LinearEvaluation = LinearEvaluation(linear_epochs=100.0, linear_batch=512),
    features: Count = 128,
    noise: int = 0,
    temperature: Positive = 0.1,
    momentum: Fraction = 0.5,
    proximal: float = 0.0,
    parametric: bool = False,
    decay: float = 5e-4,
) -> list[Stage]:
    """The released setting for CIFAR-10: ResNet-18, SGD, batches of 128, 200 epochs.

    The learning rate, 0.03 for 128 images, falls tenfold at epochs 120 and 160.

    Numbers to beat, of the 10,000 test images: 80.8 % "knn/z", by weighted votes of 200
    neighbors. The paper's table of approximations: with noise=1, 10, 512 and 4096 they are
    42.5, 63.4, 78.4 and 80.4 %, with parametric=True 63.0 % (not checked in the paper; the
    released code has no parametric classifier). A linear SVM has 75.4 %; "linear" is not
    its protocol.

    Args:
      lr: Initial learning rate for a batch of 256; scales with the batch.
      features: Numbers of the embedding.
      noise: Noise samples of each image; 0: the softmax over all images.
      temperature: Temperature of the similarities.
      momentum: Momentum of the rows of the memory bank.
      proximal: Weight of the squared distance from the row of the memory bank.
      parametric: Learn a weight vector of each image in place of the memory bank.
      decay: Weight decay.
    """
    (view,) = views.recipe(
        "npid", size=32, antialias=False, flip=0.0, statistics=views.CIFAR10
    )
    train, augment, prepare = images.viewed(run, view)
    steps = train.steps(images.epochs)
    encoder = resnet.encoder(images, stem="cifar", zero_last=False)
    net = network(encoder, features, train.size if parametric else 0)
    method = instance_discrimination(
        net,
        optim.decayed_sgd(optim.falling(images.peak, steps, FALLS), decay=decay),
        augment,
        size=train.size,
        noise=noise,
        temperature=temperature,
        momentum=momentum,
        proximal=proximal,
        parametric=parametric,
        prepare=prepare,
    )
    sgd = partial(optim.decayed_sgd, decay=0.0)
    return [
        run.stage(
            "pretrain",
            method,
            train,
            steps,
            evals=evals.knn_if_labeled(train) | of_embedding(train, 200, temperature),
            chance={"loss": chance(train.size, 0 if parametric else noise)},
            rules=BANK,
        ),
        *probe.stages(run, images, train, net, online, tx=sgd),
    ]


def network(encoder, width, samples=0):
    """images -> {"h", "z" [n, width]}, and "p", the logits of `samples`, if any."""
    weights = MLP((samples,), last_bias=False) if samples else None
    return nets.linen(Siamese(encoder, MLP((width,)), weights))


def online(state):
    """The network with its weights."""
    return state.learner


def chance(size, noise):
    """The loss if all images are equally likely."""
    if not noise:
        return math.log(size)
    return math.log(1 + noise) + noise * math.log(1 + 1 / noise)


def of_embedding(train, k, temperature):
    """The eval "knn/z": weighted votes of k neighbors of z; none without labels."""
    if not train.classes:
        return {}
    judge = evals.knn(k, temperature, name="z")
    run = lambda features, final: {"knn/z": judge(features, final)["knn"]}
    return {"knn/z": replace(judge, run=run)}
