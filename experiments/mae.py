"""MAE: reconstruction of masked patches by an asymmetric encoder and decoder.

    python -m jssl.main --config=experiments/mae.py
    python -m jssl.main --config=experiments/mae.py:source=fashion_mnist,epochs=8
    python -m jssl.main --config=experiments/mae.py:paper,variant=L/16,mesh=data=64;fsdp=4

He et al. 2022, https://arxiv.org/abs/2111.06377; settings from facebookresearch/mae.
Reference, ImageNet top-1 after fine-tuning, 1,600 epochs: B/16 83.66 %, L/16 85.95 %,
H/14 86.93 %. Ours: not run; `laptop` is what docs/results.md holds.
"""

from dataclasses import replace
from functools import partial

from jssl import Stage, baselines, evals, nets, optim, sharding, views
from jssl.config import Count, Counts, Fraction, tiny
from jssl.knobs import FASHION, IMAGES, STAMPS, Images, Run, SmallTransformer
from jssl.learner import graft
from jssl.method import field
from jssl.methods.masked.mae import mae
from jssl.methods.transfer.supervised import supervised
from jssl.models import vit
from jssl.papers import LINEAR, PAPER, ImageNet, LinearEvaluation, scaled_adamw

RUNS = {
    "": 5,
    f"{FASHION},epochs=14,supervised_epochs=7": 1,
    f"{STAMPS},patch=8": 1,
}


@tiny(IMAGES, patch=2, width=16, depth=1, heads=2, decoder=(8, 1))
def laptop(
    run: Run = Run(dispatch=4),
    images: Images = Images(epochs=40.0, supervised_epochs=15.0),
    vision: SmallTransformer = SmallTransformer(patch=7, width=96, depth=4),
    mask: Fraction = 0.75,
    norm_pixels: bool = True,
    decoder: Counts = (64, 2),
    pool: str = "grid",
) -> list[Stage]:
    """MAE on small images: about two minutes on two cores.

    Sixteen patches of 7 x 7 pixels, of which four are seen. A short run needs the many
    updates that this leaves time for: patches of 4 learn less in the same minutes.

    Args:
      mask: Fraction of patches that are masked.
      norm_pixels: Normalize each target patch.
      heads: Attention heads of encoder and decoder; must divide both widths.
      decoder: Width and number of blocks of the decoder.
      pool: Pooling of the tokens into h: mean, cls, mean_max, grid (3 x 3 means) or flat.
    """
    train, encoder = images.load(run, patch=vision.patch), vision.encoder()
    adamw = partial(vision.adamw, b2=0.95)
    method = mae(
        nets.linen(vit.MaskedAutoencoder(encoder, *decoder, vision.heads, pool)),
        adamw(train.steps(images.epochs)),
        vision.patch,
        prepare=field("image", center),
        mask=mask,
        norm_pixels=norm_pixels,
    )
    classifier = nets.linen(vit.Classifier(encoder, train.classes, pool, head_std=0.02))
    return [
        baselines.pretrain_stage(
            run, images, train, method, classifier, prepare=field("image", center), tx=adamw
        )
    ]


def center(images):
    """From [0, 1] to [-1, 1]."""
    return 2 * images - 1


