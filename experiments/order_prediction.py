"""OPN: sorting of shuffled frames.

    python -m jssl.main --config=experiments/order_prediction.py
    python -m jssl.main --config=order_prediction:source=clips:FOLDER
    python -m jssl.main --config=experiments/order_prediction.py:paper,source=clips:FOLDER

Lee, Huang, Singh and Yang 2017, https://arxiv.org/abs/1708.01246. Reference: 59.8 % top-1
on UCF101 and 23.8 % on HMDB51 after fine-tuning (not checked in the paper). Ours: `paper`
not run; `laptop` is in docs/results.md.
"""

import math

from jssl import Stage, baselines, evals, nets, optim
from jssl.config import Count, Counts, Positive, tiny
from jssl.knobs import VIDEOS, Run, Small, Videos, in_motion
from jssl.learner import graft
from jssl.method import field
from jssl.methods.video.order_prediction import order_prediction
from jssl.models.alexnet import WIDTHS, AlexNet
from jssl.models.heads import Classifier
from jssl.models.jigsaw import PairwiseOrder
from jssl.ops.frame_order import order_classes
from jssl.papers import CLIPS, UCF101, FineTuning, over_time

RUNS = {"": 3, "source=doom,size=32,spread=5,reading=frames=6;stride=1": 3}


@tiny(VIDEOS, crop=14, spread=4, width=8, pair=4)
def laptop(
    run: Run = Run(),
    videos: Videos = Videos(
        reading="speed=4", epochs=20.0, batch=64, supervised_epochs=4.0
    ),
    small: Small = Small(),
    frames: Count = 4,
    spread: Count = 3,
    crop: Count = 32,
    jitter: int = 0,
    width: Count = 128,
    pair: Count = 128,
) -> list[Stage]:
    """A small convolutional network on drifting digits: about two minutes on two cores.

    The digits of moving_digits wrap around, here after 8 steps of 4 pixels: with a spread
    of less than 4 the widest gap between places on the closed path is that between the last
    frame and the first, so that the order is known up to reversal. At 2 pixels a step, the
    jitter of the crops hides it. Digits that bounce return to where they were, and many
    tuples then have several orders. Digits are gray, on black: there are no channels to
    split, and no drift that the jitter of crops has to hide.

    Args:
      batch: Videos per step, a tuple each.
      frames: Frames of a tuple.
      spread: Largest distance of the last frame from the first, in frames.
      crop: Side in pixels of the crops of frames.
      jitter: Largest shift in pixels of each frame's crop.
      widths: Channels of each layer of the frame encoder.
      strides: Stride of each layer of the frame encoder.
      width: Width of the description of a frame.
      pair: Width of the description of a pair of frames.
    """
    train = in_motion(videos.load(run), frames)
    known = len(order_classes(frames))
    network = PairwiseOrder(small.encoder(maps=True), known, width, pair, norm=True)
    method = order_prediction(
        nets.linen(network),
        small.adamw(train.steps(videos.epochs)),
        crop,
        spread=spread,
        jitter=jitter,
        count=frames,
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
            chance={"loss": math.log(known)},
        )
    ]


@tiny(CLIPS, spread=5, patch=14, jitter=1, stride=1, widths=(4,) * 5, width=8, pair=8,
      hidden=(8, 8))  # fmt: skip
def paper(
    run: Run = Run(save_every=1000),
    videos: UCF101 = UCF101(
        epochs=1000.0,
        batch=128,
        crop=224,
        reading="frames=16;every=4;stride=64",
    ),
    tune: FineTuning = FineTuning(tune_epochs=200.0, tune_batch=128, tune_lr=1e-3),
    lr: Positive = 1e-2,
    frames: Count = 4,
    spread: Count = 15,
    patch: Count = 80,
    jitter: int = 5,
    stride: Count = 4,
    widths: Counts = WIDTHS,
    width: Count = 1024,
    pair: Count = 512,
    hidden: Counts = (4096, 4096),
) -> list[Stage]:
    """The released setting for UCF101: AlexNet's convolutions, SGD, 200,000 steps of 128.

    The rate falls tenfold after 65 and 85 % of the steps. "fine-tune" then trains a
    classifier of single frames, whose convolutions are the pre-trained ones and whose dense
    layers are new; the class of a video is that of the mean over its frames.

    Number to beat: 59.8 % top-1 on UCF101 after "fine-tune", 23.8 % on HMDB51, fine-tuned
    there (not checked in the paper, where a larger network may have them).

    Departures: every fourth frame is kept, 16 of a clip; the splits are tenths of the
    videos, there the published ones; motion is that of the pixels, there that of optical
    flow, and crops are drawn in proportion to it; the rate of "fine-tune" falls along a
    cosine, there in steps. Clips take 100 GB of memory.

    Args:
      source: Data set: clips:FOLDER, with a subfolder of videos for each class.
      batch: Clips per step, a tuple each.
      crop: Side in pixels of the frames of "fine-tune".
      lr: Initial learning rate.
      frames: Frames of a tuple.
      spread: Largest distance of the last frame from the first, in frames of a clip.
      patch: Side in pixels of the crops of frames in the pretext task.
      jitter: Largest shift in pixels of each frame's crop.
      stride: Stride of the first convolution.
      widths: Channels of the convolutions.
      width: Units of the layer of a frame (fc6).
      pair: Units of the layer of a pair (fc7).
      hidden: Units of the dense layers of "fine-tune".
    """
    train = videos.load(run)
    steps = train.steps(videos.epochs)
    known = len(order_classes(frames))
    dtype = videos.dtype or None
    encoder = AlexNet(stride, widths=widths, hidden=(), split=2, dtype=dtype)
    rate = optim.falling(lr, steps, {0.65: 0.1, 0.85: 0.1})
    method = order_prediction(
        nets.linen(PairwiseOrder(encoder, known, width, pair, norm=True)),
        optim.decayed_sgd(rate, decay=5e-4),
        patch,
        spread=spread,
        jitter=jitter,
        count=frames,
        prepare=videos.whole,
    )
    augment, prepare = videos.looks(1)
    whole = encoder.clone(hidden=hidden)
    classifier = over_time(nets.linen(Classifier(whole, train.classes, relu=True)))
    dense = tuple(f"fc{6 + i}" for i in range(len(hidden)))
    start = lambda state, done: graft(state, encoder=done["pretrain"], new=dense)
    return [
        run.stage(
            "pretrain",
            method,
            train,
            steps,
            evals=evals.knn_if_labeled(train),
            chance={"loss": math.log(known)},
        ),
        *tune.stages(run, train, classifier, start, augment, prepare=prepare),
    ]
