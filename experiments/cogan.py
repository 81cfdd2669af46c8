"""CoGAN: two GANs with tied layers, which learn pairs from data that have none.

    python -m jssl.main --config=experiments/cogan.py
    python -m jssl.main --config=experiments/cogan.py:tied=False
    python -m jssl.main --config=experiments/cogan.py:task=negative
    python -m jssl.main --config=experiments/cogan.py:paper

Liu and Tuzel 2016, https://arxiv.org/abs/1606.07536: images of digits, and edges or
negatives of other digits. Reference, MNIST: 95.2 % of the pixels of a pair agree for edges,
96.7 % for negatives (not checked in the paper). Ours: docs/results.md;
`paper` not run.
"""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import optax

from jssl import Stage, baselines, data, evals, nets, optim
from jssl.config import Count, Counts, Positive, one_of, tiny
from jssl.data import Source
from jssl.knobs import CONVNET, FASHION, Images, Run, with_labels
from jssl.method import field
from jssl.methods.generative.cogan import cogan
from jssl.models import cogan as coupled
from jssl.models.conditional import Strided
from jssl.models.convnet import ConvNet
from jssl.models.dcgan import Generator
from jssl.models.heads import Classifier
from jssl.ops.edges import edge_image

RUNS = {"": 1, "tied=False": 1, f"{FASHION},epochs=12,supervised_epochs=4": 1}


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Two domains of a data set, and the training of a GAN of both.

    Attributes:
      task: Second domain: edges, or negative.
      tied: Share layers; off, as a control: two GANs with the same noise.
      lr: Learning rate of both players, constant.
      k: Steps of the discriminators before each of the generators, a minibatch each.
      noise: Numbers of which a pair is made, uniform in [-1, 1].
    """

    task: str = "edges"
    tied: bool = True
    lr: Positive = 2e-4
    k: Count = 1
    noise: Count = 64

    def domains(self, train: Source, seed: int) -> Source:
        """Two halves of the images, {"first", "second"}, the same in no batch."""
        rows = np.random.default_rng(seed).permutation(train.size)
        halves = np.split(rows, [train.size // 2])
        first, second = (data.subset(train, np.sort(half)) for half in halves)
        return data.pair(main="first", first=first, second=second)

    def stage(
        self, run, images, train, tx, encoder, *, trunk, head, stem, judge, span
    ) -> Stage:
        """The stage "pretrain", of networks of these parts, on pixels within `span`."""
        low, high = span
        scaled = lambda x: low + (high - low) * x
        mapped = one_of("task", self.task, {
            "edges": edge_image, "negative": lambda x: 1 - x
        })  # fmt: skip
        trunks = range(1 if self.tied else 2)
        method = cogan(
            nets.linen(
                coupled.CoupledGenerator([trunk() for _ in trunks], [head(), head()])
            ),
            nets.linen(
                coupled.CoupledDiscriminator([stem(), stem()], [judge() for _ in trunks])
            ),
            tx,
            tx,
            lambda key, n: jax.random.uniform(key, (n, self.noise), minval=-1, maxval=1),
            prepare=(field("image", scaled), field("image", lambda x: scaled(mapped(x)))),
            show=lambda x: (x - low) / (high - low),
            made=("image", self.task),
        )
        both = self.domains(train, run.seed)
        several = data.minibatches(both, self.k)
        labels = with_labels(both.main) if train.classes else None
        return baselines.pretrain_stage(
            run,
            images,
            several,
            method,
            labels and nets.linen(Classifier(encoder, train.classes)),
            labeled=labels,
            pictures={"agreement": evals.pixel_agreement(mapped, ("image", self.task))},
            render_every=max(1, several.steps(images.epochs) // 4),
        )


@tiny(CONVNET, noise=4, widths=(8, 4))
def laptop(
    run: Run = Run(),
    images: Images = Images(epochs=60.0, batch=64),
    pairs: Pairs = Pairs(lr=5e-4),
    widths: Counts = (64, 32, 32),
) -> list[Stage]:
    """DCGAN's generators and strided discriminators: about six minutes on one core.

    Args:
      epochs: Passes over the images of a domain, half of the training split.
      widths: Channels of the generators' maps; the discriminators have them in reverse.
    """
    train = images.load(run)
    first, *others = widths[::-1]
    strides = *[2] * (len(widths) - 1), 1
    return [
        pairs.stage(
            run,
            images,
            train,
            optax.adam(pairs.lr, b1=0.5),
            ConvNet(widths[::-1]),
            trunk=partial(Generator, train.image_shape, widths, 4, strides, maps=True),
            head=partial(coupled.Head, train.image_shape[-1]),
            stem=partial(coupled.HalvingStem, first),
            judge=partial(Strided, others),
            span=(-1, 1),
        )
    ]


@tiny(CONVNET, source="mnist", noise=4, widths=(8, 4, 4, 4), judge=(4, 4, 8))
def paper(
    run: Run = Run(save_every=2000),
    images: Images = Images(
        source="tfds:mnist",
        hold_out=False,
        epochs=106.84,
        batch=128,
        supervised_epochs=20.0,
    ),
    pairs: Pairs = Pairs(noise=100),
    widths: Counts = (1024, 512, 256, 128),
    judge: Counts = (20, 50, 500),
    decay: float = 5e-4,
) -> list[Stage]:
    """Digits of MNIST, with the networks and rates of the released code: 25,000 steps.

    Numbers to beat: "pixel_agreement" 0.952 with edges, 0.967 with negatives.

    Departures: pixels agree if both are above or both below 1/2, where the paper has equal
    values; a step has new data for the discriminators only; one learning rate of all
    weights, where biases of dense layers had twice that of others.

    Args:
      epochs: Passes over the images of a domain, half of the training split.
      widths: Channels of the generators' maps of 4, 7, 13 and 25 pixels.
      judge: Channels of the discriminators' two convolutions, and units of h.
      decay: Weight decay of kernels, added to the gradient.
    """
    train = images.load(run)
    first, second, hidden = judge
    return [
        pairs.stage(
            run,
            images,
            train,
            optax.chain(
                optax.add_decayed_weights(decay, optim.kernels),
                optax.adam(pairs.lr, b1=0.5),
            ),
            ConvNet(judge[:2]),
            trunk=partial(coupled.DigitsTrunk, widths),
            head=coupled.DigitsHead,
            stem=partial(coupled.DigitsStem, first),
            judge=partial(coupled.DigitsJudge, second, hidden),
            span=(0, 1),
        )
    ]
