"""Knobs of published settings, in groups: data sets at the scale of papers, protocols.

The groups are used as those of `jssl.knobs`: `ImageNet` and `Cifar` have a paper's images,
views and schedule, `LinearEvaluation` and `FineTuning` the stages that give its number.
"""

from jssl.knobs import DATA
from jssl.papers.distillation import Distillation
from jssl.papers.evaluation import FineTuning, LinearEvaluation, part
from jssl.papers.few_labels import (
    CifarFewLabels,
    CifarWeakAndStrong,
    CifarWide,
    ThirteenLayers,
    whitened,
)
from jssl.papers.images import Cifar, ImageNet, Photos, Published, Videos
from jssl.papers.networks import Large, behind, of_layer, over_time, scaled_adamw
from jssl.papers.ucf101 import UCF101

__all__ = [
    "CIFAR",
    "CLIPS",
    "FEW_CIFAR",
    "LAYERS",
    "LINEAR",
    "PAPER",
    "PHOTOS",
    "RESNET",
    "TUNED",
    "WEAK_STRONG_CIFAR",
    "Cifar",
    "CifarFewLabels",
    "CifarWeakAndStrong",
    "CifarWide",
    "Distillation",
    "FineTuning",
    "ImageNet",
    "Large",
    "LinearEvaluation",
    "Photos",
    "Published",
    "ThirteenLayers",
    "UCF101",
    "Videos",
    "behind",
    "of_layer",
    "over_time",
    "part",
    "scaled_adamw",
    "whitened",
]

# Knobs of tests.
TUNED = dict(tune_epochs=0.03, tune_batch=16)
FEW_CIFAR = DATA | dict(source="photos", epochs=0.02, labels=2, labeled_batch=16)
WEAK_STRONG_CIFAR = FEW_CIFAR | dict(depth=10, widen=1)
LAYERS = dict(layers=((3, 4),) * 6 + ((3, 8), (1, 8), (1, 4)))
PHOTOS = dict(source="photos", batch=16, epochs=0.02, workers=0)
LINEAR = dict(linear_epochs=0.02, linear_batch=16)
PAPER = PHOTOS | dict(size=16, stored=32, dtype="")
CIFAR = DATA | LINEAR | dict(source="photos", epochs=0.02, dtype="", depth=6, width=4)
CLIPS = (
    DATA
    | TUNED
    | dict(source="moving_digits", reading="frames=8", size=16, crop=14, dtype="")
)
RESNET = PAPER | LINEAR | dict(depth=6, width=4)
