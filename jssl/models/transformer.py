"""Transformers of text: the encoder of BERT, the decoder of GPT, and their heads.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; Devlin et al. 2019,
https://arxiv.org/abs/1810.04805; Radford et al. 2018 and 2019. Learned positions; matrices
and embeddings N(0, 0.02). Post-norm blocks, norm(x + f(x)), are those of BERT and of the
first GPT, pre-norm blocks, x + f(norm(x)), those of GPT-2.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models.intermediates import tap, tapped

NORMAL = nn.initializers.normal(0.02)
GPT_SIZES = {  # width, depth, heads
    "124M": (768, 12, 12),
    "355M": (1024, 24, 16),
    "774M": (1280, 36, 20),
    "1.5B": (1600, 48, 25),
}
BERT_SIZES = {"base": (768, 12, 12), "large": (1024, 24, 16)}


def _dense(width, dtype, name, std=0.02):
    init = nn.initializers.normal(std)
    return nn.Dense(width, kernel_init=init, dtype=dtype, name=name)


class Attention(nn.Module):
    """Multi-head attention within texts: [n, l, d] -> [n, l, d].

    With a cache of keys and values, [2, n, m, heads, d / heads], those of x are written to
    it from place `at` on, and x attends to all of it: the result is ([n, l, d], cache).

    Attributes:
      heads: number of heads.
      dropout: rate, of the attention's probabilities.
      out_std: standard deviation of the initialization of the output.
      dtype: dtype of the computation.
    """

    heads: int
    dropout: float = 0.0
    out_std: float = 0.02
    dtype: Any = None

    @nn.compact
    def __call__(self, x, mask=None, train=False, cache=None, at=0):
        n, length, width = x.shape
        split = (n, length, self.heads, width // self.heads)
        q, k, v = (
            _dense(width, self.dtype, name)(x).reshape(split)
            for name in ("query", "key", "value")
        )
        if cache is not None:
            new = jnp.stack([k, v]).astype(cache.dtype)
            cache = jax.lax.dynamic_update_slice(cache, new, (0, 0, at, 0, 0))
            k, v = cache
        logits = jnp.einsum("nqhd,nkhd->nhqk", q, k) / math.sqrt(split[-1])
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        if mask is not None:
            # Not -inf: a row of padding alone has no key, and must not become NaN.
            logits = jnp.where(mask, logits, jnp.finfo(logits.dtype).min)
        weights = jax.nn.softmax(logits)
        if cache is None and tapped(self, "attention"):
            tap(self, "attention", weights)
        weights = nn.Dropout(self.dropout, deterministic=not train)(weights)
        out = jnp.einsum("nhqk,nkhd->nqhd", weights.astype(v.dtype), v).reshape(x.shape)
        out = _dense(width, self.dtype, "out", self.out_std)(out)
        return out if cache is None else (out, cache)


class Block(nn.Module):
    """A transformer block: attention, then a feed-forward network, each a residual branch.

    Attributes:
      heads: number of heads.
      pre_norm: norms before the branches, else after the sums.
      dropout: rate, of the branches and of the attention.
      exact: GELU itself, else its approximation by tanh.
      ratio: width of the hidden layer, in units of the width.
      eps: epsilon of the norms.
      out_std: standard deviation of the initialization of the branches' outputs.
      dtype: dtype of the computation.
    """

    heads: int
    pre_norm: bool = True
    dropout: float = 0.0
    exact: bool = True
    ratio: int = 4
    eps: float = 1e-5
    out_std: float = 0.02
    dtype: Any = None

    @nn.compact
    def __call__(self, x, mask=None, train=False, cache=None, at=0):
        norm1, norm2 = (
            nn.LayerNorm(self.eps, dtype=self.dtype, name=name)
            for name in ("norm1", "norm2")
        )
        drop = nn.Dropout(self.dropout, deterministic=not train)
        attention = Attention(
            self.heads, self.dropout, self.out_std, self.dtype, name="attention"
        )
        y = attention(norm1(x) if self.pre_norm else x, mask, train, cache, at)
        if cache is not None:
            y, cache = y
        x = x + drop(y)
        x = x if self.pre_norm else norm1(x)
        y = norm2(x) if self.pre_norm else x
        y = _dense(self.ratio * x.shape[-1], self.dtype, "fc1")(y)
        y = nn.gelu(y, approximate=not self.exact)
        y = _dense(x.shape[-1], self.dtype, "fc2", self.out_std)(y)
        x = x + drop(y)
        x = x if self.pre_norm else norm2(x)
        return x if cache is None else (x, cache)


class Transformer(nn.Module):
    """Tokens int [n, l] -> outputs [n, l, width].

    Attributes:
      vocabulary: number of tokens.
      length: largest number of tokens of a text.
      width, depth, heads: of the blocks.
      causal: a token attends to itself and those before it, else to all of the text.
      pre_norm: as GPT-2 has it: norms before the branches, and one at the end; else as
        BERT has it: a norm of the embeddings, and norms after the sums.
      first_norm: a norm of the embeddings; None: as `pre_norm` has it. The first GPT has
        post-norm blocks without it.
      kinds: number of kinds of segments, whose embeddings are added; 0: none.
      pad: padding, which is not attended to; None: there is none, or it is behind the text
        and the attention is causal.
      dropout: rate, of embeddings, attention and branches.
      exact: GELU itself, else its approximation by tanh.
      eps: epsilon of the norms.
      scaled: the initialization of the branches' outputs is divided by sqrt(2 depth), as in
        GPT-2.
      remat: recompute the activations of each block in the backward pass, to save memory.
      dtype: dtype of the computation.

    Raises:
      ValueError: if the heads do not divide the width, or a text is too long.
    """

    vocabulary: int
    length: int
    width: int
    depth: int
    heads: int
    causal: bool = False
    pre_norm: bool = False
    first_norm: bool | None = None
    kinds: int = 0
    pad: int | None = 0
    dropout: float = 0.0
    exact: bool = True
    eps: float = 1e-12
    scaled: bool = False
    remat: bool = False
    dtype: Any = None

    def setup(self):
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        self.words = nn.Embed(self.vocabulary, self.width, embedding_init=NORMAL)
        self.positions = self.param("positions", NORMAL, (self.length, self.width))
        if self.kinds:
            self.segments = nn.Embed(self.kinds, self.width, embedding_init=NORMAL)
        if self._normed:
            self.norm0 = nn.LayerNorm(self.eps, dtype=self.dtype)
        kind = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        std = 0.02 / math.sqrt(2 * self.depth) if self.scaled else 0.02
        how = (self.pre_norm, self.dropout, self.exact, 4, self.eps, std, self.dtype)
        self.blocks = [kind(self.heads, *how, name=f"block{i}") for i in range(self.depth)]
        if self.pre_norm:
            self.norm = nn.LayerNorm(self.eps, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    @property
    def _normed(self):
        return not self.pre_norm if self.first_norm is None else self.first_norm

    def __call__(self, tokens, segments=None, train=False):
        x = self.embedded(tokens, segments, 0, train)
        mask = None if self.pad is None else (tokens != self.pad)[:, None, None]
        if self.causal:
            before = jnp.tril(jnp.ones((tokens.shape[1],) * 2, bool))
            mask = before if mask is None else mask & before
        for block in self.blocks:
            x = block(x, mask, train)
            tap(self, "layers", x)
        return self.norm(x) if self.pre_norm else x

    def embedded(self, tokens, segments, at, train):
        """The input of the blocks, of tokens at places `at`, `at` + 1 ..."""
        count = tokens.shape[1]
        if count > self.length:
            raise ValueError(
                f"a text of {count} tokens is too long for the {self.length} positions of "
                f"the network: give a shorter row, or more positions"
            )
        x = self.words(tokens)
        x = x + jax.lax.dynamic_slice_in_dim(self.positions, at, count)
        if self.kinds:
            x = x + self.segments(jnp.zeros_like(tokens) if segments is None else segments)
        x = x if self.dtype is None else x.astype(self.dtype)
        x = self.norm0(x) if self._normed else x
        return self.drop(x, deterministic=not train)

    def empty_cache(self, n, size, dtype=None):
        """Keys and values of no tokens, [depth, 2, n, size, heads, width / heads]."""
        shape = (self.depth, 2, n, size, self.heads, self.width // self.heads)
        return jnp.zeros(shape, dtype or self.dtype or jnp.float32)

    def extend(self, tokens, cache, at):
        """Outputs of tokens [n, l] that follow `at` earlier ones, and the larger cache."""
        x = self.embedded(tokens, None, at, False)
        place, keys = at + jnp.arange(tokens.shape[1]), jnp.arange(cache.shape[3])
        mask = keys <= place[:, None]
        found = []
        for i, block in enumerate(self.blocks):
            x, own = block(x, mask, False, cache[i], at)
            found.append(own)
        x = self.norm(x) if self.pre_norm else x
        return x, jnp.stack(found)

    def attend(self, x):
        """Scores of all words, by the embeddings: [..., width] -> [..., vocabulary]."""
        return self.words.attend(x).astype(jnp.promote_types(x.dtype, jnp.float32))


def mean_of_text(tokens, x, pad):
    """The mean output [n, d] of the tokens that are not padding."""
    if pad is None:
        return x.mean(1)
    there = (tokens != pad)[..., None].astype(x.dtype)
    return (x * there).sum(1) / jnp.maximum(there.sum(1), 1)


class GPT(nn.Module):
    """A causal language model: tokens int [n, l] -> {"logits": [n, l, v], "tokens", "h"}.

    The scores are those of the embeddings. h is the mean of the outputs of the text.

    Attributes:
      encoder: a causal `Transformer`.
      pad: padding behind the text; None: there is none.
    """

    encoder: Transformer
    pad: int | None = 0

    def __call__(self, tokens, train=False):
        x = self.encoder(tokens, None, train)
        out = {"logits": self.encoder.attend(x), "tokens": x}
        return out | {"h": mean_of_text(tokens, x, self.pad)}

    def encode(self, tokens, train=False):
        """{"h": [n, d], "tokens": [n, l, d]}, without scores."""
        x = self.encoder(tokens, None, train)
        return {"h": mean_of_text(tokens, x, self.pad), "tokens": x}

    def begin(self, tokens, whole, train=False):
        """Scores [n, v] of the token after a prefix [n, p], and a cache.

        The cache is for as many tokens as `whole` [n, l] has; only its shape matters.
        """
        cache = self.encoder.empty_cache(*whole.shape)
        return self.extend(tokens, cache, 0)

    def extend(self, tokens, cache, at, train=False):
        """Scores [n, v] of the token after some more tokens [n, l], and the cache."""
        x, cache = self.encoder.extend(tokens, cache, at)
        return self.encoder.attend(x[:, -1]), cache


class BERT(nn.Module):
    """Masked words and sentence pairs: tokens int [n, l][, segments] -> scores and outputs.

    {"logits": [n, l, v], "next": [n, 2], "tokens": [n, l, d], "pooled": [n, d], "h"}. With
    `places` int [n, k], logits are [n, k, v], of these places alone. h is the mean of the
    outputs of the text; pooled is a layer with tanh on that of the first token.

    Attributes:
      encoder: a `Transformer`.
    """

    encoder: Transformer

    def setup(self):
        width, dtype = self.encoder.width, self.encoder.dtype
        self.pooler = _dense(width, dtype, None)
        self.transform = _dense(width, dtype, None)
        self.norm = nn.LayerNorm(self.encoder.eps, dtype=dtype)
        self.bias = self.param("bias", nn.initializers.zeros, (self.encoder.vocabulary,))
        self.next = _dense(2, None, None)

    def __call__(self, tokens, segments=None, places=None, train=False):
        x = self.encoder(tokens, segments, train)
        picked = x if places is None else jnp.take_along_axis(x, places[..., None], 1)
        y = self.norm(nn.gelu(self.transform(picked), approximate=False))
        logits = self.encoder.attend(y) + self.bias
        pooled = jnp.tanh(self.pooler(x[:, 0]))
        return {
            "logits": logits,
            "next": self.next(pooled.astype(logits.dtype)),
            "tokens": x,
            "pooled": pooled,
            "h": mean_of_text(tokens, x, self.encoder.pad),
        }

    def encode(self, tokens, segments=None, train=False):
        """{"h": [n, d], "tokens": [n, l, d]}, without scores."""
        x = self.encoder(tokens, segments, train)
        return {"h": mean_of_text(tokens, x, self.encoder.pad), "tokens": x}


class TextMean(nn.Module):
    """The mean output of a `Transformer`: tokens int [n, l] -> [n, d]."""

    encoder: Transformer

    def __call__(self, tokens, train=False):
        x = self.encoder(tokens, None, train)
        return mean_of_text(tokens, x, self.encoder.pad)
