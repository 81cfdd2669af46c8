"""Relative depth: the order of depths that parallax shows, predicted from one frame.

    python -m jssl.main --config=experiments/relative_depth.py
    python -m jssl.main --config=experiments/relative_depth.py:known=False
    python -m jssl.main --config=experiments/relative_depth.py:flow=lucas_kanade

Jiang et al. 2018, https://arxiv.org/abs/1712.04850. There is no `paper`: it learns from
1.1 million frames of videos of city streets that are not published. Ours: `laptop` is what
docs/results.md holds.
"""

from jssl import Stage, baselines, evals, nets
from jssl.config import Counts, Fraction, Positive, tiny
from jssl.knobs import CLIPS, Flow, Images, Run, Small, first_frame, jittered
from jssl.methods.video.relative_depth import relative_depth
from jssl.models.colorization import Cells
from jssl.models.heads import Classifier

RUNS = {"": 3, "known=False": 1, "flow=lucas_kanade": 1}
ORDER = evals.depth_maps(lambda rows: rows["depth"][:, 0], metric=False)


@tiny(CLIPS, widths=(4, 8), strides=(2, 2), decoder=(8,))
def laptop(
    run: Run = Run(),
    images: Images = Images(
        source="scenes",
        epochs=6.0,
        batch=32,
        supervised_epochs=4.0,
        reading="count=4000;camera=0.3;turn=1.5",
    ),
    flow: Flow = Flow(),
    small: Small = Small(widths=(16, 32, 32, 64, 64), strides=(1, 2, 1, 2, 1)),
    decoder: Counts = (32,),
    jitter: Fraction = 0.2,
    known: bool = True,
    focal: float = 0.0,
    least: Positive = 0.05,
    agree: Fraction = 0.95,
    tolerance: Fraction = 0.03,
) -> list[Stage]:
    """A small convolutional network on rendered scenes: about two minutes on two cores.

    "ordinal" is the fraction of pairs of pixels in the right order of depth, "ordinal/row"
    that of the mean depth of their rows.

    The estimate of known=False is that of a camera that does not turn. In the default data
    it turns by up to 1.5 degrees in a frame, which disturbs that estimate.

    Args:
      source: Data set of clips: scenes, scenes:real, clips:FOLDER.
      batch: Clips per step.
      decoder: Channels of the layers after the encoder, each of which doubles its maps.
      jitter: Largest relative change of a training frame's brightness, contrast and
        saturation.
      known: Take the camera's motion from the data; off estimates its translation from the
        flow, and takes it not to turn.
      focal: Focal length in pixels; 0: the side of a frame, as of scenes.
      least: Smallest flow of pixels whose depth is known, in pixels.
      agree: Least cosine of the angle between their flow and that of a static world.
      tolerance: Relative difference of depths that count as equal.
    """
    train = images.load(run)
    seen = flow.first_of(train)
    if known and "camera" not in train.row_shapes():
        raise ValueError(
            f"{train.data_name} does not have the camera's motion: give known=False"
        )
    method = relative_depth(
        nets.linen(Cells(small.encoder(maps=True), 1, decoder)),
        small.adamw(train.steps(images.epochs)),
        seen,
        focal or float(train.row_shapes()["video"].shape[2]),
        jittered(jitter),
        prepare=first_frame,
        translation=(lambda batch: batch["camera"][:, 0, :3]) if known else None,
        rotation=(lambda batch: batch["camera"][:, 0, 3:]) if known else None,
        least=least,
        agree=agree,
        tolerance=tolerance,
    )
    classifier = nets.linen(Classifier(small.encoder(), max(train.classes, 1)))
    judged = {"depth": ORDER} if "depth" in train.row_shapes() else {}
    return [
        baselines.pretrain_stage(
            run, images, train, method, classifier, prepare=first_frame, pictures=judged
        )
    ]
