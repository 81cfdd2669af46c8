"""Networks of dense layers alone: encoders and autoencoders of the years before 2012."""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn

# Glorot and Bengio 2010, for sigmoids: uniform within 4 sqrt(6 / (in + out)).
SIGMOID_INIT = nn.initializers.variance_scaling(16.0, "fan_avg", "uniform")


def linear(x):
    """No activation."""
    return x


class Dense(nn.Module):
    """Layers "dense0", "dense1" ...: [n, ...], flattened, -> [n, widths[-1]].

    Attributes:
      widths: of each layer.
      activation: after each layer but the last.
      last: after the last.
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
        if side * side != len(kernel):  # then colours: 3 s^2 is the square of no integer
            side = math.isqrt(len(kernel) // 3)
        return kernel.T.reshape(-1, side, side, len(kernel) // (side * side))


class Autoencoder(nn.Module):
    """An encoder and its mirror: x [n, ...] -> {"h": [n, widths[-1]], "logits": as x}.

    Logits are what a sigmoid (or nothing, for real numbers) makes a reconstruction of.

    Attributes:
      shape: of one x, without n.
      widths: of the encoder's layers, the code last.
      activation: of all layers but the code and the logits.
      code: activation of the code.
      tied: whether the decoder's matrices are the encoder's, transposed.
    """

    shape: Sequence[int]
    widths: Sequence[int]
    activation: Callable = nn.sigmoid
    code: Callable = nn.sigmoid
    tied: bool = False
    kernel_init: Callable = SIGMOID_INIT

    def setup(self):
        shared = dict(activation=self.activation, kernel_init=self.kernel_init)
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
        """Codes [n, d] -> logits."""
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
