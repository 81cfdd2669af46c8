"""DDPM: denoising diffusion, with the samplers of DDIM and classifier-free guidance.

    python -m jssl.main --config=experiments/ddpm.py
    python -m jssl.main --config=experiments/ddpm.py:source=fashion_mnist,conditional=True
    python -m jssl.main --config=experiments/ddpm.py:paper
    jssl sample --workdir=runs/ddpm --number=64 --out=samples.png

Ho, Jain and Abbeel 2020, https://arxiv.org/abs/2006.11239. Reference: FID 3.17 on CIFAR-10
(table 1), with Inception's features and 50,000 samples. Ours, `laptop`, 5,000 digits, 5
seeds: h learns (linear 76.8 %, untrained 47.4 %), but is far below raw pixels (89.9 %; kNN
50.7 %, 93.4 %): it is made for samples. `paper` not run.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import optax

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, Fraction, Positive, one_of, tiny
from jssl.data import Source
from jssl.knobs import DATA, FASHION, IMAGES, Data, Denoising, Images, Run, with_labels
from jssl.method import Method, field
from jssl.methods.generative.ddpm import ddpm
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.models.unet import UNet

RUNS = {"": 5, FASHION: 1, "source=photographs,size=32,epochs=20": 1}


@dataclass(frozen=True, kw_only=True)
class Diffusion(Denoising):
    """Noise levels, network and samples of a diffusion model.

    Attributes:
      width: Channels of the first level of the U-Net.
      multipliers: Channels of each level, in units of the width.
      blocks: Residual blocks of each level on the way down.
      attention: Levels with attention, from 0; the middle always has it.
      patch: Side of the squares of pixels that are one place of the first level.
      norm_groups: Groups of the group norms.
      dropout: Dropout rate of the residual blocks.
      conditional: Give the network the class of each image, for samples of a class.
      variance: Variance of that noise: small (of the posterior) or large (beta).
      probe: Position of the level of h in the schedule, from 0 to 1.
    """

    width: Count = 128
    multipliers: Counts = (1, 2, 2, 2)
    blocks: Count = 2
    attention: tuple = (1,)
    patch: Count = 1
    norm_groups: Count = 32
    dropout: Fraction = 0.1
    conditional: bool = False
    variance: str = "large"
    probe: Fraction = 0.05

    def method(
        self,
        train: Source,
        adam: optax.GradientTransformation,
        augment: Callable | None = None,
    ) -> Method:
        """The method for images of a source, with averaged weights."""
        classes = train.classes if self.conditional else 0
        net = UNet(
            self.width,
            self.multipliers,
            self.blocks,
            self.attention,
            self.dropout,
            self.norm_groups,
            classes,
            self.patch,
        )
        of_row = field("label", lambda y: jnp.where(y < 0, classes, y))
        return ddpm(
            nets.linen(net),
            self.averaged(adam),
            self.noise(),
            variance=one_of("variance", self.variance, {k: k for k in ("small", "large")}),
            condition=of_row if classes else None,
            none=classes,
            probe=self.probe,
            augment=augment,
            **self.knobs(),
        )


@tiny(
    IMAGES, width=4, multipliers=(1, 2), norm_groups=2, patch=2, levels=20, sampling_steps=2
)
def laptop(
    run: Run = Run(),
    images: Images = Images(),
    diffusion: Diffusion = Diffusion(
        levels=200,
        schedule="cosine",
        target="v",
        width=64,
        multipliers=(1,),
        blocks=1,
        attention=(),
        patch=4,
        norm_groups=8,
        dropout=0.0,
        average=0.995,
        sampling_steps=25,
        eta=0.0,
        variance="small",
    ),
    lr: Positive = 2e-3,
) -> list[Stage]:
    """A U-Net of 7 x 7 patches on small images: two or three minutes on two cores.

    Args:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
    """
    side = diffusion.patch * 2 ** (len(diffusion.multipliers) - 1)
    train = images.load(run, diffusion.conditional, patch=side)
    adam = optim.adamw(lr, train.steps(images.epochs), decay=0.0)
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            diffusion.method(train, adam),
            nets.linen(Classifier(ConvNet(), train.classes)),
            labeled=with_labels(train) if train.classes else None,
            render_every=max(1, train.steps(images.epochs) // 2),
        )
    ]


@tiny(
    DATA,
    source="photos",
    width=4,
    multipliers=(1, 2),
    blocks=1,
    norm_groups=2,
    levels=20,
    sampling_steps=2,
)
def paper(
    run: Run = Run(save_every=10_000, eval_every=100_000),
    images: Data = Data(
        source="tfds:cifar10", hold_out=False, epochs=800_000 / 390, batch=128
    ),
    diffusion: Diffusion = Diffusion(),
    lr: Positive = 2e-4,
    warmup: Count = 5000,
    render_every: int = 20_000,
) -> list[Stage]:
    """CIFAR-10, with the released network of 35.7 million weights: one GPU.

    Adam for 800,000 steps of 128 images, a constant rate after 5,000 steps of warm-up,
    gradients clipped to norm 1, dropout 0.1, flips, averaged weights, 1,000 linear levels.

    Number to beat: FID 3.17 of 50,000 samples, with Inception's features; `jssl evaluate`
    has other features, whose numbers are not comparable.

    Departures: the evals and pictures of the run are made of samples of all 1,000 steps, of
    which `sampling_steps` makes fewer.

    Args:
      lr: Learning rate after the warm-up.
      warmup: Steps of linear warm-up of the learning rate.
      render_every: Steps between pictures.
    """
    train = images.load(run, diffusion.conditional)
    rate = optax.linear_schedule(0.0, lr, warmup)
    adam = optax.chain(
        optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optim.scale_by_rate(rate)
    )
    flip = views.on(views.View(size=train.side, flip=0.5))
    augment = lambda key, batch: 2 * flip(key, batch) - 1
    method = diffusion.method(train, adam, augment)
    judged = evals.knn_if_labeled(train)
    return [
        run.stage(
            "pretrain",
            method,
            train,
            train.steps(images.epochs),
            evals=judged,
            baselines=baselines.rows(run, method, train, judged) if judged else {},
            render_every=render_every,
        )
    ]
