"""Fully connected GAN networks, for points and small images."""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models.dense import Dense


class Generator(nn.Module):
    """Generator: noise [n, d] -> samples [n, *shape], by dense layers with ReLU.

    Attributes:
      shape: shape of one sample.
      widths: units of the hidden layers.
      last: activation of the output.
      kernel_init: initial kernels.
    """

    shape: Sequence[int]
    widths: Sequence[int]
    last: Callable = nn.sigmoid
    kernel_init: Callable = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, z, train=False):
        widths = (*self.widths, math.prod(self.shape))
        x = Dense(widths, nn.relu, self.last, self.kernel_init, name="dense")(z)
        return x.reshape(-1, *self.shape)


class Discriminator(nn.Module):
    """Discriminator: samples [n, ...] -> {"logits": [n], "h": [n, widths[-1]]}.

    Dense layers, each followed by LeakyReLU of slope 0.2 and dropout.

    Attributes:
      widths: units of the hidden layers.
      dropout: dropout rate.
    """

    widths: Sequence[int]
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, train=False):
        h = x.reshape(len(x), -1)
        init = nn.initializers.he_normal()
        for i, width in enumerate(self.widths):
            h = nn.Dense(width, kernel_init=init, name=f"dense{i}")(h)
            h = nn.Dropout(self.dropout, deterministic=not train)(nn.leaky_relu(h, 0.2))
        return {"logits": nn.Dense(1, name="head")(h)[:, 0], "h": h}


class Maxout(nn.Module):
    """Discriminator of maxout layers: [n, ...] -> {"logits": [n], "h": [n, widths[-1]]}.

    A unit is the largest of `pieces` linear functions; dropout precedes every layer.
    Goodfellow et al. 2013, https://arxiv.org/abs/1302.4389; the defaults are those of
    `mnist.yaml` in https://github.com/goodfeli/adversarial.

    Attributes:
      widths: units of the hidden layers.
      pieces: linear functions of a unit.
      dropout: dropout rate of the hidden units, drawn from the stream "dropout".
      input_dropout: dropout rate of the input.
      kernel_init: initial kernels.
    """

    widths: Sequence[int] = (240, 240)
    pieces: int = 5
    dropout: float = 0.5
    input_dropout: float = 0.2
    kernel_init: Callable = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x, train=False):
        h, rate = x.reshape(len(x), -1), self.input_dropout
        for i, width in enumerate(self.widths):
            h = nn.Dropout(rate, deterministic=not train)(h)
            h = nn.Dense(
                width * self.pieces, kernel_init=self.kernel_init, name=f"dense{i}"
            )(h)
            h, rate = h.reshape(len(h), width, self.pieces).max(-1), self.dropout
        x = nn.Dropout(rate, deterministic=not train)(h)
        logits = nn.Dense(1, kernel_init=self.kernel_init, name="head")(x)
        return {"logits": logits[:, 0], "h": h}


def between(bound: float) -> Callable:
    """An initializer of uniform numbers in [-bound, bound].

    >>> bool(abs(between(0.1)(jax.random.key(0), (3, 4))).max() <= 0.1)
    True
    """

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
