"""Super-resolution as a pretext task: images from their own reductions.

    python -m jssl.main --config=experiments/super_resolution.py
    python -m jssl.main --config=experiments/super_resolution.py:factor=4
    python -m jssl.main --config=experiments/super_resolution.py:shrink=random

Pixel shuffle: Shi et al. 2016, https://arxiv.org/abs/1609.05158. The published trainings
of SRCNN and SRResNet, whose numbers are of images and not of representations, are those of
experiments/srgan.py. Ours: docs/results.md.
"""

from jssl import Stage, baselines, evals, nets, views
from jssl.config import Count, Counts, one_of, tiny
from jssl.knobs import CONVNET, FASHION, Images, Run, Small
from jssl.method import field
from jssl.methods.pretext.super_resolution import super_resolution
from jssl.models.heads import Classifier
from jssl.models.srgan import Enlarger
from jssl.ops.maps import bicubic_shrink, random_shrink

RUNS = {
    "": 1,
    "factor=2": 1,
    "added=True": 1,
    "shrink=random": 1,
    "error=absolute": 1,
    f"{FASHION},epochs=8,supervised_epochs=4": 1,
    "source=stamps,size=32,shift=0": 1,
}


@tiny(CONVNET, strides=(1, 2), decoder=(4,) * 4, factor=2)
def laptop(
    run: Run = Run(),
    images: Images = Images(epochs=30.0),
    small: Small = Small(),
    factor: Count = 4,
    error: str = "squared",
    shrink: str = "bicubic",
    decoder: Counts = (64, 64, 32, 16, 16),
    added: bool = False,
    shift: float = 2.0,
) -> list[Stage]:
    """A small convolutional network on reduced images: about two minutes on two cores.

    The network sees the reductions only, outside training as well, and so does the
    supervised baseline; the raw pixels are those of the whole image. All details pass the
    encoder's last maps, a single vector for images of 28 pixels. Wider maps, or the
    interpolation added to the output, make better images and a worse h.

    Args:
      factor: Factor between the sides of an image and of its reduction.
      error: Error of pixels: squared or absolute.
      shrink: Reduction in training: bicubic, or random: bicubic, triangular or a box.
      decoder: Channels after each pixel shuffle; unused ones are left out.
      added: Add the output to the bicubic interpolation, with which it begins.
      shift: Largest shift of an image before it is reduced, in pixels.
    """
    train = images.load(run)
    method = super_resolution(
        nets.linen(Enlarger(small.encoder(maps=True), factor, tuple(decoder), added)),
        small.adamw(train.steps(images.epochs)),
        factor=factor,
        error=error,
        shrink=one_of("shrink", shrink, {"bicubic": None, "random": random_shrink}),
        augment=views.on(views.View(size=train.side, shift=shift)),
    )
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            nets.linen(Classifier(small.encoder(), train.classes)),
            prepare=field("image", lambda x: bicubic_shrink(x, factor)),
            pictures={"quality": evals.image_quality(("reconstruction", "bicubic"))},
        )
    ]
