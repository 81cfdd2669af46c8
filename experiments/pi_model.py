"""Pi-model: consistency of two passes of one network, each with its own noise.

    python -m jssl.main --config=experiments/pi_model.py
    python -m jssl.main --config=experiments/pi_model.py:labels=4,symmetric=False
    python -m jssl.main --config=experiments/pi_model.py:cifar

Laine and Aila 2017, https://arxiv.org/abs/1610.02242. Reference, with 13 layers: 12.4 %
error on CIFAR-10 with 4,000 labels, 4.8 % on SVHN with 1,000. Ours: docs/results.md.

The number to read is top1, beside that of "supervised, same labels": kNN and linear probe
judge h with all labels of the training split.
"""

import jax
import jax.numpy as jnp

from jssl import Stage, baselines
from jssl.config import tiny
from jssl.knobs import FEW_GARMENTS, FEW_LABELS, FewLabels, Run
from jssl.methods.semisupervised.pi_model import pi_model
from jssl.papers import FEW_CIFAR, LAYERS, ThirteenLayers

RUNS = {
    "": 3,
    # Three quarters as many steps as above, on 1,400 images.
    **{f"classes=6,mismatch={m},epochs=56": 1 for m in (0.0, 0.25, 0.5, 0.75, 1.0)},
    "labels=200": 1,
    **{f"labels=200,wrong={part}": 1 for part in (0.2, 0.5, 0.8)},
    FEW_GARMENTS: 1,
}


@tiny(FEW_LABELS)
def laptop(
    run: Run = Run(),
    images: FewLabels = FewLabels(),
    weight: float = 50.0,
    ramp: int = 300,
    symmetric: bool = True,
    rotate: float = 15.0,
    noise: float = 0.15,
) -> list[Stage]:
    """A small convolutional network, a hundred labels: about two minutes on two cores.

    Departures: the rate falls along a cosine without ramp-up, and Adam's first momentum is
    constant; averaged weights predict; the network has no dropout, so that the views alone
    differ; w rises from the first step.

    Args:
      weight: Weight of the agreement of both passes, after the ramp, beside the mean over
        labeled images; a weight w of the paper is w (1 + batch / labeled_batch) here.
      ramp: Steps in which the weight rises.
      symmetric: Let the gradient flow through both passes, not through the first alone.
      rotate: Largest rotation of a view, in degrees.
      noise: Standard deviation of the Gaussian noise of a view; the paper's 0.15.
    """
    train = images.load(run)
    view = images.view(train, rotate=rotate, noise=noise)

    def both(key, batch):
        return jnp.stack([view(k, batch) for k in jax.random.split(key)], 1)

    method = pi_model(
        images.classifier(train),
        images.averaged_adam(train),
        both,
        weight=weight,
        ramp=ramp,
        symmetric=symmetric,
        divisor="labeled",
    )
    return [baselines.few_label_stage(run, images, train, method, augment=view)]


@tiny(FEW_CIFAR, LAYERS, whiten=False)
def cifar(
    run: Run = Run(save_every=5000, baselines=False),
    images: ThirteenLayers = ThirteenLayers(epochs=276.2, batch=92, labeled_batch=8),
    weight: float = 100.0,
    symmetric: bool = True,
) -> list[Stage]:
    """The released setting for CIFAR-10 with 4,000 labels: 13 layers, 150,000 steps.

    A step has 8 labeled and 92 unlabeled images, the average of the released code,
    https://github.com/smlaine2/tempens, which draws 100 from all 50,000. Both views of an
    image are flipped together, and shifted apart.

    Numbers to beat, of the test images: 12.36 % error (87.64 % top-1), the mean of ten
    runs; on SVHN with 1,000 labels 4.82 %, with source=tfds:svhn_cropped,labels=100,
    batch=99,labeled_batch=1,epochs=297,whiten=False,flip=0.0; CIFAR-10 with 250 labels
    (labels=25) 53.02 % in MixMatch's comparison, with WRN-28-2.

    Departures: the network has batch norm, there weight normalization and batch norm of
    means alone; weight and rate rise with each step, there with each epoch.

    Args:
      weight: Final weight of the agreement of both passes, in the paper's units: it applies
        in the proportion of labeled images in the training split, so that 100 is 8.
      symmetric: Let the gradient flow through both passes, not through the first alone.
    """
    train = images.load(run)
    prepare = images.prepare(train)
    net, adam = images.classifier(train), images.adam(train)
    method = pi_model(
        net,
        adam,
        images.looks(prepare, 2),
        weight=weight * images.known(train),
        ramp=images.rise(train),
        wait=train.steps(1),
        symmetric=symmetric,
        divisor="batch",
        prepare=prepare,
    )
    return [
        baselines.few_label_stage(
            run,
            images,
            train,
            method,
            augment=images.looks(prepare),
            prepare=prepare,
            net=net,
            tx=adam,
        )
    ]
