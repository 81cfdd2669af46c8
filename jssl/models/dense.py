"""Fully connected encoders and autoencoders, as used before 2012."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn

# Glorot and Bengio 2010, for sigmoids: uniform within 4 sqrt(6 / (in + out)).
SIGMOID_INIT = nn.initializers.variance_scaling(16.0, "fan_avg", "uniform")


def linear(x):
    """Identity activation."""
    return x


class Dense(nn.Module):
    """Dense layers "dense0", "dense1" ...: [n, ...], flattened, -> [n, widths[-1]].

    Attributes:
      widths: units of each layer.
      activation: after each layer except the last.
      last: activation after the last layer.
    """

    widths: Sequence[int]
    activation: Callable = nn.sigmoid
    last: Callable = nn.sigmoid
    kernel_init: Callable = SIGMOID_INIT

    @nn.compact
    def __call__(self, x, train=False):
        x = x.reshape(len(x), -1)
        for i, width in enumerate(self.widths):
            x = nn.Dense(width, kernel_init=self.kernel_init, name=f"dense{i}")(x)
            x = (self.activation if i + 1 < len(self.widths) else self.last)(x)
        return x

    def filters(self, train=False):
        """The first layer's kernels [widths[0], side, side, c], of square images."""
        kernel = self.variables["params"]["dense0"]["kernel"]
        side = math.isqrt(len(kernel))
        if side * side != len(kernel):  # RGB: 3 s^2 is never a perfect square
            side = math.isqrt(len(kernel) // 3)
        return kernel.T.reshape(-1, side, side, len(kernel) // (side * side))


class Autoencoder(nn.Module):
    """A symmetric autoencoder: x [n, ...] -> {"h": [n, widths[-1]], "logits": like x}.

    The reconstruction is sigmoid(logits), or the logits themselves for real-valued data.

    Attributes:
      shape: shape of one sample.
      widths: units of the encoder's layers; the last is the code.
      activation: activation of the hidden layers.
      code: activation of the code.
      tied: whether the decoder uses the transposed matrices of the encoder.
    """

    shape: Sequence[int]
    widths: Sequence[int]
    activation: Callable = nn.sigmoid
    code: Callable = nn.sigmoid
    tied: bool = False
    kernel_init: Callable = SIGMOID_INIT

    def setup(self):
        shared: dict[str, Any] = dict(
            activation=self.activation, kernel_init=self.kernel_init
        )
        self.encoder = Dense(self.widths, last=self.code, **shared)
        down = (*reversed(self.widths[:-1]), math.prod(self.shape))
        if self.tied:
            self.biases = [
                self.param(f"decoder_bias{i}", nn.initializers.zeros, (width,))
                for i, width in enumerate(down)
            ]
        else:
            self.decoder = Dense(down, last=linear, **shared)

    def __call__(self, x, train=False):
        h = self.encoder(x)
        return {"h": h, "logits": self.decode(h)}

    def decode(self, h, train=False):
        """Decodes codes [n, d] into logits [n, *shape]."""
        if not self.tied:
            return self.decoder(h).reshape(-1, *self.shape)
        kernels = self.encoder.variables["params"]
        for i, bias in enumerate(self.biases):
            kernel = kernels[f"dense{len(self.widths) - 1 - i}"]["kernel"]
            h = h @ kernel.T + bias
            if i + 1 < len(self.biases):
                h = self.activation(h)
        return h.reshape(-1, *self.shape)

    def filters(self, train=False):
        return self.encoder.filters()
