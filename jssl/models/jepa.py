"""Networks of I-JEPA: an encoder of visible patches, and a narrow predictor of the others.

Assran et al. 2023, https://arxiv.org/abs/2301.08243.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.vit import TOKEN, XAVIER, Encoder, blocks, norm, pooled, run
from jssl.ops.positions import sincos_2d


class Predictor(nn.Module):
    """A narrow ViT that predicts tokens at given places from those of a context.

    Context tokens are projected to `width`, and get positions; a learned token with its
    position stands for each wanted place. Blocks of places are predicted independently.

    Attributes:
      features: width of context tokens and predictions.
      width, depth, heads: of the predictor.
      dtype: dtype of the computation.
      remat: recompute the activations of each block in the backward pass, to save memory.
    """

    features: int
    width: int
    depth: int
    heads: int
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(self, x, grid, context, targets, real, train=False):
        (n, c, _), (_, k, t) = x.shape, targets.shape
        dense = dict(kernel_init=XAVIER, dtype=self.dtype)
        positions = jnp.asarray(sincos_2d(self.width, *grid), x.dtype)
        x = nn.Dense(self.width, **dense, name="bridge")(x) + positions[context]
        token = self.param("mask_token", TOKEN, (1, 1, 1, self.width))
        wanted = token.astype(x.dtype) + positions[targets]  # [n, k, t, width]
        seen = jnp.broadcast_to(x[:, None], (n, k, c, self.width))
        x = jnp.concatenate([seen, wanted], axis=2).reshape(n * k, c + t, self.width)
        keys = jnp.concatenate([jnp.ones(c, bool), real])  # padding is seen by none
        stack = blocks(self.depth, self.heads, self.dtype, remat=self.remat)
        x = run(stack, x, train, keys[None, None, None])
        x = norm(self.dtype, "norm")(x[:, c:])
        x = nn.Dense(self.features, **dense, name="out")(x)
        return x.reshape(n, k, t, self.features)


class JEPA(nn.Module):
    """Images, context [n, c], targets [n, k, t], real [t] -> predictions [n, k, t, d].

    The arrays of patch numbers are those of `jssl.ops.block_masking.Blocks`.

    Attributes:
      encoder: encoder of the context's patches alone.
      width, depth, heads: of the predictor.
      pool: pooling of the tokens into h, as in `vit.pooled`.
    """

    encoder: Encoder
    width: int = 384
    depth: int = 12
    heads: int = 12
    pool: str = "mean"

    @nn.compact
    def __call__(self, images, context, targets, real, train=False):
        kind = self.encoder
        tokens = kind(images, context, train)[:, 1:]
        predictor = Predictor(
            kind.width,
            self.width,
            self.depth,
            self.heads,
            kind.dtype,
            kind.remat,
            name="predictor",
        )
        out = predictor(tokens, kind.cut(images), context, targets, real, train)
        return out.astype(jnp.promote_types(out.dtype, jnp.float32))

    def encode(self, images, train=False):
        """Embeds whole images: {"h": pooled, "tokens": [n, l, d]}."""
        tokens = self.encoder(images, train=train)
        h = pooled(tokens, self.pool, self.encoder.cut(images))
        return {"h": h, "tokens": tokens[:, 1:]}

    def filters(self, train=False):
        return self.encoder.filters()
