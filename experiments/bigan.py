"""BiGAN: a GAN with an encoder, whose discriminator judges pairs of data and code.

    python -m jssl.main --config=experiments/bigan.py
    python -m jssl.main --config=experiments/bigan.py:source=fashion_mnist
    python -m jssl.main --config=experiments/bigan.py:paper

Donahue, Krahenbuhl and Darrell 2017, https://arxiv.org/abs/1605.09782. Reference, dense
layers on MNIST, one nearest neighbor: 97.35 % on the layer before the code, 92.10 % on the
code (a run of https://github.com/jeffdonahue/bigan, in its README). Ours, `laptop`, 5,000
digits, one seed: 92.3 % on the layer before the code, 89.6 % on the code. `paper` not run.
"""

from dataclasses import replace

import flax.linen as nn
import jax
import optax

from jssl import Stage, baselines, evals, nets, optim
from jssl.config import Count, Counts, Positive, tiny
from jssl.knobs import FASHION, IMAGES, Images, Run
from jssl.methods.generative.bigan import bigan
from jssl.models.bigan import Discriminator, Encoder, Generator
from jssl.models.dense import Dense
from jssl.models.heads import Classifier

RUNS = {"": 1, f"{FASHION},epochs=70": 1}


@tiny(IMAGES, widths=(8, 8), latent=4)
def laptop(
    run: Run = Run(dispatch=10, save_every=2000),
    images: Images = Images(epochs=200.0, batch=128),
    lr: Positive = 5e-4,
    widths: Counts = (256, 256),
    latent: Count = 50,
) -> list[Stage]:
    """Dense layers on small images: about two minutes on two cores.

    Args:
      lr: Learning rate of Adam, constant for half of the steps, then falling to 1 %.
      widths: Units of the hidden layers of all three networks, two or more.
      latent: Numbers of which a sample is made.
    """
    return _trained(run, images, lr, widths, latent)


@tiny(IMAGES, widths=(8, 8), latent=4)
def paper(
    run: Run = Run(dispatch=50, save_every=20_000),
    images: Images = Images(
        source="tfds:mnist", hold_out=False, epochs=400.0, batch=128, supervised_epochs=20.0
    ),
    lr: Positive = 2e-4,
    widths: Counts = (1024, 1024),
    latent: Count = 50,
) -> list[Stage]:
    """MNIST without the order of pixels, with the released code's settings.

    Numbers to beat: 97.35 % "nearest/features" and 92.10 % "nearest/h".

    Departures: neighbors by cosine, there by Euclidean distance, and of h = tanh(s / 2),
    there of s; running averages of the batch statistics, there those of 1,000 batches after
    training.

    Args:
      lr: Learning rate of Adam, constant for half of the steps, then falling to 1 %.
      widths: Units of the hidden layers of all three networks, two or more.
      latent: Numbers of which a sample is made.
    """
    return _trained(run, images, lr, widths, latent)


def _trained(run, images, lr, widths, latent):
    """The stage "pretrain" of the three networks."""
    train = images.load(run)
    steps = train.steps(images.epochs)
    method = bigan(
        nets.linen(Encoder(widths, latent)),
        nets.linen(Generator(train.image_shape, widths)),
        nets.linen(Discriminator(widths)),
        falling_adam(lr, steps),
        falling_adam(lr, steps),
        lambda key, n: jax.random.uniform(key, (n, latent), minval=-1, maxval=1),
    )
    encoder = Dense(widths, nn.relu, nn.relu, nn.initializers.he_normal())
    classifier = nets.linen(Classifier(encoder, train.classes)) if train.classes else None
    further = {"beside PCA": evals.reconstruction()}
    if train.classes:
        further |= {f"nearest/{name}": nearest(name) for name in ("h", "features")}
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            classifier,
            pictures=further,
            render_every=max(1, steps // 4),
        )
    ]


def nearest(name):
    """The eval of one nearest neighbor of the output `name`."""
    judge = evals.knn(k=1, name=name)

    def run(features, final):
        return {f"nearest/{name}": judge(features, final)["knn"]}

    return replace(judge, run=run, online=False)


def falling_adam(lr, steps):
    """Adam with decayed weights; the rate falls to 1 % in the second half of the steps."""
    half = max(steps // 2, 1)
    rate = optax.exponential_decay(lr, half, 0.01, transition_begin=half)
    return optax.chain(
        optax.add_decayed_weights(2.5e-5),
        optax.scale_by_adam(b1=0.5),
        optim.scale_by_rate(rate),
    )
