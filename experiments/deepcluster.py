"""DeepCluster: cluster the features, learn to predict the clusters, and again.

    python -m jssl.main --config=experiments/deepcluster.py
    python -m jssl.main --config=experiments/deepcluster.py:clusters=30

Caron et al. 2018, https://arxiv.org/abs/1807.05520. Reference, AlexNet: about 41 % ImageNet
top-1 by a linear layer on conv3. Ours: docs/results.md.
"""

import math

import optax

from jssl import Stage, baselines, data, nets, views
from jssl.methods.clustering.deepcluster import deepcluster
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.ops.edges import sobel


def laptop(
    source: str = "mnist",
    limit: int = 0,
    look: str = "digits",
    epochs: float = 24.0,
    rounds: int = 6,
    batch: int = 64,
    lr: float = 0.05,
    clusters: int = 64,
    components: int = 32,
    widths: tuple[int, ...] = (32, 64, 128),
    supervised_epochs: float = 10.0,
    save_every: int = 200,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """A small convolutional network on the edges of small images: about two minutes.

    Args:
      source: mnist, fashion_mnist, digits, folder:PATH, tfds:NAME ...
      limit: only so many training images, of each class its share; 0: all.
      look: the views' recipe: digits, garments, simclr_cifar ...
      epochs: passes over the training split.
      rounds: of clustering, evenly spaced. (The paper clusters at every epoch, of 5,000
        steps; a new head learns nothing in 50.)
      batch: images a step.
      lr: learning rate, which does not change.
      clusters: how many; the paper takes ten times the classes.
      components: of the features, after PCA.
      widths: channels of the encoder's layers.
      supervised_epochs: of the supervised reference, computed once and cached.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, widths, clusters, components = "digits", 16, (4, 8), 5, 4
        epochs = supervised_epochs = 0.03
    train = data.load(source, batch, seed=seed, limit=limit)
    steps, encoder = train.steps(epochs), ConvNet(widths)
    size = train.shapes()["image"].shape[1]
    view = views.recipe(look, size=size)[0]
    tx = optax.chain(optax.add_decayed_weights(1e-5), optax.sgd(lr, momentum=0.9))
    method = deepcluster(
        nets.linen(Classifier(encoder, clusters)),
        tx,
        train.size,
        clusters,
        components,
        augment=lambda key, images: sobel(view(key, images)),
        prepare=sobel,
    )
    return [
        baselines.compared(
            method,
            train,
            steps,
            nets.linen(Classifier(encoder, train.classes)),
            data.load(source, batch, seed=seed, limit=limit, labeled=True),
            supervised_epochs,
            prepare=sobel,
            refresh_every=max(1, steps // rounds),
            chance={"loss": math.log(clusters)},
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]
