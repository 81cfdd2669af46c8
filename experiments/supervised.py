"""Supervised: the reference with labels, the small ViT of experiments/mae.py by default.

python -m jssl.main --config=experiments/supervised.py
"""

import optax

from jssl import Stage, baselines, data, evals, nets, optim
from jssl.methods.transfer.supervised import supervised
from jssl.models import vit


def laptop(
    source: str = "mnist",
    epochs: float = 20.0,
    batch: int = 64,
    lr: float = 1e-3,
    patch: int = 7,
    width: int = 96,
    depth: int = 4,
    heads: int = 4,
    pool: str = "grid",
    smoothing: float = 0.0,
    dispatch: int = 4,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """A ViT from random weights with all labels: about two minutes on two cores.

    Args:
      source: mnist, fashion_mnist, digits (patch=2), folder:PATH with class folders ...
      epochs: passes over the training split.
      batch: images a step.
      lr: peak of the learning rate; a twentieth of the steps warm up, then a cosine.
      patch: side of a patch in pixels; must divide the image.
      width: of the encoder.
      depth: of the encoder, in blocks.
      heads: of the encoder's attention; must divide the width.
      pool: of the tokens into h: mean, cls, mean_max, grid (3 x 3 means) or flat.
      smoothing: share of each label spread over all classes.
      dispatch: steps compiled into one.
      seed: of weights and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, epochs, batch, patch, width, depth = "digits", 0.03, 16, 2, 16, 1
        dispatch = 1
    train = data.load(source, batch, seed=seed, labeled=True)
    steps = train.steps(epochs)
    schedule = optim.warmup_cosine(lr, steps // 20, steps)
    encoder = vit.Encoder(width, depth, heads, patch)
    method = supervised(
        nets.linen(vit.Classifier(encoder, train.classes, pool, head_std=0.02)),
        optax.adamw(schedule, weight_decay=0.05, mask=optim.matrices),
        train.classes,
        prepare=lambda images: 2 * images - 1,
        smoothing=smoothing,
    )
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    shared = dict(seed=seed, mesh=mesh, dispatch=dispatch)
    return [
        Stage(
            name="train",
            method=method,
            data=train,
            steps=steps,
            evals=judged
            | {"top1": evals.accuracy(), "embedding": evals.embedding_picture()},
            baselines=baselines.beside(method, train, judged, **shared),
            **shared,
        )
    ]
