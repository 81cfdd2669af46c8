"""Knowledge distillation: a student is trained on the predictions of a teacher.

    python -m jssl.main --config=experiments/distil.py
    python -m jssl.main --config=experiments/distil.py:temperature=4.0
    python -m jssl.main --config=experiments/distil.py:alpha=0.5

Hinton, Vinyals and Dean 2015, https://arxiv.org/abs/1503.02531. Reference, all of MNIST:
146 test errors of a small network, 67 of the large one, 74 of the small one that learned
from it. Ours: docs/results.md.
"""

from jssl import Stage, baselines, data, evals, nets, views
from jssl.config import Counts, Positive, tiny
from jssl.knobs import DATA, Data, Run, Small, with_labels
from jssl.methods.transfer.distil import distil, frozen
from jssl.methods.transfer.supervised import supervised
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier


@tiny(DATA, widths=(4, 8), teacher_widths=(8, 8), teacher_epochs=0.03)
def laptop(
    run: Run = Run(save_every=500),
    images: Data = Data(epochs=40.0),
    small: Small = Small(widths=(8, 16, 32)),
    temperature: Positive = 1.0,
    alpha: float = 1.0,
    shift: float = 2.0,
    teacher_widths: Counts = (32, 64, 128),
    teacher_epochs: Positive = 20.0,
) -> list[Stage]:
    """Two stages, teacher and student: about two minutes on two cores.

    The student's baseline is the same network, trained on the labels for as long.

    Args:
      epochs: Passes over the training split, of the student.
      batch: Images per step; with alpha < 1, also labeled ones per step.
      temperature: Temperature of the logits of both.
      alpha: Weight of the teacher in the loss; the labels have the rest.
      shift: Largest shift of an image, in pixels.
      widths: Channels of each layer of the student.
      teacher_widths: Channels of each layer of the teacher.
      teacher_epochs: Passes over the training split, of the teacher.
    """
    unlabeled = images.load(run)
    labeled = with_labels(unlabeled)
    steps, teacher_steps = unlabeled.steps(images.epochs), labeled.steps(teacher_epochs)
    view = views.on(views.View(size=labeled.side, shift=shift))
    large = nets.linen(Classifier(ConvNet(teacher_widths), labeled.classes))
    student = nets.linen(Classifier(small.encoder(), labeled.classes))

    def taught(net, steps):
        return supervised(net, small.adamw(steps), labeled.classes, view)

    method = distil(
        student,
        large,
        small.adamw(steps),
        temperature=temperature,
        alpha=alpha,
        augment=view,
    )
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    named = judged | {"top1": evals.accuracy()}
    mixed = data.pair(labeled=labeled, unlabeled=unlabeled)
    reference = run.baseline(
        "supervised", taught(student, steps), labeled, steps, evals=named
    )
    return [
        run.stage(
            "teacher", taught(large, teacher_steps), labeled, teacher_steps, evals=named
        ),
        run.stage(
            "distil",
            method,
            unlabeled if alpha == 1 else mixed,
            steps,
            evals=named | {"embedding": evals.embedding_picture()},
            baselines=baselines.rows(run, method, unlabeled, judged, reference=reference),
            start=lambda state, done: state._replace(teacher=frozen(done["teacher"])),
        ),
    ]
