"""MoCo: pick out the other view's key from a queue of older keys.

    python -m jssl.main --config=experiments/moco.py
    python -m jssl.main --config=experiments/moco.py:version=3

He et al. 2020, https://arxiv.org/abs/1911.05722; Chen et al. 2020,
https://arxiv.org/abs/2003.04297; Chen et al. 2021, https://arxiv.org/abs/2104.02057.
Reference, ResNet-50, 200 epochs, ImageNet top-1, linear: v1 60.6 %, v2 67.5 %; v3, 300
epochs, 72.8 %. Ours: docs/results.md.
"""

from functools import partial

import optax

from jssl import Stage, baselines, data, nets, optim, views
from jssl.methods.contrastive.moco import moco
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Classifier, Siamese


def laptop(
    source: str = "mnist",
    limit: int = 0,
    version: int = 2,
    look: str = "digits",
    epochs: float = 30.0,
    batch: int = 256,
    lr: float = 0.002,
    temperature: float = 0.1,
    queue: int = 1024,
    momentum: float = 0.99,
    groups: int = 8,
    widths: tuple[int, ...] = (32, 64, 128),
    projector: tuple[int, ...] = (128, 64),
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
      version: 1 (a linear head), 2 (a deeper one) or 3 (no queue, a predictor).
      look: the views' recipe: digits, garments, simclr_cifar ...
      epochs: passes over the training split.
      batch: images a step.
      lr: peak of the learning rate; a twentieth of the steps warm up, then a cosine.
      temperature: of the similarities.
      queue: keys remembered; version 3 remembers none.
      momentum: of the keys' encoder; in version 3 it reaches 1 along a cosine.
      groups: of the batch norm, which stand for the paper's devices; 1 in version 3.
      widths: channels of the encoder's layers.
      projector: widths of its layers; of the last only, in version 1.
      supervised_epochs: of the supervised reference, computed once and cached.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, widths, projector = "digits", 16, (4, 8), (8, 4)
        epochs, supervised_epochs, queue, groups = 0.03, 0.03, 24, 4
    train = data.load(source, batch, seed=seed, limit=limit)
    steps, encoder = train.steps(epochs), ConvNet(widths)
    if version not in (1, 2, 3):
        raise ValueError(f"moco: version must be 1, 2 or 3, got {version}")
    size = train.shapes()["image"].shape[1]
    augment = partial(views.multi_view, views=views.recipe(look, size=size))
    schedule = optim.warmup_cosine(lr, steps // 20, steps)
    tx = optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices)
    grouped = ConvNet(widths, groups=1 if version == 3 else groups)
    head = MLP(projector[-1:] if version == 1 else projector, norm=version == 3)
    predictor = MLP(projector) if version == 3 else None
    net = nets.linen(Siamese(grouped, head, predictor))
    kept = 0 if version == 3 else queue
    method = moco(net, tx, augment, steps, kept, temperature, momentum)
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
