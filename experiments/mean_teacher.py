"""Mean Teacher: consistency with a teacher that averages the student's weights.

    python -m jssl.main --config=experiments/mean_teacher.py
    python -m jssl.main --config=experiments/mean_teacher.py:consistency=kl,weight=5

Tarvainen and Valpola 2017, https://arxiv.org/abs/1703.01780. Reference, CIFAR-10 with
4,000 labels: 12.3 % error with 13 layers, 6.3 % with a ResNet. Ours: docs/results.md.

The number to read is top1, beside that of "supervised, same labels": kNN and linear probe
judge h with all labels of the training split.
"""

from jssl import Stage, baselines, evals
from jssl.config import tiny
from jssl.knobs import FEW_LABELS, FewLabels, Run
from jssl.methods.semisupervised.mean_teacher import mean_teacher

RUNS = {"": 3}


@tiny(FEW_LABELS)
def laptop(
    run: Run = Run(),
    images: FewLabels = FewLabels(),
    weight: float = 50.0,
    ramp: int = 300,
    consistency: str = "mse",
    rotate: float = 15.0,
    noise: float = 0.15,
) -> list[Stage]:
    """A small convolutional network, a hundred labels: about two minutes on two cores.

    Departures: the rate falls along a cosine without ramp-up, and Adam's momenta are
    constant, where the released codes ramp the rate, up and down, and both momenta; the
    network has no dropout.

    Args:
      decay: Decay of the teacher, and of the average that the baselines predict with.
      weight: Weight of the agreement with the teacher, after the ramp, beside the mean
        over labeled images; a weight w of the paper is w (1 + batch / labeled_batch) here.
      ramp: Steps in which the weight rises.
      consistency: Distance of student and teacher: mse, or kl, with a weight of 1 to 10.
      rotate: Largest rotation of a view, in degrees.
      noise: Standard deviation of the Gaussian noise of a view; the paper's 0.15.
    """
    train = images.load(run)
    view = images.view(train, rotate=rotate, noise=noise)
    method = mean_teacher(
        images.classifier(train),
        images.adam(train),
        view,
        weight=weight,
        ramp=ramp,
        momentum=images.decay,
        consistency=consistency,
        divisor="labeled",
    )
    student = {"student_top1": evals.accuracy("student_logits", "student_top1")}
    return [
        baselines.few_label_stage(run, images, train, method, augment=view, further=student)
    ]
