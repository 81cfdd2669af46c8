"""MixMatch: guess labels for unlabelled images, then mix everything with everything.

    python -m jssl.main --config=experiments/mixmatch.py
    python -m jssl.main --config=experiments/mixmatch.py:labels=4,weight=25

Berthelot et al. 2019, https://arxiv.org/abs/1905.02249. Reference, CIFAR-10 with
WRN-28-2: 11.1 % error at 250 labels, 6.2 % at 4,000. Ours: docs/results.md.

The number to read is top1, beside that of "supervised, same labels": kNN and linear probe
judge h with all labels of the training split.
"""

import optax

from jssl import Stage, baselines, data, nets, views
from jssl.learner import ema_weights
from jssl.methods.semisupervised.mixmatch import mixmatch
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier


def laptop(
    source: str = "mnist",
    limit: int = 0,
    labels: int = 10,
    epochs: float = 30.0,
    batch: int = 100,
    labeled_batch: int = 50,
    lr: float = 0.002,
    weight: float = 75.0,
    k: int = 2,
    temperature: float = 0.5,
    alpha: float = 0.75,
    decay: float = 0.99,
    shift: float = 2.0,
    widths: tuple[int, ...] = (32, 64, 128),
    save_every: int = 200,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """A small convolutional network, a hundred labels: about two minutes on two cores.

    Args:
      source: mnist, fashion_mnist, digits, folder:PATH, tfds:NAME ...
      limit: only so many training images, of each class its share; 0: all.
      labels: of each class.
      epochs: passes over the unlabelled images, which are the training split.
      batch: unlabelled images a step.
      labeled_batch: labelled images a step.
      lr: learning rate at first; a cosine takes it to 0.
      weight: of the guesses at the end; it rises along a line from 0.
      k: views of an unlabelled image, whose predictions are averaged.
      temperature: that sharpens a guess.
      alpha: of the Beta distribution that the shares of a mixture come from.
      decay: of the average of weights that predicts in the end.
      shift: most shift of a view, in pixels either way.
      widths: channels of the encoder's layers.
      save_every: steps between checkpoints.
      seed: of weights, views, the order of the data, and which images have labels.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, labels, batch, labeled_batch, widths = "digits", 2, 16, 16, (4, 8)
        epochs = 0.03
    unlabeled = data.load(source, batch, seed=seed, limit=limit)
    labeled = data.load(source, labeled_batch, seed=seed, limit=limit, labeled=True)
    steps = unlabeled.steps(epochs)
    view = views.View(size=unlabeled.shapes()["image"].shape[1], shift=shift)
    adam = optax.adam(optax.cosine_decay_schedule(lr, steps))
    averaged = optax.chain(adam, ema_weights(decay))
    net = nets.linen(Classifier(ConvNet(widths), labeled.classes))
    method = mixmatch(net, averaged, view, weight, steps, k, temperature, alpha)
    return [
        baselines.few_labels(
            method,
            labeled,
            unlabeled,
            labels,
            steps,
            net,
            averaged,
            view,
            seed=seed,
            save_every=save_every,
            mesh=mesh,
        )
    ]
