"""MoCo: contrastive learning with a momentum encoder and a queue of keys.

    python -m jssl.main --config=experiments/moco.py
    python -m jssl.main --config=experiments/moco.py:version=3
    python -m jssl.main --config=experiments/moco.py:paper,version=2,mesh=data=8
    python -m jssl.main --config=experiments/moco.py:v3,mesh=data=128
    python -m jssl.main --config=experiments/moco.py:v3_vit,mesh=data=256

He et al. 2020, https://arxiv.org/abs/1911.05722; Chen et al. 2020,
https://arxiv.org/abs/2003.04297; Chen et al. 2021, https://arxiv.org/abs/2104.02057.
Reference, ImageNet top-1, linear: ResNet-50, 200 epochs, v1 60.6 %, v2 67.5 %; v3, 300
epochs, 72.8 %, ViT-S 73.2 %, ViT-B 76.7 %. Ours: not run; `laptop` is in docs/results.md.
"""

import math
from functools import partial

import optax

from jssl import Stage, baselines, nets, optim, sharding
from jssl.config import Count, Counts, Fraction, Positive, one_of, tiny
from jssl.knobs import CONVNET, GARMENTS, Run, Small, ViewedImages
from jssl.methods.contrastive.moco import moco
from jssl.models import vit
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.papers import LINEAR, PAPER, RESNET, ImageNet, Large, LinearEvaluation, part

RUNS = {"": 5, f"{GARMENTS},epochs=10,supervised_epochs=10": 1}
QUEUE = [("queue/keys$", sharding.rows_sharded)]
QUERIES = part("online")  # the query encoder is evaluated


