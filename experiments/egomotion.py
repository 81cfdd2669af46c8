"""Egomotion: classification of the motion of the camera between two views.

    python -m jssl.main --config=experiments/egomotion.py
    python -m jssl.main --config=experiments/egomotion.py:slow=1.0
    python -m jssl.main --config=experiments/egomotion.py:source=stamps,size=32,margin=6

Agrawal, Carreira and Malik 2015, https://arxiv.org/abs/1505.01596. Motions are those of
their experiments on MNIST. References, AlexNet trained on motions of a car: 31.0 % mean
average precision on VOC 2007 by the last layers alone, 54.2 % by all. There is no `paper`:
the videos of KITTI and San Francisco with their odometry are no data set of jssl; between
real frames see experiments/camera_pose.py. Ours: `laptop` is in docs/results.md.
"""

import math

from jssl import Stage, baselines, nets
from jssl.config import Count, Counts, tiny
from jssl.knobs import CONVNET, Images, Run, Small
from jssl.methods.video.egomotion import egomotion
from jssl.models.heads import Classifier
from jssl.models.siamese_pairs import SiamesePairs

RUNS = {"": 5, "slow=1.0": 3}


@tiny(CONVNET, strides=(2, 1), top=(4,), hidden=8)
def laptop(
    run: Run = Run(),
    images: Images = Images(epochs=14.0),
    small: Small = Small(widths=(16, 32, 64), strides=(2, 1, 1)),
    shift: Count = 3,
    degrees: float = 30.0,
    bins: Count = 20,
    margin: int = 0,
    slow: float = 0.0,
    top: Counts = (64, 64),
    hidden: Count = 128,
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Args:
      batch: Images per step, a pair of views of each.
      shift: Largest translation between the views, in pixels: 2 shift + 1 classes.
      degrees: Largest rotation between the views, in degrees.
      bins: Classes of rotation.
      margin: Pixels cut from each side of the views, for images without black background,
        whose border would betray the motion.
      slow: Margin of the baseline of slow features, without classes; 0: classes of motion.
      top: Channels of the convolutions on the maps of both views.
      hidden: Units of the dense layer above them.
    """
    train = images.load(run)
    classes = (2 * shift + 1, 2 * shift + 1, bins)
    method = egomotion(
        nets.linen(SiamesePairs(small.encoder(maps=True), classes, top, hidden)),
        small.adamw(train.steps(images.epochs)),
        shift=shift,
        degrees=degrees,
        bins=bins,
        margin=margin,
        slow=slow,
    )
    chance = {} if slow else {"loss": sum(map(math.log, classes))}
    classifier = nets.linen(Classifier(small.encoder(), train.classes))
    return [baselines.pretrain_stage(run, images, train, method, classifier, chance=chance)]
