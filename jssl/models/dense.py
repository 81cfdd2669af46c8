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

    def filters(self, shape=None, train=False):
        """The first layer's kernels as images [widths[0], h, w, c].

        Args:
          shape: (h, w, c) of the network's input; None: square, of one or three channels.
          train: without effect.

        Raises:
          ValueError: if the input has another number of values.
        """
        kernel = self.variables["params"]["dense0"]["kernel"]
        if shape is None:
            channels = 3 if len(kernel) % 3 == 0 and _root(len(kernel) // 3) else 1
            shape = (*2 * (_root(len(kernel) // channels),), channels)
        if math.prod(shape) != len(kernel) or not kernel.size:
            raise ValueError(
                f"filters: the first layer has {len(kernel)} inputs, which are no images "
                f"of {list(shape)}: pass their shape (h, w, c)"
            )
        return kernel.T.reshape(-1, *shape)


def _root(n):
    """The square root of n, or 0 if it is no integer."""
    return math.isqrt(n) if math.isqrt(n) ** 2 == n else 0


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
        return self.encoder.filters(self.shape if len(self.shape) == 3 else None)
