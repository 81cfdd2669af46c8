"""Networks of context encoders: an encoder, a bottleneck, and up-convolutions.

Pathak et al. 2016, https://arxiv.org/abs/1604.07379; the strided encoder and the dense
bottleneck are those of https://github.com/pathak22/context-encoder, and so is the
initialization.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models.dcgan import NORMAL, Doubled, Norm
from jssl.models.intermediates import tap


class ChannelWise(nn.Module):
    """A fully connected layer within each channel: maps [n, h, w, c] -> [n, h, w, c].

    It has c (h w)^2 weights, where a fully connected layer would have (c h w)^2, and
    carries information from everywhere to everywhere, as convolutions do not.
    """

    @nn.compact
    def __call__(self, maps, train=False):
        n, h, w, c = maps.shape
        init = nn.initializers.variance_scaling(
            1.0, "fan_in", "normal", in_axis=0, out_axis=1, batch_axis=2
        )
        kernel = self.param("kernel", init, (h * w, h * w, c))
        mixed = jnp.einsum("npc,pqc->nqc", maps.reshape(n, h * w, c), kernel)
        return mixed.reshape(n, h, w, c)


class Strided(nn.Module):
    """4 x 4 convolutions of stride 2 with batch norm, but in the first, and LeakyReLU.

    Images [n, h, w, c] -> maps [n, h', w', widths[-1]], or their means [n, widths[-1]].

    Attributes:
      widths: channels of each layer, which halves the sides.
      maps: return the maps.
    """

    widths: Sequence[int] = (64, 64, 128, 256, 512)
    maps: bool = False

    @nn.compact
    def __call__(self, images, train=False):
        x = images
        for i, width in enumerate(self.widths):
            x = nn.Conv(
                width,
                (4, 4),
                2,
                padding=1,
                use_bias=False,
                kernel_init=NORMAL,
                name=f"conv{i}",
            )(x)
            if i:
                x = Norm(name=f"norm{i}")(x, train)
            x = nn.leaky_relu(x, 0.2)
            tap(self, "layers", x)
        return x if self.maps else x.mean((1, 2))

    def filters(self):
        """The first layer's kernels, [width, 4, 4, c]."""
        return self.variables["params"]["conv0"]["kernel"].transpose(3, 0, 1, 2)


class ContextEncoder(nn.Module):
    """Images with a hole -> {"output": [n, *shape] in [-1, 1], "h": [n, d]}.

    h is the mean of the encoder's maps; or the dense bottleneck, if there is one. Layers of
    the decoder double the maps until their side is about that of the output; they are then
    cropped, or enlarged bilinearly.

    Attributes:
      encoder: images -> maps [n, h', w', d].
      shape: (h, w, c) of the output.
      widths: channels of the decoder's hidden layers; unused ones are left out.
      bottleneck: units of a dense layer between the encoder and the decoder; 0: a
        channel-wise fully connected layer and a 1 x 1 convolution.

    Raises:
      ValueError: too few widths for an output of this size.
    """

    encoder: nn.Module
    shape: tuple[int, int, int]
    widths: Sequence[int] = (64, 32)
    bottleneck: int = 0

    @nn.compact
    def __call__(self, images, train=False):
        maps = self.encoder(images, train=train)
        n, *sides, d = maps.shape
        doublings = max(round(math.log2(max(self.shape[:2]) / max(sides))), 1)
        if doublings > len(self.widths) + 1:
            raise ValueError(
                f"ContextEncoder: maps of {sides[0]} x {sides[1]} need {doublings - 1} "
                f"hidden layers for an output of {self.shape[0]} x {self.shape[1]}, got "
                f"widths {tuple(self.widths)}"
            )
        if self.bottleneck:
            x = self._dense(self.bottleneck, "bottleneck", maps.reshape(n, -1))
            h = x = nn.leaky_relu(Norm(name="bottleneck_norm")(x, train), 0.2)
            x = self._dense(sides[0] * sides[1] * d, "spread", x).reshape(maps.shape)
        else:
            h = maps.mean((1, 2))
            x = nn.relu(ChannelWise(name="channel_wise")(maps))
            x = nn.Conv(d, (1, 1), use_bias=False, name="mix")(x)
        x = nn.relu(Norm(name="norm0")(x, train))
        for i, width in enumerate(self.widths[: doublings - 1], 1):
            x = Doubled(width, 4, name=f"up{i}")(x)
            x = nn.relu(Norm(name=f"norm{i}")(x, train))
        output = jnp.tanh(Doubled(self.shape[-1], 4, name="out")(x))
        return {"output": _fitted(output, *self.shape[:2]), "h": h}

    def _dense(self, units, name, x):
        return nn.Dense(units, use_bias=False, kernel_init=NORMAL, name=name)(x)

    def filters(self, train=False):
        return self.encoder.filters()


def _fitted(images, height, width):
    """The central height x width pixels of images, enlarged to it if they are smaller."""
    n, h, w, c = images.shape
    if h < height or w < width:
        return jax.image.resize(images, (n, height, width, c), "linear")
    top, left = (h - height) // 2, (w - width) // 2
    return images[:, top : top + height, left : left + width]
