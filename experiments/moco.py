"""MoCo: pick out the other view's key from a queue of older keys.

    python -m jssl.main --config=experiments/moco.py
    python -m jssl.main --config=experiments/moco.py:version=3
    python -m jssl.main --config=experiments/moco.py:paper,version=2,mesh=data=8
    python -m jssl.main --config=experiments/moco.py:transformer,mesh=data=256

He et al. 2020, https://arxiv.org/abs/1911.05722; Chen et al. 2020,
https://arxiv.org/abs/2003.04297; Chen et al. 2021, https://arxiv.org/abs/2104.02057.
Reference, ImageNet top-1, linear: ResNet-50, 200 epochs, v1 60.6 %, v2 67.5 %; v3, 300
epochs, 72.8 %, ViT-S 73.2 %, ViT-B 76.7 %. Ours: not run; `laptop` is in docs/results.md.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jssl import Stage, baselines, data, evals, nets, optim, sharding, views
from jssl.methods.contrastive.moco import moco
from jssl.models import vit
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.models.resnet import ResNet


def laptop(
    source: str = "mnist",
    limit: int = 0,
    version: int = 2,
    look: str = "digits",
    epochs: float = 30.0,
    batch: int = 256,
    lr: float = 0.002,
    temperature: float = 0.1,
    queue: int = 1024,
    momentum: float = 0.99,
    groups: int = 8,
    widths: tuple[int, ...] = (32, 64, 128),
    projector: tuple[int, ...] = (128, 64),
    supervised_epochs: float = 30.0,
    save_every: int = 200,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """A small convolutional network on small images: about two minutes on two cores.

    Args:
      source: mnist, fashion_mnist, digits, folder:PATH, tfds:NAME ...
      limit: only so many training images, of each class its share; 0: all.
      version: 1 (a linear head), 2 (a deeper one) or 3 (no queue, a predictor).
      look: the views' recipe: digits, garments, simclr_cifar ...
      epochs: passes over the training split.
      batch: images a step.
      lr: peak of the learning rate; a twentieth of the steps warm up, then a cosine.
      temperature: of the similarities.
      queue: keys remembered; version 3 remembers none.
      momentum: of the keys' encoder; in version 3 it reaches 1 along a cosine.
      groups: of the batch norm, which stand for the paper's devices; 1 in version 3.
      widths: channels of the encoder's layers.
      projector: widths of its layers; of the last only, in version 1.
      supervised_epochs: of the supervised reference, computed once and cached.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, widths, projector = "digits", 16, (4, 8), (8, 4)
        epochs, supervised_epochs, queue, groups = 0.03, 0.03, 24, 4
    train = data.load(source, batch, seed=seed, limit=limit)
    steps, encoder = train.steps(epochs), ConvNet(widths)
    if version not in (1, 2, 3):
        raise ValueError(f"moco: version must be 1, 2 or 3, got {version}")
    size = train.shapes()["image"].shape[1]
    augment = partial(views.multi_view, views=views.recipe(look, size=size))
    schedule = optim.warmup_cosine(lr, steps // 20, steps)
    tx = optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices)
    grouped = ConvNet(widths, groups=1 if version == 3 else groups)
    head = MLP(projector[-1:] if version == 1 else projector, norm=version == 3)
    predictor = MLP(projector) if version == 3 else None
    net = nets.linen(Siamese(grouped, head, predictor))
    kept = 0 if version == 3 else queue
    method = moco(net, tx, augment, steps, kept, temperature, momentum)
    return [
        baselines.compared(
            method,
            train,
            steps,
            nets.linen(Classifier(encoder, train.classes)),
            data.load(source, batch, seed=seed, limit=limit, labeled=True),
            supervised_epochs,
            chance={"loss": math.log(1 + queue)} if version < 3 else {},
            rules=[("queue/keys$", sharding.rows_sharded)],
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]


def paper(
    version: int = 2,
    depth: int = 50,
    source: str = "tfds:imagenet2012",
    queue: int = 65536,
    groups: int = 8,
    workers: int = 16,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """The published settings on ImageNet, with a ResNet-50.

    v1 and v2: 200 epochs, SGD, batches of 256; v1's rate falls tenfold at epochs 120 and
    160, v2's along a cosine. v3: 300 epochs, LARS, batches of 4,096; for its ViTs see
    `transformer`.

    Departure: crops are drawn on the device, from the central square of 256 pixels that
    the loader cuts, not from the whole photograph.

    Args:
      version: 1, 2 or 3.
      depth: of the ResNet.
      source: a prepared TFDS data set, or folder:PATH.
      queue: keys remembered by v1 and v2.
      groups: of their batch norm, the paper's 8 devices.
      workers: processes that read and decode, on each host.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=128.
      tiny: the sizes that tests run.
    """
    size, stored, dtype, width = 224, 256, jnp.bfloat16, 64
    epochs, batch, warmup = (300.0, 4096, 10.0) if version == 3 else (200.0, 256, 0.0)
    heads = {1: (128,), 2: (2048, 128), 3: (4096, 256)}
    if version not in heads:
        raise ValueError(f"moco: version must be 1, 2 or 3, got {version}")
    head, recipe = heads[version], {3: "moco_v3_resnet"}.get(version, f"moco_v{version}")
    if tiny:
        size, stored, source, workers, dtype, width = 16, 32, "photos", 0, None, 4
        epochs, warmup, batch, depth, queue, head = 0.02, 0.01, 16, 10, 32, (8, 4)
    read = dict(size=stored, threads=2 * workers + 2, workers=workers)
    train = data.load(source, batch, seed=seed, **read)
    steps = train.steps(epochs)
    if version == 3:
        begin = min(train.steps(warmup), steps - 1)
        schedule = optim.warmup_cosine(0.3 * batch / 256, begin, steps)
        tx = optim.lars(schedule, weight_decay=1e-6)
        projector, predictor = MLP(head, last_bias=False, last_norm="plain"), MLP(head)
        queue, groups, temperature, momentum = 0, 1, 1.0, 0.99
    else:
        rate = 0.03 * batch / 256
        fall = {int(0.6 * steps): 0.1, int(0.8 * steps): 0.1}
        schedule = {
            1: optax.piecewise_constant_schedule(rate, fall),
            2: optim.warmup_cosine(rate, 0, steps),
        }[version]
        sgd = optax.sgd(schedule, momentum=0.9)
        tx = optax.chain(optax.add_decayed_weights(1e-4), sgd)
        projector, predictor = MLP(head, norm=False), None
        temperature, momentum = {1: 0.07, 2: 0.2}[version], 0.999
    encoder = ResNet(depth, width=width, groups=groups, dtype=dtype)
    method = moco(
        nets.linen(Siamese(encoder, projector, predictor)),
        tx,
        partial(views.multi_view, views=views.recipe(recipe, size=size)),
        steps,
        queue,
        temperature,
        momentum,
        prepare=jax.vmap(lambda image: views.center_crop(image, size / stored)),
    )
    return [
        Stage(
            name="pretrain",
            method=method,
            data=train,
            steps=steps,
            evals={"knn": evals.knn()} if train.classes else {},
            rules=[("queue/keys$", sharding.rows_sharded)],
            mesh=mesh,
            save_every=save_every,
            seed=seed,
        )
    ]


def transformer(
    variant: str = "B/16",
    source: str = "tfds:imagenet2012",
    epochs: float = 300.0,
    batch: int = 4096,
    lr: float = 1.5e-4,
    warmup: float = 40.0,
    temperature: float = 0.2,
    momentum: float = 0.99,
    remat: bool = False,
    workers: int = 16,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """MoCo v3 with a vision transformer, whose patch projection stays as it was drawn.

    Departure: crops are drawn on the device, from the central square of 256 pixels that
    the loader cuts, not from the whole photograph.

    Args:
      variant: S/16 or B/16.
      source: a prepared TFDS data set, or folder:PATH.
      epochs: passes over the training split.
      batch: images a step, of two views each.
      lr: for a batch of 256; scales with the batch.
      warmup: epochs in which the rate climbs.
      temperature: of the similarities.
      momentum: of the keys' encoder, at the start of its cosine to 1.
      remat: computes the blocks' insides anew in the backward pass, for memory.
      workers: processes that read and decode, on each host.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, data=64;fsdp=4: weights and moments are cut along fsdp, heads and
        hidden units along tensor.
      tiny: the sizes that tests run.
    """
    size, stored, dtype, heads = 224, 256, jnp.bfloat16, ((4096, 4096, 256), (4096, 256))
    sizes = vit.sizes(variant)
    if tiny:
        size, stored, source, workers, dtype = 16, 32, "photos", 0, None
        epochs, warmup, batch, heads = 0.02, 0.01, 16, ((8, 8, 4), (8, 4))
        sizes = dict(width=16, depth=1, heads=2, patch=8)
    read = dict(size=stored, threads=2 * workers + 2, workers=workers)
    train = data.load(source, batch, seed=seed, **read)
    steps = train.steps(epochs)
    climb = min(train.steps(warmup), steps - 1)
    schedule = optim.warmup_cosine(lr * batch / 256, climb, steps)
    encoder = vit.Pooled(vit.Encoder(**sizes, dtype=dtype, remat=remat), "cls")
    projector, predictor = (MLP(h, last_bias=False, last_norm="plain") for h in heads)
    method = moco(
        nets.linen(Siamese(encoder, projector, predictor)),
        optim.all_but(
            "embedding",
            optax.adamw(schedule, weight_decay=0.1, mask=optim.matrices),
        ),
        partial(views.multi_view, views=views.recipe("moco_v3", size=size)),
        steps,
        0,
        temperature,
        momentum,
        prepare=jax.vmap(lambda image: views.center_crop(image, size / stored)),
    )
    return [
        Stage(
            name="pretrain",
            method=method,
            data=train,
            steps=steps,
            evals={"knn": evals.knn()} if train.classes else {},
            rules=sharding.TRANSFORMER,
            mesh=mesh,
            save_every=save_every,
            seed=seed,
        )
    ]
