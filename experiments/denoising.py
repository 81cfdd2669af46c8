"""Denoising autoencoder: reconstruction of the input from a corrupted copy.

    python -m jssl.main --config=experiments/denoising.py
    python -m jssl.main --config=experiments/denoising.py:noise=gaussian,deviation=0.5
    python -m jssl.main --config=experiments/denoising.py:paper,source=tfds:mnist

Vincent et al. 2008, https://doi.org/10.1145/1390156.1390294, who report numbers of
fine-tuned stacks: see experiments/stacked_denoising.py. Ours: docs/results.md.
"""

from functools import partial

import optax

from jssl import Stage, baselines, nets
from jssl.config import Count, Fraction, Positive, one_of, tiny
from jssl.knobs import IMAGES, Images, Run
from jssl.methods.generative.denoising import denoising
from jssl.models.dense import Autoencoder, Dense
from jssl.models.heads import Classifier
from jssl.ops import corruption


@tiny(IMAGES, hidden=16)
def laptop(
    run: Run = Run(dispatch=10, save_every=1000),
    images: Images = Images(epochs=60.0, supervised_epochs=20.0),
    lr: Positive = 1e-3,
    hidden: Count = 256,
    noise: str = "salt_and_pepper",
    share: Fraction = 0.25,
    deviation: float = 0.4,
    alpha: float = 1.0,
    beta: float = 1.0,
    error: str = "cross_entropy",
    tied: bool = False,
) -> list[Stage]:
    """One hidden layer of sigmoids on small images: about a minute on two cores.

    Args:
      lr: Learning rate of Adam, constant.
      hidden: Units of the code.
      noise: Corruption of the input: salt_and_pepper, masking or gaussian.
      share: Fraction of the pixels corrupted by salt and pepper or masking.
      deviation: Standard deviation of gaussian noise.
      alpha: Weight of the corrupted pixels in the error.
      beta: Weight of the other pixels; 0: full emphasis.
      error: Reconstruction error: cross_entropy or squared.
      tied: Use the encoder's matrix, transposed, in the decoder.
    """
    corrupt = one_of("noise", noise, {
        "salt_and_pepper": partial(corruption.salt_and_pepper, share=share),
        "masking": partial(corruption.masking, share=share),
        "gaussian": partial(corruption.gaussian, deviation=deviation),
    })  # fmt: skip
    train = images.load(run)
    method = denoising(
        nets.linen(Autoencoder(train.image_shape, (hidden,), tied=tied)),
        optax.adam(lr),
        corrupt,
        alpha=alpha,
        beta=beta,
        error=error,
    )
    classifier = nets.linen(Classifier(Dense((hidden,)), train.classes))
    return [baselines.pretrain_stage(run, images, train, method, classifier)]


@tiny(IMAGES, hidden=16)
def paper(
    run: Run = Run(dispatch=50, save_every=20000),
    images: Images = Images(
        source="tfds:mnist", hold_out=False, epochs=15.0, batch=20, supervised_epochs=20.0
    ),
    lr: Positive = 0.1,
    hidden: Count = 500,
    share: Fraction = 0.3,
) -> list[Stage]:
    """The first layer of the authors' tutorial, on the 60,000 digits of MNIST.

    The settings are those of `dA` in https://github.com/lisa-lab/DeepLearningTutorials:
    tied weights, cross entropy, SGD with batches of 20, 15 epochs.

    Number to beat: none. The paper has test errors of stacks only, fine-tuned on 10,000
    digits (2.80 % with three layers, "basic"); see `paper` of
    experiments/stacked_denoising.py for all of MNIST.

    Departures: 60,000 training images, in the tutorial 50,000.

    Args:
      lr: Learning rate of SGD, constant.
      hidden: Units of the code.
      share: Fraction of the pixels that are masked.
    """
    train = images.load(run)
    method = denoising(
        nets.linen(Autoencoder(train.image_shape, (hidden,), tied=True)),
        optax.sgd(lr),
        partial(corruption.masking, share=share),
        error="cross_entropy",
    )
    classifier = nets.linen(Classifier(Dense((hidden,)), train.classes))
    return [baselines.pretrain_stage(run, images, train, method, classifier)]
