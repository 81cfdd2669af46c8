"""Vision transformers of videos, and VideoMAE's masked autoencoder.

Tong, Song, Wang and Wang 2022, https://arxiv.org/abs/2203.12602: tokens are cubes of a few
frames, attention is joint over space and time, positions are fixed sines and cosines of the
number of a cube, and there is no class token. By choice, positions are those of time, row
and column side by side.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jssl.models.vit import TOKEN, XAVIER, Encoder, blocks, norm, pooled, run
from jssl.ops.patches import patchify_video
from jssl.ops.positions import interleaved_sincos_1d, sincos_3d


class VideoEncoder(Encoder):
    """A ViT of videos [n, t, h, w, c] -> the mean token and all tokens [n, 1 + l, d].

    Otherwise as `Encoder`, which it is of cubes of `tube` frames, `patch` rows and columns.

    Attributes:
      tube: frames of a cube.
      axes: positions of a quarter of the width for time, of the rest for row and column,
        instead of those of the cube's number.
    """

    class_token: bool = False
    tube: int = 2
    axes: bool = False

    def patches(self, images):
        return patchify_video(images, (self.tube, self.patch, self.patch))

    def cut(self, images):
        """Slices, rows and columns of cubes of videos [n, t, h, w, c]."""
        t, h, w = images.shape[1:4]
        return t // self.tube, h // self.patch, w // self.patch

    def fixed(self, width, grid):
        if self.axes:
            slices, rows, columns = grid
            return sincos_3d(width, slices, rows, columns, width // 4)
        return interleaved_sincos_1d(width, np.arange(math.prod(grid)))

    def filters(self):
        """The first frames of the kernels of the cube projection, [d, p, p, c]."""
        kernel = self.embedding.variables["params"]["kernel"]
        shape = self.width, self.tube, self.patch, self.patch, -1
        return kernel.T.reshape(shape)[:, 0]


class VideoMaskedAutoencoder(nn.Module):
    """An encoder of the visible cubes, and a light decoder that predicts the masked ones.

    (videos, keep [n, k], hidden [n, m]) -> predicted cubes [n, m, tube * p * p * c], in the
    order of `hidden`. The decoder processes all tokens; the last ones are the masked.
    """

    encoder: VideoEncoder
    width: int = 384  # of the decoder
    depth: int = 4
    heads: int = 6
    pool: str = "mean"

    @nn.compact
    def __call__(self, videos, keep, hidden, train=False):
        encoder, dtype = self.encoder, self.encoder.dtype
        bridge = nn.Dense(
            self.width, use_bias=False, kernel_init=XAVIER, dtype=dtype, name="bridge"
        )
        x = encoder.widened(bridge(encoder(videos, keep, train)[:, 1:]))
        token = self.param("mask_token", TOKEN, (1, 1, self.width))
        positions = encoder.fixed(self.width, encoder.cut(videos))
        positions = jnp.asarray(positions, x.dtype)
        seen, masked = x + positions[keep], token.astype(x.dtype) + positions[hidden]
        x = jnp.concatenate([seen, masked], axis=1)
        stack: Any = blocks(self.depth, self.heads, dtype, name="decoder", eps=encoder.eps)
        x = norm(dtype, "norm", encoder.eps)(run(stack, x, train)[:, keep.shape[1] :])
        k = encoder.tube * encoder.patch**2 * videos.shape[-1]
        x = nn.Dense(k, kernel_init=XAVIER, dtype=dtype, name="pixels")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def encode(self, videos, train=False):
        """Embeds unmasked videos: {"h": pooled, "tokens": [n, l, d]}."""
        tokens = self.encoder(videos, train=train)
        h = pooled(tokens, self.pool, self.encoder.cut(videos))
        return {"h": h, "tokens": tokens[:, 1:]}

    def filters(self, train=False):
        return self.encoder.filters()
