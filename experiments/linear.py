"""Linear evaluation of a pre-trained encoder, on augmented images.

    python -m jssl.main --config=experiments/linear.py:init=runs/simclr
    python -m jssl.main --config=experiments/linear.py:paper,init=resnet50.safetensors

Zhang et al. 2016, https://arxiv.org/abs/1603.08511. The `paper` settings of SimCLR, MoCo,
BYOL, SimSiam, VICReg and MAE end with this stage, by their own recipes; here it is for
weights that are at hand. Without `init` the encoder is untrained. `jssl evaluate` fits the
classifier exactly, on images that are not augmented.
"""

from dataclasses import replace
from functools import partial

from jssl import Stage, evals, nets, optim
from jssl.config import Counts, Positive, one_of, tiny
from jssl.knobs import DATA, Run, ViewedImages
from jssl.methods.transfer.linear import linear
from jssl.models.convnet import ConvNet
from jssl.models.heads import LinearHead, Trunk
from jssl.papers import RESNET, ImageNet, Large, LinearEvaluation


@tiny(DATA, supervised_epochs=0.0, widths=(4, 8))
def laptop(
    run: Run = Run(save_every=0),
    images: ViewedImages = ViewedImages(epochs=10.0, supervised_epochs=0.0),
    lr: Positive = 1e-2,
    widths: Counts = (32, 64, 128),
) -> list[Stage]:
    """A small convolutional network on small images, each step on one view of a recipe.

    Batch norm precedes the classifier: features of different networks differ in scale.

    Of an untrained network top1 is far below "linear", the exact probe on images that are
    not augmented: 44 % and 81 % of the test images of mnist (seed 0). The views are the
    cause, not the optimizer: recipes for small images have strong crops, rotations and
    blur, features that were never trained on them change with them, and of the views
    themselves half are classified right. The same classifier has 79 % without augmentation,
    and 81 % with lr=0.03.

    Args:
      lr: Peak learning rate of AdamW.
      widths: Channels of each layer of the encoder.
    """
    train = images.load(run, labeled=True)
    steps = train.steps(images.epochs)
    method = linear(
        nets.linen(Trunk(ConvNet(widths))),
        nets.linen(LinearHead(train.classes, norm=True)),
        optim.adamw(lr, steps, decay=0.0),
        train.classes,
        images.one_view(train),
    )
    judged = {"top1": evals.accuracy(), "linear": evals.linear_probe()}
    return [run.stage("linear", method, train, steps, evals=judged)]


@tiny(RESNET)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(),
    resnet: Large = Large(),
    probe: LinearEvaluation = LinearEvaluation(),
    optimizer: str = "nesterov",
    decay: float = 0.0,
    normalize: bool = True,
    resize: str = "bilinear",
) -> list[Stage]:
    """A ResNet on ImageNet, by the recipe of a paper.

    SimSiam: optimizer=lars; BYOL:
    resize=bicubic,linear_lr=0.2,linear_batch=1024,linear_epochs=80; SimCLR:
    normalize=False,resize=bicubic,decay=1e-6; MoCo v2, whose rate falls in steps, and here
    along a cosine: optimizer=sgd,linear_lr=30,linear_batch=256,linear_epochs=100.

    Args:
      optimizer: Optimizer of the classifier: nesterov or sgd, with momentum 0.9, or lars.
      decay: Weight decay of the classifier.
      normalize: Normalize images by ImageNet's mean and deviation; the encoder must have
        been trained so.
      resize: Interpolation of random crops: bilinear or bicubic.
    """
    tx = one_of("optimizer", optimizer, {
        "nesterov": partial(optim.decayed_sgd, decay=decay, nesterov=True),
        "sgd": partial(optim.decayed_sgd, decay=decay),
        "lars": partial(optim.lars, weight_decay=decay),
    })  # fmt: skip
    train = images.load(run, labeled=True)
    net = nets.linen(Trunk(resnet.encoder(images)))
    look = images.crop_and_flip(method=resize)
    if not normalize:
        look = replace(look, statistics=None)
    return probe.stages(run, images, train, net, None, tx=tx, look=look)
