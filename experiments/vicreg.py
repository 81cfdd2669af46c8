"""VICReg: two views agree, while every feature varies and no two say the same.

    python -m jssl.main --config=experiments/vicreg.py
    python -m jssl.main --config=experiments/vicreg.py:source=fashion_mnist,look=garments
    python -m jssl.main --config=experiments/vicreg.py:paper,mesh=data=32

Bardes et al. 2022, https://arxiv.org/abs/2105.04906; settings from facebookresearch/vicreg.
Reference, ResNet-50, 1,000 epochs: 73.2 % ImageNet top-1, linear. Ours: `paper` not run;
`laptop` is in docs/results.md.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from jssl import Stage, baselines, data, evals, nets, optim, views
from jssl.methods.siamese.vicreg import vicreg
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
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    widths: tuple[int, ...] = (32, 64, 128),
    expander: tuple[int, ...] = (256, 256, 256),
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
      batch: images a step, of two views each.
      lr: peak of the learning rate; a twentieth of the steps warm up, then a cosine.
      invariance: weight of the views' distance.
      variance: weight of its term; 0 shows the complete collapse that it prevents.
      covariance: weight of its term; 0 shows the dimensional collapse that it prevents.
      widths: channels of the encoder's layers.
      expander: widths of the layers on it.
      supervised_epochs: of the supervised reference, computed once and cached.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, widths, expander = "digits", 16, (4, 8), (8, 8)
        epochs = supervised_epochs = 0.03
    train = data.load(source, batch, seed=seed, limit=limit)
    steps, encoder = train.steps(epochs), ConvNet(widths)
    size = train.shapes()["image"].shape[1]
    schedule = optim.warmup_cosine(lr, steps // 20, steps)
    method = vicreg(
        nets.linen(Siamese(encoder, MLP(expander, last_bias=False))),
        optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices),
        partial(views.multi_view, views=views.recipe(look, size=size)),
        invariance,
        variance,
        covariance,
    )
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
    batch: int = 2048,
    lr: float = 0.2,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    workers: int = 16,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """The published schedule on ImageNet: LARS, batches of 2,048, 1,000 epochs.

    Departure: crops are drawn on the device, from the central square of 256 pixels that
    the loader cuts, not from the whole photograph.

    Args:
      depth: of the ResNet.
      source: a prepared TFDS data set, or folder:PATH.
      epochs: passes over the training split; 10 warm up.
      batch: images a step, of two views each.
      lr: for a batch of 256; scales with the batch, and falls to a thousandth.
      invariance: weight of the views' distance.
      variance: weight of its term.
      covariance: weight of its term.
      workers: processes that read and decode, on each host.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=32.
      tiny: the sizes that tests run.
    """
    size, stored, warmup, dtype, width, feature = 224, 256, 10.0, jnp.bfloat16, 64, 8192
    if tiny:
        size, stored, source, workers, dtype, width = 16, 32, "photos", 0, None, 4
        epochs, warmup, batch, depth, feature = 0.02, 0.01, 16, 10, 8
    read = dict(size=stored, threads=2 * workers + 2, workers=workers)
    train = data.load(source, batch, seed=seed, **read)
    steps, peak = train.steps(epochs), lr * batch / 256
    warm = min(train.steps(warmup), steps - 1)
    schedule = optim.warmup_cosine(peak, warm, steps, end=peak / 1000)
    recipe = views.recipe("vicreg", size=size, statistics=views.IMAGENET)

    def prepare(images):
        cut = jax.vmap(lambda image: views.center_crop(image, size / stored))
        return views.normalize(cut(images), *views.IMAGENET)

    encoder = ResNet(depth, width=width, dtype=dtype)
    method = vicreg(
        nets.linen(Siamese(encoder, MLP((feature,) * 3, last_bias=False))),
        optim.lars(schedule, weight_decay=1e-6),
        partial(views.multi_view, views=recipe),
        invariance,
        variance,
        covariance,
        prepare,
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
