"""Game labels: depth, normals and contours of rendered scenes, in features of any domain.

    python -m jssl.main --config=experiments/game_labels.py
    python -m jssl.main --config=experiments/game_labels.py:aligned=False
    python -m jssl.main --config=experiments/game_labels.py:reversal=True
    python -m jssl.main \\
        --config=experiments/game_labels.py:source=doom:my_way_home,size=32

Ren and Lee 2018, https://arxiv.org/abs/1711.09082. Reference, AlexNet trained on SUNCG and
SceneNet, after fine-tuning on VOC 2007: 68.0 % mAP of classification, 52.6 % of detection.
There is no `paper`: SUNCG is not published any more. Ours: `laptop` is what docs/results.md
holds.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl import Stage, baselines, data, evals, nets
from jssl.config import Count, Counts, Positive, tiny
from jssl.data import Source
from jssl.knobs import CLIPS, Images, Run, Small, first_frame, with_labels
from jssl.method import field
from jssl.methods.video.game_labels import game_labels
from jssl.models.heads import Classifier
from jssl.models.scene_labels import DomainJudge, SceneLabels

RUNS = {"": 3, "aligned=False": 3, "adversarial=0.0": 1, "reversal=True": 1}


@tiny(CLIPS | dict(source="scenes:real", reading=""), scenes=64, widths=(4, 8),
      strides=(2, 2), decoder=(8,), judge=(4, 4))  # fmt: skip
def laptop(
    run: Run = Run(),
    images: Images = Images(
        source="scenes:real",
        epochs=20.0,
        batch=32,
        supervised_epochs=8.0,
    ),
    scenes: Count = 2000,
    small: Small = Small(widths=(32, 64, 128, 128), strides=(2, 2, 2, 1)),
    decoder: Counts = (32, 16),
    aligned: bool = True,
    adversarial: float = 0.05,
    reversal: bool = False,
    judge: tuple = (64, 64),
    judge_lr: Positive = 1e-3,
    pool: Count = 128,
) -> list[Stage]:
    """A small convolutional network on rendered scenes: about two minutes on two cores.

    The real domain has other textures and light, blur and noise. Probes judge features of
    the green channel of its images; "depth_mae" is of the rendered domain, whose labels are
    learned from, and "depth_mae/real" of the real one; "domain_accuracy" is that of a
    linear classifier of the domain on frozen features.

    The supervised baseline sees all three channels of the images of the real domain, the
    method and the other baselines one of them.

    Departures: the maps that the discriminator sees are after their ReLU. The encoder and
    its decoders have AdamW with a cosine, there Adam with b1 = 0.5, 1e-3 and a rate that
    falls tenfold at 60 and 90 % of the steps; the discriminator has Adam with b1 = 0.5,
    there SGD with momentum 0.9, 1e-3 and a weight decay of 5e-4.

    Args:
      source: Real domain: scenes:real, doom:SCENARIO, photos, or other images in color.
      batch: Images of each domain per step.
      scenes: Number of rendered training scenes.
      decoder: Channels of the layers of each decoder, each of which doubles the maps.
      aligned: Keep the features of both domains alike; off omits the discriminator, but
        not the batch statistics that both domains have in common.
      adversarial: Weight of the adversarial term.
      reversal: Reverse the gradients of the discriminator's loss, in place of the
        adversarial term.
      judge: Channels of the two hidden layers of the discriminator.
      judge_lr: Learning rate of the discriminator, constant.
      pool: Rendered features of the past, of which the discriminator sees some; at least
        `batch`.
    """
    target = images.load(run)
    real = first_frame if "video" in target.row_shapes() else field("image")
    shape = jax.eval_shape(real, jax.eval_shape(target.decode, target.row_shapes())).shape
    if shape[1] != shape[2] or shape[3] != 3 or pool < images.batch:
        raise ValueError(
            f"game_labels needs square images in color and a pool of at least a batch, got "
            f"{list(shape[1:])} of {target.data_name}, pool={pool} and batch="
            f"{images.batch}: give another source, size=32, or another pool"
        )
    drawn = data.load(
        "scenes", images.batch, seed=run.seed, frames=1, size=shape[1], count=scenes
    )
    depth = np.log(drawn.column("depth"))
    both = data.pair(rendered=drawn, real=target, main="real")
    method = game_labels(
        nets.linen(SceneLabels(small.encoder(maps=True), decoder)),
        small.adamw(both.steps(images.epochs)),
        rendered=first_frame,
        labels=lambda batch: {k: batch[k][:, 0] for k in ("depth", "normal", "edge")},
        real=real,
        prepare=lambda rows: channel(real(rows), 1),  # green
        look=one_channel,
        judge=nets.linen(DomainJudge(judge)) if aligned else None,
        judge_tx=optax.adam(judge_lr, b1=0.5),
        adversarial=adversarial,
        reversal=reversal,
        pool=pool,
        log_depth=(float(depth.mean()), float(depth.std())),
    )
    other = rows_of(drawn, "video" if real is first_frame else "image")
    depths = lambda rows: rows["depth"][:, 0]
    judged = {
        "domain": evals.domain_accuracy(other),
        "depth": evals.depth_maps(depths, other=other),
    }
    if images.source.startswith("scenes"):
        judged["depth/real"] = evals.depth_maps(depths, of="/real")
    classifier = nets.linen(Classifier(small.encoder(), max(target.classes, 1)))
    return [
        baselines.pretrain_stage(
            run,
            images,
            both,
            method,
            classifier,
            labeled=with_labels(target) if target.classes else None,
            prepare=real,
            pictures=judged,
        )
    ]


def one_channel(key, images):
    """A random channel of each image in place of all: their ratios tell domains apart."""
    return channel(images, jax.random.randint(key, (len(images), 1, 1, 1), 0, 3))


def channel(images, number):
    """One channel of images in place of all."""
    chosen = jnp.broadcast_to(number, (len(images), *images.shape[1:3], 1))
    return jnp.broadcast_to(jnp.take_along_axis(images, chosen, -1), images.shape)


def rows_of(source: Source, column: str):
    """split -> decoded rows of a source of scenes, with images under a column's name."""

    @cache
    def of(split):
        part = source.split(split)
        video = np.float32(part.column("video")) / 255
        shown = video if column == "video" else video[:, 0]
        return {column: shown, "depth": part.column("depth")}

    return of
