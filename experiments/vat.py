"""VAT: no small step from an image should change what is said of it.

    python -m jssl.main --config=experiments/vat.py
    python -m jssl.main --config=experiments/vat.py:epsilon=1,entropy_weight=0.1

Miyato et al. 2019, https://arxiv.org/abs/1704.03976. Reference, CIFAR-10 with 4,000
labels, 13 layers: 11.4 % error, 10.6 % with entropy. Ours: docs/results.md.

The number to read is top1, beside that of "supervised, same labels": kNN and linear probe
judge h with all labels of the training split.
"""

import optax

from jssl import Stage, baselines, data, nets, views
from jssl.learner import ema_weights
from jssl.methods.semisupervised.vat import vat
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier


def laptop(
    source: str = "mnist",
    limit: int = 0,
    labels: int = 10,
    epochs: float = 20.0,
    batch: int = 100,
    labeled_batch: int = 50,
    lr: float = 0.002,
    epsilon: float = 2.0,
    weight: float = 1.0,
    entropy_weight: float = 0.0,
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
      epsilon: length of the worst step, in units of a pixel's range.
      weight: of the divergence after it.
      entropy_weight: of the entropy of unlabelled predictions; VAT + EntMin has 1.
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
    method = vat(net, averaged, view, epsilon, weight, entropy_weight)
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
