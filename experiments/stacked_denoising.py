"""Stacked denoising autoencoder: a deep encoder, learned layer by layer from below.

    python -m jssl.main --config=experiments/stacked_denoising.py
    python -m jssl.main --config=experiments/stacked_denoising.py:labels=10,epochs=30

Vincent et al. 2010, https://www.jmlr.org/papers/v11/vincent10a.html. Reference, MNIST,
three layers, fine-tuned with all labels: 1.28 % test error. Ours: docs/results.md.
"""

from dataclasses import replace
from functools import partial

import optax

from jssl import Stage, baselines, data, evals, nets, optim
from jssl.learner import graft
from jssl.methods.generative.denoising import denoising
from jssl.methods.generative.stacked_denoising import stacked_denoising, stacked_encoder
from jssl.methods.transfer.supervised import supervised
from jssl.models.dense import Autoencoder, Dense
from jssl.models.heads import Classifier
from jssl.ops.corruption import masking


def laptop(
    source: str = "mnist",
    epochs: float = 15.0,
    batch: int = 64,
    lr: float = 1e-3,
    widths: tuple[int, ...] = (256, 128, 64),
    corruption: tuple[float, ...] = (0.1, 0.2, 0.3),
    error: str = "cross_entropy",
    labels: int = 100,
    tune_epochs: float = 30.0,
    tune_lr: float = 1e-3,
    supervised_epochs: float = 20.0,
    dispatch: int = 10,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """Three layers of sigmoids, then few labels: about a minute on two cores.

    Departure: fine-tuning takes a fixed number of steps, where the paper stops early.

    Args:
      source: mnist, fashion_mnist, digits ...
      epochs: passes over the training split, of each layer.
      batch: images a step.
      lr: learning rate of the layers, which does not change.
      widths: units of each layer.
      corruption: share of its inputs that each layer has masked.
      error: of the layers, cross_entropy or squared.
      labels: of each class, for fine-tuning.
      tune_epochs: passes over the labelled images in fine-tuning.
      tune_lr: learning rate of fine-tuning, which does not change.
      supervised_epochs: of the reference with all labels, computed once and cached.
      dispatch: steps compiled into one.
      save_every: steps between checkpoints.
      seed: of weights, masks, labelled images and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, widths, labels, dispatch = "digits", 16, (16, 12, 8), 4, 1
        epochs, tune_epochs, supervised_epochs = 0.03, 1.0, 0.03
    if len(widths) != len(corruption):
        raise ValueError(
            f"widths and corruption must be of as many layers, got {widths}, {corruption}"
        )
    train = data.load(source, batch, seed=seed)
    every = data.load(source, batch, seed=seed, labeled=True)
    few = data.labels_per_class(every, labels, seed)
    # Under a name of its own its split "train" is the whole one: the evals that fit on
    # representations then fit on the same rows for every stage.
    few = replace(few, name=few.name.replace("/train[", "/labelled["))
    shapes = [train.shapes()["image"].shape[1:], *[(width,) for width in widths]]
    stack = stacked_denoising(
        denoising(
            nets.linen(Autoencoder(shape, (width,))),
            optax.adam(lr),
            partial(masking, share=share),
            error=error,
        )
        for shape, width, share in zip(shapes[:-1], widths, corruption, strict=True)
    )
    shared = dict(seed=seed, mesh=mesh, dispatch=dispatch)
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    classified = judged | {"top1": evals.accuracy()}
    classifier = nets.linen(Classifier(Dense(widths), train.classes))
    budget = every.steps(supervised_epochs)
    schedule = optim.warmup_cosine(1e-3, budget // 20, budget)
    tx = optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices)
    reference = Stage(
        name="supervised",
        method=supervised(classifier, tx, train.classes),
        data=every,
        steps=budget,
        evals=classified,
        **shared,
    )
    stages = [
        Stage(
            name=f"layer{i + 1}",
            method=layer,
            data=train,
            steps=train.steps(epochs),
            start=partial(on_top, f"layer{i}") if i else None,
            save_every=save_every,
            **shared,
        )
        for i, layer in enumerate(stack)
    ]
    deepest = replace(
        stages[-1],
        evals=judged | {"embedding": evals.embedding_picture()},
        baselines=baselines.beside(stack[-1], train, judged, reference, **shared),
    )
    scratch = Stage(
        name="scratch",
        method=supervised(classifier, optax.adam(tune_lr), train.classes),
        data=few,
        steps=few.steps(tune_epochs),
        evals=classified,
        **shared,
    )
    tune = replace(
        scratch,
        name="fine-tune",
        start=lambda state, done: graft(state, encoder=stacked_encoder(done[deepest.name])),
        baselines={"same labels, random weights": scratch},
        save_every=save_every,
    )
    return [*stages[:-1], deepest, tune]


def on_top(below, state, done):
    """Hands on the stack as it stands."""
    return state._replace(below=done[below])
