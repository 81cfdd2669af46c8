"""Camera pose as the other modality: the motion of the camera between two frames.

    python -m jssl.main --config=experiments/camera_pose.py
    python -m jssl.main --config=experiments/camera_pose.py:bins=0
    python -m jssl.main --config=experiments/camera_pose.py:source=doom,reading=frames=2

Agrawal, Carreira and Malik 2015, https://arxiv.org/abs/1505.01596: three components of a
car's motion, 20 bins each. There is no `paper`: the videos of KITTI and San Francisco with
their odometry are no data set of jssl. Ours: `laptop` is in docs/results.md.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jssl import Stage, baselines, evals, nets
from jssl.config import Count, Counts, Positive, tiny
from jssl.data.doom import camera_motion
from jssl.knobs import CONVNET, Images, Run, Small, in_motion
from jssl.methods.crossmodal.camera_pose import camera_pose, first_two
from jssl.models.siamese_pairs import PairClassifier, PairsAndPoses, SiamesePairs
from jssl.ops.poses import bin_pose

DOOM = "source=doom:my_way_home,reading=frames=2;stride=1;size=32"
RUNS = {"": 3, "bins=0": 1, DOOM: 1}


@tiny(CONVNET, strides=(2, 1), top=(4,), hidden=8, bins=4, reading="count=64;turn=5.0")
def laptop(
    run: Run = Run(),
    images: Images = Images(
        source="scenes", reading="turn=5.0;camera=0.5;count=4000", epochs=20.0
    ),
    small: Small = Small(widths=(32, 64, 128), strides=(2, 2, 1)),
    bins: int = 5,
    temperature: Positive = 0.1,
    top: Counts = (64, 64),
    hidden: Count = 128,
    width: Count = 32,
) -> list[Stage]:
    """A small convolutional network on pairs of frames: about two minutes on two cores.

    The camera moves so far between two frames that its translation shows at 32 pixels.
    Components of the motion that never vary are omitted. "linear/joint" is the probe of the
    features of both frames together, which tell an action; h is of the frames by
    themselves.

    Args:
      source: Data set of clips with a column of motions or poses: scenes, doom:SCENARIO
        with reading=frames=2.
      batch: Pairs per step.
      bins: Classes of each component, equally frequent in training; 0: contrast.
      temperature: Temperature of the contrast.
      top: Channels of the convolutions on the maps of both frames.
      hidden: Units of the dense layer above them.
      width: Width of the embeddings that are contrasted.
    """
    train = in_motion(images.load(run))
    columns = train.row_shapes()
    held = [x for x in ("camera", "pose") if x in columns]
    if not held:
        raise ValueError(
            f"camera_pose: {train.data_name} has no motions or poses of a camera: give "
            "source=scenes, or source=doom,reading=frames=2"
        )
    known = np.asarray(_motion({x: train.column(x) for x in held}))
    mean, std = known.mean(0), known.std(0)
    (kept,) = np.nonzero(std > 1e-4)
    standard = lambda x: (x[:, kept] - mean[kept]) / std[kept]
    edges, chance = None, math.log(images.batch)
    if bins:
        edges = np.quantile(standard(known), np.arange(1, bins) / bins, axis=0)
        edges = edges.T.astype(np.float32)
        chance = _entropy(bin_pose(jnp.asarray(standard(known)), edges))
    classes = (bins,) * len(kept) if bins else ()
    pairs = SiamesePairs(small.encoder(maps=True), classes, top, hidden)
    method = camera_pose(
        nets.linen(pairs if bins else PairsAndPoses(pairs, width)),
        small.adamw(train.steps(images.epochs)),
        lambda batch: standard(_motion(batch)),
        edges=edges,
        temperature=temperature,
    )
    classifier = PairClassifier(pairs, train.classes)
    joint = evals.renamed(evals.linear_probe(name="joint"), "joint")
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            _of_pairs(nets.linen(classifier)),
            prepare=first_two,
            further={"linear joint": joint},
            chance={"loss": chance},
        )
    ]


def _of_pairs(net):
    """A classifier of pairs, whose h are joint features, with its outputs of pairs only.

    The layers of its encoder have two rows for each pair.
    """

    def apply(params, stats, pairs, **how):
        out, stats = net.apply(params, stats, pairs, **how)
        return {"logits": out["logits"], "h": out["h"]}, stats

    return net._replace(apply=apply)


def _motion(batch):
    """Motions from first to second frame: translation and rotation vector, [n, 6]."""
    if "camera" in batch:
        return batch["camera"][:, 0]
    pose = jnp.asarray(batch["pose"])
    return jax.vmap(camera_motion)(pose[:, 0], pose[:, 1])


def _entropy(labels):
    """Sum over components of the entropy of their classes."""
    shares = [np.bincount(x)[np.unique(x)] / len(x) for x in np.asarray(labels).T]
    return float(sum(-(p * np.log(p)).sum() for p in shares))
