"""The stages that give a paper's number, after its pre-training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import optax

from jssl import evals, nets, optim, views
from jssl.config import Count, Fraction, Positive, Stage
from jssl.data import Source
from jssl.knobs import Run, with_labels
from jssl.learner import Learner
from jssl.method import Augment, Method, Prepare, field
from jssl.methods.transfer.linear import after, linear
from jssl.methods.transfer.supervised import supervised
from jssl.models.heads import LinearHead
from jssl.nets import Net
from jssl.papers.images import Cifar, ImageNet


def part(name: str) -> Callable[[Any], Learner]:
    """A function from a state to its part of this name, as a Learner: "online", "teacher".

    The part is a Learner, or the weights and statistics of a network that has no optimizer.
    """

    def learner(state):
        found = getattr(state, name)
        return (
            found if isinstance(found, Learner) else Learner(found.params, found.stats, ())
        )

    return learner


@dataclass(frozen=True, kw_only=True)
class LinearEvaluation:
    """Linear evaluation after a paper's pre-training, by its own protocol.

    Attributes:
      linear_epochs: Epochs of the linear evaluation; 0 omits it.
      linear_batch: Images per step of the linear evaluation.
      linear_lr: Peak learning rate of the linear evaluation for a batch of 256; scales with
        the batch.
    """

    linear_epochs: float = 90.0
    linear_batch: Count = 4096
    linear_lr: Positive = 0.1

    def stages(
        self,
        run: Run,
        images: "ImageNet | Cifar",
        train: Source,
        net: Net,
        learner: Callable[[Any], Learner] | None = lambda state: state,
        *,
        tx: Callable[[optax.Schedule], optax.GradientTransformation],
        falls: Mapping[float, float] = MappingProxyType({}),
        warmup: float = 0.0,
        norm: bool = False,
        std: float = 0.01,
        look: views.View | None = None,
        output: str = "h",
        **fields: Any,
    ) -> list[Stage]:
        """The stage "linear" on the frozen network of "pretrain"; none without labels.

        Args:
          run: settings of all stages.
          images: the data set.
          train: the source of "pretrain".
          net: the pre-trained network.
          learner: state of "pretrain" -> the Learner of the network; None: the network is
            that of `run.init`.
          tx: schedule -> the optimizer of the head.
          falls: factors of the learning rate, by the fraction of the steps from which they
            apply; empty: cosine decay to 0.
          warmup: epochs of linear warm-up, before a cosine.
          norm, std: of `LinearHead`.
          look: view of the training images; None: `images.crop_and_flip()`.
          output: name of the network's output that is classified, as in `linear`.
          **fields: further fields of the stage.
        """
        if not (self.linear_epochs and train.classes):
            return []
        look = look or images.crop_and_flip()
        wide = replace(images, batch=self.linear_batch)
        train, augment, prepare = wide.viewed(run, look, labeled=True)
        steps = train.steps(self.linear_epochs)
        peak = self.linear_lr * train.batch / 256
        if falls:
            schedule = optim.falling(peak, steps, falls)
        else:
            early = train.steps(warmup) if warmup else 0
            schedule = optim.warmup_cosine(peak, early, steps)
        method = linear(
            net,
            nets.linen(LinearHead(train.classes, norm, std)),
            tx(schedule),
            train.classes,
            augment,
            prepare=prepare,
            output=output,
        )
        named = {"top1": evals.accuracy()}
        start = after("pretrain", learner) if learner else None
        return [
            run.stage("linear", method, train, steps, evals=named, start=start, **fields)
        ]

    def with_pretraining(
        self,
        run: Run,
        images: "ImageNet | Cifar",
        train: Source,
        method: Method,
        net: Net,
        learner: Callable[[Any], Learner] = lambda state: state,
        *,
        rules: Sequence = (),
        **protocol: Any,
    ) -> list[Stage]:
        """The stages "pretrain", judged by nearest neighbors, and "linear".

        Args:
          run, images, train, net, learner: as in `stages`.
          method: of the pre-training.
          rules: of the sharding, of both stages.
          **protocol: further arguments of `stages`.
        """
        steps, judged = train.steps(images.epochs), evals.knn_if_labeled(train)
        first = run.stage("pretrain", method, train, steps, evals=judged, rules=rules)
        return [
            first,
            *self.stages(run, images, train, net, learner, rules=rules, **protocol),
        ]


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Fine-tuning of a pre-trained encoder with all labels, by SGD.

    Attributes:
      tune_epochs: Passes over the labeled images in fine-tuning; 0 omits it.
      tune_batch: Images per step of fine-tuning.
      tune_lr: Initial learning rate of fine-tuning, which falls along a cosine to 0.
      tune_momentum: Momentum of SGD in fine-tuning.
    """

    tune_epochs: float = 50.0
    tune_batch: Count = 100
    tune_lr: Positive = 0.1
    tune_momentum: Fraction = 0.9

    def stages(
        self,
        run: Run,
        train: Source,
        classifier: Net,
        start: Callable,
        augment: Augment | None = None,
        *,
        prepare: Prepare = field("image"),
    ) -> list[Stage]:
        """The stage "fine-tune", with random weights as baseline; none without labels.

        Args:
          run: settings of all stages.
          train: the source of the pre-training.
          classifier: images -> {"logits", "h"}.
          start: (state, done) -> the state with the pre-trained encoder.
          augment: (key, batch) -> one view of each row; None: `prepare`.
          prepare: batch -> x, the classifier's input outside training.
        """
        if not (self.tune_epochs and train.classes):
            return []
        labeled = with_labels(train, batch=self.tune_batch)
        steps, named = labeled.steps(self.tune_epochs), {"top1": evals.accuracy()}
        rate = optim.warmup_cosine(self.tune_lr, 0, steps)
        sgd = optim.decayed_sgd(rate, decay=0.0, momentum=self.tune_momentum)
        method = supervised(classifier, sgd, train.classes, augment, prepare=prepare)
        scratch = run.baseline("scratch", method, labeled, steps, evals=named)
        return [
            run.stage(
                "fine-tune",
                method,
                labeled,
                steps,
                evals=named,
                start=start,
                baselines={"same labels, random weights": scratch},
            )
        ]
