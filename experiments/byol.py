"""BYOL: predict what your own slow average says of the other view.

    python -m jssl.main --config=experiments/byol.py
    python -m jssl.main --config=experiments/byol.py:source=fashion_mnist,look=garments

Grill et al. 2020, https://arxiv.org/abs/2006.07733. Reference, ResNet-50, 1,000 epochs:
74.3 % ImageNet top-1, linear. Ours: docs/results.md.
"""

from functools import partial

import optax

from jssl import Stage, baselines, data, nets, optim, views
from jssl.methods.siamese.byol import byol
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Classifier, Siamese


def laptop(
    source: str = "mnist",
    limit: int = 0,
    look: str = "digits",
    epochs: float = 30.0,
    batch: int = 64,
    lr: float = 0.006,
    momentum: float = 0.98,
    widths: tuple[int, ...] = (32, 64, 128),
    projector: tuple[int, ...] = (256, 64),
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
      look: the views' recipe: digits, garments, simclr_cifar ...
      epochs: passes over the training split.
      batch: images a step.
      lr: peak of the learning rate; a twentieth of the steps warm up, then a cosine.
      momentum: of the target at the start; it reaches 1 along a cosine.
      widths: channels of the encoder's layers.
      projector: widths of its layers, and of the predictor's.
      supervised_epochs: of the supervised reference, computed once and cached.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, widths, projector = "digits", 16, (4, 8), (8, 4)
        epochs = supervised_epochs = 0.03
    train = data.load(source, batch, seed=seed, limit=limit)
    steps, encoder = train.steps(epochs), ConvNet(widths)
    size = train.shapes()["image"].shape[1]
    augment = partial(views.multi_view, views=views.recipe(look, size=size))
    schedule = optim.warmup_cosine(lr, steps // 20, steps)
    tx = optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices)
    net = nets.linen(Siamese(encoder, MLP(projector), MLP(projector)))
    method = byol(net, tx, augment, steps, momentum)
    return [
        baselines.compared(
            method,
            train,
            steps,
            nets.linen(Classifier(encoder, train.classes)),
            data.load(source, batch, seed=seed, limit=limit, labelled=True),
            supervised_epochs,
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]
