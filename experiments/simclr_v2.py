"""SimCLR v2: contrastive pretraining, fine-tuning on few labels, distillation.

    python -m jssl.main --config=experiments/simclr_v2.py
    python -m jssl.main --config=experiments/simclr_v2.py:queue=1024,few=1,many=10
    python -m jssl.main --config=experiments/simclr_v2.py:paper,mesh=data=128

Chen et al. 2020, https://arxiv.org/abs/2006.10029. Reference, ResNet-50, ImageNet top-1:
linear 71.7 % (with the memory; without, 71.1 %: google-research/simclr, issue 77);
fine-tuned on 1 % and 10 % of the labels 57.9 % and 68.4 %; distilled from the largest
network, ResNet-152 three times as wide with selective kernels, 73.9 % and 77.5 %. Ours:
`paper` not run; `laptop` is in docs/results.md.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from jssl import Stage, baselines, evals, nets, optim, views
from jssl.config import Count, Counts, Fraction, Positive, tiny
from jssl.data import labels_per_class
from jssl.knobs import CONVNET, Run, Small, ViewedImages, with_labels
from jssl.learner import graft
from jssl.methods.contrastive.simclr_v2 import simclr_v2
from jssl.methods.transfer.distil import distil, frozen
from jssl.methods.transfer.supervised import supervised
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.papers import RESNET, ImageNet, Large, LinearEvaluation


def pretrained(state, done):
    """Start of fine-tuning: encoder and head of the stage "pretrain"."""
    online = done["pretrain"].online
    return graft(state, encoder=online, projector=online)


def zero_head(net):
    """The same network, whose classifier starts at zero (--zero_init_logits_layer)."""

    def init(key, *inputs):
        params, stats = net.init(key, *inputs)
        return params | {"head": jax.tree.map(jnp.zeros_like, params["head"])}, stats

    return net._replace(init=init)


def taught_by(stage):
    """Start of distillation: the final network of a stage as teacher."""
    return lambda state, done: state._replace(teacher=frozen(done[stage]))


@tiny(CONVNET, projector=(8, 8, 4), few=2, many=3, tune_steps=2, tune_batch=16,
      distil_batch=16, distil_epochs=0.03)  # fmt: skip
def laptop(
    run: Run = Run(),
    images: ViewedImages = ViewedImages(epochs=40.0, batch=256),
    small: Small = Small(lr=2e-3),
    temperature: Positive = 0.2,
    queue: int = 0,
    momentum: Fraction = 0.99,
    few: Count = 4,
    many: Count = 35,
    tune_steps: int = 200,
    tune_batch: Count = 40,
    tune_lr: float = 5e-4,
    scratch_lr: Positive = 1e-3,
    distil_epochs: float = 15.0,
    distil_batch: Count = 64,
    distil_temperature: Positive = 1.0,
    shift: float = 2.0,
    projector: Counts = (128, 128, 64),
) -> list[Stage]:
    """The whole recipe, twice from one pre-training: about three minutes on two cores.

    Stages "fine-tune-1" and "distil-1" have `few` labels of each class, about 1 % of
    MNIST-5k, and "fine-tune-10" and "distil-10" have `many`, 10 %. What is called top1
    knows those labels alone; kNN and linear probe judge h with all labels, as everywhere.
    Data without labels end with the pre-training.

    Args:
      epochs: Passes over the training split in pre-training.
      batch: Images per step of pre-training.
      lr: Peak learning rate of pre-training and distillation: linear warm-up over the
        first 5 % of the steps, then cosine decay to 0.
      temperature: Temperature of the similarities.
      queue: Number of remembered projections that are further negatives; 0: none.
      momentum: Momentum of the network that fills the queue.
      few: Labels of each class for "fine-tune-1".
      many: Labels of each class for "fine-tune-10".
      tune_steps: Steps of each fine-tuning.
      tune_batch: Images per step of fine-tuning, at most as many as have labels.
      tune_lr: Initial learning rate of fine-tuning, with cosine decay to 0.
      scratch_lr: The same for the baselines that learn the labels from random weights.
      distil_epochs: Passes over the training split in each distillation.
      distil_batch: Images per step of distillation.
      distil_temperature: Temperature of the logits of teacher and student.
      shift: Largest shift of an image in fine-tuning and distillation, in pixels.
      projector: Widths of the head's three layers; fine-tuning keeps the first.
    """
    train, encoder, head = images.load(run), small.encoder(), MLP(projector)
    mild = views.on(views.View(size=train.side, shift=shift))
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    judged |= {"top1": evals.accuracy()}
    method = simclr_v2(
        nets.linen(Siamese(encoder, head)),
        small.adamw(train.steps(images.epochs)),
        images.augment(train),
        temperature=temperature,
        queue=queue,
        momentum=momentum,
    )
    plain = nets.linen(Classifier(encoder, train.classes))
    on_head = nets.linen(Classifier(encoder, train.classes, head))

    def tuned(name, per_class):
        fit = min(tune_batch, per_class * train.classes)
        some = labels_per_class(with_labels(train, batch=fit), per_class)
        # By another name its "train" split, on which evals fit, is the whole one.
        some = replace(some, name=f"{images.source}/few[{some.size}]")

        def learned(lr):
            tx = optim.adamw(lr, tune_steps, warmup=0)
            return supervised(on_head, tx, train.classes, mild)

        scratch = run.baseline(
            f"scratch-{name}", learned(scratch_lr), some, tune_steps, evals=judged
        )
        return run.stage(
            name,
            learned(tune_lr),
            some,
            tune_steps,
            evals=judged,
            baselines={f"from scratch, {per_class} labels a class": scratch},
            start=pretrained,
        )

    def distilled(name, teacher):
        every = replace(train, batch=distil_batch)
        steps = every.steps(distil_epochs)
        student = distil(
            plain,
            on_head,
            small.adamw(steps),
            temperature=distil_temperature,
            augment=mild,
        )
        start = taught_by(teacher)
        return run.stage(name, student, every, steps, evals=judged, start=start)

    pretrain = baselines.pretrain_stage(run, images, train, method, plain)
    if not train.classes:
        return [pretrain]
    return [
        pretrain,
        tuned("fine-tune-1", few),
        distilled("distil-1", "fine-tune-1"),
        tuned("fine-tune-10", many),
        distilled("distil-10", "fine-tune-10"),
    ]


@tiny(RESNET, depth=6, tune_batch=16, per_class=8, queue=32, out=8, warmup=0.0,
      distil_epochs=0.02, tune_epochs=2.0)  # fmt: skip
def paper(
    run: Run = Run(save_every=1000),
    images: ImageNet = ImageNet(epochs=800.0, batch=4096, lr=0.1, warmup=40.0),
    resnet: Large = Large(),
    probe: LinearEvaluation = LinearEvaluation(linear_lr=0.1),
    out: Count = 128,
    temperature: Positive = 0.1,
    queue: int = 65536,
    momentum: Fraction = 0.999,
    per_class: Count = 13,
    tune_epochs: float = 60.0,
    tune_batch: Count = 1024,
    tune_lr: float = 0.005,
    distil_epochs: float = 400.0,
    distil_batch: int = 0,
    distil_lr: float = 0.0,
    distil_temperature: Positive = 0.1,
) -> list[Stage]:
    """The published schedules on ImageNet: pre-training, fine-tuning, self-distillation.

    Data without labels end with the pre-training.

    Numbers to beat, ResNet-50, top-1 of the 50,000 validation images: 57.9 % after
    "fine-tune" with 1 % of the labels and 68.4 % with 10 % (per_class=128,tune_epochs=30);
    linear, of h after "pretrain", 71.7 %. "distil" is self-distillation, for which the
    paper has no number of this network; its 73.9 % and 77.5 % have a larger teacher.

    Departures: the labeled images are as many of each class, not those of the published
    lists, since images of a prepared data set have no file names; no selective kernels,
    which the ResNet-50 of these numbers has not either. The released scripts have no
    distillation: its epochs and temperature are the paper's, its optimizer that of
    pre-training, with a head as in fine-tuning.

    Args:
      epochs: Passes over the training split in pre-training.
      batch: Images per step of pre-training.
      lr: Peak learning rate of pre-training for a batch of 1; grows with the square root
        of the batch.
      warmup: Epochs of linear warm-up in pre-training; distillation has the same share.
      width: Channels of the ResNet's first blocks; the paper's 2x and 3x are 128 and 192.
      out: Width of the head's last layer.
      temperature: Temperature of the similarities.
      queue: Number of remembered projections that are further negatives; 0: none.
      momentum: Momentum of the network that fills the queue.
      per_class: Labels of each class: 13 for 1 %, 128 for 10 %.
      tune_epochs: Epochs of fine-tuning: 60 for 1 %, 30 for 10 %.
      tune_batch: Images per step of fine-tuning.
      tune_lr: Initial learning rate of fine-tuning for a batch of 1; grows with the square
        root of the batch.
      distil_epochs: Epochs of distillation into the teacher's network without its head.
      distil_batch: Images per step of distillation; 0: as in pre-training.
      distil_lr: Peak learning rate of distillation for a batch of 1; 0: as in pre-training.
      distil_temperature: Temperature of the logits of teacher and student.
    """
    train, augment, prepare = images.viewed(run, "simclr_v2")
    look = images.crop_and_flip(method="bicubic", statistics=None)
    encoder = resnet.encoder(images)
    head = MLP((encoder.features, encoder.features, out), last_norm="scale")
    net = nets.linen(Siamese(encoder, head))

    def lars(lr, source, steps, warmup=0.0, decay=0.0, unscaled=""):
        peak, warmup = lr * source.batch**0.5, int(steps * warmup / images.epochs)
        schedule = optim.warmup_cosine(peak, warmup, steps)
        how = dict(weight_decay=decay, rate_in_momentum=True, unscaled=unscaled)
        return optim.lars(schedule, **how)

    steps = train.steps(images.epochs)
    pretrain = simclr_v2(
        net,
        lars(images.lr, train, steps, images.warmup, 1e-4),
        augment,
        temperature=temperature,
        scale=2.0,
        queue=queue,
        momentum=momentum,
        prepare=prepare,
    )
    judged = evals.knn_if_labeled(train)
    first = run.stage("pretrain", pretrain, train, steps, evals=judged)
    if not train.classes:
        return [first]
    labeled, mild, _ = replace(images, batch=tune_batch).viewed(run, look, labeled=True)
    some = labels_per_class(labeled, per_class)
    wide = replace(images, batch=distil_batch or images.batch)
    every = wide.viewed(run, look)[0]
    tune_steps, distil_steps = some.steps(tune_epochs), every.steps(distil_epochs)
    on_head = zero_head(nets.linen(Classifier(encoder, train.classes, head)))
    tune = supervised(
        on_head,
        lars(tune_lr, some, tune_steps, unscaled="^head/"),
        train.classes,
        mild,
        prepare=prepare,
    )
    student = distil(
        zero_head(nets.linen(Classifier(encoder, train.classes))),
        on_head,
        lars(
            distil_lr or images.lr,
            every,
            distil_steps,
            images.warmup,
            1e-4,
            unscaled="^head/",
        ),
        temperature=distil_temperature,
        augment=mild,
        prepare=prepare,
    )
    named = {"top1": evals.accuracy()}
    taught = dict(evals=named, start=taught_by("fine-tune"))
    sgd = partial(optim.decayed_sgd, decay=0.0, nesterov=True)
    online = lambda state: state.online
    return [
        first,
        *probe.stages(run, images, train, net, online, tx=sgd, look=look, std=0.0),
        run.stage("fine-tune", tune, some, tune_steps, evals=named, start=pretrained),
        run.stage("distil", student, every, distil_steps, **taught),
    ]
