"""Mean Teacher: agree with the running average of your own weights.

    python -m jssl.main --config=experiments/mean_teacher.py
    python -m jssl.main --config=experiments/mean_teacher.py:consistency=kl,weight=5

Tarvainen and Valpola 2017, https://arxiv.org/abs/1703.01780. Reference, CIFAR-10 with
4,000 labels: 12.3 % error with 13 layers, 6.3 % with a ResNet. Ours: docs/results.md.

The number to read is top1, beside that of "supervised, same labels": kNN and linear probe
judge h with all labels of the training split.
"""

import optax

from jssl import Stage, baselines, data, evals, nets, views
from jssl.learner import ema_weights
from jssl.methods.semisupervised.mean_teacher import mean_teacher
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
    weight: float = 50.0,
    ramp: int = 300,
    consistency: str = "mse",
    decay: float = 0.99,
    shift: float = 2.0,
    rotate: float = 15.0,
    noise: float = 0.15,
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
      weight: of the agreement with the teacher, after the ramp.
      ramp: steps in which the weight rises.
      consistency: how the two are compared: mse, or kl, which wants a weight of 1 to 10.
      decay: of the teacher, and of the average that the supervised ones predict with.
      shift: most shift of a view, in pixels either way.
      rotate: most rotation of a view, in degrees either way.
      noise: deviation of the Gaussian noise of a view; the paper's 0.15.
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
    size = unlabeled.shapes()["image"].shape[1]
    view = views.View(size=size, shift=shift, rotate=rotate, noise=noise)
    adam = optax.adam(optax.cosine_decay_schedule(lr, steps))
    averaged = optax.chain(adam, ema_weights(decay))
    net = nets.linen(Classifier(ConvNet(widths), labeled.classes))
    method = mean_teacher(net, adam, view, weight, ramp, decay, consistency)
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
            {"student_top1": evals.accuracy("student_logits", "student_top1")},
            seed=seed,
            save_every=save_every,
            mesh=mesh,
        )
    ]
