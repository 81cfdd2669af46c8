"""Context encoder: inpainting of a hidden region from its surroundings.

    python -m jssl.main --config=experiments/context_encoder.py
    python -m jssl.main --config=experiments/context_encoder.py:mask=blocks
    python -m jssl.main --config=experiments/context_encoder.py:mask=central
    python -m jssl.main --config=experiments/context_encoder.py:paper
    python -m jssl.main --config=experiments/context_encoder.py:inpainting

Pathak et al. 2016, https://arxiv.org/abs/1604.07379; `inpainting` has the settings of
https://github.com/pathak22/context-encoder. Reference, linear classifiers of ImageNet on
the five convolutions of AlexNet: 14.1, 20.7, 21.0, 19.8 and 15.5 % (Zhang et al. 2017,
https://arxiv.org/abs/1611.09842). Ours: docs/results.md; `paper` and `inpainting` not run.
"""

from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
import numpy as np
import optax

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, Fraction, Positive, one_of, tiny
from jssl.data import Source
from jssl.knobs import CONVNET, FASHION, Images, Run, Small
from jssl.method import field
from jssl.methods.pretext.context_encoder import WHOLE, context_encoder
from jssl.models.alexnet import WIDTHS, AlexNet
from jssl.models.context_encoder import ContextEncoder, Strided
from jssl.models.dcgan import Discriminator
from jssl.models.heads import Classifier
from jssl.ops.holes import central_hole, central_window, random_blocks, random_regions
from jssl.papers import LINEAR, PAPER, ImageNet, LinearEvaluation, of_layer

RUNS = {
    "": 5,
    "mask=blocks": 1,
    "mask=central": 1,
    "mask=central,adversarial=0.01": 1,
    f"{FASHION},epochs=10,supervised_epochs=4": 1,
    "source=stamps,size=32,shift=0": 1,
}
QUALITY = {"quality": evals.image_quality(("reconstruction", "unfilled"))}


@dataclass(frozen=True, kw_only=True)
class Holes:
    """Hidden regions, and the losses of their prediction.

    Attributes:
      mask: Hidden part of an image: region (a quarter, of arbitrary shape), blocks (up to a
        quarter, rectangles at random places) or central (the central quarter).
      overlap: Width in pixels of a border of the central quarter that is visible.
      border: Weight of the squared error of that border.
      visible: Weight of the squared error of visible pixels with blocks and regions; a
        discriminator sees them, and should have them near the truth.
      adversarial: Weight of the adversarial term, 0 to 1; the squared error has the rest.
    """

    mask: str = "region"
    overlap: int = 1
    border: float = 10.0
    visible: float = 0.0
    adversarial: Fraction = 0.0

    def arguments(self, side: int) -> dict:
        """Arguments of the method for images of `side` pixels."""
        known = {"region": random_regions, "blocks": random_blocks, "central": None}
        draw = one_of("mask", self.mask, known)
        same = dict(adversarial=self.adversarial)
        if draw:
            mask = lambda key, n: draw(key, n, side, side)
            return same | dict(mask=mask, window=WHOLE, visible=self.visible)
        hole, window = central_hole(side, side, self.overlap), central_window(side, side)
        mask = lambda key, n: jnp.broadcast_to(hole, (n, side, side))
        return same | dict(mask=mask, window=window, visible=self.border)

    def shape(self, side: int, channels: int) -> tuple[int, int, int]:
        """The shape of the network's output."""
        part = side // 2 if self.mask == "central" else side
        return part, part, channels


def signed(images):
    """From [0, 1] to [-1, 1], the range of the networks' outputs."""
    return 2 * images - 1


def unsigned(images):
    """From [-1, 1] to [0, 1]."""
    return (images + 1) / 2


def moved(train: Source, shift: float):
    """(key, batch) -> randomly shifted images in [-1, 1]."""
    look = views.on(views.View(size=train.side, shift=shift))
    return lambda key, batch: signed(look(key, batch))


