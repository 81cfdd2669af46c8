"""SimCLR: two views of an image near each other, far from all others.

    python -m jssl.main --config=experiments/simclr.py
    python -m jssl.main --config=experiments/simclr.py:source=fashion_mnist,look=garments
    python -m jssl.main --config=experiments/simclr.py:paper,mesh=data=128

Chen et al. 2020, https://arxiv.org/abs/2002.05709; settings from google-research/simclr.
Reference, ResNet-50, 1,000 epochs: 69.3 % ImageNet top-1, linear (the released weights
69.1 %). Ours: `paper` not run; `laptop` is in docs/results.md.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jssl import Stage, baselines, data, evals, nets, optim, views
from jssl.methods.contrastive.simclr import simclr
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.models.resnet import ResNet


def laptop(
    source: str = "mnist",
    limit: int = 0,
    look: str = "digits",
    epochs: float = 30.0,
    batch: int = 256,
    lr: float = 2e-3,
    temperature: float = 0.2,
    widths: tuple[int, ...] = (32, 64, 128),
    projector: tuple[int, ...] = (128, 64),
    supervised_epochs: float = 30.0,
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
      batch: images a step, of two views each.
      lr: peak of the learning rate; a twentieth of the steps warm up, then a cosine.
      temperature: of the similarities.
      widths: channels of the encoder's layers.
      projector: widths of its layers.
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
    schedule = optim.warmup_cosine(lr, steps // 20, steps)
    method = simclr(
        nets.linen(Siamese(encoder, MLP(projector))),
        optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices),
        partial(views.multi_view, views=views.recipe(look, size=size)),
        temperature,
    )
    return [
        baselines.compared(
            method,
            train,
            steps,
            nets.linen(Classifier(encoder, train.classes)),
            data.load(source, batch, seed=seed, limit=limit, labeled=True),
            supervised_epochs,
            chance={"loss": math.log(2 * batch - 1)},
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]


def paper(
    depth: int = 50,
    width: int = 64,
    source: str = "tfds:imagenet2012",
    epochs: float = 1000.0,
    batch: int = 4096,
    lr: float = 0.3,
    temperature: float = 0.1,
    chunk: int = 0,
    remat: bool = False,
    workers: int = 16,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """The published schedule on ImageNet: LARS, batches of 4,096, 1,000 epochs.

    Departure: crops are drawn on the device, from the central square of 256 pixels that
    the loader cuts, not from the whole photograph.

    Args:
      depth: of the ResNet.
      width: of its first blocks; 128 and 256 are the paper's 2x and 4x.
      source: a prepared TFDS data set, or folder:PATH.
      epochs: passes over the training split.
      batch: images a step, of two views each.
      lr: for a batch of 256; scales with the batch.
      temperature: of the similarities.
      chunk: similarities computed at a time to so many candidates; 0: to all at once.
      remat: computes the blocks' insides anew in the backward pass, for memory.
      workers: processes that read and decode, on each host.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=128.
      tiny: the sizes that tests run.
    """
    size, stored, warmup, dtype = 224, 256, 10.0, jnp.bfloat16
    if tiny:
        size, stored, source, workers, dtype = 16, 32, "photos", 0, None
        epochs, warmup, batch, depth, width = 0.02, 0.01, 16, 10, 4
    read = dict(size=stored, threads=2 * workers + 2, workers=workers)
    train = data.load(source, batch, seed=seed, **read)
    steps = train.steps(epochs)
    peak = lr * batch / 256
    schedule = optim.warmup_cosine(peak, min(train.steps(warmup), steps - 1), steps)
    encoder = ResNet(depth, width=width, dtype=dtype, remat=remat)
    feature = width * 8 * (4 if depth >= 50 else 1)
    method = simclr(
        nets.linen(Siamese(encoder, MLP((feature, 128), last_norm="scale"))),
        optim.lars(schedule, weight_decay=1e-6, rate_in_momentum=True),
        partial(views.multi_view, views=views.recipe("simclr", size=size)),
        temperature,
        prepare=jax.vmap(lambda image: views.center_crop(image, size / stored)),
        chunk=chunk or None,
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
