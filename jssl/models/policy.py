"""Policies of control: small networks from features to actions."""

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.norm import BatchNorm

GAIN = 2**0.5


class Policy(nn.Module):
    """(features [n, ...], known [n, k] or None) -> {"prediction", "logits", "h"}.

    Features are normalized and projected, what is known besides, such as the position of
    the arm, is projected too, and both are the input of an MLP with SELU. The output [n,
    actions] is "prediction", of numbers, and "logits", of classes; h is the last hidden
    layer. Orthogonal weights, of gain sqrt(2), in the last layer 0.01. Xiao et al. 2022,
    https://arxiv.org/abs/2203.06173

    Attributes:
      actions: numbers of an action, or classes of actions.
      width: of the projections.
      hidden: units of the hidden layers.
      norm: of features: "layer" as in the paper, "batch", by the moments of each feature,
        or "" for features that are a state, whose scale matters.
    """

    actions: int
    width: int = 128
    hidden: tuple[int, ...] = (256, 128, 64)
    norm: str = "layer"

    @nn.compact
    def __call__(self, features, known=None, train=False):
        def dense(units, name, gain=GAIN):
            init = nn.initializers.orthogonal(gain)
            return nn.Dense(units, kernel_init=init, name=name)

        x = features.reshape(len(features), -1)
        if self.norm == "batch":
            x = BatchNorm(scale=False, bias=False, name="norm")(x, train)
        elif self.norm == "layer":
            x = nn.LayerNorm(name="norm")(x)
        elif self.norm:
            names = "layer, batch or empty"
            raise ValueError(f"Policy: norm must be {names}, got {self.norm!r}")
        x = dense(self.width, "features")(x)
        if known is not None:
            x = jnp.concatenate([x, dense(self.width, "known")(known)], axis=1)
        for i, units in enumerate(self.hidden):
            x = nn.selu(dense(units, f"hidden{i}")(x))
        out = dense(self.actions, "action", 0.01)(x)
        return {"prediction": out, "logits": out, "h": x}


class Controller(nn.Module):
    """A policy with its encoder, trained end to end: (images, known) -> as `Policy`."""

    encoder: nn.Module
    policy: Policy

    def __call__(self, inputs, train=False):
        images, known = inputs
        return self.policy(self.encoder(images, train=train), known, train=train)
