"""GAN: one network makes samples, the other tells them from the data.

    python -m jssl.main --config=experiments/gan.py
    python -m jssl.main --config=experiments/gan.py:source=fashion_mnist,epochs=10
    python -m jssl.main --config=experiments/gan.py:ring

Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661. Reference, eight Gaussians of
deviation 0.01 on a ring: 6.3 of 8 modes, 98.2 % of samples of high quality (Lin et al.
2018, https://arxiv.org/abs/1712.04086, a GAN without penalty). Ours: docs/results.md.
"""

import flax.linen as nn
import jax
import optax

from jssl import Stage, baselines, data, evals, nets
from jssl.data import toys
from jssl.learner import ema_weights
from jssl.methods.generative.gan import gan
from jssl.models.dense import Dense, linear
from jssl.models.gan import Discriminator, Generator
from jssl.models.heads import Classifier


def normal(width):
    """Noise: normal vectors [n, width]."""
    return lambda key, n: jax.random.normal(key, (n, width))


def laptop(
    source: str = "mnist",
    epochs: float = 200.0,
    batch: int = 64,
    lr: float = 2e-4,
    k: int = 1,
    loss: str = "non_saturating",
    r1: float = 0.0,
    noise: int = 64,
    widths: tuple[int, ...] = (256, 512),
    dropout: float = 0.3,
    supervised_epochs: float = 10.0,
    dispatch: int = 10,
    save_every: int = 2000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """Dense layers on small images: a minute or two on two cores.

    Args:
      source: mnist, fashion_mnist, digits ...
      epochs: passes over the training split.
      batch: images of each of the k minibatches of a step.
      lr: learning rate of both players, which does not change.
      k: steps of the discriminator before each one of the generator.
      loss: of the generator: non_saturating or minimax.
      r1: gamma, the weight of the penalty on the discriminator's slope; 0: none.
      noise: numbers of which an image is made.
      widths: of the generator's hidden layers; the discriminator's in reverse.
      dropout: share of its hidden outputs that the discriminator's training leaves out.
      supervised_epochs: of the supervised reference, computed once and cached.
      dispatch: steps compiled into one.
      save_every: steps between checkpoints.
      seed: of weights, noise and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, noise, widths, dispatch = "digits", 16, 4, (8, 16), 1
        epochs = supervised_epochs = 0.03
    plain = data.load(source, batch, seed=seed)
    train, down = data.minibatches(plain, k), tuple(reversed(widths))
    steps, shape = train.steps(epochs), plain.shapes()["image"].shape[1:]
    method = gan(
        nets.linen(Generator(shape, widths)),
        nets.linen(Discriminator(down, dropout)),
        optax.adam(lr, b1=0.5),
        optax.adam(lr, b1=0.5),
        normal(noise),
        loss=loss,
        r1=r1,
    )
    encoder = Dense(down, nn.relu, nn.relu, nn.initializers.he_normal())
    return [
        baselines.compared(
            method,
            train,
            steps,
            nets.linen(Classifier(encoder, plain.classes)),
            data.load(source, batch, seed=seed, labeled=True),
            supervised_epochs,
            dispatch=dispatch,
            render_every=max(1, steps // 4),
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]


def ring(
    epochs: float = 50.0,
    batch: int = 256,
    lr: float = 1e-3,
    k: int = 1,
    loss: str = "non_saturating",
    r1: float = 0.1,
    average: float = 0.999,
    noise: int = 2,
    widths: tuple[int, ...] = (128, 128),
    deviation: float = 0.05,
    dispatch: int = 50,
    eval_every: int = 2000,
    save_every: int = 5000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """Eight Gaussians on a circle, and which of them the generator finds: under a minute.

    Args:
      epochs: passes over the 50,000 points.
      batch: points of each of the k minibatches of a step.
      lr: learning rate of both players, which does not change.
      k: steps of the discriminator before each one of the generator.
      loss: of the generator: non_saturating or minimax.
      r1: gamma, the weight of the penalty on the discriminator's slope; 0: none.
      average: decay of the generator's average weights, which make the samples; 0: none.
      noise: numbers of which a point is made.
      widths: of the hidden layers of both players.
      deviation: of each Gaussian; 0.01 in the papers.
      dispatch: steps compiled into one.
      eval_every: steps between judgements on the validation split; 0: at the end only.
      save_every: steps between checkpoints.
      seed: of weights, noise and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        batch, widths, dispatch, epochs, eval_every = 64, (8, 8), 1, 0.004, 0
    source = data.load("ring8", batch, seed=seed, deviation=deviation)
    train = data.minibatches(source, k)
    adam = optax.adam(lr, b1=0.5)
    method = gan(
        nets.linen(Generator((2,), widths, linear)),
        nets.linen(Discriminator(widths)),
        optax.chain(adam, ema_weights(average)) if average else adam,
        adam,
        normal(noise),
        loss=loss,
        r1=r1,
    )
    return [
        Stage(
            name="train",
            method=method,
            data=train,
            steps=train.steps(epochs),
            evals={"high_quality": evals.modes(toys.RING, deviation)},
            dispatch=dispatch,
            eval_every=eval_every,
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]
