"""Knobs of diffusion models."""

from dataclasses import dataclass
from typing import Any

import optax

from jssl.config import Count, Fraction, one_of
from jssl.learner import ema_weights
from jssl.ops.diffusion import SCHEDULES, TARGETS, Schedule


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """Noise levels, target, averaged weights and samples of a diffusion model.

    Attributes:
      levels: Number T of noise levels.
      schedule: Noise levels: cosine, linear or scaled_linear.
      target: Prediction of the network: epsilon, x0 or v.
      average: Decay of the averaged weights, which make the samples.
      drop: Fraction of the rows whose condition, such as class or text, is withheld in
        training.
      guidance: Strength of the condition in samples: 1 for none beyond the condition
        itself.
      sampling_steps: Steps of a sample; 0: all T.
      eta: Noise of samples: 1 for ancestral ones (DDPM), 0 for deterministic ones (DDIM).
    """

    levels: Count = 1000
    schedule: str = "linear"
    target: str = "epsilon"
    average: Fraction = 0.9999
    drop: Fraction = 0.1
    guidance: float = 1.0
    sampling_steps: int = 0
    eta: Fraction = 1.0

    def noise(self) -> Schedule:
        """The noise levels."""
        return one_of("schedule", self.schedule, SCHEDULES)(self.levels)

    def averaged(self, adam: optax.GradientTransformation) -> optax.GradientTransformation:
        """An optimizer, with averaged weights for samples."""
        return optax.chain(adam, ema_weights(self.average))

    def knobs(self) -> dict[str, Any]:
        """The arguments of a method: its target, its condition and its samples."""
        return dict(
            target=one_of("target", self.target, TARGETS),
            steps=self.sampling_steps,
            eta=self.eta,
            drop=self.drop,
            guidance=self.guidance,
        )
