"""Contrastive multiview coding: views of a scene by different senses are positives.

    python -m jssl.main --config=experiments/multiview_coding.py
    python -m jssl.main --config=experiments/multiview_coding.py:look=quarters,graph=full
    python -m jssl.main --config=experiments/multiview_coding.py:source=stamps,size=32
    python -m jssl.main --config=experiments/multiview_coding.py:source=doom,look=lab_depth
    python -m jssl.main --config=experiments/multiview_coding.py:paper,mesh=data=8

Tian et al. 2020, https://arxiv.org/abs/1906.05849; https://github.com/HobbitLong/CMC.
Reference, ImageNet top-1, linear, L and ab: ResNet-50 64 to 66 %, the largest of the
released networks 68.4 %. Ours: `paper` not run; `laptop` is in docs/results.md.
"""

import math
from functools import partial

import jax.numpy as jnp

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, Fraction, Positive, one_of, tiny
from jssl.knobs import CONVNET, Images, Run, Small
from jssl.methods.contrastive.multiview_coding import multiview_coding, pairs
from jssl.models.heads import MLP, Classifier
from jssl.models.multiview import Concatenated, PerView
from jssl.papers import RESNET, ImageNet, Large, LinearEvaluation
from jssl.views.channels import VIEWS

RUNS = {"": 1, "source=stamps,size=32,batch=128,epochs=100,supervised_epochs=40": 1}


@tiny(CONVNET, projector=(4,), negatives=8)
def laptop(
    run: Run = Run(),
    images: Images = Images(batch=256, supervised_epochs=30.0),
    small: Small = Small(),
    look: str = "",
    graph: str = "core",
    kind: str = "batch",
    negatives: Count = 1024,
    temperature: Positive = 0.1,
    momentum: Fraction = 0.5,
    projector: Counts = (64,),
    area: Fraction = 1.0,
    far: Positive = 1834.0,
) -> list[Stage]:
    """A small convolutional network for each view: about two minutes on two cores.

    All views of an image have the same crop, and color images are mirrored half the time.
    Depth is that of sources with a column "depth", such as doom:my_way_home. The supervised
    baseline has the same views and encoders.

    Args:
      look: Views of an image: lab (L and ab), ycbcr, bands (low and high frequencies),
        halves, quarters, depth (color and depth) or lab_depth; empty: lab for color images,
        halves for gray ones.
      graph: Pairs of views that are contrasted: core (the first with all others) or full.
      kind: Loss: nce (the paper) or softmax, of a memory bank, or batch (InfoNCE).
      negatives: Rows of the bank for each anchor.
      temperature: Temperature of the similarities.
      momentum: Momentum of the bank's rows.
      projector: Widths of the layers of each view's head.
      area: Smallest area of a crop, as a fraction of the image's; 1: no crops.
      far: Depth that is scaled to 1: the largest of doom, in map units.
    """
    train = images.load(run)
    color = train.image_shape[-1] == 3
    look = look or ("lab" if color else "halves")
    names, split = one_of("look", look, VIEWS)
    whole = (
        partial(with_depth, far=far) if "depth" in look else lambda batch: batch["image"]
    )
    crop = (area, 1.0) if area < 1 else None
    view = views.View(size=train.side, area=crop, flip=0.5 if color else 0.0)
    prepare = lambda batch: split(whole(batch))
    encoders = tuple(small.encoder() for _ in names)
    heads = tuple(MLP(projector) for _ in names)
    method = multiview_coding(
        nets.linen(PerView(encoders, heads)),
        small.adamw(train.steps(images.epochs)),
        lambda key, batch: split(view(key, whole(batch))),
        views=names,
        size=train.size,
        prepare=prepare,
        kind=kind,
        negatives=negatives,
        graph=graph,
        temperature=temperature,
        momentum=momentum,
    )
    classifier = Classifier(Concatenated(encoders), train.classes)
    each = {f"linear {name}": of_view(name) for name in names} if train.classes else {}
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            nets.linen(classifier),
            prepare=prepare,
            pictures=each,
            chance={"loss": chance(kind, names, graph, negatives, images.batch)},
        )
    ]


def with_depth(batch, far=255.0):
    """Images [n, h, w, c + 1] in [0, 1] whose last channel is depth, from 0 to `far`."""
    if "depth" not in batch:
        raise ValueError(
            "views by depth need a source with a column depth, such as doom:my_way_home"
        )
    depth = batch["depth"][..., None].astype(jnp.float32) / far
    return jnp.concatenate([batch["image"], depth], -1)


