"""S4L: supervised classification of few labels, with rotations as a second task of all.

    python -m jssl.main --config=experiments/s4l.py
    python -m jssl.main --config=experiments/s4l.py:weight=0
    python -m jssl.main --config=experiments/s4l.py:source=fashion_mnist,turned=True

Zhai et al. 2019, https://arxiv.org/abs/1905.03670. Ours: docs/results.md. The paper's
numbers are of ImageNet.

The number to read is top1, beside that of "supervised, same labels": kNN and linear probe
judge h with all labels of the training split.
"""

import math

from jssl import Stage, baselines, nets
from jssl.config import tiny
from jssl.knobs import FEW_GARMENTS, FEW_LABELS, FewLabels, Run
from jssl.methods.semisupervised.s4l import s4l
from jssl.models.convnet import ConvNet
from jssl.models.heads import TurnClassifier

RUNS = {"": 3, "epochs=30": 3, FEW_GARMENTS: 1}


@tiny(FEW_LABELS)
def laptop(
    run: Run = Run(),
    images: FewLabels = FewLabels(epochs=16.0),
    weight: float = 1.0,
    turned: bool = False,
) -> list[Stage]:
    """A small convolutional network, a hundred labels: about two minutes on two cores.

    Departures: digits are classified upright only, because a 6 upside down is a 9; Adam,
    whose averaged weights predict.

    Args:
      weight: Weight of the rotations, beside the mean over labeled images.
      turned: Learn the class from all four rotations of a labeled image, as the authors do.
    """
    train = images.load(run)
    view = images.view(train)
    net = nets.linen(TurnClassifier(ConvNet(images.widths), train.classes))
    method = s4l(net, images.averaged_adam(train), view, weight=weight, turned=turned)
    chance = {"rotation": math.log(4)}
    return [
        baselines.few_label_stage(run, images, train, method, augment=view, chance=chance)
    ]
