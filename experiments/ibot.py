"""iBOT: self-distillation of class tokens and of masked patches.

    python -m jssl.main --config=experiments/ibot.py
    python -m jssl.main --config=experiments/ibot.py:koleo=0.1,sinkhorn=True
    python -m jssl.main --config=experiments/ibot.py:paper,mesh=data=16

Zhou et al. 2022, https://arxiv.org/abs/2111.07832; settings from bytedance/ibot. Reference,
ImageNet top-1, linear: ViT-S/16 77.9 %, ViT-B/16 79.5 %. Ours: not run.
"""

import math
from dataclasses import replace
from functools import partial

from jssl import Stage, baselines, evals, nets, optim, sharding
from jssl.config import Count, Counts, Fraction, Positive, tiny
from jssl.knobs import FASHION, IMAGES, CroppedImages, Run
from jssl.learner import Learner
from jssl.methods.siamese.dino import warm_up
from jssl.methods.siamese.ibot import ibot
from jssl.models import vit
from jssl.models.dino import Head, MaskedDistilled
from jssl.papers import LINEAR, PAPER, ImageNet, LinearEvaluation

GARMENTS = f"{FASHION},recipe=garments_multicrop"
RUNS = {"": 5, f"{GARMENTS},epochs=5,supervised_epochs=5": 1}


