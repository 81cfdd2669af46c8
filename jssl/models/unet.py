"""U-Net of denoising diffusion models: residual blocks, attention, skip connections.

Ho, Jain and Abbeel 2020, appendix B, https://arxiv.org/abs/2006.11239, with the layers,
sizes and initialization of their released code: group norm (eps 1e-6) and swish before each
3 x 3 convolution; the embedded step added between the two of a block; Xavier-uniform
kernels, and zeros in the last convolution of every residual branch and of the network.

With a text encoder, the attention is that of spatial transformers to a text (Rombach et al.
2022, https://arxiv.org/abs/2112.10752).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models.cross_attention import SpatialTransformer
from jssl.models.intermediates import tap
from jssl.ops.convolution import convolve
from jssl.ops.diffusion import timestep_embedding
from jssl.ops.patches import patchify, unpatchify

XAVIER = nn.initializers.xavier_uniform()
ZERO = nn.initializers.zeros


def conv(width, name, stride=1, kernel_init=XAVIER, dtype=None):
    """A 3 x 3 convolution; with stride 2 padded below and right, as TensorFlow does."""
    return nn.Conv(
        width,
        (3, 3),
        (stride, stride),
        conv_general_dilated=convolve,
        kernel_init=kernel_init,
        dtype=dtype,
        name=name,
    )


class ResidualBlock(nn.Module):
    """Two convolutions, told the step: [n, h, w, c][, [n, k]] -> [n, h, w, width].

    Attributes:
      width: channels of the output.
      groups: groups of the group norms.
      dropout: dropout rate, from the stream "dropout".
      dtype: dtype of the computation.
      eps: epsilon of the group norms.
      last_init: initial kernel of the second convolution.
    """

    width: int
    groups: int = 32
    dropout: float = 0.0
    dtype: Any = None
    eps: float = 1e-6
    last_init: Callable = ZERO

    @nn.compact
    def __call__(self, x, time=None, train=False):
        norm = partial(nn.GroupNorm, self.groups, epsilon=self.eps, dtype=self.dtype)
        dense = partial(nn.Dense, self.width, kernel_init=XAVIER, dtype=self.dtype)
        y = conv(self.width, "conv0", dtype=self.dtype)(nn.swish(norm(name="norm0")(x)))
        if time is not None:
            y = y + dense(name="time")(nn.swish(time))[:, None, None]
        y = nn.swish(norm(name="norm1")(y))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        y = conv(self.width, "conv1", kernel_init=self.last_init, dtype=self.dtype)(y)
        return y + (x if x.shape[-1] == self.width else dense(name="shortcut")(x))


class Attention(nn.Module):
    """Self-attention of one head over the places of a map, added to it: [n, h, w, c].

    Attributes:
      groups: groups of the group norm.
      dtype: dtype of the computation.
      last_init: initial kernel of the last layer.
    """

    groups: int = 32
    dtype: Any = None
    last_init: Callable = ZERO

    @nn.compact
    def __call__(self, x):
        n, h, w, c = x.shape
        dense = partial(nn.Dense, c, kernel_init=XAVIER, dtype=self.dtype)
        y = nn.GroupNorm(self.groups, dtype=self.dtype, name="norm")(x).reshape(n, h * w, c)
        q, k, v = (dense(name=name)(y)[:, :, None] for name in ("query", "key", "value"))
        y = jax.nn.dot_product_attention(q, k, v).reshape(n, h, w, c)
        return x + dense(name="out", kernel_init=self.last_init)(y)


class UNet(nn.Module):
    """U-Net: x_t [n, h, w, c], step [n][, condition] -> {"output": like x_t, "h": [n, d]}.

    h is the middle of the network, averaged over places. Maps are halved between levels by
    a convolution of stride 2, and doubled by repetition and a convolution; on the way up
    every block is given a map of the way down. The defaults are those for CIFAR-10, of
    35,746,307 weights.

    Attributes:
      width: channels of the first level.
      multipliers: channels of each level, in units of `width`.
      blocks: residual blocks of a level on the way down; there is one more on the way up.
      attention: levels, from 0, whose blocks are followed by attention; the middle has it.
      dropout: dropout rate of the residual blocks.
      groups: groups of the group norms.
      classes: number of classes, of which an embedding is added to that of the step; class
        number `classes` is for none. 0: no classes.
      patch: side of the squares of pixels that are one place of the first level.
      dtype: dtype of the computation.
      text: encoder of conditions that are tokens [n, l], to (context, mask), as
        `TextEncoder`; attention is then by spatial transformers. None: no texts.
      heads: heads of the spatial transformers.
      depth: blocks of each spatial transformer.
      eps: epsilon of the group norms, but those of attention.
      order: of the embedded step, see `timestep_embedding`.

    Raises:
      ValueError: if the sides of x_t are no multiples of patch * 2^(levels - 1), or a
        condition is given to a network without, or is not given.
    """

    width: int = 128
    multipliers: Sequence[int] = (1, 2, 2, 2)
    blocks: int = 2
    attention: Sequence[int] = (1,)
    dropout: float = 0.0
    groups: int = 32
    classes: int = 0
    patch: int = 1
    dtype: Any = None
    text: nn.Module | None = None
    heads: int = 1
    depth: int = 1
    eps: float = 1e-6
    order: str = "sin"

    @nn.compact
    def __call__(self, x, step, condition=None, train=False):
        size, times = x.shape[1:3], self.patch * 2 ** (len(self.multipliers) - 1)
        if size[0] % times or size[1] % times:
            raise ValueError(
                f"unet: {len(self.multipliers)} levels on patches of {self.patch} need "
                f"image sides that are multiples of {times}, got {size[0]} x {size[1]}"
            )
        if (condition is None) != (self.classes == 0 and self.text is None):
            needed = "tokens" if self.text else "the class" if self.classes else "no class"
            kind = "texts" if self.text else f"{self.classes} classes"
            raise ValueError(f"unet: a network of {kind} needs {needed} of each row")
        dense = partial(nn.Dense, 4 * self.width, kernel_init=XAVIER)
        time = dense(name="time0")(timestep_embedding(step, self.width, self.order))
        time = dense(name="time1")(nn.swish(time))
        groups, dtype = self.groups, self.dtype
        residual = partial(
            ResidualBlock, groups=groups, dropout=self.dropout, dtype=dtype, eps=self.eps
        )
        if self.text is not None:
            context = self.text(condition, train=train)
            kind = partial(SpatialTransformer, self.heads, self.depth, groups, dtype)
        else:
            context, kind = (), partial(Attention, groups, dtype)
            if condition is not None:
                embed = nn.Embed(self.classes + 1, 4 * self.width, name="class")
                time = time + embed(condition)

        def attend(x, name):
            return kind(name=name)(x, *context)

        def block(x, at, name):
            return residual(self.width * self.multipliers[at], name=name)(x, time, train)

        grid = size[0] // self.patch, size[1] // self.patch
        x = patchify(x, self.patch).reshape(len(x), *grid, -1)
        channels = x.shape[-1]
        x = conv(self.width, "first", dtype=dtype)(x)
        kept, last = [x], len(self.multipliers) - 1
        for at in range(last + 1):
            for i in range(self.blocks):
                x = block(x, at, f"down{at}_{i}")
                if at in self.attention:
                    x = attend(x, f"down{at}_{i}_attention")
                kept.append(x)
            tap(self, "layers", x)
            if at < last:
                x = conv(x.shape[-1], f"halve{at}", 2, dtype=dtype)(x)
                kept.append(x)
        x = block(x, last, "middle0")
        x = block(attend(x, "middle_attention"), last, "middle1")
        tap(self, "layers", x)
        h = x.mean((1, 2))
        for at in range(last, -1, -1):
            for i in range(self.blocks + 1):
                x = block(jnp.concatenate([x, kept.pop()], -1), at, f"up{at}_{i}")
                if at in self.attention:
                    x = attend(x, f"up{at}_{i}_attention")
            tap(self, "layers", x)
            if at:
                x = conv(x.shape[-1], f"double{at}", dtype=dtype)(
                    x.repeat(2, 1).repeat(2, 2)
                )
        x = nn.swish(nn.GroupNorm(groups, epsilon=self.eps, dtype=dtype, name="norm")(x))
        x = conv(channels, "last", kernel_init=ZERO)(x)
        x = unpatchify(x.reshape(len(x), -1, channels), self.patch, size)
        return {"output": x, "h": h.astype(jnp.promote_types(h.dtype, jnp.float32))}