@tiny(CONVNET, projector=(8, 4), queue=24, groups=4)
def laptop(
    run: Run = Run(),
    images: ViewedImages = ViewedImages(batch=256, supervised_epochs=30.0),
    small: Small = Small(lr=0.002),
    version: int = 2,
    temperature: Positive = 0.1,
    queue: int = 1024,
    momentum: Fraction = 0.99,
    groups: Count = 8,
    projector: Counts = (128, 64),
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Args:
      version: MoCo version: 1 (linear head), 2 (deeper head), 3 (predictor, no queue).
      temperature: Temperature of the similarities.
      queue: Number of keys in the queue (versions 1 and 2).
      momentum: Momentum of the key encoder; in version 3 it rises to 1 along a cosine.
      groups: Batch norm groups, for the paper's devices (versions 1 and 2).
      projector: Widths of the projector's layers; version 1 has the last only.
    """
    head, predictor = one_of("version", version, {
        1: (MLP(projector[-1:], norm=False), None),
        2: (MLP(projector, norm=False), None),
        3: (MLP(projector), MLP(projector)),
    })  # fmt: skip
    if version == 3:
        queue, groups = 0, 1
    train = images.load(run)
    steps = train.steps(images.epochs)
    method = moco(
        nets.linen(Siamese(small.encoder(groups=groups), head, predictor)),
        small.adamw(steps),
        images.augment(train),
        steps=steps,
        queue=queue,
        temperature=temperature,
        momentum=momentum,
    )
    classifier = nets.linen(Classifier(small.encoder(), train.classes))
    chance = {"loss": math.log(1 + queue)} if queue else {}
    return [
        baselines.pretrain_stage(
            run, images, train, method, classifier, chance=chance, rules=QUEUE
        )
    ]


@tiny(RESNET, projector=(8, 4), queue=32)
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=200.0, batch=256, lr=0.03),
    resnet: Large = Large(),
    probe: LinearEvaluation = LinearEvaluation(
        linear_epochs=100.0, linear_batch=256, linear_lr=30.0
    ),
    version: int = 2,
    projector: Counts = (),
    queue: int = 65536,
    groups: Count = 8,
) -> list[Stage]:
    """v1 and v2 on ImageNet: ResNet-50, SGD, batches of 256, 200 epochs.

    The learning rate of v1 falls tenfold at epochs 120 and 160, that of v2 along a cosine.

    Numbers to beat: 60.6 % (v1) and 67.5 % (v2) top-1 of the 50,000 validation images after
    "linear"; 71.1 % for v2 with epochs=800. SGD, batches of 256, rate 30, divided by 10 at
    60 and 80 of 100 epochs.

    Departures: computed in bfloat16, in the released code in float32 (dtype=).

    Args:
      warmup: Epochs of linear warm-up of the learning rate (version 2).
      version: MoCo version, 1 or 2; version 3 is `v3` and `v3_vit`.
      projector: Widths of the projector's layers; empty: those of the version.
      queue: Number of keys in the queue.
      groups: Batch norm groups, for the paper's 8 devices.
    """
    train, augment, prepare = images.viewed(run, f"moco_v{version}")
    steps = train.steps(images.epochs)
    falls = {0.6: 0.1, 0.8: 0.1}
    schedule, temperature, head = one_of("version", version, {
        1: (optim.falling(images.peak, steps, falls), 0.07, (128,)),
        2: (images.schedule(train), 0.2, (2048, 128)),
    })  # fmt: skip
    head = MLP(projector or head, norm=False)
    encoder = resnet.encoder(images, groups=groups, zero_last=False)
    net = nets.linen(Siamese(encoder, head))
    method = moco(
        net,
        optim.decayed_sgd(schedule, decay=1e-4),
        augment,
        steps=steps,
        queue=queue,
        temperature=temperature,
        momentum=0.999,
        prepare=prepare,
    )
    how = dict(tx=partial(optim.decayed_sgd, decay=0.0), falls=falls, rules=QUEUE)
    return probe.with_pretraining(run, images, train, method, net, QUERIES, **how)


@tiny(RESNET, projector=(8, 4), warmup=0.01)
def v3(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=300.0, batch=4096, lr=0.3, warmup=10.0),
    resnet: Large = Large(),
    probe: LinearEvaluation = LinearEvaluation(linear_batch=1024),
    decay: float = 1e-6,
    momentum: Fraction = 0.99,
    projector: Counts = (4096, 256),
) -> list[Stage]:
    """v3 on ImageNet: ResNet-50, LARS, batches of 4,096, 300 epochs.

    Numbers to beat, top-1 of the 50,000 validation images after "linear" (SGD, batches of
    1,024, rate 0.1 for 256, 90 epochs): 68.9 % after 100 epochs (epochs=100,lr=0.6), 72.8 %
    after 300, 74.6 % after 1,000 (epochs=1000,decay=1.5e-6,momentum=0.996).

    Args:
      decay: Weight decay, except of biases and norms.
      momentum: Initial momentum of the key encoder, rising to 1 along a cosine.
      projector: Widths of the projector's layers, and of the predictor's.
    """
    train, augment, prepare = images.viewed(run, "moco_v3_resnet")
    steps = train.steps(images.epochs)
    head = MLP(projector, last_bias=False, last_norm="plain")
    predictor = MLP(projector, last_bias=False)
    net = nets.linen(Siamese(resnet.encoder(images), head, predictor))
    method = moco(
        net,
        optim.lars(images.schedule(train), weight_decay=decay),
        augment,
        steps=steps,
        queue=0,
        temperature=1.0,
        momentum=momentum,
        prepare=prepare,
    )
    sgd = partial(optim.decayed_sgd, decay=0.0)
    return probe.with_pretraining(run, images, train, method, net, QUERIES, tx=sgd)


@tiny(PAPER, LINEAR, variant="16x1x2/8", projector=(8, 8, 4), predictor=(8, 4), warmup=0.01)
def v3_vit(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=300.0, batch=4096, lr=1.5e-4, warmup=40.0),
    probe: LinearEvaluation = LinearEvaluation(linear_batch=1024, linear_lr=3.0),
    variant: str = "B/16",
    temperature: Positive = 0.2,
    momentum: Fraction = 0.99,
    decay: float = 0.1,
    projector: Counts = (4096, 4096, 256),
    predictor: Counts = (4096, 256),
    remat: bool = False,
) -> list[Stage]:
    """v3 with a vision transformer, whose patch projection stays as it was drawn.

    Numbers to beat, 300 epochs, top-1 of the 50,000 validation images after "linear", of
    the class token (SGD, batches of 1,024, rate 3 for 256, 90 epochs): 73.2 %
    (variant=S/16), 76.7 % (B/16).

    The mesh axis fsdp cuts weights and moments, the axis tensor heads and hidden units.

    Args:
      variant: Size and patch of the ViT: S/16, B/16, or WIDTHxDEPTHxHEADS/PATCH.
      temperature: Temperature of the similarities.
      momentum: Initial momentum of the key encoder, rising to 1 along a cosine.
      decay: Weight decay of all weights, biases and norms included.
      projector: Widths of the projector's layers.
      predictor: Widths of the predictor's layers.
      remat: Recompute the blocks' activations in the backward pass, to save memory.
    """
    train, augment, prepare = images.viewed(run, "moco_v3")
    steps = train.steps(images.epochs)
    encoder = vit.moco_v3(variant, dtype=images.dtype or None, remat=remat)
    heads = (MLP(x, last_bias=False, last_norm="plain") for x in (projector, predictor))
    net = nets.linen(Siamese(vit.Pooled(encoder, "cls"), *heads))
    adamw = optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(decay),
        optim.scale_by_rate(images.schedule(train)),
    )
    method = moco(
        net,
        optim.all_but("embedding", adamw),
        augment,
        steps=steps,
        queue=0,
        temperature=temperature,
        momentum=momentum,
        prepare=prepare,
    )
    how = dict(tx=partial(optim.decayed_sgd, decay=0.0), rules=sharding.TRANSFORMER)
    return probe.with_pretraining(run, images, train, method, net, QUERIES, **how)
