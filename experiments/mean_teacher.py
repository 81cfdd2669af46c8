"""Mean Teacher: consistency with a teacher that averages the student's weights.

    python -m jssl.main --config=experiments/mean_teacher.py
    python -m jssl.main --config=experiments/mean_teacher.py:consistency=kl,weight=5
    python -m jssl.main --config=experiments/mean_teacher.py:cifar

Tarvainen and Valpola 2017, https://arxiv.org/abs/1703.01780. Reference, CIFAR-10 with
4,000 labels: 12.3 % error with 13 layers, 6.3 % with a ResNet. Ours: docs/results.md.

The number to read is top1, beside that of "supervised, same labels": kNN and linear probe
judge h with all labels of the training split.
"""

import optax

from jssl import Stage, baselines, evals, views
from jssl.config import Fraction, tiny
from jssl.knobs import FEW_GARMENTS, FEW_LABELS, FewLabels, Run
from jssl.learner import ema_weights
from jssl.method import field
from jssl.methods.semisupervised.mean_teacher import mean_teacher
from jssl.papers import FEW_CIFAR, LAYERS, ThirteenLayers, whitened

RUNS = {"": 3, "weight=100.0": 3, "decay=0.9": 3, FEW_GARMENTS: 1}
STUDENT = {"student_top1": evals.accuracy("student_logits", "student_top1")}


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
    return [
        baselines.few_label_stage(run, images, train, method, augment=view, further=STUDENT)
    ]


@tiny(FEW_CIFAR, LAYERS, whiten=False)
def cifar(
    run: Run = Run(save_every=5000, baselines=False),
    images: ThirteenLayers = ThirteenLayers(epochs=276.243, batch=92, labeled_batch=8),
    weight: float = 100.0,
    decay: Fraction = 0.999,
) -> list[Stage]:
    """The released setting for CIFAR-10 with 4,000 labels: 13 layers, 150,000 steps.

    A step has 8 labeled and 92 unlabeled images, the average of the released code, which
    draws from all 50,000. Rate and weight rise in the first 40,000 steps; in the last
    25,000 the rate falls, and Adam's first momentum goes from 0.9 to 0.5.

    Number to beat: 12.31 % error (87.69 % top-1) of the 10,000 test images, the mean of ten
    runs.

    Departures: the network has batch norm, there weight normalization and batch norm of
    means alone; for the first 1,000 steps the teacher is the plain mean of all students, as
    in the released code of PyTorch, there an average of constant decay.

    Args:
      weight: Final weight of the agreement with the teacher, in the paper's units: it
        applies in the proportion of labeled images in the training split, so that 100 is 8.
      ramp: Fraction of the steps in which the weight and the learning rate rise.
      decay: Decay of the teacher, and of the average that the baselines predict with.
      dropout: Dropout rate, of student and teacher.
      whiten: Normalize the contrast of images and whiten them by ZCA, fitted on the
        training images; off: standardize their channels.
    """
    train = images.load(run)
    white = (
        whitened(train, epsilon=0.1, contrast=True)
        if images.whiten
        else lambda x: views.normalize(x, *views.CIFAR10_PIXELS)
    )
    prepare = field("image", white)
    augment, adam = images.looks(prepare), images.adam(train)
    net = images.classifier(train, momentum=0.99)
    method = mean_teacher(
        net,
        adam,
        augment,
        weight=weight * images.known(train),
        ramp=images.rise(train),
        momentum=decay,
        divisor="batch",
        prepare=prepare,
    )
    return [
        baselines.few_label_stage(
            run,
            images,
            train,
            method,
            augment=augment,
            prepare=prepare,
            net=net,
            tx=optax.chain(adam, ema_weights(decay)),
            further=STUDENT,
        )
    ]
