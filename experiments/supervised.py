"""Supervised learning: the reference with all labels, by default of a small ViT.

python -m jssl.main --config=experiments/supervised.py
"""

from jssl import Stage, baselines, evals, nets, optim
from jssl.config import Count, Fraction, Positive, tiny
from jssl.knobs import DATA, Data, Run
from jssl.method import field
from jssl.methods.transfer.supervised import supervised
from jssl.models import vit


@tiny(DATA, patch=2, width=16, depth=1)
def laptop(
    run: Run = Run(dispatch=4, save_every=0),
    images: Data = Data(epochs=20.0),
    lr: Positive = 1e-3,
    patch: Count = 7,
    width: Count = 96,
    depth: Count = 4,
    heads: Count = 4,
    pool: str = "grid",
    smoothing: Fraction = 0.0,
) -> list[Stage]:
    """A ViT from random weights with all labels: about two minutes on two cores.

    Args:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
      patch: Side of a patch in pixels; must divide the image's (digits: 2).
      width: Width of the encoder.
      depth: Number of blocks of the encoder.
      heads: Attention heads of the encoder; must divide the width.
      pool: Pooling of the tokens into h: mean, cls, mean_max, grid (3 x 3 means) or flat.
      smoothing: Fraction of each label that is spread over all classes.
    """
    train = images.load(run, labeled=True)
    steps, encoder = train.steps(images.epochs), vit.Encoder(width, depth, heads, patch)
    method = supervised(
        nets.linen(vit.Classifier(encoder, train.classes, pool, head_std=0.02)),
        optim.adamw(lr, steps, decay=0.05),
        train.classes,
        prepare=field("image", lambda x: 2 * x - 1),
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
