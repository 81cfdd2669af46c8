"""Self-distillation by DINO and iBOT: their vision transformers, heads and optimizers.

Caron et al. 2021, https://arxiv.org/abs/2104.14294; Zhou et al. 2022,
https://arxiv.org/abs/2111.07832.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import optax

from jssl import nets, optim, sharding
from jssl.config import Count, Counts, Fraction, Positive, Stage
from jssl.data import Source
from jssl.knobs import Run
from jssl.method import Method
from jssl.methods.siamese.dino import warm_up
from jssl.models import vit
from jssl.models.dino import Head
from jssl.papers.evaluation import LinearEvaluation, part
from jssl.papers.images import ImageNet


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The vision transformer of DINO and iBOT, its head, teacher and training.

    Attributes:
      variant: Size and patch of the ViT: S/16, B/16, L/16, S/8, B/8, or
        WIDTHxDEPTHxHEADS/PATCH.
      recipe: Recipe of the views.
      momentum: Initial momentum of the teacher, rising to 1 along a cosine.
      teacher_temperature: Temperature of the teacher after its warm-up from 0.04.
      temperature_epochs: Epochs of that warm-up, a step each; 0: none.
      unit_prototypes: Keep prototypes at length 1; off learns their lengths, which is
        better and less stable.
      freeze: Epochs in which the head's last layer is fixed.
      clip: Largest norm of the gradient of each weight array; 0: any.
      drop_path: Stochastic depth of the student's last block.
      head: Widths of the head's layers below the prototypes.
      prototypes: Number of prototypes.
      remat: Recompute the blocks' activations in the backward pass, to save memory.
    """

    variant: str = "S/16"
    recipe: str = "dino"
    momentum: Fraction = 0.996
    teacher_temperature: Positive = 0.04
    temperature_epochs: int = 0
    unit_prototypes: bool = True
    freeze: float = 1.0
    clip: float = 3.0
    drop_path: Fraction = 0.1
    head: Counts = (2048, 2048, 256)
    prototypes: Count = 65536
    remat: bool = False

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return vit.sizes(self.variant)["patch"]

    def encoder(self, images: ImageNet) -> vit.Encoder:
        """The encoder, with learned positions, resized for small crops."""
        sizes: dict[str, Any] = {**vit.sizes(self.variant)}
        return vit.Encoder(
            **sizes,
            drop_path=self.drop_path,
            grid=(images.size // self.patch,) * 2,
            interpolate=True,
            remat=self.remat,
            dtype=images.dtype or None,
        )

    def projector(self, images: ImageNet) -> Head:
        """The head, shared by all tokens."""
        dtype = images.dtype or None
        return Head(self.prototypes, self.head, self.unit_prototypes, dtype)

    def adamw(self, images: ImageNet, train: Source) -> optax.GradientTransformation:
        """AdamW for the whole training; the rate falls to 1e-6."""
        return optim.distillation_adamw(
            images.schedule(train, end=1e-6 / images.peak),
            optim.cosine(0.04, 0.4, train.steps(images.epochs)),
            freeze=train.steps(self.freeze) if self.freeze else 0,
            clip=self.clip,
        )

    def warmed(self, temperature: float, train: Source) -> optax.ScalarOrSchedule:
        """A temperature of the teacher, with its warm-up if there is one."""
        if not self.temperature_epochs:
            return temperature
        return warm_up(0.04, temperature, self.temperature_epochs, train.steps(1.0))

    def stages(
        self,
        run: Run,
        images: ImageNet,
        train: Source,
        method: Method,
        probe: LinearEvaluation,
    ) -> list[Stage]:
        """The stages "pretrain" and "linear", which cuts crops from whole photographs.

        The classifier sees the class tokens of the last four blocks with ViT-S, else that
        of the last block and the mean of its patch tokens, as in `eval_linear.py` of
        facebookresearch/dino.
        """
        tokens = (4, False) if self.variant.startswith("S/") else (1, True)
        return probe.with_pretraining(
            run,
            replace(images, whole=True),
            train,
            method,
            nets.linen(vit.LastBlocks(self.encoder(images), *tokens)),
            part("teacher"),
            tx=partial(optim.decayed_sgd, decay=0.0),
            output="",
            rules=sharding.TRANSFORMER,
        )
