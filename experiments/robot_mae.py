"""MAE features for control: a policy cloned from demonstrations, on a frozen encoder.

    python -m jssl.main --config=experiments/robot_mae.py
    python -m jssl.main --config=experiments/robot_mae.py:readout=cls
    python -m jssl.main --config=experiments/robot_mae.py:demos=100,clone_epochs=20
    python -m jssl.main --config=experiments/robot_mae.py:source=doom,demonstrations=doom

Xiao et al. 2022, https://arxiv.org/abs/2203.06173; Radosavovic et al. 2022,
https://arxiv.org/abs/2210.03109. Their numbers are of robots and simulators that are not at
hand. Ours: docs/results.md.
"""

from dataclasses import replace

import jax.numpy as jnp

from jssl import Stage, evals, nets, optim
from jssl.config import Count, Counts, Fraction, Positive, one_of, tiny
from jssl.knobs import DATA, Data, Run, SmallTransformer
from jssl.method import field
from jssl.methods.masked.mae import mae
from jssl.methods.masked.robot_mae import robot_mae
from jssl.methods.transfer.linear import after
from jssl.methods.transfer.supervised import (
    cross_entropy,
    mean_squared_error,
    supervised,
)
from jssl.models import vit
from jssl.models.policy import Controller, Policy

RUNS = {"": 5, "readout=cls": 1, "norm=layer": 1, "demos=100,clone_epochs=20": 5}


@tiny(DATA, source="point_reach", epochs=0.01, patch=8, width=16, depth=1, heads=2,
      decoder=(8, 1), demos=2, clone_epochs=0.1, clone_batch=8, policy=(8, 4),
      projection=4, episodes=2)  # fmt: skip
def laptop(
    run: Run = Run(),
    images: Data = Data(source="point_reach", epochs=60.0, batch=32),
    vision: SmallTransformer = SmallTransformer(lr=2e-3, patch=8, width=64, depth=3),
    mask: Fraction = 0.5,
    norm_pixels: bool = False,
    decoder: Counts = (48, 1),
    demonstrations: str = "point_reach:demos",
    demos: Count = 2000,
    readout: str = "flat",
    proprioception: bool = True,
    norm: str = "batch",
    projection: Count = 64,
    policy: Counts = (128, 64),
    clone_epochs: Positive = 4.0,
    clone_batch: Count = 64,
    clone_lr: Positive = 1e-3,
    episodes: Count = 100,
) -> list[Stage]:
    """A red disc is moved to a green one: about two minutes, and four for the controls.

    Stage "pretrain" is MAE on images without a task, "clone" the policy on its frozen
    features; beside it the same policy on raw pixels, on untrained features, on the true
    state, and end to end. Pixels are not normalized by patch, since the background is
    noise. The loss left that of the mean image, 0.109, only after about 1,900 steps of
    pre-training (seed 0, lr=1e-3); shorter runs learn little of the discs.
    VizDoom's demonstrations are classes of actions that were drawn at random: single frames
    tell little of them.

    Departures: half of the patches are masked, for three quarters; of 16 patches four would
    be seen. Each feature is normalized by its moments over the batch, where the paper has
    layer norm: the cloning error in training fell from 0.18 to 0.016 (seed 0, one trial).

    Args:
      source: Data set of the pre-training: point_reach, doom or other images.
      epochs: Passes over the training images in pre-training.
      batch: Images per step of pre-training.
      lr: Peak learning rate of pre-training: linear warm-up over the first 5 % of the
        steps, then cosine decay to 0.
      mask: Fraction of patches that are masked.
      norm_pixels: Normalize each target patch.
      heads: Attention heads of encoder and decoder; must divide both widths.
      decoder: Width and number of blocks of the decoder.
      demonstrations: Data set with actions, numbers or classes: point_reach:demos, doom.
      demos: Number of training episodes of point_reach.
      readout: Features that the policy sees: flat (all patches) or cls (the class token).
      proprioception: Give the policy the position of the controlled disc too.
      norm: Normalization of the features: batch or layer.
      projection: Width to which features and position are projected.
      policy: Units of the policy's hidden layers.
      clone_epochs: Passes over the demonstrations.
      clone_batch: Images per step of cloning.
      clone_lr: Peak learning rate of cloning, with warm-up and cosine decay.
      episodes: Number of rollouts that are judged.
    """
    pool = one_of("readout", readout, {"flat": "flat", "cls": "cls"})
    train = images.load(run, patch=vision.patch)
    encoder = vision.encoder()
    prepare = field("image", center)
    pretrain = mae(
        nets.linen(vit.MaskedAutoencoder(encoder, *decoder, vision.heads, "grid")),
        vision.adamw(train.steps(images.epochs), b2=0.95),
        vision.patch,
        prepare=prepare,
        mask=mask,
        norm_pixels=norm_pixels,
    )
    toy = demonstrations.startswith("point_reach")
    reading = f"demos={demos}" if toy else images.reading
    shown = replace(
        images, source=demonstrations, batch=clone_batch, limit=0, reading=reading
    ).load(run, labeled=True, patch=vision.patch)
    steps = shown.steps(clone_epochs)
    classes = shown.classes
    actions = classes or shown.row_shapes()["action"].shape[1]
    kind = one_of("norm", norm, {"batch": "batch", "layer": "layer"})
    head = Policy(actions, projection, policy, norm=kind)
    tx = optim.adamw(clone_lr, steps, warmup=0.1, decay=0.01)
    known = field("position") if proprioception and not classes else None
    how = dict(
        target=field("label", lambda y: jnp.eye(classes)[y])
        if classes
        else field("action"),
        error=cross_entropy if classes else mean_squared_error,
    )
    judged = (
        {"top1": evals.accuracy()}
        if classes
        else {
            "cloning": evals.cloning(),
            "rollouts": evals.reaching(episodes, size=train.side),
        }
    )

    def cloned(net, prepare, head=head, known=known):
        return robot_mae(net, nets.linen(head), tx, prepare=prepare, known=known, **how)

    def beside(name, method):
        return run.baseline(name.replace(" ", "-"), method, shown, steps, evals=judged)

    frozen = nets.linen(vit.Pooled(encoder, pool))
    controls = {
        "raw pixels": cloned(UNCHANGED, prepare),
        "untrained network": cloned(frozen, prepare),
        "end to end": supervised(
            nets.linen(Controller(vit.Pooled(encoder, pool), head)),
            tx,
            prepare=lambda batch: (prepare(batch), known and known(batch)),
            **how,
        ),
    }
    if not classes:
        plain = head.clone(norm="")
        controls["state"] = cloned(UNCHANGED, field("state"), plain, None)
    of_state = {"r2": evals.regression("state")} if toy else {}
    first = run.stage(
        "pretrain", pretrain, train, train.steps(images.epochs), evals=of_state
    )
    clone = run.stage(
        "clone",
        cloned(frozen, prepare),
        shown,
        steps,
        evals=judged,
        baselines={name: beside(name, method) for name, method in controls.items()},
        start=after("pretrain"),
    )
    return [first, clone]


def center(images):
    """From [0, 1] to [-1, 1]."""
    return 2 * images - 1


UNCHANGED = nets.Net(lambda key, x: ({}, {}), lambda params, stats, x, **how: (x, stats))
