"""RotNet: tell by which right angle an image was turned.

    python -m jssl.main --config=experiments/rotation.py
    python -m jssl.main --config=experiments/rotation.py:source=fashion_mnist,epochs=10
    python -m jssl.main --config=experiments/rotation.py:paper

Gidaris, Singh and Komodakis 2018, https://arxiv.org/abs/1803.07728. Reference: 89 to 91 %
on CIFAR-10 by a classifier on its second block. Ours: `paper` not run; `laptop` is in
docs/results.md.
"""

import math

import optax

from jssl import Stage, baselines, data, evals, nets, optim, views
from jssl.methods.pretext.rotation import rotation
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.models.nin import BLOCKS, NIN


def laptop(
    source: str = "mnist",
    limit: int = 0,
    epochs: float = 15.0,
    batch: int = 64,
    lr: float = 0.002,
    shift: float = 2.0,
    widths: tuple[int, ...] = (32, 64, 128),
    supervised_epochs: float = 10.0,
    save_every: int = 200,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Args:
      source: mnist, fashion_mnist, digits, folder:PATH, tfds:NAME ...
      limit: only so many training images, of each class its share; 0: all.
      epochs: passes over the training split.
      batch: images a step, each turned in four ways.
      lr: peak of the learning rate; a twentieth of the steps warm up, then a cosine.
      shift: most pixels by which an image is moved before it is turned.
      widths: channels of the encoder's layers.
      supervised_epochs: of the supervised reference, computed once and cached.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, widths = "digits", 16, (4, 8)
        epochs = supervised_epochs = 0.03
    train = data.load(source, batch, seed=seed, limit=limit)
    steps, encoder = train.steps(epochs), ConvNet(widths)
    size = train.shapes()["image"].shape[1]
    schedule = optim.warmup_cosine(lr, steps // 20, steps)
    tx = optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices)
    net = nets.linen(Classifier(encoder, 4))
    method = rotation(net, tx, views.View(size=size, shift=shift))
    return [
        baselines.compared(
            method,
            train,
            steps,
            nets.linen(Classifier(encoder, train.classes)),
            data.load(source, batch, seed=seed, limit=limit, labeled=True),
            supervised_epochs,
            chance={"loss": math.log(4)},
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]


def paper(
    source: str = "tfds:cifar10",
    epochs: float = 200.0,
    batch: int = 128,
    lr: float = 0.1,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """The published setting for CIFAR-10: network in network, SGD, 200 epochs.

    h is the mean of the second block's maps; the paper trains classifiers on the maps.

    Args:
      source: a prepared TFDS data set, or folder:PATH.
      epochs: passes over the training split; the rate falls fivefold after 30, 60 and
        80 % of them.
      batch: images a step, each turned in four ways.
      lr: at first.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=4; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    blocks = BLOCKS
    if tiny:
        source, batch, epochs, blocks = "photos", 16, 0.02, ((3, (4,)), (3, (4,)))
    train = data.load(source, batch, seed=seed)
    steps, size = train.steps(epochs), train.shapes()["image"].shape[1]
    falls = {round(share * steps): 0.2 for share in (0.3, 0.6, 0.8)}
    tx = optax.chain(
        optax.add_decayed_weights(5e-4),
        optax.sgd(optax.piecewise_constant_schedule(lr, falls), 0.9, nesterov=True),
    )
    view = views.View(size=size, shift=4.0, flip=0.5)
    return [
        Stage(
            name="pretrain",
            method=rotation(nets.linen(NIN(4, blocks)), tx, view),
            data=train,
            steps=steps,
            evals={"knn": evals.knn()} if train.classes else {},
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]
