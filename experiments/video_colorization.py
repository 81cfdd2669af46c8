"""Video colorization: colors copied along pointers, which then track objects.

    F=experiments/video_colorization.py
    python -m jssl.main --config=$F
    python -m jssl.main --config=$F:source=doom,size=32,reading=frames=12
    python -m jssl.main --config=$F:paper,source=clips:FOLDER

Vondrick et al. 2018, https://arxiv.org/abs/1806.09594. References: DAVIS 2017, J&F 34.0;
JHMDB, PCK@0.1 45.2. Ours: `paper` not run; `laptop` is in docs/results.md.
"""

import optax

from jssl import Stage, baselines, evals, nets, optim
from jssl.config import Count, Positive, tiny
from jssl.knobs import DATA, Data, Run, Small, in_motion
from jssl.methods.video.video_colorization import video_colorization
from jssl.models.resnet import ResNet
from jssl.models.video_colorization import ClipMaps

DIGITS = "source=bouncing_digits,reading=colored=True;frames=12,epochs=6.0"
RUNS = {"": 3, DIGITS: 3, "source=doom,size=32,reading=frames=12": 3}
TINY = DATA | dict(
    source="bouncing_digits", reading="colored=True;frames=6", size=16, width=4, colors=3
)


@tiny(TINY, widths=(4, 8), strides=(2, 1))
def laptop(
    run: Run = Run(),
    videos: Data = Data(source="scenes", reading="frames=12", epochs=4.0, batch=16),
    small: Small = Small(widths=(32, 64, 64), strides=(2, 1, 1), lr=1e-3),
    width: Count = 32,
    references: Count = 2,
    every: Count = 1,
    colors: Count = 12,
    temperature: Positive = 1.0,
    inference: Positive = 0.5,
) -> list[Stage]:
    """Rendered rooms with moving objects, maps of 16 x 16: about two minutes on two cores.

    Tracking is "iou@5" and "iou@10", of masks propagated by the network's features beside
    the copied mask ("iou@5/copy") and an untrained network, where the data have masks. The
    strokes of colored digits are too thin for these features: patches of their gray levels,
    9 pixels wide, do not track them either.

    Args:
      source: Data set of color clips: scenes, bouncing_digits, doom:SCENARIO, clips:FOLDER.
      batch: Clips per step.
      width: Channels of the features of a place.
      references: Frames that colors are copied from.
      every: Distance between these frames.
      colors: Number of colors, centroids of k-means.
      temperature: Temperature of the pointers in training.
      inference: Temperature of the pointers in pictures.
    """
    train = in_motion(videos.load(run), references * every + 1, color=True)
    steps = train.steps(videos.epochs)
    method = video_colorization(
        nets.linen(ClipMaps(small.encoder(maps=True), width)),
        small.adamw(steps),
        references=references,
        colors=colors,
        temperature=temperature,
        inference=inference,
        every=every,
    )
    return [_stage(run, train, method, steps)]


@tiny(TINY, depth=1, resnet=10, hidden=4)
def paper(
    run: Run = Run(save_every=5000),
    videos: Data = Data(
        source="clips:KINETICS",
        reading="frames=4;every=4;stride=16",
        size=256,
        epochs=53.0,
        batch=32,
    ),
    lr: Positive = 1e-3,
    width: Count = 64,
    references: Count = 3,
    every: Count = 1,
    colors: Count = 16,
    temperature: Positive = 1.0,
    inference: Positive = 0.5,
    resnet: Count = 18,
    depth: Count = 5,
    hidden: Count = 256,
    dtype: str = "bfloat16",
) -> list[Stage]:
    """The setting of the paper: ResNet-18 and five 3-D convolutions on Kinetics.

    Maps of 32 x 32 places of frames of 256 pixels, three reference frames, 400,000 steps of
    32 clips of 240,000 videos, Adam with a rate of 1e-3 and, after 60,000 steps, 1e-4.

    Number to beat: J&F 34.0 on DAVIS 2017, and on JHMDB PCK@0.1 45.2 and
    PCK@0.2 69.6.

    Departures: clips are held in memory, which is less than all of Kinetics: give a part of
    it and so many epochs that there are 400,000 steps. The 3-D convolutions have kernels of
    3 x 3 x 3 and 256 channels. Masks are propagated by cosines (`evals.propagation`), where
    the data have any; DAVIS is no data set of jssl.

    Args:
      source: Data set of color clips: clips:FOLDER.
      batch: Clips per step.
      lr: Initial learning rate.
      width: Channels of the features of a place.
      references: Frames that colors are copied from.
      every: Distance between these frames of a clip.
      colors: Number of colors, centroids of k-means.
      temperature: Temperature of the pointers in training.
      inference: Temperature of the pointers in pictures.
      resnet: Depth of the ResNet.
      depth: Number of 3-D convolutions.
      hidden: Their channels.
      dtype: Floating-point type of the network, e.g. bfloat16; empty: float32.
    """
    train = in_motion(videos.load(run), references * every + 1, color=True)
    steps = train.steps(videos.epochs)
    strides = (1, 2) + (1,) * (2 if resnet != 6 else 0)
    encoder = ResNet(resnet, strides=strides, maps=True, dtype=dtype or None)
    method = video_colorization(
        nets.linen(ClipMaps(encoder, width, depth, hidden, dtype or None)),
        optax.adam(optim.falling(lr, steps, {60 / 400: 0.1})),
        references=references,
        colors=colors,
        temperature=temperature,
        inference=inference,
        every=every,
    )
    return [_stage(run, train, method, steps)]


def _stage(run, train, method, steps):
    """The stage with its evals: probes of labels and tracking of masks, if there are."""
    judged = {}
    if train.classes:
        judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    if "objects" in {*train.row_shapes(), *train.target_columns()}:
        judged["tracking"] = evals.propagation(task=train.data_name)
    return run.stage(
        "pretrain",
        method,
        train,
        steps,
        evals=judged,
        baselines=baselines.rows(run, method, train, judged) if judged else {},
        refresh_every=steps,
        chance={"relative_loss": 1.0},
    )
