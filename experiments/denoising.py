"""Denoising autoencoder: spoil the input, give back the clean one.

    python -m jssl.main --config=experiments/denoising.py
    python -m jssl.main --config=experiments/denoising.py:noise=gaussian,deviation=0.5

Vincent et al. 2008, https://doi.org/10.1145/1390156.1390294, who report numbers of
fine-tuned stacks: see experiments/stacked_denoising.py. Ours: docs/results.md.
"""

from functools import partial

import optax

from jssl import Stage, baselines, data, nets
from jssl.methods.generative.denoising import denoising
from jssl.models.dense import Autoencoder, Dense
from jssl.models.heads import Classifier
from jssl.ops import corruption


def laptop(
    source: str = "mnist",
    epochs: float = 60.0,
    batch: int = 64,
    lr: float = 1e-3,
    hidden: int = 256,
    noise: str = "salt_and_pepper",
    share: float = 0.25,
    deviation: float = 0.4,
    alpha: float = 1.0,
    beta: float = 1.0,
    error: str = "cross_entropy",
    tied: bool = False,
    supervised_epochs: float = 20.0,
    dispatch: int = 10,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """One hidden layer of sigmoids on small images: about a minute on two cores.

    Args:
      source: mnist, fashion_mnist, digits ...
      epochs: passes over the training split.
      batch: images a step.
      lr: learning rate, which does not change.
      hidden: units of the code.
      noise: salt_and_pepper, masking or gaussian.
      share: of the pixels that salt and pepper, or masking, may fall on.
      deviation: of gaussian noise.
      alpha: weight of the pixels that were corrupted.
      beta: weight of the others; 0 is full emphasis.
      error: cross_entropy or squared.
      tied: whether the decoder's matrix is the encoder's, transposed.
      supervised_epochs: of the supervised reference, computed once and cached.
      dispatch: steps compiled into one.
      save_every: steps between checkpoints.
      seed: of weights, noise and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, hidden, dispatch = "digits", 16, 16, 1
        epochs = supervised_epochs = 0.03
    kinds = {
        "salt_and_pepper": partial(corruption.salt_and_pepper, share=share),
        "masking": partial(corruption.masking, share=share),
        "gaussian": partial(corruption.gaussian, deviation=deviation),
    }
    if noise not in kinds:
        raise ValueError(f"noise must be one of {', '.join(kinds)}, got {noise!r}")
    train = data.load(source, batch, seed=seed)
    steps, shape = train.steps(epochs), train.shapes()["image"].shape[1:]
    method = denoising(
        nets.linen(Autoencoder(shape, (hidden,), tied=tied)),
        optax.adam(lr),
        kinds[noise],
        alpha,
        beta,
        error,
    )
    return [
        baselines.compared(
            method,
            train,
            steps,
            nets.linen(Classifier(Dense((hidden,)), train.classes)),
            data.load(source, batch, seed=seed, labeled=True),
            supervised_epochs,
            dispatch=dispatch,
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]
