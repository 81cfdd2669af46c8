"""Shuffle and Learn: verification of the temporal order of three frames.

    python -m jssl.main --config=experiments/order_verification.py
    python -m jssl.main --config=order_verification:source=clips:FOLDER
    python -m jssl.main --config=experiments/order_verification.py:paper,source=clips:FOLDER

Misra, Zitnick and Hebert 2016, https://arxiv.org/abs/1603.08561. Reference: 50.2 % top-1
on UCF101 and 18.1 % on HMDB51 after fine-tuning, means over three splits. Ours: `paper` not
run; `laptop` is in docs/results.md.
"""

import math

from jssl import Stage, baselines, evals, nets, optim
from jssl.config import Count, Counts, Fraction, Positive, tiny
from jssl.knobs import VIDEOS, Run, Small, Videos, in_motion
from jssl.learner import graft
from jssl.method import field
from jssl.methods.video.order_verification import order_verification
from jssl.models.alexnet import WIDTHS, AlexNet
from jssl.models.heads import Classifier
from jssl.models.jigsaw import ContextFree
from jssl.papers import CLIPS, UCF101, FineTuning, over_time

RUNS = {"": 5, "source=doom,size=32,spread=3,reading=frames=6;stride=1": 3}


def chance(negatives: float) -> dict[str, float]:
    """The loss of a constant probability of order: the entropy of the classes."""
    p = negatives
    return {"loss": -p * math.log(p) - (1 - p) * math.log(1 - p)}


@tiny(VIDEOS, spread=3, width=4, hidden=8)
def laptop(
    run: Run = Run(),
    videos: Videos = Videos(epochs=12.0, batch=64, supervised_epochs=4.0),
    small: Small = Small(),
    spread: Count = 6,
    gap: Count = 1,
    negatives: Fraction = 0.75,
    width: Count = 16,
    hidden: Count = 64,
) -> list[Stage]:
    """A small convolutional network on drifting digits: about two minutes on two cores.

    The digits of moving_digits wrap around, so that the displacement of the outer frames is
    known up to the side of the square, 16 steps: with a spread of less than 8 the frame in
    the middle is in order if and only if it is on the shorter way. Digits that bounce
    return to where they were, and some triples are then in order both ways.

    Args:
      batch: Videos per step, a triple each.
      spread: Largest distance of the outer frames, in frames.
      gap: Least distance of a wrong frame from the outer ones, in frames.
      negatives: Fraction of the triples that are out of order.
      widths: Channels of each layer of the frame encoder.
      strides: Stride of each layer of the frame encoder.
      width: Width of the description of each place of a frame.
      hidden: Width of the layer between the frames and the logits.
    """
    train = in_motion(videos.load(run), 5)
    method = order_verification(
        nets.linen(ContextFree(small.encoder(maps=True), 2, width, hidden)),
        small.adamw(train.steps(videos.epochs)),
        spread=spread,
        gap=gap,
        negatives=negatives,
    )
    return [
        baselines.pretrain_stage(
            run,
            videos,
            train,
            method,
            nets.linen(Classifier(small.encoder(), train.classes)),
            prepare=field("video"),
            further=videos.actions(train),
            chance=chance(negatives),
        )
    ]


@tiny(CLIPS, spread=4, gap=1, stride=1, widths=(4,) * 5, hidden=(8, 8))
def paper(
    run: Run = Run(save_every=1000),
    videos: UCF101 = UCF101(
        epochs=500.0,
        batch=128,
        crop=227,
        reading="frames=16;every=6;stride=96",
    ),
    tune: FineTuning = FineTuning(tune_epochs=200.0, tune_batch=256, tune_lr=1e-3),
    lr: Positive = 1e-3,
    spread: Count = 10,
    gap: Count = 3,
    negatives: Fraction = 0.75,
    stride: Count = 4,
    widths: Counts = WIDTHS,
    hidden: Counts = (4096, 4096),
) -> list[Stage]:
    """The published setting for UCF101: AlexNet, SGD, about 100,000 steps of 128 triples.

    The rate falls tenfold after 80 % of the steps. The outer frames are at most 60 frames
    apart, wrong ones at least 15 (here 18) from them. "fine-tune" then trains all layers on
    single frames with labels; the class of a video is that of the mean over its frames.

    Number to beat: 50.2 % top-1 on UCF101 after "fine-tune", a mean over three splits; 18.1
    % on HMDB51, fine-tuned there.

    Departures: every sixth frame is kept, 16 of a clip, which takes 80 GB of memory; the
    splits are tenths of the videos, there the published ones; motion is that of the pixels,
    there that of optical flow; batch norm in place of local response normalization; the
    rate of "fine-tune" falls along a cosine, there in steps.

    Args:
      source: Data set: clips:FOLDER, with a subfolder of videos for each class.
      batch: Clips per step, a triple each.
      lr: Initial learning rate.
      spread: Largest distance of the outer frames, in frames of a clip.
      gap: Least distance of a wrong frame from the outer ones, in frames of a clip.
      negatives: Fraction of the triples that are out of order.
      stride: Stride of the first convolution.
      widths: Channels of the convolutions.
      hidden: Units of the dense layers (fc6, fc7).
    """
    train = videos.load(run)
    steps = train.steps(videos.epochs)
    augment, prepare = videos.looks()
    encoder = AlexNet(
        stride, widths=widths, hidden=hidden, split=2, dtype=videos.dtype or None
    )
    method = order_verification(
        nets.linen(ContextFree(encoder, 2, width=0, hidden=0)),
        optim.decayed_sgd(optim.falling(lr, steps, {0.8: 0.1}), decay=5e-4),
        augment,
        spread=spread,
        gap=gap,
        negatives=negatives,
        prepare=prepare,
    )
    judged = evals.knn_if_labeled(train)
    classifier = over_time(nets.linen(Classifier(encoder, train.classes, relu=True)))
    start = lambda state, done: graft(state, encoder=done["pretrain"])
    return [
        run.stage("pretrain", method, train, steps, evals=judged, chance=chance(negatives)),
        *tune.stages(run, train, classifier, start, videos.looks(1)[0], prepare=prepare),
    ]
