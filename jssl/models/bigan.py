"""Fully connected BiGAN networks: encoder, generator and discriminator of pairs.

Donahue et al. 2017, https://arxiv.org/abs/1605.09782; the networks of MNIST in
https://github.com/jeffdonahue/bigan: dense layers without biases, and batch norm without
scale and offset, but in the first layer on images. z is in [-1, 1]^d.
"""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.norm import BatchNorm

INIT = nn.initializers.normal(0.02)


class Encoder(nn.Module):
    """x [n, ...] -> {"h": E(x) in [-1, 1] [n, latent], "features": [n, widths[-1]]}.

    Attributes:
      widths: units of the hidden layers.
      latent: d.
    """

    widths: Sequence[int]
    latent: int

    @nn.compact
    def __call__(self, x, train=False):
        for i, width in enumerate(self.widths):
            x = _layer(i, width, _leaky, i > 0, train, x)
        out = nn.Dense(self.latent, use_bias=False, kernel_init=INIT, name="head")(x)
        return {"h": jnp.tanh(out / 2), "features": x}


class Generator(nn.Module):
    """z [n, d] -> samples in [0, 1] [n, *shape]; z is an input of every hidden layer.

    Attributes:
      shape: shape of one sample.
      widths: units of the hidden layers.
    """

    shape: Sequence[int]
    widths: Sequence[int]

    @nn.compact
    def __call__(self, z, train=False):
        inputs = (z,)
        for i, width in enumerate(self.widths):
            inputs = _layer(i, width, nn.relu, True, train, *inputs), z
        size = math.prod(self.shape)
        out = nn.Dense(size, use_bias=False, kernel_init=INIT, name="head")(inputs[0])
        return nn.sigmoid(out).reshape(-1, *self.shape)


class Discriminator(nn.Module):
    """(x, z) -> {"logits": [n]}; z is an input of every hidden layer but the first.

    Attributes:
      widths: units of the hidden layers, two or more.
    """

    widths: Sequence[int]

    @nn.compact
    def __call__(self, x, z, train=False):
        for i, width in enumerate(self.widths):
            x = _layer(i, width, _leaky, i > 0, train, *((x, z) if i else (x,)))
        out = nn.Dense(1, use_bias=False, kernel_init=INIT, name="head")(x)
        return {"logits": out[:, 0]}


def _leaky(x):
    return nn.leaky_relu(x, 0.2)


def _layer(i, width, activation: Callable, norm, train, *inputs):
    """Layer i of the calling module, on the columns of all inputs."""
    x = jnp.concatenate([x.reshape(len(x), -1) for x in inputs], 1)
    x = nn.Dense(width, use_bias=False, kernel_init=INIT, name=f"dense{i}")(x)
    if norm:
        x = BatchNorm(scale=False, bias=False, name=f"norm{i}")(x, train)
    return activation(x)
