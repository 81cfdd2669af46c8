"""VAT: smoothness of predictions in the virtual adversarial direction.

    python -m jssl.main --config=experiments/vat.py
    python -m jssl.main --config=experiments/vat.py:epsilon=1,entropy_weight=0.1

Miyato et al. 2019, https://arxiv.org/abs/1704.03976. Reference, CIFAR-10 with 4,000
labels, 13 layers: 11.4 % error, 10.6 % with entropy. Ours: docs/results.md.

The number to read is top1, beside that of "supervised, same labels": kNN and linear probe
judge h with all labels of the training split.
"""

from jssl import Stage, baselines
from jssl.config import Positive, tiny
from jssl.knobs import FEW_LABELS, FewLabels, Run
from jssl.methods.semisupervised.vat import vat

RUNS = {"": 3}


@tiny(FEW_LABELS)
def laptop(
    run: Run = Run(),
    images: FewLabels = FewLabels(epochs=20.0),
    epsilon: Positive = 2.0,
    weight: float = 1.0,
    entropy_weight: float = 0.0,
    everywhere: bool = True,
) -> list[Stage]:
    """A small convolutional network, a hundred labels: about two minutes on two cores.

    The released code has schedule=late,everywhere=False, 32 labeled and 128 unlabeled
    images in a step, and epsilon 8 or 10 for its whitened images.

    Departures: averaged weights predict, in the released code the last ones; Adam's first
    momentum is 0.9 to the end, there 0.5 in the last third.

    Args:
      epsilon: Length of the adversarial step, in units of a pixel's range.
      weight: Weight of the divergence after the step.
      entropy_weight: Weight of the entropy of unlabeled predictions; 1 in VAT + EntMin.
      everywhere: Take the divergence of labeled images too, not of the unlabeled batch
        alone, as the released code does.
    """
    train = images.load(run)
    view = images.view(train)
    method = vat(
        images.classifier(train),
        images.averaged_adam(train),
        view,
        epsilon=epsilon,
        weight=weight,
        entropy_weight=entropy_weight,
        everywhere=everywhere,
    )
    return [baselines.few_label_stage(run, images, train, method, augment=view)]
