"""SRGAN: super-resolution by a generator against a discriminator of photographs.

    python -m jssl.main --config=experiments/srgan.py
    python -m jssl.main --config=experiments/srgan.py:content=features
    python -m jssl.main --config=experiments/srgan.py:factor=2
    python -m jssl.main --config=experiments/srgan.py:paper

Ledig et al. 2017, https://arxiv.org/abs/1609.04802; SRCNN: Dong et al. 2014,
https://arxiv.org/abs/1501.00092. Stages: "srcnn" and "content" by the squared error of
pixels, "adversarial" from there. Reference, PSNR of luma on Set5 at factor 4: SRResNet
32.05 dB, SRGAN with features of VGG 29.40 dB (not checked in the paper). Ours:
docs/results.md; `paper` not run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jssl import Stage, data, evals, nets, optim
from jssl.config import Count, Counts, Positive, one_of, tiny
from jssl.data import Source
from jssl.knobs import DATA, Data, Run
from jssl.method import Augment, Prepare, field, identity
from jssl.methods.generative.srgan import begun, srgan
from jssl.methods.pretext.rotation import rotation
from jssl.methods.pretext.super_resolution import super_resolution
from jssl.methods.transfer.distil import frozen
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.models.srgan import SRCNN, Judge, SRResNet
from jssl.papers import PHOTOS, Photos, of_layer

PHOTOGRAPHS = "source=photographs"
RUNS = {
    "": 1,
    PHOTOGRAPHS: 1,
    f"{PHOTOGRAPHS},content=features": 1,
    "source=mnist,size=28,factor=2": 1,
}


@dataclass(frozen=True, kw_only=True)
class Enlargement:
    """Networks of super-resolution, and the training of the adversarial stage.

    Attributes:
      factor: Factor between the sides of large and small images, a power of 2.
      width: Channels of the maps of SRResNet.
      blocks: Residual blocks of SRResNet.
      kernel: Side of the first and last kernels of SRResNet.
      added: Add the outputs of both networks to the bicubic interpolation, with which they
        begin.
      srcnn: Channels of the two hidden layers of SRCNN.
      judge: Channels of the discriminator's maps, two layers each.
      hidden: Units of the discriminator's dense layer, which is h.
      content: Content of the adversarial stage, pixels, or features: maps of a network that
        is first trained to tell rotations.
      weight: Weight of the adversarial term.
      features: Channels of the layers of that network; its last maps are used.
      features_epochs: Passes over the training split of that network.
      features_weight: Weight of the content, if it is features.
      k: Steps of the discriminator before each of the generator, a minibatch each.
      lr: Learning rate of SRCNN and of the stage "content".
      adversarial_epochs: Passes over the training split in the adversarial stage.
      adversarial_lr: Learning rate of the adversarial stage, a tenth in its second half.
    """

    factor: Count = 4
    width: Count = 64
    blocks: Count = 16
    kernel: Count = 9
    added: bool = False
    srcnn: Counts = (64, 32)
    judge: Counts = (64, 128, 256, 512)
    hidden: Count = 1024
    content: str = "pixels"
    weight: float = 1e-3
    features: Counts = (32, 64)
    features_epochs: Positive = 4.0
    features_weight: Positive = 1.0
    k: Count = 1
    lr: Positive = 1e-4
    adversarial_epochs: Positive = 1.0
    adversarial_lr: Positive = 1e-4

    def stages(
        self,
        run: Run,
        train: Source,
        steps: int,
        judged: dict[str, Callable],
        schedule: Callable[[float, int], optax.Schedule],
        augment: Augment | None = None,
        prepare: Prepare = field("image"),
    ) -> list[Stage]:
        """The stages "srcnn", "content", "features" if these are used, "adversarial".

        Args:
          run: settings of all stages.
          train: the training source.
          steps: of SRCNN and of the stage "content".
          judged: evals.
          schedule: (rate, steps) -> the learning rate of both.
          augment: (key, batch) -> images of training, as in the methods.
          prepare: batch -> images outside training.
        """
        look: dict = dict(factor=self.factor, augment=augment, prepare=prepare)
        enlarged = partial(super_resolution, **look)
        adam = lambda rate: optax.chain(optax.scale_by_adam(), optim.scale_by_rate(rate))
        sizes = self.factor, self.width, self.blocks, self.kernel
        maker = nets.linen(SRResNet(*sizes, added=self.added))
        small = enlarged(
            nets.linen(SRCNN(self.factor, self.srcnn, added=self.added)),
            adam(schedule(self.lr, steps)),
        )
        large = enlarged(maker, adam(schedule(self.lr, steps)))
        found = [
            run.stage(name, method, train, steps, evals=judged)
            for name, method in (("srcnn", small), ("content", large))
        ]
        fixed = None
        if one_of("content", self.content, {"pixels": False, "features": True}):
            told = nets.linen(Classifier(ConvNet(self.features), 4))
            fixed = of_layer(told, len(self.features), identity)
            count = train.steps(self.features_epochs)
            method = rotation(told, optim.adamw(2e-3, count), augment, prepare=prepare)
            found.append(run.stage("features", method, train, count))
        several = data.minibatches(train, self.k)
        last = several.steps(self.adversarial_epochs)

        def fall(updates):
            """The rate of a player with so many updates a step."""
            half = updates * (last // 2)
            return optax.piecewise_constant_schedule(self.adversarial_lr, {half: 0.1})

        method = srgan(
            maker,
            nets.linen(Judge(self.judge, self.hidden)),
            adam(fall(1)),
            adam(fall(self.k)),
            adversarial=self.weight,
            features=fixed,
            scale=self.features_weight if fixed else 1.0,
            **look,
        )
        return [
            *found,
            run.stage(
                "adversarial",
                method,
                several,
                last,
                evals=judged | evals.knn_if_labeled(train),
                render_every=max(1, last // 4),
                start=lambda state, done: begun(
                    state, done["content"], frozen(done["features"]) if fixed else ()
                ),
            ),
        ]


TINY = dict(
    width=4,
    blocks=1,
    kernel=3,
    srcnn=(4, 4),
    judge=(4, 4),
    hidden=8,
    features=(4, 8),
    adversarial_epochs=0.02,
    features_epochs=0.02,
)


@tiny(DATA | TINY, source="photos", size=16)
def laptop(
    run: Run = Run(),
    images: Data = Data(source="photos", size=48, epochs=8.0, batch=16),
    enlargement: Enlargement = Enlargement(
        width=32,
        blocks=4,
        kernel=5,
        added=True,
        srcnn=(32, 16),
        judge=(16, 32, 64),
        hidden=128,
        lr=1e-3,
        adversarial_epochs=4.0,
    ),
) -> list[Stage]:
    """Patches of photographs and small networks: about three minutes on one core.

    Args:
      epochs: Passes over the training split, of SRCNN and of the stage "content".
      lr: Learning rate of SRCNN and of the stage "content", falling to 0 as a cosine.
    """
    train = images.load(run)
    steps = train.steps(images.epochs)
    judged = {"quality": evals.image_quality(("reconstruction", "bicubic"))}
    return enlargement.stages(run, train, steps, judged, optax.cosine_decay_schedule)


@tiny(PHOTOS | TINY, stored=32, size=24)
def paper(
    run: Run = Run(save_every=10_000),
    images: Photos = Photos(source="tfds:imagenet2012", epochs=12.587, batch=16),
    enlargement: Enlargement = Enlargement(adversarial_epochs=2.5174),
    size: Count = 96,
) -> list[Stage]:
    """Photographs of ImageNet at factor 4: a million steps, then 200,000; one GPU.

    No number to compare with: those of the paper are of Set5, Set14 and BSD100, whole; here
    central squares of ImageNet's validation set are judged, as luma without a border of 4
    pixels. With content=features, the features are those of a network that tells rotations,
    where the paper has VGG's of labels.

    Departures: all images of ImageNet, there 350,000 of them; crops are from central
    squares of `stored` pixels, there from whole photographs; SRCNN is trained as SRResNet.

    Args:
      epochs: Passes over the training split, of SRCNN and of the stage "content".
      lr: Learning rate of SRCNN and of the stage "content", constant.
      size: Side in pixels of the large images.
    """
    train = images.load(run)
    if size > images.stored or size % enlargement.factor:
        raise ValueError(
            f"srgan: size must be a multiple of {enlargement.factor} up to "
            f"{images.stored}, the pixels stored, got {size}"
        )
    judged = {
        "quality": evals.image_quality(
            ("reconstruction", "bicubic"), border=enlargement.factor, luma=True
        )
    }
    return enlargement.stages(
        run,
        train,
        train.steps(images.epochs),
        judged,
        lambda rate, steps: optax.constant_schedule(rate),
        partial(cropped, size),
        partial(central, size),
    )


def cropped(size: int, key: jax.Array, batch: data.Batch) -> jax.Array:
    """A random square of `size` pixels of each image."""
    images = batch["image"]
    n, h, w, c = images.shape
    corners = jax.random.randint(key, (n, 2), 0, jnp.array([h, w]) - size + 1)
    cut = lambda x, at: lax.dynamic_slice(x, (*at, 0), (size, size, c))
    return jax.vmap(cut)(images, corners)


def central(size: int, batch: data.Batch) -> jax.Array:
    """The central squares of `size` pixels."""
    h, w = batch["image"].shape[1:3]
    top, left = (h - size) // 2, (w - size) // 2
    return batch["image"][:, top : top + size, left : left + size]
