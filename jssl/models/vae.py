"""Fully connected variational autoencoders."""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.dense import Dense


class VAE(nn.Module):
    """A variational autoencoder of dense layers: x [n, ...] -> logits of mu(x), like x.

    Attributes:
      shape: shape of one sample.
      widths: units of the encoder's hidden layers; the decoder has them in reverse.
      latent: d, units of z.
      activation: activation of all hidden layers.
      kernel_init: initial kernels.
      output_bias: initial biases of the output.
    """

    shape: Sequence[int]
    widths: Sequence[int]
    latent: int
    activation: Callable = nn.relu
    kernel_init: Callable = nn.initializers.he_normal()
    output_bias: Callable = nn.initializers.zeros

    def setup(self):
        how = self.activation, self.activation, self.kernel_init
        self.encoder = Dense(self.widths, *how)
        self.decoder = Dense(self.widths[::-1], *how)
        first = nn.initializers.glorot_uniform()
        self.posterior = nn.Dense(2 * self.latent, kernel_init=first)
        self.output = nn.Dense(
            math.prod(self.shape), kernel_init=first, bias_init=self.output_bias
        )

    def __call__(self, x, *y, train=False):
        mean, _ = self.encode(x, *y, train=train)
        return self.decode(mean, *y, train=train)

    def encode(self, x, *y, train=False):
        """The mean and the log variance of q(z|x) or q(z|x, y), both [n, latent]."""
        out = self.posterior(self.encoder(_joined(x, *y), train=train))
        return out[:, : self.latent], out[:, self.latent :]

    def decode(self, z, *y, train=False):
        """Logits or means [n, *shape] of p(x|z) or p(x|z, y)."""
        out = self.output(self.decoder(_joined(z, *y), train=train))
        return out.reshape(-1, *self.shape)

    def filters(self, train=False):
        return self.encoder.filters(self.shape if len(self.shape) == 3 else None)


def _joined(x, *y):
    """x [n, ...] as rows, with the columns of y if there are any."""
    return jnp.concatenate([x.reshape(len(x), -1), *y], axis=1)
