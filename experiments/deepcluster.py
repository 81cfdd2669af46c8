"""DeepCluster: alternates k-means on the features and classification of the clusters.

    python -m jssl.main --config=experiments/deepcluster.py
    python -m jssl.main --config=experiments/deepcluster.py:clusters=30

Caron et al. 2018, https://arxiv.org/abs/1807.05520. Reference, AlexNet: about 41 % ImageNet
top-1 by a linear layer on conv3. Ours: docs/results.md.
"""

import math

import optax

from jssl import Stage, baselines, nets, optim
from jssl.config import Count, Fraction, tiny
from jssl.knobs import CONVNET, GARMENTS, Run, Small, ViewedImages
from jssl.method import field
from jssl.methods.clustering.deepcluster import deepcluster
from jssl.models.heads import Classifier
from jssl.ops.edges import sobel

RUNS = {"": 5, f"{GARMENTS},epochs=8,supervised_epochs=4": 1}


@tiny(CONVNET, clusters=5, components=4)
def laptop(
    run: Run = Run(),
    images: ViewedImages = ViewedImages(epochs=24.0),
    small: Small = Small(lr=0.05),
    rounds: Count = 6,
    clusters: Count = 64,
    components: Count = 32,
    head_momentum: Fraction = 0.9,
) -> list[Stage]:
    """A small convolutional network on the edges of small images: about two minutes.

    Departures, for a small network: h, which is clustered, is the mean of rectified maps,
    in the released code the last hidden layer before its ReLU; edges are of images that are
    not standardized.

    Args:
      lr: Learning rate of SGD, constant.
      rounds: Number of clusterings, evenly spaced. The paper clusters at every epoch, of
        5,000 steps; a new head learns nothing in 50.
      clusters: Number of clusters; the paper takes ten times the classes.
      components: Principal components of the features that are clustered.
      head_momentum: Momentum of SGD for the head; 0 in the released code, with which a new
        head hardly leaves chance in the few hundred steps of a round here.
    """
    train = images.load(run)
    view = images.recipe_of(train)[0]
    method = deepcluster(
        nets.linen(Classifier(small.encoder(), clusters)),
        sgd(small.lr, head_momentum),
        size=train.size,
        clusters=clusters,
        components=components,
        augment=lambda key, batch: sobel(view(key, batch["image"])),
        prepare=field("image", sobel),
    )
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            nets.linen(Classifier(small.encoder(), train.classes)),
            prepare=field("image", sobel),
            refresh_every=max(1, train.steps(images.epochs) // rounds),
            chance={"loss": math.log(clusters)},
        )
    ]


def sgd(lr, head_momentum):
    """SGD with momentum 0.9, and another for the head; all weights decay."""
    every = optim.decayed_sgd(lr, decay=1e-5)
    if head_momentum == 0.9:
        return every

    def part(params):
        return {k: "head" if k == "head" else "rest" for k in params}

    head = optim.decayed_sgd(lr, decay=1e-5, momentum=head_momentum)
    return optax.partition({"rest": every, "head": head}, part)
