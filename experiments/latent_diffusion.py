"""Latent diffusion: a diffusion model of the codes of an autoencoder, told a text.

    python -m jssl.main --config=experiments/latent_diffusion.py
    python -m jssl.main --config=experiments/latent_diffusion.py:source=fashion_mnist
    python -m jssl.main --config=experiments/latent_diffusion.py:source=stamps,size=32
    jssl sample --workdir=runs/latent_diffusion --out=a.png --caption="a bold seven"
    jssl sample --workdir=runs/latent_diffusion --out=b.png --like=IMAGE --strength=0.6

Rombach et al. 2022, https://arxiv.org/abs/2112.10752. Reference: FID 12.63 on captions of
MS-COCO, with guidance 1.5 (table 2), with Inception's features. Ours: `paper` not run;
`laptop` is what docs/results.md holds.
"""

from dataclasses import dataclass, replace

import optax

from jssl import Stage, baselines, data, evals, nets, optim
from jssl.config import Count, Counts, Fraction, Positive, tiny
from jssl.data.described import measured
from jssl.knobs import FASHION, IMAGES, Denoising, Images, Run, captions, with_labels
from jssl.method import field, no_samples
from jssl.methods.generative.ddpm import ddpm
from jssl.methods.generative.latent_diffusion import coded_by, latent_diffusion
from jssl.methods.generative.vae import vae
from jssl.models.autoencoder_kl import KLAutoencoder
from jssl.models.convnet import ConvNet
from jssl.models.cross_attention import TextEncoder
from jssl.models.heads import Classifier
from jssl.models.unet import UNet

STAMPS = "source=stamps,size=32,coder_epochs=60,epochs=200"
RUNS = {"": 1, f"{FASHION},coder_epochs=4,epochs=14": 1, STAMPS: 1}


@dataclass(frozen=True, kw_only=True)
class Coder:
    """The autoencoder of the first stage.

    Attributes:
      coder_width: Channels of the first level of the autoencoder.
      coder_multipliers: Channels of each level, in units of its width.
      coder_blocks: Residual blocks of each level of its encoder; the decoder has one more.
      coder_patch: Side of the squares of pixels that are one place of its first level.
      latent: Channels of the code.
      kl: Weight of the code's divergence from N(0, 1), beside summed absolute errors of
        pixels from -1 to 1.
    """

    coder_width: Count = 128
    coder_multipliers: Counts = (1, 2, 4, 4)
    coder_blocks: Count = 2
    coder_patch: Count = 1
    latent: Count = 4
    kl: float = 1e-6

    @property
    def factor(self) -> int:
        """Side of the square of pixels that is one place of the code."""
        return self.coder_patch * 2 ** (len(self.coder_multipliers) - 1)

    def module(self, shape, groups) -> KLAutoencoder:
        """The network for images of a shape."""
        return KLAutoencoder(
            shape,
            self.coder_width,
            self.coder_multipliers,
            self.coder_blocks,
            self.latent,
            groups,
            self.coder_patch,
        )


@dataclass(frozen=True, kw_only=True)
class Prior(Denoising):
    """The diffusion model of the codes, and its text encoder.

    Attributes:
      width: Channels of the first level of the U-Net.
      multipliers: Channels of each level, in units of the width.
      blocks: Residual blocks of each level on the way down.
      attention: Levels with attention to the text, from 0; the middle always has it.
      heads: Heads of that attention.
      groups: Groups of the group norms, also of the autoencoder.
      text_width: Width of the text encoder.
      text_depth: Transformer blocks of the text encoder.
      text_head_width: Width of each of its heads; 0: its width, divided among them.
      text_gated: Gated feed-forward layers (GEGLU) in the text encoder, else GELU.
      words: Longest text that is made of the name of a class, in words.
    """

    schedule: str = "scaled_linear"
    width: Count = 320
    multipliers: Counts = (1, 2, 4, 4)
    blocks: Count = 2
    attention: tuple = (0, 1, 2)
    heads: Count = 8
    groups: Count = 32
    text_width: Count = 1280
    text_depth: Count = 32
    text_head_width: int = 64
    text_gated: bool = False
    words: Count = 77
    guidance: float = 1.5
    sampling_steps: int = 250
    eta: Fraction = 0.0

    def method(self, text, vocabulary, adam):
        """The method of the field "latent"; `text` is the condition, or None."""
        encoder = TextEncoder(
            vocabulary,
            self.text_width,
            self.text_depth,
            self.heads,
            self.text_head_width or None,
            self.text_gated,
        )
        net = UNet(
            self.width,
            self.multipliers,
            self.blocks,
            self.attention,
            groups=self.groups,
            text=encoder if text else None,
            heads=self.heads,
            eps=1e-5,
            order="cos",
        )
        return ddpm(
            nets.linen(net),
            self.averaged(adam),
            self.noise(),
            clip=False,
            condition=text,
            none=0,
            gray_levels=None,
            prepare=field("latent"),
            show=lambda z: z,
            made="latent",
            **self.knobs(),
        )


SMALL = dict(
    coder_width=4,
    coder_multipliers=(1, 2),
    coder_blocks=1,
    coder_patch=2,
    coder_epochs=0.03,
    levels=20,
    width=4,
    multipliers=(1,),
    blocks=1,
    attention=(),
    heads=2,
    groups=2,
    text_width=4,
    text_depth=1,
    text_head_width=0,
    sampling_steps=2,
)


