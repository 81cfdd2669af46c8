"""Convolutional autoencoder of images with a Gaussian code, for latent diffusion.

Rombach et al. 2022, https://arxiv.org/abs/2112.10752, with the layers and sizes of their
released code: the residual blocks of the U-Net (`jssl.models.unet`) without the step, its
attention in the middle, and no skip connections. The defaults are those of the public model
of factor 8, of 83,653,863 weights.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.models.unet import XAVIER, Attention, ResidualBlock, conv
from jssl.ops.patches import patchify, unpatchify


def _layers(groups, dtype):
    """Residual blocks and attention, whose last layers begin like the others."""
    how = dict(groups=groups, dtype=dtype, last_init=XAVIER)
    return partial(ResidualBlock, **how), partial(Attention, **how)


def _middle(residual, attention, x):
    width = x.shape[-1]
    x = attention(name="middle_attention")(residual(width, name="middle0")(x))
    return residual(width, name="middle1")(x)


def _last(groups, dtype, width, x):
    x = nn.swish(nn.GroupNorm(groups, dtype=dtype, name="norm")(x))
    return conv(width, "last", dtype=dtype)(x)


class Encoder(nn.Module):
    """Images [n, h, w, c] -> maps [n, h / f, w / f, out], f = patch * 2^(levels - 1).

    Attributes:
      out: channels of the output.
      width, multipliers, blocks, groups, patch, dtype: see `KLAutoencoder`.
    """

    out: int
    width: int
    multipliers: Sequence[int]
    blocks: int
    groups: int
    patch: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x, train=False):
        residual, attention = _layers(self.groups, self.dtype)
        grid = [side // self.patch for side in x.shape[1:3]]
        x = patchify(x, self.patch).reshape(len(x), *grid, -1)
        x = conv(self.width, "first", dtype=self.dtype)(x)
        for at, times in enumerate(self.multipliers):
            for i in range(self.blocks):
                x = residual(self.width * times, name=f"down{at}_{i}")(x)
            tap(self, "layers", x)
            if at < len(self.multipliers) - 1:
                x = conv(x.shape[-1], f"halve{at}", 2, dtype=self.dtype)(x)
        x = _middle(residual, attention, x)
        return _last(self.groups, self.dtype, self.out, x)


class Decoder(nn.Module):
    """Codes [n, h / f, w / f, latent] -> images [n, h, w, c], as the encoder backwards.

    Attributes:
      shape: (h, w, c) of an image.
      width, multipliers, blocks, groups, patch, dtype: see `KLAutoencoder`.
    """

    shape: Sequence[int]
    width: int
    multipliers: Sequence[int]
    blocks: int
    groups: int
    patch: int
    dtype: Any = None

    @nn.compact
    def __call__(self, z, train=False):
        residual, attention = _layers(self.groups, self.dtype)
        x = conv(self.width * self.multipliers[-1], "first", dtype=self.dtype)(z)
        x = _middle(residual, attention, x)
        for at in range(len(self.multipliers) - 1, -1, -1):
            for i in range(self.blocks + 1):
                x = residual(self.width * self.multipliers[at], name=f"up{at}_{i}")(x)
            if at:
                x = x.repeat(2, 1).repeat(2, 2)
                x = conv(x.shape[-1], f"double{at}", dtype=self.dtype)(x)
        x = _last(self.groups, self.dtype, self.patch**2 * self.shape[-1], x)
        return unpatchify(
            x.reshape(len(x), -1, x.shape[-1]), self.patch, (self.shape[0], self.shape[1])
        )


class KLAutoencoder(nn.Module):
    """An autoencoder whose code is Gaussian: x [n, h, w, c] -> its reconstruction.

    `encode` and `decode` are those of `jssl.methods.generative.vae`, with codes as rows;
    `grid` is the shape of the code as a map.

    Attributes:
      shape: (h, w, c) of an image.
      width: channels of the first level.
      multipliers: channels of each level, in units of `width`; a level has half the side of
        the one before.
      blocks: residual blocks of a level of the encoder; the decoder has one more.
      latent: channels of the code.
      groups: groups of the group norms.
      patch: side of the squares of pixels that are one place of the first level.
      dtype: dtype of the computation.

    Raises:
      ValueError: if the sides of an image are no multiples of patch * 2^(levels - 1).
    """

    shape: Sequence[int]
    width: int = 128
    multipliers: Sequence[int] = (1, 2, 4, 4)
    blocks: int = 2
    latent: int = 4
    groups: int = 32
    patch: int = 1
    dtype: Any = None

    @property
    def grid(self) -> tuple[int, int, int]:
        """Shape of a code, (h / f, w / f, latent)."""
        h, w, _ = self.shape
        times = self.patch * 2 ** (len(self.multipliers) - 1)
        if h % times or w % times:
            raise ValueError(
                f"autoencoder: {len(self.multipliers)} levels on patches of {self.patch} "
                f"need image sides that are multiples of {times}, got {h} x {w}"
            )
        return h // times, w // times, self.latent

    def setup(self):
        sizes = self.width, self.multipliers, self.blocks, self.groups, self.patch
        self.encoder = Encoder(2 * self.latent, *sizes, self.dtype)
        self.decoder = Decoder(self.shape, *sizes, self.dtype)
        # 1 x 1 convolutions of the code, on either side.
        self.posterior = nn.Dense(2 * self.latent, kernel_init=XAVIER, dtype=self.dtype)
        self.code = nn.Dense(self.latent, kernel_init=XAVIER, dtype=self.dtype)

    def __call__(self, x, train=False):
        mean, _ = self.encode(x, train=train)
        return self.decode(mean, train=train)

    def encode(self, x, train=False):
        """Mean and log variance of q(z|x), both [n, d] with d of `grid`."""
        del train
        mean, log_variance = jnp.split(self.posterior(self.encoder(x)), 2, -1)
        rows = lambda a: _at_least_single(a).reshape(len(x), math.prod(self.grid))
        return rows(mean), rows(jnp.clip(log_variance, -30, 20))

    def decode(self, z, train=False):
        """Reconstructions [n, h, w, c] of codes [n, d]."""
        del train
        return _at_least_single(self.decoder(self.code(z.reshape(-1, *self.grid))))


def _at_least_single(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
