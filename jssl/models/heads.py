"""Heads on an encoder: projectors, predictors, classifiers."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.norm import BatchNorm


class MLP(nn.Module):
    """A multilayer perceptron with batch norm and ReLU: [n, d] -> [n, widths[-1]].

    A call with `layers` returns the output of that many hidden layers, and the input for
    0; SimCLR v2 fine-tunes from there.

    Attributes:
      widths: units of each layer; at least one.
      norm: whether hidden layers have batch norm.
      last_norm: batch norm of the output: "" (none), "plain" (without a learned scale and
        offset), "scale" (scale only) or "affine".
      last_bias: whether the last dense layer has a bias; ignored before a norm.
      groups: groups of the batch norm.
      relu: whether the input is rectified first, for encoders whose h is before its
        activation, as AlexNet's.

    Raises:
      ValueError: if `layers` exceeds the number of hidden layers.
    """

    widths: Sequence[int]
    norm: bool = True
    last_norm: str = ""
    last_bias: bool = True
    groups: int = 1
    relu: bool = False

    @nn.compact
    def __call__(self, x, train=False, layers=None):
        *hidden, last = self.widths
        x = nn.relu(x) if self.relu else x
        if layers is not None and not 0 <= layers <= len(hidden):
            raise ValueError(
                f"MLP: layers must be 0 to {len(hidden)}, its hidden layers, got {layers}"
            )
        for i, width in enumerate(hidden[:layers]):
            x = nn.Dense(width, use_bias=not self.norm, name=f"dense{i}")(x)
            if self.norm:
                x = BatchNorm(self.groups, name=f"norm{i}")(x, train)
            x = nn.relu(x)
        if layers is not None:
            return x
        bias = self.last_bias and not self.last_norm
        x = nn.Dense(last, use_bias=bias, name=f"dense{len(hidden)}")(x)
        if self.last_norm:
            affine: dict[str, Any] = dict(
                scale=self.last_norm in ("scale", "affine"), bias=self.last_norm == "affine"
            )
            x = BatchNorm(self.groups, **affine, name=f"norm{len(hidden)}")(x, train)
        return x


class Classifier(nn.Module):
    """A linear classifier on an encoder: images -> {"logits": [n, classes], "h": [n, d]}.

    Attributes:
      encoder: images -> h.
      classes: number of classes.
      projector: an `MLP` between the encoder and h, the output of its first `layers`
        hidden layers.
      layers: see `projector`.
      relu: whether the linear layer is applied to ReLU(h), for encoders whose h is before
        its activation, as in DeepCluster.
      logits_norm: a `BatchNorm` of the logits, as VAT's `top_bn`.
    """

    encoder: nn.Module
    classes: int
    projector: nn.Module | None = None
    layers: int = 1
    relu: bool = False
    logits_norm: nn.Module | None = None

    @nn.compact
    def __call__(self, images, train=False):
        h = self.encoder(images, train=train)
        if self.projector is not None:
            h = self.projector(h, train=train, layers=self.layers)
        logits = nn.Dense(self.classes, name="head")(nn.relu(h) if self.relu else h)
        if self.logits_norm is not None:
            logits = self.logits_norm(logits, train)
        return {"logits": logits, "h": h}

    def filters(self, train=False):
        return self.encoder.filters()


class TurnClassifier(nn.Module):
    """Two linear classifiers on an encoder: images -> {"logits", "turns": [n, 4], "h"}.

    "turns" are the logits of the rotations of an image, "logits" those of `classes`.
    """

    encoder: nn.Module
    classes: int

    @nn.compact
    def __call__(self, images, train=False):
        h = self.encoder(images, train=train)
        logits, turns = nn.Dense(self.classes, name="head"), nn.Dense(4, name="turns")
        return {"logits": logits(h), "turns": turns(h), "h": h}

    def filters(self, train=False):
        return self.encoder.filters()


class Siamese(nn.Module):
    """An encoder, a projector and an optional predictor: images -> {"h", "z"[, "p"]}.

    `project` omits the predictor, for target networks. `encode` ends at h, and `head`, to
    z, begins there: views of different sizes are encoded apart, and projected together.
    """

    encoder: nn.Module
    projector: nn.Module
    predictor: nn.Module | None = None

    def __call__(self, images, train=False):
        out = self.project(images, train)
        if self.predictor is not None:
            out["p"] = self.predictor(out["z"], train=train)
        return out

    def project(self, images, train=False):
        h = self.encoder(images, train=train)
        return {"h": h, "z": self.projector(h, train=train)}

    def encode(self, images, train=False):
        return {"h": self.encoder(images, train=train)}

    def head(self, h, train=False):
        return {"z": self.projector(h, train=train)}

    def trunk(self, images, train=False):
        """The embedding and the projector's first hidden layer: {"h", "head1"}."""
        h = self.encoder(images, train=train)
        return {"h": h, "head1": self.projector(h, train=train, layers=1)}

    def filters(self, train=False):
        return self.encoder.filters()


class Trunk(nn.Module):
    """An encoder without a head: images -> {"h": [n, d]}."""

    encoder: nn.Module

    def __call__(self, images, train=False):
        return {"h": self.encoder(images, train=train)}

    def filters(self, train=False):
        return self.encoder.filters()


class LinearHead(nn.Module):
    """A linear classifier on features: [n, d] -> {"logits": float32 [n, classes]}.

    Maps [n, h, w, d] are features, too: batch norm is then of each channel.

    Attributes:
      classes: number of classes.
      norm: whether batch norm without scale and offset precedes it, as in MAE.
      std: standard deviation of the initial weights; the initial bias is 0.
    """

    classes: int
    norm: bool = False
    std: float = 0.0

    @nn.compact
    def __call__(self, h, train=False):
        h = h.astype(jnp.promote_types(h.dtype, jnp.float32))
        if self.norm:
            h = BatchNorm(scale=False, bias=False, eps=1e-6, name="norm")(h, train)
        if h.ndim > 2:
            h = h.reshape(len(h), -1)
        start = nn.initializers.normal(self.std)
        return {"logits": nn.Dense(self.classes, kernel_init=start, name="head")(h)}
