"""Fully connected GAN networks, for points and small images."""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn

from jssl.models.dense import Dense


class Generator(nn.Module):
    """Generator: noise [n, d] -> samples [n, *shape], by dense layers with ReLU.

    Attributes:
      shape: shape of one sample.
      widths: units of the hidden layers.
      last: activation of the output.
    """

    shape: Sequence[int]
    widths: Sequence[int]
    last: Callable = nn.sigmoid

    @nn.compact
    def __call__(self, z, train=False):
        widths = (*self.widths, math.prod(self.shape))
        init = nn.initializers.he_normal()
        x = Dense(widths, nn.relu, self.last, init, name="dense")(z)
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
