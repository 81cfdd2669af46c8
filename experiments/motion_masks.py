"""Motion masks: segmentation of one frame into what moves, as seen in optical flow.

    python -m jssl.main --config=experiments/motion_masks.py
    python -m jssl.main --config=experiments/motion_masks.py:flow=lucas_kanade
    python -m jssl.main \\
        --config=experiments/motion_masks.py:source=clips:FOLDER,flow=lucas_kanade

Pathak et al. 2017, https://arxiv.org/abs/1612.06370. Reference, AlexNet trained on 1.6
million frames of 205,000 videos, after fine-tuning on VOC 2007: 61.0 % mAP of
classification, 52.2 % of detection. There is no `paper`: the videos and their masks are not
published. Ours: `laptop` is what docs/results.md holds.
"""

from jssl import Stage, baselines, evals, nets
from jssl.config import Counts, Fraction, Positive, tiny
from jssl.knobs import CLIPS, Flow, Images, Run, Small, first_frame, jittered
from jssl.methods.video.motion_masks import motion_masks
from jssl.models.colorization import Cells
from jssl.models.heads import Classifier

RUNS = {"": 3, "flow=lucas_kanade": 1, "flow=blocks": 1}
IOU = evals.mask_iou(
    lambda rows: rows["moving"][:, 0],
    {"all objects": lambda rows: rows["objects"][:, 0] > 0},
)


@tiny(CLIPS, widths=(4, 8), strides=(2, 2), decoder=(8,))
def laptop(
    run: Run = Run(),
    images: Images = Images(
        source="scenes",
        epochs=6.0,
        batch=32,
        supervised_epochs=4.0,
        reading="count=4000;camera=0.05;turn=1.5",
    ),
    flow: Flow = Flow(),
    small: Small = Small(widths=(16, 32, 32, 64, 64), strides=(1, 2, 1, 2, 1)),
    decoder: Counts = (32,),
    jitter: Fraction = 0.2,
    threshold: Positive = 0.5,
    softness: Positive = 0.1,
    low: Fraction = 0.4,
    high: Fraction = 0.7,
) -> list[Stage]:
    """A small convolutional network on rendered scenes: about two minutes on two cores.

    Objects of all kinds move or stand still; most balls and triangles move, most discs and
    squares do not. "iou" compares predictions with the objects that move, "iou/all objects"
    takes every object.

    Args:
      source: Data set of clips: scenes, scenes:real, clips:FOLDER.
      batch: Clips per step.
      decoder: Channels of the layers after the encoder, each of which doubles its maps.
      jitter: Largest relative change of a training frame's brightness, contrast and
        saturation.
      threshold: Motion relative to the camera, in pixels, of a foreground probability of
        one half.
      softness: Scale of that motion, in pixels.
      low: Foreground probability up to which a cell is background.
      high: Foreground probability from which a cell is foreground.
    """
    train = images.load(run)
    method = motion_masks(
        nets.linen(Cells(small.encoder(maps=True), 1, decoder)),
        small.adamw(train.steps(images.epochs)),
        flow.first_of(train),
        jittered(jitter),
        prepare=first_frame,
        threshold=threshold,
        softness=softness,
        low=low,
        high=high,
    )
    classifier = nets.linen(Classifier(small.encoder(), max(train.classes, 1)))
    judged = {"masks": IOU} if "moving" in train.row_shapes() else {}
    return [
        baselines.pretrain_stage(
            run, images, train, method, classifier, prepare=first_frame, pictures=judged
        )
    ]
