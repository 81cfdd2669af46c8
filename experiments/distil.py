"""Distillation: a small student learns from what a larger teacher says of images.

    python -m jssl.main --config=experiments/distil.py
    python -m jssl.main --config=experiments/distil.py:temperature=4.0
    python -m jssl.main --config=experiments/distil.py:alpha=0.5

Hinton, Vinyals and Dean 2015, https://arxiv.org/abs/1503.02531. Reference, all of MNIST:
146 test errors of a small network, 67 of the large one, 74 of the small one that learned
from it. Ours: docs/results.md.
"""

import optax

from jssl import Stage, baselines, data, evals, nets, optim, views
from jssl.methods.transfer.distil import distil, frozen
from jssl.methods.transfer.supervised import supervised
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier


def laptop(
    source: str = "mnist",
    epochs: float = 40.0,
    batch: int = 64,
    lr: float = 2e-3,
    temperature: float = 1.0,
    alpha: float = 1.0,
    shift: float = 2.0,
    widths: tuple[int, ...] = (8, 16, 32),
    teacher_widths: tuple[int, ...] = (32, 64, 128),
    teacher_epochs: float = 20.0,
    save_every: int = 500,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """Two stages, teacher and student: about two minutes on two cores.

    Beside the student stands the same network, taught by the labels for as long.

    Args:
      source: mnist, fashion_mnist, digits, folder:PATH with class folders ...
      epochs: passes over the training split, of the student.
      batch: images a step; with alpha < 1, also labelled ones a step.
      lr: peak of the learning rate; a twentieth of the steps warm up, then a cosine.
      temperature: divides the logits of both.
      alpha: share of the teacher in the loss; the labels have the rest.
      shift: most pixels by which an image is moved.
      widths: channels of the student's layers.
      teacher_widths: channels of the teacher's layers.
      teacher_epochs: passes over the training split, of the teacher.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, widths, teacher_widths = "digits", 16, (4, 8), (8, 8)
        epochs = teacher_epochs = 0.03
    labeled = data.load(source, batch, seed=seed, labeled=True)
    unlabeled = data.load(source, batch, seed=seed)
    steps, size = unlabeled.steps(epochs), labeled.shapes()["image"].shape[1]
    augment = views.View(size=size, shift=shift)
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    named = judged | {"top1": evals.accuracy()}
    shared = dict(seed=seed, mesh=mesh)

    def adamw(steps):
        schedule = optim.warmup_cosine(lr, steps // 20, steps)
        return optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices)

    def taught(name, net, steps):
        return Stage(
            name=name,
            method=supervised(net, adamw(steps), labeled.classes, augment),
            data=labeled,
            steps=steps,
            evals=named,
            save_every=save_every,
            **shared,
        )

    large = nets.linen(Classifier(ConvNet(teacher_widths), labeled.classes))
    small = nets.linen(Classifier(ConvNet(widths), labeled.classes))
    method = distil(small, large, adamw(steps), temperature, alpha, augment)
    mixed = data.pair(labeled=labeled, unlabeled=unlabeled)
    reference = taught("supervised", small, steps)
    student = Stage(
        name="distil",
        method=method,
        data=unlabeled if alpha == 1 else mixed,
        steps=steps,
        evals=named | {"embedding": evals.embedding_picture()},
        baselines=baselines.beside(method, unlabeled, judged, reference, **shared),
        start=lambda state, done: state._replace(teacher=frozen(done["teacher"])),
        save_every=save_every,
        **shared,
    )
    return [taught("teacher", large, labeled.steps(teacher_epochs)), student]