@tiny(IMAGES, SMALL, source="captions:digits")
def laptop(
    run: Run = Run(),
    images: Images = Images(source="captions", epochs=40.0, batch=64),
    coder: Coder = Coder(
        coder_width=16, coder_multipliers=(1, 2), coder_blocks=1, coder_patch=2
    ),
    prior: Prior = Prior(
        levels=200,
        schedule="cosine",
        target="v",
        width=64,
        multipliers=(1,),
        blocks=1,
        attention=(),
        heads=4,
        groups=8,
        text_width=32,
        text_depth=1,
        text_head_width=0,
        text_gated=True,
        words=8,
        average=0.995,
        guidance=3.0,
        sampling_steps=25,
    ),
    coder_epochs: Positive = 10.0,
    coder_lr: Positive = 6e-3,
    lr: Positive = 2e-3,
) -> list[Stage]:
    """Codes of 7 x 7 x 4 of small images with captions: about twelve minutes on one core.

    Without captions a text is the name of the image's class; without classes there is none.

    Args:
      epochs: Passes over the training split of the diffusion model.
      coder_epochs: Passes over the training split of the autoencoder.
      coder_lr: Peak learning rate of the autoencoder: linear warm-up over the first 5 % of
        the steps, then cosine decay to 0.
      lr: That of the diffusion model.
    """
    train = images.load(run, patch=coder.factor)
    rates = [
        optim.adamw(peak, train.steps(epochs), decay=0.0)
        for peak, epochs in ((coder_lr, coder_epochs), (lr, images.epochs))
    ]
    return _stages(run, images, train, coder, prior, coder_epochs, *rates)


@tiny(IMAGES, SMALL, source="digits", size=8)
def paper(
    run: Run = Run(save_every=10_000, eval_every=-1),
    images: Images = Images(
        source="tfds:imagenet2012",
        hold_out=False,
        epochs=207.0,
        batch=680,
        size=256,
        supervised_epochs=0.0,
    ),
    coder: Coder = Coder(),
    prior: Prior = Prior(),
    coder_epochs: Positive = 10.0,
    coder_lr: Positive = 1e-4,
    lr: Positive = 1e-4,
    warmup: Count = 10_000,
) -> list[Stage]:
    """The text-to-image model of 1.45 billion weights, on the names of ImageNet's classes.

    Codes of 32 x 32 x 4 of images of 256 pixels, by the public autoencoder of factor 8; a
    U-Net of width 320 with attention at 32, 16 and 8 places a side; a text encoder of 32
    blocks, trained with it. 390,000 steps of 680 images, a constant rate after the warm-up.

    Number to beat: FID 12.63 on captions of MS-COCO, with guidance 1.5 and 250 steps; the
    data here are others, so it is not comparable.

    Departures: LAION-400M has 400 million captions, here a text is the name of the image's
    class; words, not pieces of words. The autoencoder has no perceptual and adversarial
    terms; its length, batch and rate are not those of the paper. The U-Net halves its maps
    with padding on one side.

    Args:
      epochs: Passes over the training split of the diffusion model.
      coder_epochs: Passes over the training split of the autoencoder.
      coder_lr: Learning rate of the autoencoder, constant.
      lr: Learning rate of the diffusion model after the warm-up.
      warmup: Steps of linear warm-up of the learning rate.
    """
    train = images.load(run, patch=coder.factor)
    rate = optax.linear_schedule(0.0, lr, warmup)
    adam = optax.chain(optax.scale_by_adam(), optim.scale_by_rate(rate))
    first = optax.adam(coder_lr, 0.5, 0.9)
    return _stages(run, images, train, coder, prior, coder_epochs, first, adam)


def _stages(run, images, train, coder, prior, coder_epochs, coder_adam, adam):
    """The stages "autoencoder" and "diffusion"."""
    text, vocabulary = captions(train, prior.words)
    module = coder.module(train.image_shape, prior.groups)
    net = nets.linen(module)
    # A Laplace scale of 1/2 for pixels from 0 to 1 is the loss of pixels from -1 to 1.
    first = vae(net, coder_adam, likelihood="laplace", deviation=0.5, beta=coder.kl)
    captioned = "tokens" in train.row_shapes()
    plain = data.columns(train, "image", "label") if captioned else train
    classifier = nets.linen(Classifier(ConvNet(), train.classes)) if train.classes else None
    one = baselines.pretrain_stage(
        run,
        replace(images, epochs=coder_epochs),
        plain,
        first._replace(generate=no_samples),
        classifier,
        name="autoencoder",
        labeled=with_labels(plain) if train.classes else None,
        pictures={"beside PCA": evals.reconstruction()},
    )
    told = train if captioned or not train.classes else with_labels(train)
    steps = told.steps(images.epochs)
    judged = {"agreement": evals.class_agreement()} if train.classes else {}
    if train.data_name.startswith("captions"):
        names = ("thickness", "slant", "ground")
        judged["attributes"] = evals.attribute_agreement(measured, names)
    method = latent_diffusion(net, prior.method(text, vocabulary, adam), module.grid)
    two = run.stage(
        "diffusion",
        method,
        told,
        steps,
        evals=judged,
        start=coded_by("autoencoder"),
        refresh_every=steps,  # at the first step only: the scale of the codes
        render_every=max(1, steps // 2),
    )
    return [one, two]
