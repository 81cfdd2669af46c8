"""GAN: alternating training of a generator and a discriminator.

    python -m jssl.main --config=experiments/gan.py
    python -m jssl.main --config=experiments/gan.py:source=fashion_mnist,epochs=10
    python -m jssl.main --config=experiments/gan.py:ring
    python -m jssl.main --config=experiments/gan.py:paper

Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661. Reference, eight Gaussians of
deviation 0.01 on a ring: 6.3 of 8 modes, 98.2 % of samples of high quality (Lin et al.
2018, https://arxiv.org/abs/1712.04086, a GAN without penalty). Ours: docs/results.md.
"""

import math
from dataclasses import dataclass

import flax.linen as nn
import jax
import optax

from jssl import Stage, baselines, data, evals, nets, optim
from jssl.config import Count, Counts, Fraction, Positive, tiny
from jssl.data import toys
from jssl.knobs import IMAGES, Images, Run, with_labels
from jssl.learner import ema_weights
from jssl.methods.generative.gan import gan
from jssl.models.dense import Dense, linear
from jssl.models.gan import Discriminator, Generator, Maxout, between
from jssl.models.heads import Classifier

RUNS = {"": 1, "ring": 5}


@dataclass(frozen=True, kw_only=True)
class Game:
    """Training of the two players.

    Attributes:
      lr: Learning rate of both players, constant.
      k: Steps of the discriminator before each of the generator, a minibatch each.
      loss: Loss of the generator: non_saturating or minimax.
      r1: Weight gamma of the penalty on the discriminator's gradient; 0: none.
      average: Decay of the averaged generator, which makes the samples; 0: none.
      noise: Numbers of which a sample is made.
    """

    lr: Positive = 2e-4
    k: Count = 1
    loss: str = "non_saturating"
    r1: float = 0.0
    average: Fraction = 0.0
    noise: Count = 64

    def method(self, generator, discriminator):
        adam = optax.adam(self.lr, b1=0.5)
        averaged = optax.chain(adam, ema_weights(self.average)) if self.average else adam
        return gan(
            nets.linen(generator),
            nets.linen(discriminator),
            averaged,
            adam,
            lambda key, n: jax.random.normal(key, (n, self.noise)),
            loss=self.loss,
            r1=self.r1,
        )


@tiny(IMAGES, noise=4, widths=(8, 16))
def laptop(
    run: Run = Run(dispatch=10, save_every=2000),
    images: Images = Images(epochs=200.0),
    game: Game = Game(),
    widths: Counts = (256, 512),
    dropout: Fraction = 0.3,
) -> list[Stage]:
    """Dense layers on small images: a minute or two on two cores.

    Args:
      widths: Widths of the generator's hidden layers; the discriminator has them in
        reverse.
      dropout: Fraction of the discriminator's hidden outputs dropped in training.
    """
    plain = images.load(run)
    train, down = data.minibatches(plain, game.k), widths[::-1]
    encoder = Dense(down, nn.relu, nn.relu, nn.initializers.he_normal())
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            game.method(Generator(plain.image_shape, widths), Discriminator(down, dropout)),
            nets.linen(Classifier(encoder, plain.classes)),
            labeled=with_labels(plain) if plain.classes else None,
            render_every=max(1, train.steps(images.epochs) // 4),
        )
    ]


@tiny(batch=64, widths=(8, 8), dispatch=1, epochs=0.004, eval_every=0)
def ring(
    run: Run = Run(dispatch=50, eval_every=2000, save_every=5000),
    game: Game = Game(lr=1e-3, r1=0.1, average=0.999, noise=2),
    epochs: Positive = 50.0,
    batch: Count = 256,
    widths: Counts = (128, 128),
    deviation: float = 0.05,
) -> list[Stage]:
    """Eight Gaussians on a circle, and which of them the generator finds: under a minute.

    Args:
      epochs: Passes over the 50,000 points.
      batch: Points per minibatch.
      widths: Widths of the hidden layers of both players.
      deviation: Standard deviation of each Gaussian; 0.01 in the papers.
    """
    source = data.load("ring8", batch, seed=run.seed, deviation=deviation)
    train = data.minibatches(source, game.k)
    method = game.method(Generator((2,), widths, linear), Discriminator(widths))
    judged = {"high_quality": evals.modes(toys.RING, deviation)}
    return [run.stage("train", method, train, train.steps(epochs), evals=judged)]


@tiny(IMAGES, noise=4, widths=(8, 16), judge_widths=(8, 4))
def paper(
    run: Run = Run(dispatch=10, save_every=20000),
    images: Images = Images(
        source="tfds:mnist", hold_out=False, epochs=250.0, batch=100, supervised_epochs=20.0
    ),
    lr: Positive = 0.1,
    noise: Count = 100,
    widths: Counts = (1200, 1200),
    judge_widths: Counts = (240, 240),
) -> list[Stage]:
    """The released setting for MNIST: a maxout discriminator, SGD, k = 1.

    Momentum rises from 0.5 to 0.7 over 250 epochs, and the rate falls by a factor of
    1.000004 in every step; see `mnist.yaml` in https://github.com/goodfeli/adversarial.

    Number to beat: none here. The paper's 225 +- 2 nats are a Parzen-window estimate of
    the log-likelihood, which is not computed.

    Departures: the generator's output biases start at 0, there at the log-odds of the
    pixels; it moves after the discriminator, with new noise, there at once; the released
    code has no last epoch, and 50,000 training images.

    Args:
      lr: Initial learning rate of both players, whose losses are means: the discriminator's
        is over real and fake samples together.
      noise: Numbers of which a sample is made.
      widths: Widths of the generator's hidden layers.
      judge_widths: Maxout units of the discriminator's hidden layers.
    """
    plain = images.load(run)
    train = data.minibatches(plain, 1)
    rise = optax.linear_schedule(0.5, 0.7, max(train.steps(250.0), 1))

    def sgd(share):
        fall = optax.exponential_decay(share * lr, 1, 1 / 1.000004, end_value=share * 1e-6)
        return optax.chain(optim.scale_by_rate(fall), optim.momentum(rise))

    method = gan(
        nets.linen(Generator(plain.image_shape, widths, kernel_init=between(0.05))),
        nets.linen(Maxout(judge_widths, kernel_init=between(0.005))),
        sgd(1.0),
        sgd(0.5),  # its loss here is the sum of two means
        lambda key, n: between(math.sqrt(3))(key, (n, noise)),
    )
    encoder = Dense(judge_widths, nn.relu, nn.relu, nn.initializers.he_normal())
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            nets.linen(Classifier(encoder, plain.classes)),
            labeled=with_labels(plain) if plain.classes else None,
            render_every=max(1, train.steps(images.epochs) // 4),
        )
    ]
