"""Augmentation: class-conditional generators of rows, as training data of classifiers.

    python -m jssl.main --config=experiments/augmentation.py
    python -m jssl.main --config=experiments/augmentation.py:generator=vae
    python -m jssl.main --config=experiments/augmentation.py:source=eeg
    python -m jssl.main --config=experiments/augmentation.py:source=eeg_features:FILE
    jssl sample --workdir=runs/augmentation --label=positive --out=rows.npz

Luo and Lu 2018; Luo et al. 2020, https://arxiv.org/abs/2006.05331. Labels are used: a
reference, not a method that learns without them. Reference: accuracy rises by 10.2 points
on SEED and 5.4 on DEAP, data of which no copies may be made, with networks whose sizes we
could not read: hence no `paper`. Ours: docs/results.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl import Stage, baselines, data, evals, nets
from jssl.config import Count, Counts, Fraction, Positive, one_of, tiny
from jssl.data import Source
from jssl.data.eeg import toy_law
from jssl.knobs import IMAGES, Images, Run
from jssl.learner import ema_weights
from jssl.method import Method
from jssl.methods.generative.augmentation import augmentation, variational_augmentation
from jssl.methods.generative.ddpm import ddpm
from jssl.models import gan
from jssl.models.conditional import Conditional, Conditioned
from jssl.models.denoiser import Denoiser
from jssl.models.dense import Dense, linear
from jssl.models.heads import Classifier
from jssl.models.vae import VAE
from jssl.ops.affine import random_geometric
from jssl.ops.diffusion import cosine_schedule
from jssl.ops.eeg import BANDS, eeg_noise, eeg_rotate, hemisphere, topographic_map

RUNS = {"": 5, "generator=vae": 5, "generator=diffusion": 1, "source=eeg,accept=knn": 1}


@dataclass(frozen=True, kw_only=True)
class Generators:
    """The generator of rows and its training.

    Attributes:
      generator: Model of the rows: gan (Wasserstein, with a penalty), vae, or diffusion.
      lr: Learning rate of Adam, constant.
      widths: Units of the hidden layers of all networks.
      noise: Numbers of which a row is made: of z.
      k: Steps of the critic before each of the generator, a minibatch each.
      penalty: Weight lambda of the critic's gradient penalty.
      average: Decay of the averaged weights, which make the rows.
      deviation: Standard deviation of the VAE's likelihood.
      levels: Noise levels of the diffusion model; its rows are made in 25 steps.
    """

    generator: str = "gan"
    lr: Positive = 3e-4
    widths: Counts = (128, 128)
    noise: Count = 64
    k: Count = 5
    penalty: float = 10.0
    average: Fraction = 0.995
    deviation: Positive = 0.5
    levels: Count = 200

    def method(self, train: Source, column: str) -> tuple[Method, int]:
        """The method for rows of a column, and the number of minibatches of a step."""
        shape = train.row_shapes()[column].shape[1:]
        flat = lambda batch: batch[column].reshape(len(batch[column]), -1)
        show = lambda x: x.reshape(-1, *shape)
        if column == "image":
            show = lambda x: jnp.clip(x.reshape(-1, *shape), 0, 1)
        averaged = ema_weights(self.average)
        make = one_of("generator", self.generator, {
            "gan": self.wasserstein,
            "vae": self.variational,
            "diffusion": self.denoising,
        })  # fmt: skip
        return make(train.classes, shape, averaged, prepare=flat, show=show, made=column)

    def wasserstein(self, classes, shape, averaged, **more):
        adam = optax.adam(self.lr, 0.5, 0.9)
        maker = gan.Generator((prod(shape),), self.widths, linear)
        method = augmentation(
            nets.linen(Conditioned(maker)),
            nets.linen(Conditional(gan.Discriminator(self.widths), "concat")),
            optax.chain(adam, averaged),
            adam,
            lambda key, n: jax.random.normal(key, (n, self.noise)),
            classes,
            penalty=self.penalty,
            **more,
        )
        return method, self.k

    def variational(self, classes, shape, averaged, prepare, show, made):
        net = VAE((prod(shape),), self.widths, self.noise)
        method = variational_augmentation(
            nets.linen(net),
            optax.chain(optax.adam(self.lr), averaged),
            classes,
            deviation=self.deviation,
            prepare=prepare,
            show=show,
            made=made,
        )
        return method, 0

    def denoising(self, classes, shape, averaged, **more):
        method = ddpm(
            nets.linen(Denoiser(self.widths[0], len(self.widths), classes)),
            optax.chain(optax.adam(self.lr), averaged),
            cosine_schedule(self.levels),
            steps=min(25, self.levels),
            clip=False,
            gray_levels=None,
            condition=lambda batch: batch["label"],
            none=classes,
            **more,
        )
        return method, 0


@tiny(IMAGES | dict(source="eeg_toy"), widths=(8,), noise=4, levels=9, k=2)
def laptop(
    run: Run = Run(dispatch=20, save_every=1000),
    images: Images = Images(source="eeg_toy", epochs=600.0, batch=128),
    generators: Generators = Generators(),
    classifiers: tuple = ("linear", "mlp"),
    multiples: tuple = (0, 1, 3, 10),
    accept: str = "confidence",
) -> list[Stage]:
    """A toy of EEG, whose subject is the seed; real EEG, or small images: one minute.

    The evals are gains of classifiers by generated rows beside duplicates, noise, geometric
    distortions and, on the toy, rows of the true law; and the law of the generated rows.

    Departures: no batch norm in the generator, whose running statistics would not match
    averaged weights; ReLU in it; two hidden layers of 128 units, there three of 256.

    Args:
      source: Data set: eeg_toy, eeg, eeg_features:FILE, or images with labels.
      classifiers: Classifiers whose gain is measured: linear, rbf, mlp.
      multiples: Numbers of appended rows, in units of the training rows, from 0.
      accept: Rule of partial use: confidence, critic or knn.
    """
    if accept == "critic" and generators.generator != "gan":
        raise ValueError("augmentation: accept=critic needs generator=gan, for its critic")
    if images.source == "eeg_toy":
        train = images.read(run, True, subject=run.seed)
    else:
        train = images.load(run, labeled=True)
    column = next(name for name in ("eeg", "image") if name in train.row_shapes())
    method, k = generators.method(train, column)
    toy, spatial = images.source == "eeg_toy", len(train.row_shapes()[column].shape) == 3
    gain = evals.augmentation_gain(
        column,
        multiples=multiples,
        classifiers=classifiers,
        distort={"noise": eeg_noise, "geometric": geometric(train, column)},
        oracle=partial(fresh_rows, run.seed) if toy else None,
        accept=accept,
        groups="person" if "person" in train.row_shapes() else "",
        seed=run.seed,
    )
    law = evals.generated_classes(
        column,
        maps=head_maps
        if spatial and train.row_shapes()[column].shape[1:] == (62, 5)
        else None,
        columns=tuple(BANDS),
        seed=run.seed,
    )
    several = data.minibatches(train, k) if k else train
    encoder = Dense(generators.widths, nn.relu, nn.relu, nn.initializers.he_normal())
    stage = baselines.pretrain_stage(
        run,
        images,
        several,
        method,
        nets.linen(Classifier(encoder, train.classes)),
        labeled=train,
        prepare=lambda batch: batch[column],
        pictures={"gain": gain, "law": law},
    )
    return [stage]


def geometric(train: Source, column: str) -> Callable:
    """(key, rows) -> rows: images distorted, caps turned, or trials shifted in time."""
    shape = train.row_shapes()[column].shape[1:]
    if column == "image":
        return random_geometric
    if len(shape) == 2:
        places = hemisphere(shape[0])
        turns = [partial(eeg_rotate, positions=places, degrees=d) for d in (-18, 18)]

        def turned(key, x):
            left = jax.random.bernoulli(key, 0.5, (len(x), 1, 1))
            return jnp.where(left, *(turn(jnp.asarray(x)) for turn in turns))

        return turned

    def shifted(key, x):
        """Trials as images of equal rows: up to 5 of 100 samples later, 10 % longer."""
        moved = random_geometric(
            key,
            jnp.asarray(x)[:, None, :, None].repeat(3, 1),
            shift=0.05,
            degrees=0.0,
            shear=0.0,
        )
        return moved[:, 1, :, 0]

    return shifted


def fresh_rows(subject: int, key: jax.Array, y: np.ndarray) -> np.ndarray:
    """Rows of the true law of a subject of the toy."""
    return toy_law(subject).draw(int(jax.random.bits(key, dtype=jnp.uint32)), y)


def head_maps(means: np.ndarray) -> np.ndarray:
    """Maps of the head [n, bands, side, side] of features [n, 62, bands]."""
    bands = np.moveaxis(means, -1, 0)
    return np.stack([topographic_map(x, hemisphere()) for x in bands], 1)