@tiny(CONVNET, judge=(4, 8), decoder=(8, 8), overlap=0)
def laptop(
    run: Run = Run(),
    images: Images = Images(epochs=30.0),
    small: Small = Small(),
    holes: Holes = Holes(),
    decoder: Counts = (64, 32),
    judge: Counts = (32, 64),
    judge_lr: Positive = 2e-4,
    shift: float = 2.0,
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Holes have the mean color of the training images. Their default is that of features, at
    random places; a central hole and the adversarial term make pictures.

    Args:
      decoder: Channels of the decoder's hidden layers, one for each doubling but the last.
      judge: Channels of the discriminator's layers.
      judge_lr: Learning rate of the discriminator, constant.
      shift: Largest shift of an image before its region is hidden, in pixels.
    """
    train = images.load(run)
    side, channels = train.side, train.image_shape[-1]
    mean = train.column("image").mean((0, 1, 2)) / 255
    net = ContextEncoder(
        small.encoder(maps=True), holes.shape(side, channels), tuple(decoder)
    )
    method = context_encoder(
        nets.linen(net),
        small.adamw(train.steps(images.epochs)),
        fill=signed(np.float32(mean)),
        judge=nets.linen(Discriminator(judge, 4)),
        judge_tx=optax.adam(judge_lr, b1=0.5),
        augment=moved(train, shift),
        prepare=field("image", signed),
        show=unsigned,
        **holes.arguments(side),
    )
    classifier = nets.linen(Classifier(small.encoder(), train.classes))
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            classifier,
            prepare=field("image", signed),
            pictures=QUALITY,
        )
    ]


@tiny(PAPER, LINEAR, size=32, stored=40, stride=1, widths=(4,) * 5, decoder=(4,) * 4)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=5.0, batch=64, lr=4e-3, whole=False, size=227),
    probe: LinearEvaluation = LinearEvaluation(linear_epochs=30.0, linear_batch=256),
    holes: Holes = Holes(),
    layer: Count = 3,
    stride: Count = 4,
    widths: Counts = WIDTHS,
    decoder: Counts = (128, 64, 64, 32),
) -> list[Stage]:
    """Features of ImageNet: AlexNet, holes of arbitrary shape, the squared error alone.

    Squares of 227 pixels; a channel-wise fully connected layer on 6 x 6 x 256 maps, a
    1 x 1 convolution and five up-convolutions, the last of 192 pixels, enlarged to 227.

    Number to beat: 21.0 % top-1 of the 50,000 validation images after "linear", by a linear
    classifier on the third convolution, for the authors' weights (Zhang et al. 2017).

    Departures: batch norm in AlexNet; holes from random surfaces, in the paper silhouettes
    of the objects of PASCAL VOC. The paper does not state the decoder's widths, the rate
    or the length, but 14 hours on one GPU: here Adam with the rate of the released
    inpainting, 100,000 steps of 64 images. The linear protocol is that of DeepCluster.

    Args:
      lr: Learning rate of Adam for a batch of 256, constant; scales with the batch.
      layer: Convolution whose maps "linear" is trained on, from 1.
      stride: Stride of the first convolution.
      widths: Channels of the convolutions.
      decoder: Channels of the decoder's hidden layers.
    """
    share = (images.size / images.stored) ** 2
    view = views.View(size=images.size, area=(share, share), ratio=(1.0, 1.0), flip=0.5)
    encoder = AlexNet(
        stride, 0, tuple(widths), hidden=(), maps=True, dtype=images.dtype or None
    )
    net = ContextEncoder(encoder, holes.shape(images.size, 3), tuple(decoder))
    train, method = _published(run, images, view, nets.linen(net), holes)
    return [
        run.stage(
            "pretrain",
            method,
            train,
            train.steps(images.epochs),
            evals=evals.knn_if_labeled(train),
        ),
        *probe.stages(
            run,
            images,
            train,
            of_layer(nets.linen(net), layer),
            lambda state: state.painter,
            tx=partial(optim.decayed_sgd, decay=1e-4),
        ),
    ]


@tiny(PAPER, size=32, stored=40, limit=64, nef=(4, 4, 4, 4, 4), bottleneck=8,
      decoder=(4, 4, 4), judge=(4, 8), overlap=1)  # fmt: skip
def inpainting(
    run: Run = Run(save_every=10_000),
    images: ImageNet = ImageNet(
        epochs=500.0,
        batch=64,
        lr=8e-3,
        whole=False,
        stored=350,
        size=128,
        limit=100_000,
        dtype="",
    ),
    holes: Holes = Holes(mask="central", overlap=4, adversarial=0.001),
    nef: Counts = (64, 64, 128, 256, 512),
    bottleneck: Count = 4000,
    decoder: Counts = (256, 128, 64, 64),
    judge: Counts = (64, 128, 256, 512),
    judge_lr: Positive = 2e-4,
) -> list[Stage]:
    """The released inpainting of central holes: 64 of 128 pixels, 500 epochs, one GPU.

    100,000 photographs of ImageNet with a short side of 350 pixels; Adam with beta_1 0.5, a
    rate of 2e-3, and 2e-4 of the discriminator; a border of 4 pixels with ten times the
    weight; the color of holes is that of the released code.

    No number to compare with: those of the paper are of street views of Paris.

    Departures: crops are from central squares of 350 pixels, there from whole photographs;
    the discriminator judges once more after its step, there the generator follows the
    judgment before it.

    Args:
      lr: Learning rate of the generator for a batch of 256, constant; scales with the
        batch.
      nef: Channels of the encoder's layers.
      bottleneck: Units of the dense layer between encoder and decoder.
      decoder: Channels of the decoder's hidden layers; a central hole leaves out the last.
      judge: Channels of the discriminator's layers.
      judge_lr: Learning rate of the discriminator, constant.
    """
    share = (images.size / images.stored) ** 2
    view = views.View(size=images.size, area=(share, share), ratio=(1.0, 1.0))
    encoder = Strided(tuple(nef), maps=True)
    shape = holes.shape(images.size, 3)
    net = ContextEncoder(encoder, shape, tuple(decoder), bottleneck)
    train, method = _published(
        run,
        images,
        view,
        nets.linen(net),
        holes,
        judge=nets.linen(Discriminator(judge, 4)),
        judge_tx=optax.adam(judge_lr, b1=0.5),
    )
    steps = train.steps(images.epochs)
    judged = QUALITY | evals.knn_if_labeled(train)
    return [run.stage("pretrain", method, train, steps, evals=judged)]


def _published(run, images, view, net, holes, **judge):
    """The training split and the method of a published setting."""
    train, look, prepare = images.viewed(run, view)
    method = context_encoder(
        net,
        optax.chain(optax.scale_by_adam(b1=0.5), optim.scale_by_rate(images.peak)),
        fill=signed(np.array([117, 104, 123], np.float32) / 255),
        augment=lambda key, batch: signed(look(key, batch)),
        prepare=lambda batch: signed(prepare(batch)),
        show=unsigned,
        **judge,
        **holes.arguments(images.size),
    )
    return train, method