@tiny(PAPER, LINEAR, size=32, variant="16x2x2/8", decoder=(8, 1, 2), warmup=0.02,
      tune_epochs=0.02, tune_batch=16)  # fmt: skip
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=800.0, batch=4096, lr=1.5e-4, warmup=40.0),
    probe: LinearEvaluation = LinearEvaluation(linear_batch=16384),
    variant: str = "B/16",
    decoder: Counts = (512, 8, 16),
    mask: Fraction = 0.75,
    tune_epochs: float = 0.0,
    tune_batch: Count = 1024,
    tune_lr: float = 0.0,
    mix_group: Count = 32,
    accumulate: Count = 1,
    remat: bool = False,
    residual: str = "",
) -> list[Stage]:
    """The published schedules: pre-training, then fine-tuning, on ImageNet.

    The mesh axis fsdp cuts weights and moments, the axis tensor heads and hidden units.
    Data without labels end with the pre-training.

    Numbers to beat, top-1 of the 50,000 validation images after "finetune", of networks
    pre-trained for 1,600 epochs (epochs=1600): B/16 83.66 %, L/16 85.95 %, H/14 86.93 %;
    after "linear", of the class token (LARS, batches of 16,384, rate 0.1 for 256, 90
    epochs, batch norm before the classifier): 67.8 %, 76.0 %, 77.2 %.

    Args:
      epochs: Passes over the training split in pre-training; the best numbers take 1600.
      batch: Images per update of pre-training.
      lr: Peak learning rate of pre-training for a batch of 256; scales with the batch.
      variant: Size and patch of the ViT: B/16, L/16, H/14, or WIDTHxDEPTHxHEADS/PATCH.
      decoder: Width, number of blocks and attention heads of the decoder.
      mask: Fraction of patches that are masked.
      tune_epochs: Epochs of fine-tuning; 0: 100 for B, 50 for L and H.
      tune_batch: Images per update of fine-tuning.
      tune_lr: Peak learning rate of fine-tuning for a batch of 256; 0: 5e-4 for B, 1e-3
        for L and H.
      mix_group: Images that share one draw of mixup or cutmix, as those of a GPU do in the
        released code; at most `tune_batch`.
      accumulate: Steps whose gradients are averaged into one update.
      remat: Recompute the blocks' activations in the backward pass, to save memory.
      residual: Floating-point type of the sums of the residual branches; float32 halves
        the rounding error of bfloat16 networks, for more memory; empty: `dtype`.
    """
    base = 0.1, 0.65, 100.0, 5e-4  # drop path, decay from layer to layer, epochs, rate
    large = {"L": (0.2, 0.75, 50.0, 1e-3), "H": (0.3, 0.75, 50.0, 1e-3)}
    drop, decay, long, rate = large.get(variant[0], base)
    tune_epochs = tune_epochs or long
    sizes = vit.sizes(variant)
    depth = sizes["depth"]
    encoder = partial(
        vit.Encoder,
        **sizes,
        remat=remat,
        dtype=images.dtype or None,
        residual_dtype=residual or None,
    )
    same = dict(rules=sharding.TRANSFORMER)

    parts = replace(images, batch=images.batch // accumulate)
    look = views.recipe("mae", size=images.size)[0]
    train, augment, prepare = parts.viewed(run, look)
    pretrain = mae(
        nets.linen(vit.MaskedAutoencoder(encoder(), *decoder, pool="cls")),
        scaled_adamw(
            train,
            images.lr,
            images.warmup,
            images.epochs,
            optim.matrices,
            b2=0.95,
            accumulate=accumulate,
        ),
        sizes["patch"],
        augment,
        prepare=prepare,
        mask=mask,
    )
    first = run.stage(
        "pretrain",
        pretrain,
        train,
        train.steps(images.epochs),
        evals=evals.knn_if_labeled(train),
        **same,
    )
    if not train.classes:
        return [first]
    parts = replace(images, batch=tune_batch // accumulate)
    look = views.recipe("mae_finetune", size=images.size)[0]
    tune, augment, prepare = parts.viewed(run, look, labeled=True)
    fit = min(mix_group, tune.batch)
    layers = optim.scale_by_layer(decay, depth + 1, optim.vit_layer(depth))
    warmup = min(5.0, tune_epochs / 2)
    grid = (images.size // sizes["patch"],) * 2
    learned = dict(grid=grid, sincos_init=True)  # positions, fixed in pre-training
    network = vit.Classifier(
        encoder(drop_path=drop, final_norm=False, **learned), tune.classes, "mean"
    )
    finetune = supervised(
        nets.linen(network),
        scaled_adamw(
            tune,
            tune_lr or rate,
            warmup,
            tune_epochs,
            optim.kernels,
            layers=layers,
            end=1e-6,
            accumulate=accumulate,
        ),
        tune.classes,
        augment,
        prepare=prepare,
        mix=partial(views.mixup_or_cutmix, mixup_alpha=0.8, cutmix_alpha=1.0, group=fit),
        smoothing=0.1,
    )
    second = run.stage(
        "finetune",
        finetune,
        tune,
        tune.steps(tune_epochs),
        evals={"top1": evals.accuracy()},
        start=lambda state, done: graft(
            state, encoder=done["pretrain"], new=("positions",)
        ),
        **same,
    )
    lars = partial(optim.lars, weight_decay=0.0)
    crop = images.crop_and_flip(method="bicubic")
    head = dict(tx=lars, warmup=10.0, norm=True, look=crop, output="")
    token = nets.linen(vit.Pooled(encoder(), "cls"))
    return [first, second, *probe.stages(run, images, train, token, **head, **same)]