@tiny(IMAGES, patch=2, width=8, depth=1, heads=2, head=(8, 4), prototypes=8)
def laptop(
    run: Run = Run(dispatch=4),
    images: CroppedImages = CroppedImages(epochs=14.0, supervised_epochs=15.0),
    lr: Positive = 1e-3,
    momentum: Fraction = 0.99,
    teacher_temperature: Positive = 0.04,
    patch_temperature: Positive = 0.04,
    masked: Fraction = 0.5,
    ratio: tuple = (0.1, 0.5),
    blocks: bool = True,
    koleo: float = 0.0,
    sinkhorn: bool = False,
    freeze: float = 1.0,
    patch: Count = 7,
    width: Count = 64,
    depth: Count = 3,
    heads: Count = 4,
    head: Counts = (128, 128, 64),
    prototypes: Count = 128,
) -> list[Stage]:
    """A small vision transformer on small images: about two minutes on two cores.

    Args:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
      momentum: Initial momentum of the teacher, rising to 1 along a cosine.
      teacher_temperature: Temperature of the teacher's class tokens; the student's is 0.1.
      patch_temperature: Temperature of the teacher's patch tokens.
      masked: Probability that a large view is masked.
      ratio: Range of the fraction of masked patches.
      blocks: Mask blocks of patches; off: patches at random.
      koleo: Weight of KoLeo, which spreads the class tokens; 0.1 in DINOv2.
      sinkhorn: Codes of the teacher by Sinkhorn's iteration, as an option of DINOv2; off:
        by centering.
      freeze: Epochs in which the head's last layer is fixed.
      patch: Side of a patch in pixels; must divide the image's (digits: 2).
      width: Width of the encoder.
      depth: Number of blocks of the encoder.
      heads: Attention heads of the encoder; must divide its width.
      head: Widths of the head's layers below the prototypes.
      prototypes: Number of prototypes, shared by class and patch tokens.
    """
    train = images.load(run, patch=patch)
    steps = train.steps(images.epochs)
    grid = (train.side // patch,) * 2
    learned = dict(grid=grid, sincos_init=True, interpolate=True)
    encoder = vit.Encoder(width, depth, heads, patch, **learned)
    adamw = optim.distillation_adamw(
        optim.warmup_cosine(lr, steps // 20, steps),
        optim.cosine(0.04, 0.4, steps),
        freeze=train.steps(freeze) if freeze else 0,
    )
    method = ibot(
        nets.linen(MaskedDistilled(encoder, Head(prototypes, head))),
        adamw,
        images.augment(train, patch),
        patch,
        steps=steps,
        momentum=momentum,
        teacher_temperature=teacher_temperature,
        patch_temperature=patch_temperature,
        masked=masked,
        ratio=ratio,
        blocks=blocks,
        koleo=koleo,
        sinkhorn=sinkhorn,
    )
    classifier = nets.linen(vit.Classifier(encoder, train.classes, "cls", head_std=0.02))
    chance = {"cls": math.log(prototypes), "patch": masked * math.log(prototypes)}
    return [baselines.pretrain_stage(run, images, train, method, classifier, chance=chance)]


@tiny(PAPER, LINEAR, size=32, variant="16x2x2/8", head=(8, 4), prototypes=8, warmup=0.01)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(
        epochs=800.0, batch=1024, lr=5e-4, warmup=10.0, whole=False
    ),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=100.0, linear_batch=1024, linear_lr=1e-3
    ),
    variant: str = "S/16",
    recipe: str = "ibot_small",
    momentum: Fraction = 0.996,
    teacher_temperature: Positive = 0.07,
    patch_temperature: Positive = 0.07,
    temperature_epochs: int = 30,
    unit_prototypes: bool = False,
    ratio: tuple = (0.1, 0.5),
    blocks: bool = True,
    koleo: float = 0.0,
    sinkhorn: bool = False,
    freeze: float = 1.0,
    clip: float = 3.0,
    drop_path: Fraction = 0.1,
    head: Counts = (2048, 2048, 256),
    prototypes: Count = 8192,
    remat: bool = False,
) -> list[Stage]:
    """ViT-S/16 on ImageNet: two large crops, ten small ones, AdamW, 800 epochs.

    Numbers to beat, top-1 of the 50,000 validation images by kNN and after "linear", by
    README.md of the released code: 75.2 % and 77.9 % (variant=S/16), by its command, which
    we have; 77.1 % and 79.5 % of ViT-B/16 (variant=B/16), whose arguments are not in the
    repository: for ViT-B the code recommends prototypes of length 1
    (unit_prototypes=True). "linear" is as in DINO, with the best of 45 rates from 1e-4 to
    9 for 256 images.

    Departures: crops of pre-training are cut from central squares of `stored` pixels, there
    from whole photographs; the number of masked patches is exact, there at most that;
    matrices of the encoder start as MAE's, there at a deviation of 0.02; resizing of
    positions is antialiased.

    Args:
      epochs: Passes over the training split in pre-training.
      whole: Must be off: crops of two sizes are cut on the device. The linear evaluation
        cuts from whole photographs.
      variant: Size and patch of the ViT: S/16, B/16, L/16, or WIDTHxDEPTHxHEADS/PATCH.
      recipe: Recipe of the views: ibot_small, or ibot and dinov2 with eight small crops.
      momentum: Initial momentum of the teacher, rising to 1 along a cosine.
      teacher_temperature: Temperature of the teacher's class tokens, after its warm-up.
      patch_temperature: Temperature of the teacher's patch tokens, after its warm-up.
      temperature_epochs: Epochs of the warm-up from 0.04, a step each.
      unit_prototypes: Keep prototypes at length 1; off learns their lengths.
      ratio: Range of the fraction of masked patches; half of the large crops have none.
      blocks: Mask blocks of patches; off: patches at random.
      koleo: Weight of KoLeo, which spreads the class tokens; 0.1 in DINOv2.
      sinkhorn: Codes of the teacher by Sinkhorn's iteration; off: by centering.
      freeze: Epochs in which the head's last layer is fixed.
      clip: Largest norm of the gradient of each weight array; 0: any.
      drop_path: Stochastic depth of the student's last block.
      head: Widths of the head's layers below the prototypes.
      prototypes: Number of prototypes, shared by class and patch tokens.
      remat: Recompute the blocks' activations in the backward pass, to save memory.
    """
    sizes, dtype = vit.sizes(variant), images.dtype or None
    patch = sizes["patch"]
    train, augment, prepare = images.cropped(run, recipe, patch)
    steps = train.steps(images.epochs)
    encoder = vit.Encoder(
        **sizes,
        drop_path=drop_path,
        grid=(images.size // patch,) * 2,
        interpolate=True,
        remat=remat,
        dtype=dtype,
    )
    shared = Head(prototypes, head, unit_prototypes, dtype)
    adamw = optim.distillation_adamw(
        images.schedule(train, end=1e-6 / images.peak),
        optim.cosine(0.04, 0.4, steps),
        freeze=train.steps(freeze) if freeze else 0,
        clip=clip,
    )
    warmed = partial(warm_up, 0.04, epochs=temperature_epochs, per_epoch=train.steps(1.0))
    method = ibot(
        nets.linen(MaskedDistilled(encoder, shared)),
        adamw,
        augment,
        patch,
        steps=steps,
        momentum=momentum,
        teacher_temperature=warmed(teacher_temperature),
        patch_temperature=warmed(patch_temperature),
        ratio=ratio,
        blocks=blocks,
        koleo=koleo,
        sinkhorn=sinkhorn,
        prepare=prepare,
    )
    judged, rules = evals.knn_if_labeled(train), dict(rules=sharding.TRANSFORMER)
    tokens = (4, False) if variant.startswith("S/") else (1, True)
    linear = dict(tx=partial(optim.decayed_sgd, decay=0.0), output="", **rules)
    last, photographs = vit.LastBlocks(encoder, *tokens), replace(images, whole=True)
    return [
        run.stage("pretrain", method, train, steps, evals=judged, **rules),
        *probe.stages(run, photographs, train, nets.linen(last), teacher, **linear),
    ]


def teacher(state):
    """The teacher, which is evaluated."""
    return Learner(*state.teacher, ())
