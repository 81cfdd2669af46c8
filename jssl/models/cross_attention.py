"""Transformers that attend to a text: the spatial transformer, and a text encoder.

Rombach et al. 2022, section 3.3, https://arxiv.org/abs/2112.10752, with the layers of their
released code. Tokens h [n, l, d] of a map attend to the tokens c [n, m, e] of a text:

    softmax(Q K' / sqrt(width)) V,    Q = h Wq,  K = c Wk,  V = c Wv,    in each head

A block is self-attention, cross-attention and a feed-forward network, each on LayerNorm
(eps 1e-5) and added to its input. Attention has no positions of its own: an order of the
text is in its encoder.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

XAVIER = nn.initializers.xavier_uniform()
ZERO = nn.initializers.zeros


class CrossAttention(nn.Module):
    """Attention to a context: [n, l, d], [n, m, e][, mask [n, m]] -> [n, l, d].

    Attributes:
      heads: number of heads.
      head_width: width of each; None: d / heads.
      dtype: dtype of the computation.

    Raises:
      ValueError: if the heads do not divide the width.
    """

    heads: int
    head_width: int | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x, context, mask=None):
        width = self.head_width or x.shape[-1] // self.heads
        if not self.head_width and x.shape[-1] % self.heads:
            raise ValueError(
                f"{self.heads} heads do not divide a width of {x.shape[-1]}: give another "
                f"number, or a head_width"
            )

        def split(x, name):
            inner = self.heads * width
            x = nn.Dense(inner, False, self.dtype, kernel_init=XAVIER, name=name)(x)
            return x.reshape(*x.shape[:2], self.heads, width)

        q, k, v = split(x, "query"), split(context, "key"), split(context, "value")
        seen = None if mask is None else mask[:, None, None, :]  # of all heads and queries
        y = jax.nn.dot_product_attention(q, k, v, mask=seen).reshape(*x.shape[:2], -1)
        return nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=XAVIER, name="out")(y)


class FeedForward(nn.Module):
    """A hidden layer of four times the width: [n, l, d] -> [n, l, d].

    Attributes:
      gated: GEGLU, a times GELU(b) of two layers (Shazeer 2020,
        https://arxiv.org/abs/2002.05202); else GELU. Both exact.
      dtype: dtype of the computation.
    """

    gated: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x):
        width, how = x.shape[-1], dict(kernel_init=XAVIER, dtype=self.dtype)
        y = nn.Dense(4 * width * (1 + self.gated), **how, name="hidden")(x)
        if self.gated:
            y, gate = jnp.split(y, 2, -1)
            y = y * nn.gelu(gate, approximate=False)
        else:
            y = nn.gelu(y, approximate=False)
        return nn.Dense(width, **how, name="out")(y)


class TransformerBlock(nn.Module):
    """Attention within x, then to a context if there is one, then a feed-forward network.

    Attributes:
      heads, head_width: see `CrossAttention`.
      gated: see `FeedForward`.
      dtype: dtype of the computation.
    """

    heads: int
    head_width: int | None = None
    gated: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x, context=None, own_mask=None, context_mask=None):
        def normed(name):
            return nn.LayerNorm(1e-5, self.dtype, name=name)(x)

        def attend(name):
            return CrossAttention(self.heads, self.head_width, self.dtype, name=name)

        y = normed("norm1")
        x = x + attend("attention")(y, y, own_mask)
        if context is not None:
            x = x + attend("cross")(normed("norm2"), context, context_mask)
        return x + FeedForward(self.gated, self.dtype, name="feed")(normed("norm3"))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the places of a map, added to it: [n, h, w, d] -> the same.

    The identity at first, since its last layer begins at zero.

    Attributes:
      heads: number of heads.
      depth: number of blocks.
      groups: groups of the group norm.
      dtype: dtype of the computation.
    """

    heads: int
    depth: int = 1
    groups: int = 32
    dtype: Any = None

    @nn.compact
    def __call__(self, x, context=None, mask=None):
        n, h, w, d = x.shape
        y = nn.GroupNorm(self.groups, dtype=self.dtype, name="norm")(x)
        y = nn.Dense(d, dtype=self.dtype, kernel_init=XAVIER, name="into")(y)
        y = y.reshape(n, h * w, d)
        for i in range(self.depth):
            block = TransformerBlock(self.heads, dtype=self.dtype, name=f"block{i}")
            y = block(y, context, None, mask)
        y = nn.Dense(d, dtype=self.dtype, kernel_init=ZERO, name="out")(y)
        return x + y.reshape(n, h, w, d)


class TextEncoder(nn.Module):
    """Tokens int [n, l], 0 for padding -> (context [n, 1 + l, width], mask [n, 1 + l]).

    A learned token precedes each text, so that an empty one is a context too. Embeddings of
    tokens and of positions, N(0, 0.02), then transformer blocks, then LayerNorm. Padding is
    not attended to.

    Attributes:
      vocabulary: number of tokens.
      width: of the embeddings.
      depth: number of blocks.
      heads, head_width: see `CrossAttention`.
      gated: see `FeedForward`.
      dtype: dtype of the computation.
    """

    vocabulary: int
    width: int = 32
    depth: int = 1
    heads: int = 4
    head_width: int | None = None
    gated: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens, train=False):
        n, length = tokens.shape
        normal = nn.initializers.normal(0.02)
        embed = nn.Embed(self.vocabulary, self.width, embedding_init=normal, name="words")
        first = self.param("first", normal, (1, 1, self.width))
        x = jnp.concatenate([jnp.tile(first, (n, 1, 1)), embed(tokens)], 1)
        x = x + self.param("positions", normal, (1, 1 + length, self.width))
        x = x if self.dtype is None else x.astype(self.dtype)
        mask = jnp.concatenate([jnp.ones((n, 1), bool), tokens > 0], 1)
        how = self.heads, self.head_width, self.gated, self.dtype
        for i in range(self.depth):
            x = TransformerBlock(*how, name=f"block{i}")(x, own_mask=mask)
        return nn.LayerNorm(1e-5, self.dtype, name="norm")(x), mask
