"""CoGAN's networks: two generators and two discriminators that share layers.

Liu and Tuzel 2016, https://arxiv.org/abs/1606.07536. Generators share their first layers
and have heads of their own, discriminators have stems of their own and share the rest. The
networks of digits are those of https://github.com/mingyuliutw/CoGAN (Caffe, whose initial
transposed convolutions are scaled by their outputs).
"""

import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models.dcgan import kept
from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm
from jssl.models.prelu import PReLU

HE = nn.initializers.he_normal()
HE_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class CoupledGenerator(nn.Module):
    """Two generators: z [n, d] -> (x1, x2).

    Attributes:
      trunks: z -> maps; one of both domains, whose layers are tied, or one of each.
      heads: maps -> samples, one of each domain.
    """

    trunks: Sequence[nn.Module]
    heads: Sequence[nn.Module]

    def __call__(self, z, train=False):
        maps = [trunk(z, train=train) for trunk in self.trunks]
        return tuple(head(x) for head, x in zip(self.heads, itertools.cycle(maps)))


class CoupledDiscriminator(nn.Module):
    """Two discriminators: (x1, x2) -> {"logits": [n, 2]}.

    `first` and `second` have one sample of their domain, and also return its "h" [n, d].

    Attributes:
      stems: samples -> maps, one of each domain.
      trunks: maps -> {"logits": [n], "h": [n, d]}; one of both domains, whose layers are
        tied, or one of each. Without batch norm, whose statistics would mix the domains.
    """

    stems: Sequence[nn.Module]
    trunks: Sequence[nn.Module]

    def __call__(self, pair, train=False):
        both = zip((self.first, self.second), pair, strict=True)
        return {"logits": jnp.stack([of(x, train)["logits"] for of, x in both], 1)}

    def first(self, x, train=False):
        return self.trunks[0](self.stems[0](x), train=train)

    def second(self, x, train=False):
        return self.trunks[-1](self.stems[1](x), train=train)


class Head(nn.Module):
    """A convolution of stride 1: maps [n, h, w, d] -> images [n, h, w, c] in [-1, 1].

    Attributes:
      channels: c.
      kernel: kernel size.
    """

    channels: int
    kernel: int = 5

    @nn.compact
    def __call__(self, x):
        return jnp.tanh(kept(self.channels, self.kernel, "conv")(x))


class HalvingStem(nn.Module):
    """A convolution of stride 2 with LeakyReLU of slope 0.2.

    Attributes:
      width: channels of its maps.
      kernel: kernel size.
    """

    width: int
    kernel: int = 4

    @nn.compact
    def __call__(self, x):
        size, pad = (self.kernel,) * 2, (self.kernel - 1) // 2
        conv = nn.Conv(self.width, size, (2, 2), pad, kernel_init=HE, name="conv")
        return nn.leaky_relu(conv(x), 0.2)


class DigitsTrunk(nn.Module):
    """Tied layers of the generators of digits: z [n, d] -> maps [n, 25, 25, widths[-1]].

    Attributes:
      widths: channels of the maps of 4, 7, 13 and 25 pixels.
    """

    widths: Sequence[int] = (1024, 512, 256, 128)

    @nn.compact
    def __call__(self, z, train=False):
        first, *others = self.widths
        x = nn.Dense(16 * first, kernel_init=HE, name="dense")(z)
        x = self._normed(x.reshape(-1, 4, 4, first), 0, train)
        for i, width in enumerate(others, 1):
            conv = nn.ConvTranspose(
                width, (3, 3), (2, 2), ((1, 1),) * 2, kernel_init=HE_OUT, name=f"conv{i}"
            )
            x = self._normed(conv(x), i, train)
        return x

    def _normed(self, x, i, train):
        return PReLU(name=f"prelu{i}")(BatchNorm(scale=False, name=f"norm{i}")(x, train))


class DigitsHead(nn.Module):
    """The generators' own layer: maps of 25 pixels -> digits [n, 28, 28, 1] in [0, 1]."""

    @nn.compact
    def __call__(self, x):
        pad = ((4, 4), (4, 4))  # of the input: Caffe's padding of 1
        conv = nn.ConvTranspose(1, (6, 6), (1, 1), pad, kernel_init=HE_OUT, name="conv")
        return jax.nn.sigmoid(conv(x))


class DigitsStem(nn.Module):
    """The discriminators' own layer: images -> pooled maps of a 5 x 5 convolution.

    Attributes:
      width: channels of its maps.
    """

    width: int = 20

    @nn.compact
    def __call__(self, x):
        conv = nn.Conv(self.width, (5, 5), padding="VALID", kernel_init=HE, name="conv")
        return nn.max_pool(conv(x), (2, 2), (2, 2))


class DigitsJudge(nn.Module):
    """Tied layers of the discriminators of digits: -> {"logits": [n], "h": [n, hidden]}.

    Attributes:
      width: channels of the second convolution.
      hidden: units of the dense layer.
      dropout: dropout rate of h.
    """

    width: int = 50
    hidden: int = 500
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x, train=False):
        conv = nn.Conv(self.width, (5, 5), padding="VALID", kernel_init=HE, name="conv")
        x = nn.max_pool(conv(x), (2, 2), (2, 2))
        tap(self, "layers", x)
        dense = nn.Dense(self.hidden, kernel_init=HE, name="dense")
        h = PReLU(name="prelu")(dense(x.reshape(len(x), -1)))
        x = nn.Dropout(self.dropout, deterministic=not train)(h)
        return {"logits": nn.Dense(1, kernel_init=HE, name="head")(x)[:, 0], "h": h}