def of_view(name):
    """The linear probe of one view's encoder: "linear/L"."""
    return evals.suffixed(evals.linear_probe(name=f"h/{name}"), name)


def chance(kind, names, graph, m, batch):
    """The loss of features without information: all candidates are as likely."""
    nats = one_of("kind", kind, {
        "nce": math.log(1 + m) + m * math.log((1 + m) / m),
        "softmax": math.log(1 + m),
        "batch": math.log(batch),
    })  # fmt: skip
    return 2 * len(pairs(len(names), graph)) * nats


@tiny(RESNET, projector=(4,), negatives=8)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=240.0, batch=128, lr=0.06),
    resnet: Large = Large(width=32),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=60.0, linear_batch=256, linear_lr=30.0
    ),
    look: str = "lab",
    kind: str = "nce",
    negatives: Count = 16384,
    temperature: Positive = 0.07,
    momentum: Fraction = 0.5,
    projector: Counts = (128,),
    area: Fraction = 0.08,
) -> list[Stage]:
    """L and ab on ImageNet: half a ResNet-50 for each, NCE with 16,384 negatives.

    SGD with momentum 0.9, batches of 128, rate 0.03, divided by 10 at epochs 120, 160 and
    200 of 240; crops of 8 to 100 % of the area, mirrored half the time, then L and ab. The
    banks have 128 numbers of each view of every image, 1.3 GB, and a step reads 2 GB.

    Numbers to compare with, top-1 of the 50,000 validation images after "linear" on the
    concatenation of both halves (rate 30, times 0.2 at epochs 30, 40 and 50 of 60): 64 to
    66 %, by the version of the paper. YCbCr (look=ycbcr) is 0.5 to 1 % better there.

    Departures: computed in bfloat16 (dtype=), the released code in float32 or mixed
    precision; the stem of half a ResNet has 32 channels, there 64; the banks begin as
    uniform directions, there as points of a cube; YCbCr is scaled by its range.

    Args:
      width: Channels of the ResNets' first blocks; 64: a whole ResNet for each view.
      look: Views of an image: lab or ycbcr.
      kind: Loss: nce, softmax or batch.
      negatives: Rows of the bank for each anchor; 4,096 of the released weights.
      temperature: Temperature of the similarities.
      momentum: Momentum of the banks' rows.
      projector: Widths of the layers of each view's head.
      area: Smallest area of a crop, as a fraction of the image's.
    """
    names, split = one_of("look", look, {x: VIEWS[x] for x in ("lab", "ycbcr")})
    crop = images.crop_and_flip(area=(area, 1.0), statistics=None)
    train, cropped, prepare = images.viewed(run, crop)
    steps = train.steps(images.epochs)
    falls = {1 / 2: 0.1, 2 / 3: 0.1, 5 / 6: 0.1}
    encoders = tuple(resnet.encoder(images, zero_last=False) for _ in names)
    net = nets.linen(PerView(encoders, tuple(MLP(projector) for _ in names)))
    method = multiview_coding(
        net,
        optim.decayed_sgd(optim.falling(images.peak, steps, falls), decay=1e-4),
        lambda key, batch: split(cropped(key, batch)),
        views=names,
        size=train.size,
        prepare=lambda batch: split(prepare(batch)),
        kind=kind,
        negatives=negatives,
        temperature=temperature,
        momentum=momentum,
    )
    stage = run.stage(
        "pretrain",
        method,
        train,
        steps,
        evals=evals.knn_if_labeled(train),
        chance={"loss": chance(kind, names, "core", negatives, images.batch)},
    )
    sgd = partial(optim.decayed_sgd, decay=0.0)
    return [
        stage,
        *probe.stages(
            run,
            images,
            train,
            of_whole(net, split),
            lambda state: state.learner,
            tx=sgd,
            falls={1 / 2: 0.2, 2 / 3: 0.2, 5 / 6: 0.2},
            look=crop,
        ),
    ]


def of_whole(net, split):
    """A network of views as one of images."""
    apply = lambda params, stats, x, **how: net.apply(params, stats, split(x), **how)
    return nets.Net(lambda key, x: net.init(key, split(x)), apply)
