"""DCGAN's networks: strided convolutions down, transposed ones up, batch norm between.

Radford, Metz and Chintala 2016, https://arxiv.org/abs/1511.06434; sizes and starts as in
their released code. Without any bias: batch norm has offsets.

    pixels   widths of the generator    kernel   what the dense layer makes
        64   1024, 512, 256, 128        5        4 x 4 x 1024
        28   64, 32                     4        7 x 7 x 64
         8   64, 32                     4        2 x 2 x 64

The discriminator has the same widths, in reverse.
"""

import math
from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm
from jssl.ops.maps import doubled, max_cells

NORMAL = nn.initializers.normal(0.02)


def around_one(key, shape, dtype=jnp.float32):
    """N(1, 0.02), the first factors of batch norm."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


Norm = partial(BatchNorm, scale_init=around_one)


class Doubled(nn.Module):
    """A transposed convolution of stride 2: [n, h, w, c] -> [n, 2 h, 2 w, width]."""

    width: int
    kernel: int

    @nn.compact
    def __call__(self, x):
        shape = self.kernel, self.kernel, x.shape[-1], self.width
        return doubled(x, self.param("kernel", NORMAL, shape))


class Generator(nn.Module):
    """Noise [n, d] -> images [n, h, w, c] in [-1, 1].

    Attributes:
      shape: of an image; its sides must divide by 2 to the number of widths.
      widths: channels of the maps, smallest map first.
      kernel: side of the kernels, 4 or 5. One that 2 does not divide leaves checkerboards.
    """

    shape: Sequence[int]
    widths: Sequence[int] = (1024, 512, 256, 128)
    kernel: int = 5

    @nn.compact
    def __call__(self, z, train=False):
        h, w, channels = self.shape
        times = 2 ** len(self.widths)
        if h % times or w % times:
            raise ValueError(
                f"dcgan: {len(self.widths)} widths make images whose sides divide by "
                f"{times}, got {h} x {w}: choose other widths, or resize the images"
            )
        first = h // times, w // times, self.widths[0]
        x = nn.Dense(math.prod(first), use_bias=False, kernel_init=NORMAL, name="dense")(z)
        x = nn.relu(Norm(name="norm0")(x, train)).reshape(-1, *first)
        for i, width in enumerate((*self.widths[1:], channels), 1):
            x = Doubled(width, self.kernel, name=f"conv{i}")(x)
            if i < len(self.widths):
                x = nn.relu(Norm(name=f"norm{i}")(x, train))
        return jnp.tanh(x)


class Discriminator(nn.Module):
    """Images [n, h, w, c] -> {"logits": [n], "h": [n, d]}.

    h holds the maps of all convolutions, each max-pooled to 4 x 4 (smaller ones as they
    are) and flattened: the features of the paper's section 5.1.

    Attributes:
      widths: channels of the maps, largest map first.
      kernel: side of the kernels.
    """

    widths: Sequence[int] = (128, 256, 512, 1024)
    kernel: int = 5

    @nn.compact
    def __call__(self, images, train=False):
        x, n, pooled = images, len(images), []
        for i, width in enumerate(self.widths):
            x = nn.Conv(
                width,
                (self.kernel, self.kernel),
                (2, 2),
                padding=(self.kernel - 1) // 2,
                use_bias=False,
                kernel_init=NORMAL,
                name=f"conv{i}",
            )(x)
            if i:
                x = Norm(name=f"norm{i}")(x, train)
            x = nn.leaky_relu(x, 0.2)
            tap(self, "layers", x)
            pooled.append(max_cells(x, min(4, *x.shape[1:3])).reshape(n, -1))
        head = nn.Dense(1, use_bias=False, kernel_init=NORMAL, name="head")
        return {
            "logits": head(x.reshape(n, -1))[:, 0],
            "h": jnp.concatenate(pooled, 1),
        }
