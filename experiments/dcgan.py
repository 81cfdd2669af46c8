"""DCGAN: convolutional networks play the game, and the discriminator's maps are kept.

    python -m jssl.main --config=experiments/dcgan.py
    python -m jssl.main --config=experiments/dcgan.py:source=fashion_mnist,epochs=1
    python -m jssl.main --config=experiments/dcgan.py:paper,source=folder:faces

Radford, Metz and Chintala 2016, https://arxiv.org/abs/1511.06434; settings of the faces
from Newmu/dcgan_code. Reference, a linear SVM on the maps of a discriminator trained on
ImageNet: 82.8 % on CIFAR-10 (table 1); 22.48 % error on SVHN with 1,000 labels (table 2).
Ours: `paper` not run; `laptop` is what docs/results.md holds.
"""

import optax

from jssl import Stage, baselines, data, evals, nets
from jssl.methods.generative.dcgan import dcgan
from jssl.models.convnet import ConvNet
from jssl.models.dcgan import Discriminator, Generator
from jssl.models.heads import Classifier


def players(shape, widths, kernel, lr, noise):
    """The method: both networks, each under Adam."""
    return dcgan(
        nets.linen(Generator(shape, widths, kernel)),
        nets.linen(Discriminator(tuple(reversed(widths)), kernel)),
        optax.adam(lr, b1=0.5),
        optax.adam(lr, b1=0.5),
        noise,
    )


def laptop(
    source: str = "mnist",
    limit: int = 0,
    epochs: float = 15.0,
    batch: int = 64,
    lr: float = 2e-4,
    k: int = 1,
    noise: int = 64,
    widths: tuple[int, ...] = (64, 32),
    kernel: int = 4,
    supervised_epochs: float = 10.0,
    save_every: int = 200,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """Two layers each on small images: about two minutes on two cores.

    Args:
      source: mnist, fashion_mnist, digits, photos, folder:PATH, tfds:NAME ...
      limit: only so many training images, of each class its share; 0: all.
      epochs: passes over the training split.
      batch: images of each of the k minibatches of a step.
      lr: learning rate of both players, which does not change.
      k: steps of the discriminator before each one of the generator.
      noise: numbers of which an image is made.
      widths: channels of the generator's maps; the discriminator's in reverse.
      kernel: side of the kernels, 4 or 5.
      supervised_epochs: of the supervised reference, computed once and cached.
      save_every: steps between checkpoints.
      seed: of weights, noise and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, noise, widths = "digits", 16, 4, (8, 4)
        epochs = supervised_epochs = 0.03
    plain = data.load(source, batch, seed=seed, limit=limit)
    train = data.minibatches(plain, k)
    steps, shape = train.steps(epochs), plain.shapes()["image"].shape[1:]
    return [
        baselines.compared(
            players(shape, widths, kernel, lr, noise),
            train,
            steps,
            nets.linen(Classifier(ConvNet(tuple(reversed(widths))), plain.classes)),
            data.load(source, batch, seed=seed, limit=limit, labeled=True),
            supervised_epochs,
            render_every=max(1, steps // 4),
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]


def paper(
    source: str = "tfds:celeb_a",
    epochs: float = 25.0,
    batch: int = 128,
    lr: float = 2e-4,
    k: int = 1,
    noise: int = 100,
    widths: tuple[int, ...] = (1024, 512, 256, 128),
    workers: int = 16,
    render_every: int = 1000,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """Faces of 64 x 64 pixels, with the networks and rates of the released code.

    Departures: the weights do not decay (1e-5 in that code, nothing in the paper), and
    the faces, which were never released, are those that `source` names.

    Args:
      source: folder:PATH or a prepared TFDS data set, of images with or without labels.
      epochs: passes over the training split.
      batch: images of each of the k minibatches of a step.
      lr: learning rate of both players, which does not change.
      k: steps of the discriminator before each one of the generator.
      noise: numbers of which an image is made.
      widths: channels of the generator's maps; the discriminator's in reverse.
      workers: processes that read and decode, on each host.
      render_every: steps between pictures.
      save_every: steps between checkpoints.
      seed: of weights, noise and the order of the data.
      mesh: device axes, such as data=8; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    size = 64
    if tiny:
        source, size, batch, noise, widths, epochs = "photos", 16, 16, 4, (8, 4), 0.02
        workers = 0
    plain = data.load(
        source, batch, seed=seed, size=size, threads=2 * workers + 2, workers=workers
    )
    train = data.minibatches(plain, k)
    method = players(plain.shapes()["image"].shape[1:], widths, 5, lr, noise)
    judged = {"knn": evals.knn()} if plain.classes else {}
    return [
        Stage(
            name="pretrain",
            method=method,
            data=train,
            steps=train.steps(epochs),
            evals=judged,
            baselines=baselines.beside(method, train, judged, seed=seed, mesh=mesh)
            if judged
            else {},
            render_every=render_every,
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]
