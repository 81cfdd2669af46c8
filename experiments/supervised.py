"""Supervised learning: the reference with all labels, by default of a small ViT.

python -m jssl.main --config=experiments/supervised.py
python -m jssl.main --config=experiments/supervised.py:init=runs/mae
python -m jssl.main --config=experiments/supervised.py:network=convnet,init=runs/simclr
"""

from functools import partial

from jssl import Stage, baselines, evals, nets, optim
from jssl.config import Count, Counts, Fraction, Positive, one_of, tiny
from jssl.knobs import DATA, Data, Run
from jssl.method import field
from jssl.methods.transfer.supervised import supervised
from jssl.models import vit
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier


@tiny(DATA, patch=2, width=16, depth=1, widths=(4, 8))
def laptop(
    run: Run = Run(dispatch=4, save_every=0),
    images: Data = Data(epochs=20.0),
    lr: Positive = 1e-3,
    network: str = "vit",
    patch: Count = 7,
    width: Count = 96,
    depth: Count = 4,
    heads: Count = 4,
    pool: str = "grid",
    smoothing: Fraction = 0.0,
    widths: Counts = (32, 64, 128),
) -> list[Stage]:
    """A ViT, or a small convolutional network, with all labels: two minutes on two cores.

    Args:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
      network: Encoder: vit, as in `mae`, or convnet, as in the experiments with views.
      patch: Side of a patch of the ViT in pixels; must divide the image's (digits: 2).
      width: Width of the encoder.
      depth: Number of blocks of the encoder.
      heads: Attention heads of the encoder; must divide the width.
      pool: Pooling of the tokens into h: mean, cls, mean_max, grid (3 x 3 means) or flat.
      smoothing: Fraction of each label that is spread over all classes.
      widths: Channels of each layer of the convnet.
    """
    classifier, prepare, side = one_of("network", network, {
        "vit": (
            partial(
                vit.Classifier,
                vit.Encoder(width, depth, heads, patch),
                pool=pool,
                head_std=0.02,
            ),
            field("image", lambda x: 2 * x - 1),
            patch,
        ),
        "convnet": (partial(Classifier, ConvNet(widths)), field("image"), 1),
    })  # fmt: skip
    train = images.load(run, labeled=True, patch=side)
    steps = train.steps(images.epochs)
    method = supervised(
        nets.linen(classifier(classes=train.classes)),
        optim.adamw(lr, steps, decay=0.05),
        train.classes,
        prepare=prepare,
        smoothing=smoothing,
    )
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    further = {"top1": evals.accuracy(), "embedding": evals.embedding_picture()}
    return [
        run.stage(
            "train",
            method,
            train,
            steps,
            evals=judged | further,
            baselines=baselines.rows(run, method, train, judged),
        )
    ]
