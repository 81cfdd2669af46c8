"""Tracking as supervision: patches of one track are nearer to each other than to others.

    python -m jssl.main --config=experiments/tracking.py
    python -m jssl.main --config=experiments/tracking.py:hard=0.0
    python -m jssl.main --config=experiments/tracking.py:paper,source=clips:FOLDER

Wang and Gupta 2015, https://arxiv.org/abs/1505.00687; `paper` has the settings of
https://github.com/xiaolonw/caffe-video_triplet as far as they apply. Reference, AlexNet,
fine-tuned on VOC 2007: 63.1 % mean average precision of classes, 47.4 % of boxes. Ours:
`paper` not run; `laptop` is in docs/results.md.
"""

from jssl import Stage, baselines, evals, nets, optim
from jssl.config import Count, Counts, Fraction, Positive, tiny
from jssl.knobs import CONVNET, DATA, Data, Images, Run, Small, in_motion
from jssl.method import field
from jssl.methods.video.tracking import first_patches, tracking
from jssl.models.alexnet import WIDTHS, AlexNet
from jssl.models.heads import MLP, Classifier, Siamese

RUNS = {"": 5, "hard=0.0": 3}
TINY = dict(source="bouncing_digits", reading="frames=4", steps=2, side=8, negatives=2)


@tiny(CONVNET, **TINY, width=4)
def laptop(
    run: Run = Run(),
    images: Images = Images(source="bouncing_digits", epochs=30.0, supervised_epochs=10.0),
    small: Small = Small(widths=(16, 32, 64)),
    steps: Count = 8,
    side: Count = 16,
    radius: Count = 3,
    margin: Positive = 0.5,
    negatives: Count = 4,
    hard: Fraction = 0.5,
    width: Count = 32,
) -> list[Stage]:
    """A small convolutional network on patches of 16 pixels: two minutes on two cores.

    The untrained and the supervised network see the same patches, those that move most in
    the first frame of a clip; the raw input is the whole clip.

    Args:
      source: Data set of videos: bouncing_digits, moving_digits, doom:SCENARIO ...
      batch: Clips per step, a track in each.
      steps: Frames between the two patches of a track.
      side: Side of a patch in pixels.
      radius: Largest motion between two frames, in pixels.
      margin: Margin of the ranking.
      negatives: Patches of other tracks for each track.
      hard: Fraction of them among those that violate the margin most.
      width: Width of the embedding that is ranked.
    """
    train = in_motion(images.load(run), steps + 1)
    encoder, patches = small.encoder(), field("video", lambda x: first_patches(x, side))
    method = tracking(
        nets.linen(Siamese(encoder, MLP((width,)))),
        small.adamw(train.steps(images.epochs)),
        steps=steps,
        side=side,
        radius=radius,
        margin=margin,
        negatives=negatives,
        hard=hard,
    )
    classifier = nets.linen(Classifier(encoder, train.classes)) if train.classes else None
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            classifier,
            prepare=patches,
            chance={"loss": margin},
        )
    ]


@tiny(
    DATA,
    **TINY | dict(side=24, negatives=4),
    size=32,
    stride=1,
    widths=(4,) * 5,
    hidden=8,
    width=4,
)
def paper(
    run: Run = Run(save_every=1000),
    images: Data = Data(
        source="clips:VIDEOS",
        size=448,
        epochs=5.0,
        batch=100,
        hold_out=False,
        reading="frames=31;stride=31",
    ),
    lr: Positive = 1e-3,
    steps: Count = 30,
    side: Count = 227,
    radius: Count = 8,
    margin: Positive = 0.5,
    negatives: Count = 4,
    hard: Fraction = 0.5,
    stride: Count = 4,
    widths: Counts = WIDTHS,
    hidden: Count = 4096,
    width: Count = 1024,
) -> list[Stage]:
    """The published setting: AlexNet on patches of 227 pixels, 30 frames apart, SGD.

    The rate falls tenfold after each quarter of the steps, which are 400,000 for 8 million
    tracks.

    Number to beat: 63.1 % mean average precision on VOC 2007, fine-tuned; the detection of
    that comparison is no part of this config.

    Departures: patches are found by differences of frames and followed by normalized
    cross-correlation, there by moving SURF points and a correlation filter; negatives are
    hard from the beginning; batch norm in place of local response normalization; clips are
    held in memory.

    Args:
      source: Data set: clips:FOLDER, a folder of videos.
      size: Side in pixels of the squares that frames are fitted to.
      batch: Clips per step, a track in each.
      lr: Initial learning rate.
      steps: Frames between the two patches of a track.
      side: Side of a patch in pixels.
      radius: Largest motion between two frames, in pixels.
      margin: Margin of the ranking.
      negatives: Patches of other tracks for each track.
      hard: Fraction of them among those that violate the margin most.
      stride: Stride of the first convolution.
      widths: Channels of the convolutions.
      hidden: Units of the first dense layer (fc6), which is h.
      width: Units of the second (fc7), which is ranked.
    """
    train = in_motion(images.load(run), steps + 1)
    count = train.steps(images.epochs)
    rate = optim.falling(lr, count, dict.fromkeys((0.25, 0.5, 0.75), 0.1))
    encoder = AlexNet(stride, widths=widths, hidden=(hidden,), dropout=0.0)
    method = tracking(
        nets.linen(Siamese(encoder, MLP((width,), relu=True))),
        optim.decayed_sgd(rate, decay=5e-4, momentum=0.9),
        steps=steps,
        side=side,
        radius=radius,
        margin=margin,
        negatives=negatives,
        hard=hard,
    )
    return [
        run.stage(
            "pretrain",
            method,
            train,
            count,
            evals=evals.knn_if_labeled(train),
            chance={"loss": margin},
        )
    ]
