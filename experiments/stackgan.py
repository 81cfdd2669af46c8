"""StackGAN: images of a text by two GANs, of which the second enlarges those of the first.

    python -m jssl.main --config=experiments/stackgan.py
    python -m jssl.main --config=experiments/stackgan.py:source=fashion_mnist,limit=10000
    python -m jssl.main --config=experiments/stackgan.py:paper
    jssl sample --workdir=runs/stackgan --out=a.png --caption="a bold seven on black"

Zhang et al. 2017, https://arxiv.org/abs/1612.03242. Reference: Inception score 3.70 +- 0.04
on CUB birds of 256 pixels (table 1). Captions are used, or else labels: a reference, not a
method that learns without them. Ours: `paper` not run; `laptop` is what docs/results.md
holds.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import optax

from jssl import Stage, data, evals, nets, optim, views
from jssl.config import Count, Counts, Positive, tiny
from jssl.data.described import measured
from jssl.knobs import IMAGES, Data, Run, captions, with_labels
from jssl.methods.generative.stackgan import stackgan, upon
from jssl.models.conditional import Conditional, Strided
from jssl.models.stackgan import FirstGenerator, PairDiscriminator, SecondGenerator
from jssl.ops.cells import cell_means

STAMPS = "source=stamps,size=32,first_epochs=150,epochs=100,batch=32,flip=True"
RUNS = {"": 1, STAMPS: 1}


@dataclass(frozen=True, kw_only=True)
class Game:
    """The networks of both stages, and the text.

    Attributes:
      small: Ratio of the sides of the images of stage 2 and of stage 1.
      first: Channels of the maps of the generator of stage 1, smallest map first.
      double_last: Let the images of stage 1 have twice the side of the last of these maps.
      first_residual: Number of first maps there that have a residual block.
      encoder: Channels of the maps of the image of stage 1 in the generator of stage 2.
      second: Channels of the maps of that generator on the way up.
      second_residual: Residual blocks between.
      first_judge: Channels of the maps of the discriminator of stage 1.
      second_judge: Channels of the maps of the discriminator of stage 2.
      reduce: Channels of the 1 x 1 convolutions of that discriminator.
      spectral: Spectral norm in the discriminators, which read the text by a projection, in
        place of batch norm and of the text at every place of their maps.
      noise: Numbers of noise of which an image of stage 1 is made.
      code: Numbers of a text, after conditioning augmentation and in the discriminators.
      words: Longest text that is made of the name of a class, in words.
      kl: Weight of the divergence of conditioning augmentation, a mean over its numbers.
      flip: Flip training images at random.
    """

    small: Count = 4
    first: Counts = (1024, 512, 256, 128)
    double_last: bool = True
    first_residual: int = 2
    encoder: Counts = (128, 256, 512)
    second: Counts = (256, 128, 64, 32)
    second_residual: int = 4
    first_judge: Counts = (64, 128, 256, 512)
    second_judge: Counts = (64, 128, 256, 512, 1024, 2048)
    reduce: tuple = (1024, 512)
    spectral: bool = False
    noise: Count = 100
    code: Count = 128
    words: Count = 8
    kl: float = 2.0
    flip: bool = True

    def methods(self, train, text, vocabulary, txs):
        """The methods of both stages; `txs` are optimizers of the players of each."""
        h, w, channels = train.image_shape
        side = h // self.small
        if h != w:
            raise ValueError(
                f"stackgan: images must be square, got {h} x {w}: give size={min(h, w)}"
            )
        if h % self.small:
            raise ValueError(f"stackgan: small={self.small} does not divide {h} pixels")

        def bag(batch):
            return jax.nn.one_hot(text(batch), vocabulary)[..., 1:].max(1)  # no padding

        def prior(key, n):
            both = jax.random.normal(key, (n, self.noise + self.code))
            return both[:, : self.noise], both[:, self.noise :]

        def reduced(x):
            return cell_means(2 * x - 1, (side, side))

        def enlarged(x):
            return ((x + 1) / 2).repeat(self.small, 1).repeat(self.small, 2)

        def method(generator, judge, prepare, show, players, **more):
            how = dict(condition=bag, kl=self.kl, show=show, **more)
            flip = views.on(views.View(size=h, flip=0.5))
            flipped = lambda key, batch: prepare(flip(key, batch))
            return stackgan(
                generator,
                nets.linen(judge),
                *players,
                prior,
                augment=flipped if self.flip else None,
                prepare=lambda batch: prepare(batch["image"]),
                **how,
            )

        sizes = self.first, self.first_residual, self.double_last
        one = nets.linen(FirstGenerator((side, side, channels), *sizes))
        sizes = self.encoder, self.second, self.second_residual
        two = nets.linen(SecondGenerator(train.image_shape, *sizes))
        judges: tuple[nn.Module, nn.Module] = (
            PairDiscriminator(self.first_judge, self.code),
            PairDiscriminator(self.second_judge, self.code, self.reduce),
        )
        if self.spectral:
            one_judge, two_judge = map(Strided, (self.first_judge, self.second_judge))
            judges = (
                Conditional(one_judge, spectral=True),
                Conditional(two_judge, spectral=True),
            )
        return (
            method(one, judges[0], reduced, enlarged, txs[0]),
            method(
                two,
                judges[1],
                lambda x: 2 * x - 1,
                lambda x: (x + 1) / 2,
                txs[1],
                lower=one,
            ),
        )


SMALL = dict(
    small=2,
    first=(4,),
    double_last=False,
    first_residual=1,
    encoder=(4, 4),
    second=(4, 4),
    second_residual=1,
    first_judge=(4,),
    second_judge=(4, 4),
    reduce=(),
    noise=4,
    code=4,
)
TINY = {k: x for k, x in IMAGES.items() if k != "supervised_epochs"}
TINY |= SMALL | dict(first_epochs=0.03)


@tiny(TINY, source="captions:digits")
def laptop(
    run: Run = Run(),
    images: Data = Data(source="captions", epochs=12.0, batch=64),
    game: Game = Game(
        small=2,
        first=(64, 32),
        double_last=False,
        first_residual=1,
        encoder=(16, 32),
        second=(32, 16),
        second_residual=2,
        first_judge=(32, 64),
        second_judge=(16, 32, 64),
        reduce=(),
        spectral=True,
        kl=0.02,
        noise=32,
        code=64,
        flip=False,
    ),
    first_epochs: Positive = 50.0,
    lr: Positive = 1e-3,
    betas: tuple = (0.5, 0.999),
) -> list[Stage]:
    """Digits of 14 pixels, then of 28, of their captions: about ten minutes on one core.

    Args:
      epochs: Passes over the training split of stage 2.
      first_epochs: Passes over the training split of stage 1.
      lr: Learning rate of all players, constant.
      betas: Decays of Adam's two moments.
    """
    return _stages(run, images, game, first_epochs, [lambda train: lr] * 2, betas)


@tiny(TINY, source="digits")
def paper(
    run: Run = Run(save_every=10_000),
    images: Data = Data(
        source="tfds:caltech_birds2011", hold_out=False, epochs=600.0, batch=64, size=256
    ),
    game: Game = Game(),
    first_epochs: Positive = 600.0,
    lr: Positive = 2e-4,
    first_halve: Positive = 50.0,
    halve: Positive = 100.0,
) -> list[Stage]:
    """Birds of 64, then of 256 pixels, with the networks of the paper: one GPU.

    Adam with a first moment of 0.5, 600 epochs in both stages.

    Number to beat: Inception score 3.70 +- 0.04 of stage 2 and 2.95 of stage 1 on CUB, by a
    classifier of its own; `jssl evaluate` has other metrics.

    Departures: a text is the name of the bird and its words, there ten descriptions of each
    image by a pre-trained encoder; random flips without crops.

    Args:
      epochs: Passes over the training split of stage 2.
      first_epochs: Passes over the training split of stage 1.
      lr: Initial learning rate of all players.
      first_halve: Epochs of stage 1 after which the rate is halved, again and again.
      halve: Epochs of stage 2 after which the rate is halved, again and again.
    """

    def halved(epochs):
        return lambda train: optax.exponential_decay(
            lr, train.steps(epochs), 0.5, staircase=True
        )

    rates = [halved(first_halve), halved(halve)]
    return _stages(run, images, game, first_epochs, rates, (0.5, 0.999))


def _stages(run, images, game, first_epochs, rates, betas):
    """The stages "stage1" and "stage2"; `rates` are functions of the source."""
    train = images.load(run)
    if "tokens" not in train.row_shapes():
        train = with_labels(train)
    text, vocabulary = captions(train, game.words)

    def adam(rate):
        return optax.chain(optax.scale_by_adam(*betas), optim.scale_by_rate(rate))

    txs = [(adam(rate(train)), adam(rate(train))) for rate in rates]
    several = data.minibatches(train, 1)
    judged = {"agreement": evals.class_agreement()} if train.classes else {}
    if train.data_name.startswith("captions"):
        names = ("thickness", "slant", "ground")
        judged["attributes"] = evals.attribute_agreement(measured, names)
    if train.classes:
        judged["knn"] = evals.knn()
    names, lengths = ("stage1", "stage2"), (first_epochs, images.epochs)
    made = game.methods(train, text, vocabulary, txs)
    stages = []
    for name, method, epochs in zip(names, made, lengths, strict=True):
        steps = several.steps(epochs)
        more = dict(start=upon("stage1")) if stages else {}
        more |= dict(evals=judged, render_every=max(1, steps // 3))
        stages.append(run.stage(name, method, several, steps, **more))
    return stages
