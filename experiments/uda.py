"""UDA: agreement of a strong view with the sharpened prediction for a weak view.

    python -m jssl.main --config=experiments/uda.py
    python -m jssl.main --config=experiments/uda.py:annealing=linear
    python -m jssl.main --config=experiments/uda.py:cifar,labels=400

Xie et al. 2020, https://arxiv.org/abs/1904.12848. Reference, CIFAR-10 with WRN-28-2: 5.43 %
error at 250 labels, 4.32 % at 4,000.

The number to read is top1, beside that of "supervised, same labels": kNN and linear probe
judge h with all labels of the training split.
"""

from jssl import Stage, baselines
from jssl.config import Fraction, Positive, tiny
from jssl.knobs import FEW_GARMENTS, FEW_LABELS, Run, WeakAndStrong
from jssl.methods.semisupervised.uda import uda
from jssl.papers import WEAK_STRONG_CIFAR, CifarWeakAndStrong

RUNS = {"": 3, FEW_GARMENTS: 1}


@tiny(FEW_LABELS)
def laptop(
    run: Run = Run(),
    images: WeakAndStrong = WeakAndStrong(),
    weight: float = 1.0,
    threshold: Fraction = 0.8,
    temperature: Positive = 0.4,
    annealing: str = "",
) -> list[Stage]:
    """A small convolutional network, a hundred labels: about two minutes on two cores.

    Departures: two unlabeled images to a labeled one, in the paper seven; Adam.

    Args:
      weight: Weight of the unlabeled images.
      threshold: Confidence from which a prediction is a target.
      temperature: Temperature that sharpens a target.
      annealing: Course of the training-signal annealing: linear, exp or log; empty: none.
    """
    train = images.load(run)
    weak, strong = images.weak_and_strong(train)
    method = uda(
        images.classifier(train),
        images.averaged_adam(train),
        weak,
        strong,
        weight=weight,
        threshold=threshold,
        temperature=temperature,
        annealing=annealing,
        steps=train.steps(images.epochs),
    )
    return [baselines.few_label_stage(run, images, train, method, augment=weak)]


@tiny(WEAK_STRONG_CIFAR)
def cifar(
    run: Run = Run(save_every=5000, baselines=False),
    images: CifarWeakAndStrong = CifarWeakAndStrong(epochs=4504.5, decay=0.9999),
    weight: float = 1.0,
    threshold: Fraction = 0.8,
    temperature: Positive = 0.4,
    annealing: str = "",
) -> list[Stage]:
    """The published setting for CIFAR-10: WRN-28-2, 500,000 steps, RandAugment and Cutout.

    A step has 64 labeled and 448 unlabeled images, of all 50,000. For SVHN give its source
    and flip=0.

    Numbers to beat, of the 10,000 test images: 5.43 % error (94.57 % top-1) with 250
    labels, the default, and 4.32 % with 4,000 (labels=400).

    Departures: labels are drawn by the seed; views and the decay of the weights are those
    of FixMatch's setting, in which only kernels decay.

    Args:
      weight: Weight of the unlabeled images.
      threshold: Confidence from which a prediction is a target.
      temperature: Temperature that sharpens a target.
      annealing: Course of the training-signal annealing: linear, exp or log; empty: none.
    """
    train = images.load(run)
    weak, strong, prepare = images.weak_and_strong()
    net, tx = images.classifier(train), images.averaged_sgd(train)
    method = uda(
        net,
        tx,
        weak,
        strong,
        weight=weight,
        threshold=threshold,
        temperature=temperature,
        annealing=annealing,
        steps=train.steps(images.epochs),
        prepare=prepare,
    )
    return [
        baselines.few_label_stage(
            run, images, train, method, augment=weak, prepare=prepare, net=net, tx=tx
        )
    ]
