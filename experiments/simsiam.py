"""SimSiam: predict one view's projection from the other's, which holds still.

    python -m jssl.main --config=experiments/simsiam.py
    python -m jssl.main --config=experiments/simsiam.py:source=fashion_mnist,look=garments
    python -m jssl.main --config=experiments/simsiam.py:paper,mesh=data=8

Chen and He 2021, https://arxiv.org/abs/2011.10566. Reference, ResNet-50, 100 epochs: 68.1 %
ImageNet top-1, linear. Ours: `paper` not run; `laptop` is in docs/results.md.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from jssl import Stage, baselines, data, evals, nets, optim, views
from jssl.methods.siamese.simsiam import simsiam
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.models.resnet import ResNet


def laptop(
    source: str = "mnist",
    limit: int = 0,
    look: str = "digits",
    epochs: float = 25.0,
    batch: int = 64,
    lr: float = 0.2,
    stop_gradient: bool = True,
    widths: tuple[int, ...] = (32, 64, 128),
    projector: tuple[int, ...] = (128, 128),
    bottleneck: int = 32,
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
      lr: start of the learning rate, which falls along a cosine; the predictor's stays.
      stop_gradient: False shows the collapse that it prevents.
      widths: channels of the encoder's layers.
      projector: widths of its layers.
      bottleneck: the predictor's hidden width.
      supervised_epochs: of the supervised reference, computed once and cached.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, widths, projector, bottleneck = "digits", 16, (4, 8), (8, 8), 4
        epochs = supervised_epochs = 0.03
    train = data.load(source, batch, seed=seed, limit=limit)
    steps, encoder = train.steps(epochs), ConvNet(widths)
    size = train.shapes()["image"].shape[1]
    augment = partial(views.multi_view, views=views.recipe(look, size=size))
    predictor = MLP((bottleneck, projector[-1]))
    net = nets.linen(Siamese(encoder, MLP(projector, last_norm="plain"), predictor))

    method = simsiam(net, falling(lr, steps), augment, stop_gradient=stop_gradient)
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
    epochs: float = 100.0,
    batch: int = 512,
    lr: float = 0.05,
    workers: int = 16,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """The published schedule on ImageNet: SGD, batches of 512, 100 epochs.

    Departure: crops are drawn on the device, from the central square of 256 pixels that
    the loader cuts, not from the whole photograph.

    Args:
      depth: of the ResNet.
      source: a prepared TFDS data set, or folder:PATH.
      epochs: passes over the training split.
      batch: images a step.
      lr: for a batch of 256; scales with the batch.
      workers: processes that read and decode, on each host.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=128.
      tiny: the sizes that tests run.
    """
    size, stored, dtype, width, feature = 224, 256, jnp.bfloat16, 64, 2048
    if tiny:
        size, stored, source, workers, dtype, width = 16, 32, "photos", 0, None, 4
        epochs, batch, depth, feature = 0.02, 16, 10, 8
    read = dict(size=stored, threads=2 * workers + 2, workers=workers)
    train = data.load(source, batch, seed=seed, **read)
    steps = train.steps(epochs)
    encoder = ResNet(depth, width=width, dtype=dtype)
    projector = MLP((feature,) * 3, last_norm="plain")
    predictor = MLP((feature // 4, feature))
    method = simsiam(
        nets.linen(Siamese(encoder, projector, predictor)),
        falling(lr * batch / 256, steps),
        partial(views.multi_view, views=views.recipe("simsiam", size=size)),
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


def falling(lr, steps):
    """SGD along a cosine, whose rate stays for the predictor."""

    def sgd(rate):
        return optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(rate, momentum=0.9))

    def player(params):
        return {k: "predictor" if k == "predictor" else "rest" for k in params}

    rates = {"rest": sgd(optim.warmup_cosine(lr, 0, steps)), "predictor": sgd(lr)}
    return optax.partition(rates, player)
