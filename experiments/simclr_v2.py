"""SimCLR v2: contrast all images, fine-tune on few labels, distil on all images again.

    python -m jssl.main --config=experiments/simclr_v2.py
    python -m jssl.main --config=experiments/simclr_v2.py:queue=1024,few=1,many=10
    python -m jssl.main --config=experiments/simclr_v2.py:paper,mesh=data=128

Chen et al. 2020, https://arxiv.org/abs/2006.10029. Reference, ResNet-50, ImageNet top-1:
linear 71.7 % (with the memory; without, 71.1 %: google-research/simclr, issue 77);
fine-tuned on 1 % and 10 % of the labels 57.9 % and 68.4 %; distilled from the largest
network, ResNet-152 three times as wide with selective kernels, 73.9 % and 77.5 %. Ours:
`paper` not run; `laptop` is in docs/results.md.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jssl import Stage, baselines, data, evals, nets, optim, views
from jssl.learner import graft
from jssl.methods.contrastive.simclr_v2 import simclr_v2
from jssl.methods.transfer.distil import distil, frozen
from jssl.methods.transfer.supervised import supervised
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.models.resnet import ResNet


def laptop(
    source: str = "mnist",
    look: str = "digits",
    epochs: float = 40.0,
    batch: int = 256,
    lr: float = 2e-3,
    temperature: float = 0.2,
    queue: int = 0,
    momentum: float = 0.99,
    few: int = 4,
    many: int = 35,
    tune_steps: int = 200,
    tune_batch: int = 40,
    tune_lr: float = 5e-4,
    scratch_lr: float = 1e-3,
    distil_epochs: float = 15.0,
    distil_batch: int = 64,
    distil_temperature: float = 1.0,
    shift: float = 2.0,
    widths: tuple[int, ...] = (32, 64, 128),
    projector: tuple[int, ...] = (128, 128, 64),
    supervised_epochs: float = 10.0,
    save_every: int = 200,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """The whole recipe, twice from one pre-training: about three minutes on two cores.

    Stages "fine-tune-1" and "distil-1" have `few` labels of each class, about 1 % of
    MNIST-5k, and "fine-tune-10" and "distil-10" have `many`, 10 %. What is called top1
    knows those labels alone; kNN and linear probe judge h with all labels, as everywhere.

    Args:
      source: mnist, fashion_mnist, digits, folder:PATH with class folders ...
      look: the views' recipe of pre-training: digits, garments, simclr_cifar ...
      epochs: of pre-training, passes over the training split.
      batch: images a step of pre-training, of two views each.
      lr: of pre-training and distillation, its peak; a twentieth of the steps warm up,
        then a cosine.
      temperature: of the similarities.
      queue: projections remembered as further negatives; 0: none.
      momentum: of the network that fills the queue.
      few: labels of each class.
      many: labels of each class.
      tune_steps: of each fine-tuning.
      tune_batch: images a step of fine-tuning, or all there are.
      tune_lr: of fine-tuning, at first; then a cosine.
      scratch_lr: the same of the networks that learn the few labels from random weights.
      distil_epochs: of each distillation, passes over the training split.
      distil_batch: images a step of distillation.
      distil_temperature: divides the logits of teacher and student.
      shift: most pixels by which an image is moved in fine-tuning and distillation.
      widths: channels of the encoder's layers.
      projector: widths of the head's three layers; fine-tuning keeps the first.
      supervised_epochs: of the supervised reference, computed once and cached.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data; the choice of labels is fixed.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, widths, projector = "digits", 16, (4, 8), (8, 8, 4)
        few, many, tune_steps, tune_batch, distil_batch = 2, 3, 2, 16, 16
        epochs = distil_epochs = supervised_epochs = 0.03
    train = data.load(source, batch, seed=seed)
    steps, encoder, head = train.steps(epochs), ConvNet(widths), MLP(projector)
    classes, size = train.classes, train.shapes()["image"].shape[1]
    mild = views.View(size=size, shift=shift)
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    named = judged | {"top1": evals.accuracy()}
    shared = dict(seed=seed, mesh=mesh)

    def adamw(peak, warmup, steps):
        schedule = optim.warmup_cosine(peak, warmup, steps)
        return optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices)

    method = simclr_v2(
        nets.linen(Siamese(encoder, head)),
        adamw(lr, steps // 20, steps),
        partial(views.multi_view, views=views.recipe(look, size=size)),
        temperature,
        queue,
        momentum,
    )
    pretrain = baselines.compared(
        method,
        train,
        steps,
        nets.linen(Classifier(encoder, classes)),
        data.load(source, batch, seed=seed, labeled=True),
        supervised_epochs,
        save_every=save_every,
        **shared,
    )
    from_head = nets.linen(Classifier(encoder, classes, head))

    def taught(name, per_class, peak, **fields):
        fit = min(tune_batch, per_class * classes)
        whole = data.load(source, fit, seed=seed, labeled=True)
        some = data.labels_per_class(whole, per_class)
        # By another name its "train" split, on which evals fit, is the whole one.
        some = dataclasses.replace(some, name=f"{source}/few[{some.size}]")
        tx = adamw(peak, 0, tune_steps)
        return Stage(
            name=name,
            method=supervised(from_head, tx, classes, mild),
            data=some,
            steps=tune_steps,
            evals=named,
            **fields,
            **shared,
        )

    def tuned(name, per_class):
        scratch = taught(f"scratch-{name}", per_class, scratch_lr)
        return taught(
            name,
            per_class,
            tune_lr,
            baselines={f"from scratch, {per_class} labels a class": scratch},
            start=lambda state, done: graft(
                state, encoder=done["pretrain"].online, projector=done["pretrain"].online
            ),
        )

    def distilled(name, teacher):
        images = data.load(source, distil_batch, seed=seed)
        steps = images.steps(distil_epochs)
        return Stage(
            name=name,
            method=distil(
                nets.linen(Classifier(encoder, classes)),
                from_head,
                adamw(lr, steps // 20, steps),
                distil_temperature,
                augment=mild,
            ),
            data=images,
            steps=steps,
            evals=named,
            start=lambda state, done: state._replace(teacher=frozen(done[teacher])),
            save_every=save_every,
            **shared,
        )

    return [
        pretrain,
        tuned("fine-tune-1", few),
        distilled("distil-1", "fine-tune-1"),
        tuned("fine-tune-10", many),
        distilled("distil-10", "fine-tune-10"),
    ]


def paper(
    depth: int = 50,
    width: int = 64,
    source: str = "tfds:imagenet2012",
    epochs: float = 800.0,
    batch: int = 4096,
    lr: float = 0.1,
    temperature: float = 0.1,
    queue: int = 65536,
    momentum: float = 0.999,
    per_class: int = 13,
    tune_epochs: float = 60.0,
    tune_batch: int = 1024,
    tune_lr: float = 0.005,
    distil_epochs: float = 400.0,
    distil_temperature: float = 0.1,
    workers: int = 16,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """The published schedules on ImageNet: pre-training, fine-tuning, self-distillation.

    Departures: crops are drawn on the device, from the central square of 256 pixels that
    the loader cuts, not from the whole photograph; the labelled images are as many of
    each class, not those of the published lists; no selective kernels. The epochs and the
    temperature of distillation are not checked against the released code.

    Args:
      depth: of the ResNet.
      width: of its first blocks; 128 and 192 are the paper's 2x and 3x.
      source: a prepared TFDS data set, or folder:PATH.
      epochs: of pre-training; a twentieth of them warm up.
      batch: images a step of pre-training, of two views each, and of distillation.
      lr: of pre-training and distillation, for a batch of 1; grows with its square root.
      temperature: of the similarities.
      queue: projections remembered as further negatives; 0: none.
      momentum: of the network that fills the queue.
      per_class: labels of each class: 13 for 1 %, 128 for 10 %.
      tune_epochs: of fine-tuning: 60 for 1 %, 30 for 10 %.
      tune_batch: images a step of fine-tuning.
      tune_lr: of fine-tuning, for a batch of 1; grows with its square root.
      distil_epochs: of distillation into a network like the teacher, less its head.
      distil_temperature: divides the logits of teacher and student.
      workers: processes that read and decode, on each host.
      save_every: steps between checkpoints.
      seed: of weights, views and the order of the data.
      mesh: device axes, such as data=128.
      tiny: the sizes that tests run.
    """
    size, stored, out = 224, 256, 128
    if tiny:
        size, stored, source, workers, width = 16, 32, "photos", 0, 1
        batch, tune_batch, per_class, queue, out = 16, 16, 8, 32, 8
        epochs = distil_epochs = 0.02
        tune_epochs = 2.0
    read = dict(size=stored, seed=seed, threads=2 * workers + 2, workers=workers)
    train = data.load(source, batch, **read)
    whole = data.load(source, tune_batch, labeled=True, **read)
    some = data.labels_per_class(whole, per_class)
    steps, classes = train.steps(epochs), train.classes
    encoder = ConvNet((4, 8)) if tiny else ResNet(depth, width=width, dtype=jnp.bfloat16)
    feature = width * 8 * (4 if depth >= 50 else 1)
    head = MLP((feature, feature, out), last_norm="scale")
    from_head = nets.linen(Classifier(encoder, classes, head))
    crop_and_flip = views.View(
        size=size, area=(0.08, 1.0), method="bicubic", antialias=True, flip=0.5
    )
    prepare = jax.vmap(lambda image: views.center_crop(image, size / stored))
    shared = dict(mesh=mesh, save_every=save_every, seed=seed)

    def lars(peak, batch, warmup, steps, decay):
        schedule = optim.warmup_cosine(peak * batch**0.5, warmup, steps)
        return optim.lars(schedule, weight_decay=decay, rate_in_momentum=True)

    def ready(state, done):
        return graft(
            state, encoder=done["pretrain"].online, projector=done["pretrain"].online
        )

    pretrain = Stage(
        name="pretrain",
        method=simclr_v2(
            nets.linen(Siamese(encoder, head)),
            lars(lr, batch, steps // 20, steps, 1e-4),
            partial(views.multi_view, views=views.recipe("simclr", size=size)),
            temperature,
            queue,
            momentum,
            prepare,
        ),
        data=train,
        steps=steps,
        evals={"knn": evals.knn()},
        **shared,
    )
    tune_steps, distil_steps = some.steps(tune_epochs), train.steps(distil_epochs)
    tune = Stage(
        name="fine-tune",
        method=supervised(
            from_head,
            lars(tune_lr, tune_batch, 0, tune_steps, 0.0),
            classes,
            crop_and_flip,
            prepare,
        ),
        data=some,
        steps=tune_steps,
        evals={"top1": evals.accuracy()},
        start=ready,
        **shared,
    )
    student = Stage(
        name="distil",
        method=distil(
            nets.linen(Classifier(encoder, classes)),
            from_head,
            lars(lr, batch, distil_steps // 20, distil_steps, 1e-4),
            distil_temperature,
            augment=crop_and_flip,
            prepare=prepare,
        ),
        data=train,
        steps=distil_steps,
        evals={"top1": evals.accuracy()},
        start=lambda state, done: state._replace(teacher=frozen(done["fine-tune"])),
        **shared,
    )
    return [pretrain, tune, student]
