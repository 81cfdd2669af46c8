"""DCGAN's networks: a transposed-convolution generator and a strided discriminator.

Radford, Metz and Chintala 2016, https://arxiv.org/abs/1511.06434; sizes and
initialization as in their released code. Layers have no biases: batch norm has offsets.

    pixels   widths of the generator    kernel   output of the dense layer
        64   1024, 512, 256, 128        5        4 x 4 x 1024
        32   512, 512, 256, 256,        3        4 x 4 x 512
             128, 128
        28   64, 32                     4        7 x 7 x 64
         8   64, 32                     4        2 x 2 x 64

The discriminator has the same widths in reverse. Every layer doubles or halves its maps,
except in the networks of 32 pixels, those of the paper's ImageNet: there every other layer
does, and the others keep their size.
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
    """N(1, 0.02), the initialization of the scales of batch norm."""
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


def kept(width, kernel, name):
    """A convolution of stride 1, which keeps the size of maps."""
    return nn.Conv(width, (kernel, kernel), use_bias=False, kernel_init=NORMAL, name=name)


def strides_of(widths: Sequence[int], strides: Sequence[int]) -> Sequence[int]:
    """A stride of each layer: those given, or 2 of all.

    Raises:
      ValueError: another number of strides than of widths, or a stride that is not 1 or 2.
    """
    if strides and (len(strides) != len(widths) or set(strides) - {1, 2}):
        raise ValueError(
            f"dcgan: strides must be {len(widths)} numbers, 1 or 2, one for each width, "
            f"got {tuple(strides)}"
        )
    return tuple(strides) or (2,) * len(widths)


class Generator(nn.Module):
    """DCGAN's generator: noise [n, d] -> images [n, h, w, c] in [-1, 1].

    Attributes:
      shape: image shape; height and width must be multiples of the product of the strides.
      widths: channels of the feature maps, smallest map first.
      kernel: kernel size, 3 to 5. Odd sizes leave checkerboard artifacts.
      strides: of each layer, 1 or 2; empty: 2 of all.
      norm: whether there is batch norm.
      maps: return the maps before the last layer, [n, h', w', widths[-1]].

    Raises:
      ValueError: if height or width is no such multiple, or the strides do not fit.
    """

    shape: Sequence[int]
    widths: Sequence[int] = (1024, 512, 256, 128)
    kernel: int = 5
    strides: Sequence[int] = ()
    norm: bool = True
    maps: bool = False

    @nn.compact
    def __call__(self, z, train=False):
        h, w, channels = self.shape
        strides = strides_of(self.widths, self.strides)
        times = math.prod(strides)
        if h % times or w % times:
            raise ValueError(
                f"dcgan: {len(self.widths)} widths need image sides that are multiples of "
                f"{times}, got {h} x {w}: choose other widths, or resize the images"
            )
        first = h // times, w // times, self.widths[0]
        x = nn.Dense(math.prod(first), use_bias=False, kernel_init=NORMAL, name="dense")(z)
        x = nn.relu(self._normed(x, 0, train)).reshape(-1, *first)
        after = self.widths[1:] if self.maps else (*self.widths[1:], channels)
        for i, width in enumerate(after, 1):
            layer = Doubled if strides[i - 1] == 2 else kept
            x = layer(width, self.kernel, name=f"conv{i}")(x)
            if i < len(self.widths):
                x = nn.relu(self._normed(x, i, train))
        return x if self.maps else jnp.tanh(x)

    def _normed(self, x, i, train):
        return Norm(name=f"norm{i}")(x, train) if self.norm else x


class Discriminator(nn.Module):
    """DCGAN's discriminator: images [n, h, w, c] -> {"logits": [n], "h": [n, d]}.

    h concatenates the feature maps of all convolutions, each max-pooled to at most 4 x 4
    and flattened, as in section 5.1 of the paper.

    Attributes:
      widths: channels of the feature maps, largest map first.
      kernel: kernel size.
      strides: of each layer, 1 or 2; empty: 2 of all.

    Raises:
      ValueError: if the strides do not fit.
    """

    widths: Sequence[int] = (128, 256, 512, 1024)
    kernel: int = 5
    strides: Sequence[int] = ()

    @nn.compact
    def __call__(self, images, train=False):
        x, n, pooled = images, len(images), []
        strides = strides_of(self.widths, self.strides)
        for i, width in enumerate(self.widths):
            x = nn.Conv(
                width,
                (self.kernel, self.kernel),
                (strides[i],) * 2,
                padding="SAME" if strides[i] == 1 else (self.kernel - 1) // 2,
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
