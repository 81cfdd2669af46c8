"""data2vec's network for images: a ViT on patches some of which are masked, and a head.

Baevski et al. 2022, https://arxiv.org/abs/2202.03555.
"""

import flax.linen as nn
import jax.numpy as jnp

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
