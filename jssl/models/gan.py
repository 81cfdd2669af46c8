"""The two players of a GAN as dense layers, for points and small images."""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn

from jssl.models.dense import Dense


class Generator(nn.Module):
    """Noise [n, d] -> samples [n, *shape]: dense layers with ReLU between.

    Attributes:
      shape: of one sample.
      widths: of the hidden layers.
      last: after the last layer.
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
    """Samples [n, ...] -> {"logits": [n], "h": [n, widths[-1]]}.

    Dense layers, each with LeakyReLU of slope 0.2 and then dropout.

    Attributes:
      widths: of the hidden layers.
      dropout: share of their outputs that training leaves out.
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
