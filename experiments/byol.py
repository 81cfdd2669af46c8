"""BYOL: predict what your own slow average says of the other view.

    python -m jssl.main --config=experiments/byol.py
    python -m jssl.main --config=experiments/byol.py:source=fashion_mnist,look=garments
    python -m jssl.main --config=experiments/byol.py:paper,mesh=data=128

Grill et al. 2020, https://arxiv.org/abs/2006.07733. Reference, ResNet-50, 1,000 epochs:
74.3 % ImageNet top-1, linear. Ours: `paper` not run; `laptop` is in docs/results.md.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from jssl import Stage, baselines, data, evals, nets, optim, views
from jssl.methods.siamese.byol import byol
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.models.resnet import ResNet


def laptop(
    source: str = "mnist",
    limit: int = 0,
    look: str = "digits",
    epochs: float = 30.0,
    batch: int = 64,
    lr: float = 0.006,
    momentum: float = 0.98,
    predictor: bool = True,
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
      predictor: False shows the collapse that it prevents.
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
    predicting = MLP(projector) if predictor else None
    net = nets.linen(Siamese(encoder, MLP(projector), predicting))
    method = byol(net, tx, augment, steps, momentum)
    return [
        baselines.compared(
            method,
            train,
            steps,
            nets.linen(Classifier(encoder, train.classes)),
            data.load(source, batch, seed=seed, limit=limit, labeled=True),
            supervised_epochs,
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]


def paper(
    depth: int = 50,
    source: str = "tfds:imagenet2012",
    epochs: float = 1000.0,
    batch: int = 4096,
    lr: float = 0.2,
    decay: float = 1.5e-6,
    momentum: float = 0.996,
    workers: int = 16,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """The published schedule on ImageNet: LARS, batches of 4,096, 1,000 epochs.

    For 300 epochs the paper has lr=0.3,decay=1e-6,momentum=0.99.

    Departure: crops are drawn on the device, from the central square of 256 pixels that
    the loader cuts, not from the whole photograph.

    Args:
      depth: of the ResNet.
      source: a prepared TFDS data set, or folder:PATH.
      epochs: passes over the training split; 10 warm up.
      batch: images a step.
      lr: for a batch of 256; scales with the batch.
      decay: of the weights, but for biases and norms.
      momentum: of the target at the start; it reaches 1 along a cosine.
      workers: processes that read and decode, on each host.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=128.
      tiny: the sizes that tests run.
    """
    size, stored, warmup, dtype, width, head = 224, 256, 10.0, jnp.bfloat16, 64, (4096, 256)
    if tiny:
        size, stored, source, workers, dtype, width = 16, 32, "photos", 0, None, 4
        epochs, warmup, batch, depth, head = 0.02, 0.01, 16, 10, (8, 4)
    read = dict(size=stored, threads=2 * workers + 2, workers=workers)
    train = data.load(source, batch, seed=seed, **read)
    steps, peak = train.steps(epochs), lr * batch / 256
    schedule = optim.warmup_cosine(peak, min(train.steps(warmup), steps - 1), steps)
    encoder = ResNet(depth, width=width, dtype=dtype)
    method = byol(
        nets.linen(Siamese(encoder, MLP(head), MLP(head))),
        optim.lars(schedule, weight_decay=decay),
        partial(views.multi_view, views=views.recipe("byol", size=size)),
        steps,
        momentum,
        prepare=jax.vmap(lambda image: views.center_crop(image, size / stored)),
    )
    return [
        Stage(
            name="pretrain",
            method=method,
            data=train,
            steps=steps,
            evals={"knn": evals.knn()} if train.classes else {},
            mesh=mesh,
            save_every=save_every,
            seed=seed,
        )
    ]
