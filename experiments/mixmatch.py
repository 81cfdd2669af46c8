"""MixMatch: sharpened pseudo-labels for unlabeled images, and mixup with labeled ones.

    python -m jssl.main --config=experiments/mixmatch.py
    python -m jssl.main --config=experiments/mixmatch.py:labels=4,weight=25

Berthelot et al. 2019, https://arxiv.org/abs/1905.02249. Reference, CIFAR-10 with
WRN-28-2: 11.1 % error at 250 labels, 6.2 % at 4,000. Ours: docs/results.md.

The number to read is top1, beside that of "supervised, same labels": kNN and linear probe
judge h with all labels of the training split.
"""

from jssl import Stage, baselines
from jssl.config import Count, Positive, tiny
from jssl.knobs import FEW_LABELS, FewLabels, Run
from jssl.methods.semisupervised.mixmatch import mixmatch

RUNS = {"": 3}


@tiny(FEW_LABELS)
def laptop(
    run: Run = Run(),
    images: FewLabels = FewLabels(),
    weight: float = 75.0,
    k: Count = 2,
    temperature: Positive = 0.5,
    alpha: float = 0.75,
    interleaved: bool = False,
) -> list[Stage]:
    """A small convolutional network, a hundred labels: about two minutes on two cores.

    The released code has schedule=constant,shrink=0.02,decay=0.999,interleaved=True and as
    many labeled as unlabeled images in a step, 64.

    Args:
      weight: Final weight of the guessed labels; it rises linearly from 0.
      k: Views of an unlabeled image, whose predictions are averaged.
      temperature: Temperature that sharpens a guess.
      alpha: Parameter of the Beta distribution of the mixing shares.
      interleaved: Batch statistics of the released code, in batches of interleaved rows;
        needs batch and labeled_batch to be equal.
    """
    train = images.load(run)
    view = images.view(train)
    method = mixmatch(
        images.classifier(train),
        images.averaged_adam(train),
        view,
        weight=weight,
        ramp=train.steps(images.epochs),
        k=k,
        temperature=temperature,
        alpha=alpha,
        interleaved=interleaved,
    )
    return [baselines.few_label_stage(run, images, train, method, augment=view)]
