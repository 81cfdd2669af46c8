"""data2vec's networks: a transformer on inputs some of which are masked, and a head.

Baevski et al. 2022, https://arxiv.org/abs/2202.03555.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.transformer import NORMAL, Transformer, mean_of_text
from jssl.models.vit import TOKEN, XAVIER, Encoder, pooled


class Data2vec(nn.Module):
    """Images, mask [n, l] -> predicted features of all patches [n, l, d].

    The embeddings of masked patches are replaced by a learned token before positions are
    added, and the head, "predictor", is linear, both as in BEiT.

    Attributes:
      encoder: of all patches.
      pool: pooling of the tokens into h, as in `vit.pooled`.
    """

    encoder: Encoder
    pool: str = "mean"

    @nn.compact
    def __call__(self, images, mask, train=False):
        width, dtype = self.encoder.width, self.encoder.dtype
        token = self.param("mask_token", TOKEN, (1, 1, width))[0, 0]
        tokens = self.encoder(images, train=train, mask=mask, token=token)
        head = nn.Dense(width, kernel_init=XAVIER, dtype=dtype, name="predictor")
        out = head(tokens[:, 1:])
        return out.astype(jnp.promote_types(out.dtype, jnp.float32))

    def encode(self, images, train=False):
        """Embeds whole images: {"h": pooled, "tokens": [n, l, d]}."""
        tokens = self.encoder(images, train=train)
        h = pooled(tokens, self.pool, self.encoder.cut(images))
        return {"h": h, "tokens": tokens[:, 1:]}

    def filters(self, train=False):
        return self.encoder.filters()


class TextData2vec(nn.Module):
    """Tokens [n, l], some of them masked -> predicted features of all tokens [n, l, d].

    The head, "predictor", has a hidden layer of twice the width with GELU, as that of the
    released code for text.

    Attributes:
      encoder: of texts that begin with a special token.
    """

    encoder: Transformer

    @nn.compact
    def __call__(self, tokens, train=False):
        x = self.encoder(tokens, None, train)
        out = Regression(self.encoder.width, self.encoder.dtype, name="predictor")(x)
        return out.astype(jnp.promote_types(out.dtype, jnp.float32))

    def encode(self, tokens, train=False):
        """Embeds whole texts: {"h": mean [n, d], "tokens": [n, l - 1, d]}, of the words."""
        x = self.encoder(tokens, None, train)
        return {"h": mean_of_text(tokens, x, self.encoder.pad), "tokens": x[:, 1:]}


class Regression(nn.Module):
    """A hidden layer of twice the width, GELU, and a linear layer: [..., d] -> [..., d]."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x):
        how = dict(kernel_init=NORMAL, dtype=self.dtype)
        x = nn.gelu(nn.Dense(2 * self.width, **how, name="fc1")(x), approximate=False)
        return nn.Dense(self.width, **how, name="fc2")(x)
