"""Learning-rate schedules and optax transformations shared by pre-training papers."""

from jssl.optim.layerwise import clipped_trust_ratio, lars
from jssl.optim.optimizers import (
    MomentumState,
    adamw,
    clip_each,
    decayed_adam,
    decayed_sgd,
    distillation_adamw,
    momentum,
    rbm_sgd,
    shrink,
)
from jssl.optim.parts import (
    HeldState,
    ThawState,
    all_but,
    chain_thaw,
    held,
    scale_by_layer,
    unit_rows,
)
from jssl.optim.paths import kernels, matrices, vit_layer
from jssl.optim.schedules import cosine, falling, scale_by_rate, warmup_cosine

__all__ = [
    "HeldState",
    "MomentumState",
    "adamw",
    "ThawState",
    "all_but",
    "chain_thaw",
    "clip_each",
    "clipped_trust_ratio",
    "cosine",
    "decayed_adam",
    "decayed_sgd",
    "distillation_adamw",
    "falling",
    "held",
    "kernels",
    "lars",
    "matrices",
    "momentum",
    "rbm_sgd",
    "scale_by_layer",
    "scale_by_rate",
    "shrink",
    "unit_rows",
    "vit_layer",
    "warmup_cosine",
]
