"""Video diffusion: a transformer of spacetime patches; images are one-frame videos.

    python -m jssl.main --config=experiments/video_diffusion.py
    python -m jssl.main --config=experiments/video_diffusion.py:attention=spatial
    python -m jssl.main --config=experiments/video_diffusion.py:reading=shortest=1,first=0.2
    python -m jssl.main --config=experiments/video_diffusion.py:first=0.5,continued=True
    python -m jssl.main --config=experiments/video_diffusion.py:source=clips:FOLDER
    python -m jssl.main --config=experiments/video_diffusion.py:paper

Brooks et al. 2024, a report without numbers; Peebles and Xie 2023,
https://arxiv.org/abs/2212.09748. Reference: DiT-XL/2 on ImageNet of 256 pixels, FID 2.27
with guidance and 9.62 without, of 50,000 samples and Inception's features. Ours: `paper`
not run; `laptop` is what docs/results.md holds.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from jssl import Stage, baselines, evals, nets, optim
from jssl.config import Count, Fraction, Positive, tiny
from jssl.data import Source
from jssl.knobs import DATA, IMAGES, Data, Denoising, Images, Run
from jssl.method import Method, field
from jssl.methods.generative.video_diffusion import video_diffusion
from jssl.models.dense import Dense
from jssl.models.dit import VideoTransformer
from jssl.models.heads import Classifier
from jssl.models.vit import sizes

RUNS = {"": 1, "attention=spatial": 1, "epochs=20": 1, "first=0.5,continued=True": 1}


@dataclass(frozen=True, kw_only=True)
class Diffusion(Denoising):
    """Noise levels, transformer and samples of a diffusion model of videos.

    Attributes:
      variant: Size of the transformer and side of a patch in pixels, such as B/4, or
        WIDTHxDEPTHxHEADS/4.
      frames: Frames of a patch of videos.
      attention: Attention: full, factorized (within frames and across them in turn), or
        spatial, by which frames are independent.
      conditional: Give the network captions or, if there are none, labels, where the data
        have them.
      first: Fraction of the rows whose first frame is given in training.
      continued: Samples continue the first frame of their row; needs first above 0.
      probe: Position of the level of h in the schedule, from 0 to 1.
    """

    levels: Count = 200
    schedule: str = "cosine"
    target: str = "x0"
    variant: str = "96x4x4/4"
    frames: Count = 2
    attention: str = "full"
    average: Fraction = 0.99
    conditional: bool = True
    guidance: float = 2.0
    first: Fraction = 0.0
    continued: bool = False
    sampling_steps: int = 25
    eta: Fraction = 0.0
    probe: Fraction = 0.05

    def method(
        self, train: Source, adam: optax.GradientTransformation, net: dict[str, Any] = {}
    ) -> tuple[Method, str]:
        """The method for videos or images of a source, and the name of their column."""
        shapes = train.row_shapes()
        column = "video" if "video" in shapes else "image"
        words, condition = 0, None
        if self.conditional and "tokens" in shapes:
            words = len(train.field_of("tokens").vocabulary)
            condition = field("tokens")
        elif self.conditional and train.classes:
            words = train.classes
            condition = field("label", lambda y: jnp.where(y < 0, words, y))
        sized = sizes(self.variant)
        side, frames = sized.pop("patch"), self.frames if column == "video" else 1
        network = VideoTransformer(
            **sized,
            patch=(frames, side, side),
            words=words + 1 if condition else 0,
            attention=self.attention,
            continues=self.first > 0,
            **net,
        )
        return video_diffusion(
            nets.linen(network),
            self.averaged(adam),
            self.noise(),
            condition=condition,
            none=words,
            first=self.first,
            continued=self.continued,
            probe=self.probe,
            prepare=as_video if column == "image" else field("video", lambda x: 2 * x - 1),
            made=column,
            **self.knobs(),
        ), column


TINY = dict(variant="12x2x2/4", levels=9, sampling_steps=2)


@tiny(IMAGES | dict(source="bounce16"), **TINY)
def laptop(
    run: Run = Run(),
    images: Images = Images(source="bounce16", epochs=6.0, batch=16, supervised_epochs=4.0),
    diffusion: Diffusion = Diffusion(),
    lr: Positive = 3e-3,
) -> list[Stage]:
    """Eight frames of 16 x 16 pixels, 64 patches: about five minutes on one core.

    That is too short for whole digits: 16 % of the samples keep theirs to the last frame,
    with epochs=20 31 %.

    Args:
      source: Data set: bounce16, clips:FOLDER, or images, which are one-frame videos.
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
    """
    kind = images.source.partition(":")[0]
    train = images.load(run)
    if diffusion.conditional and train.classes and "tokens" not in train.row_shapes():
        train = images.load(run, labeled=True)
    adam = optim.adamw(lr, train.steps(images.epochs), decay=0.0)
    method, column = diffusion.method(train, adam)
    encoder = Dense((256, 128), nn.relu, nn.relu, nn.initializers.he_normal())
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            nets.linen(Classifier(encoder, train.classes)) if train.classes else None,
            prepare=field(column),
            pictures={"motion": evals.motion()} if kind == "bounce16" else {},
            render_every=max(1, train.steps(images.epochs) // 2),
        )
    ]


@tiny(DATA, **TINY)
def paper(
    run: Run = Run(save_every=50_000, eval_every=500_000),
    images: Data = Data(
        source="npz:imagenet_latents.npz",
        hold_out=False,
        epochs=7_000_000 / 5004,
        batch=256,
    ),
    diffusion: Diffusion = Diffusion(
        levels=1000,
        schedule="linear",
        target="epsilon",
        variant="XL/2",
        average=0.9999,
        guidance=1.5,
        sampling_steps=250,
        eta=1.0,
    ),
    lr: Positive = 1e-4,
    bfloat16: bool = True,
    remat: bool = True,
) -> list[Stage]:
    """DiT-XL/2 on latents of ImageNet of 256 pixels, 32 x 32 x 4, as one-frame videos.

    AdamW without decay, a constant rate, 7 million steps of 256 images, epsilon, 1,000
    linear levels, averaged weights, 250 ancestral steps.

    Number to beat: FID 2.27 with the guidance 1.5, 9.62 without, of 50,000 samples and
    Inception's features.

    Departures: the variance of samples is that of the posterior, there learned; latents are
    read from a file, in which they are scaled to bytes, and are not drawn anew in each
    step; no flips of the images, which would be encoded again; bytes are read as numbers in
    [-1, 1], so that latents have a smaller deviation than 1, and samples are clipped to
    that range. No encoder is part of jssl: with source=tfds:imagenet2012,size=256,
    variant=XL/16 the same transformer has the same number of patches of pixels.

    Args:
      source: Data set: npz:FILE of latents as bytes, image [n, 32, 32, 4] and label; or
        images.
      lr: Learning rate.
      bfloat16: Compute in bfloat16.
      remat: Recompute the activations of each block in the backward pass.
    """
    train = images.load(run, diffusion.conditional)
    net = dict(time=0, dtype=jnp.bfloat16 if bfloat16 else None, remat=remat)
    method, _ = diffusion.method(train, optax.adamw(lr, weight_decay=0.0), net=net)
    judged = evals.knn_if_labeled(train)
    return [run.stage("pretrain", method, train, train.steps(images.epochs), evals=judged)]


def as_video(batch):
    """Images as videos of one frame, in [-1, 1]."""
    return 2 * batch["image"][:, None] - 1
