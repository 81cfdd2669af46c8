"""Transformers of text: the encoder of BERT, the decoder of GPT, and their heads.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; Devlin et al. 2019,
https://arxiv.org/abs/1810.04805; Radford et al. 2018 and 2019. Matrices and embeddings
N(0, 0.02), the embeddings of PEGASUS, which are multiplied by sqrt(width), N(0, 1 / width).
Post-norm blocks, norm(x + f(x)), are those of BERT, BART and the first GPT, pre-norm
blocks, x + f(norm(x)), those of GPT-2 and PEGASUS. Positions are learned, those of PEGASUS
sines and cosines. Encoders with a decoder are in `jssl.models.encoder_decoder`.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl.models.intermediates import tap, tapped
from jssl.ops.positions import sincos_1d

NORMAL = nn.initializers.normal(0.02)
GPT_SIZES = {  # width, depth, heads
    "124M": (768, 12, 12),
    "355M": (1024, 24, 16),
    "774M": (1280, 36, 20),
    "1.5B": (1600, 48, 25),
}
BERT_SIZES = {"base": (768, 12, 12), "large": (1024, 24, 16)}
ACTIVATIONS = {
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_tanh": nn.gelu,  # its approximation by tanh
    "relu": nn.relu,
}


def _dense(width, dtype, name, std=0.02):
    init = nn.initializers.normal(std)
    return nn.Dense(width, kernel_init=init, dtype=dtype, name=name)


class Attention(nn.Module):
    """Multi-head attention of texts: [n, l, d] -> [n, l, d].

    Queries are of x; keys and values are of x, or of a context [n, m, d]. With a cache of
    keys and values, [2, n, m, heads, d / heads], new ones are written to it from place `at`
    on, and x attends to all of it: the result is ([n, l, d], cache). If `at` is None, the
    cache is complete, and nothing is written.

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
    def __call__(self, x, mask=None, train=False, cache=None, at=0, context=None):
        width = x.shape[-1]

        def heads_of(x, name):
            y = _dense(width, self.dtype, name)(x)
            return y.reshape(*x.shape[:2], self.heads, width // self.heads)

        q = heads_of(x, "query")
        if at is None:
            k, v = cache
        else:
            source = x if context is None else context
            k, v = (heads_of(source, name) for name in ("key", "value"))
            if cache is not None:
                new = jnp.stack([k, v]).astype(cache.dtype)
                cache = jax.lax.dynamic_update_slice(cache, new, (0, 0, at, 0, 0))
                k, v = cache
        logits = jnp.einsum("nqhd,nkhd->nhqk", q, k) / math.sqrt(q.shape[-1])
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        if mask is not None:
            # Not -inf: a row of padding alone has no key, and must not become NaN.
            logits = jnp.where(mask, logits, jnp.finfo(logits.dtype).min)
        weights = jax.nn.softmax(logits)
        if cache is None and context is None and tapped(self, "attention"):
            tap(self, "attention", weights)
        weights = nn.Dropout(self.dropout, deterministic=not train)(weights)
        out = jnp.einsum("nhqk,nkhd->nqhd", weights.astype(v.dtype), v).reshape(x.shape)
        out = _dense(width, self.dtype, "out", self.out_std)(out)
        return out if cache is None else (out, cache)


class Block(nn.Module):
    """A transformer block: attention, then a feed-forward network, each a residual branch.

    The block of a decoder that attends to an encoder has another branch between the two,
    attention to a context [n, m, d]; its cache is the pair of those of both attentions.

    Attributes:
      heads: number of heads.
      pre_norm: norms before the branches, else after the sums.
      dropout: rate, of the branches and of the attention.
      activation: one of `ACTIVATIONS`.
      ratio: width of the hidden layer, in units of the width.
      eps: epsilon of the norms.
      out_std: standard deviation of the initialization of the branches' outputs.
      cross: attend to a context.
      dtype: dtype of the computation.
    """

    heads: int
    pre_norm: bool = True
    dropout: float = 0.0
    activation: str = "gelu"
    ratio: int = 4
    eps: float = 1e-5
    out_std: float = 0.02
    cross: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x, mask=None, train=False, cache=None, at=0, context=None, seen=None
    ):
        drop = nn.Dropout(self.dropout, deterministic=not train)
        caches = cache if self.cross and cache is not None else (cache, None)
        how = (self.heads, self.dropout, self.out_std, self.dtype)

        def branch(x, norm, function):
            norm = nn.LayerNorm(self.eps, dtype=self.dtype, name=norm)
            y = function(norm(x) if self.pre_norm else x)
            y, kept = y if isinstance(y, tuple) else (y, None)
            x = x + drop(y)
            return (x if self.pre_norm else norm(x)), kept

        def feed(x):
            y = _dense(self.ratio * x.shape[-1], self.dtype, "fc1")(x)
            y = ACTIVATIONS[self.activation](y)
            return _dense(x.shape[-1], self.dtype, "fc2", self.out_std)(y)

        own = Attention(*how, name="attention")
        x, kept = branch(x, "norm1", lambda y: own(y, mask, train, caches[0], at))
        if self.cross:
            other = Attention(*how, name="cross")
            begin = None if context is None else 0  # keys of a context are computed once
            x, more = branch(
                x, "norm_cross", lambda y: other(y, seen, train, caches[1], begin, context)
            )
            kept = (kept, more)
        x, _ = branch(x, "norm2", feed)
        return x if cache is None else (x, kept)


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
      activation: of the feed-forward networks, one of `ACTIVATIONS`.
      eps: epsilon of the norms.
      scaled: the initialization of the branches' outputs is divided by sqrt(2 depth), as in
        GPT-2.
      sinusoidal: positions are sines and cosines, else learned.
      offset: learned positions before the first one, which are not used: 2 in BART.
      multiplied: the embeddings of tokens are multiplied by sqrt(width), as in PEGASUS.
      cross: the blocks attend to a context, as those of a decoder.
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
    activation: str = "gelu"
    eps: float = 1e-12
    scaled: bool = False
    sinusoidal: bool = False
    offset: int = 0
    multiplied: bool = False
    cross: bool = False
    remat: bool = False
    dtype: Any = None

    def setup(self):
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        std = self.width**-0.5 if self.multiplied else 0.02
        normal = nn.initializers.normal(std)
        self.words = nn.Embed(self.vocabulary, self.width, embedding_init=normal)
        shape = (self.offset + self.length, self.width)
        self.positions: Any = (
            sincos_1d(self.width, np.arange(shape[0]))
            if self.sinusoidal
            else self.param("positions", NORMAL, shape)
        )
        if self.kinds:
            self.segments = nn.Embed(self.kinds, self.width, embedding_init=NORMAL)
        if self._normed:
            self.norm0 = nn.LayerNorm(self.eps, dtype=self.dtype)
        kind = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        std = 0.02 / math.sqrt(2 * self.depth) if self.scaled else 0.02
        how = (self.pre_norm, self.dropout, self.activation, 4, self.eps, std)
        how = (*how, self.cross, self.dtype)
        self.blocks = [kind(self.heads, *how, name=f"block{i}") for i in range(self.depth)]
        if self.pre_norm:
            self.norm = nn.LayerNorm(self.eps, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    @property
    def _normed(self):
        return not self.pre_norm if self.first_norm is None else self.first_norm

    def __call__(
        self, tokens, segments=None, train=False, context=None, seen=None, words=None
    ):
        """Outputs [n, l, width].

        Args:
          tokens: int [n, l].
          segments: kind of the segment of each token, int [n, l]; None: 0.
          train: with dropout.
          context: [n, m, width], what the blocks attend to, if they do.
          seen: bool [n, m], False for padding of the context; None: there is none.
          words: embeddings to use instead of its own, as those of an encoder.
        """
        x = self.embedded(tokens, segments, 0, train, words)
        mask = None if self.pad is None else (tokens != self.pad)[:, None, None]
        if self.causal:
            before = jnp.tril(jnp.ones((tokens.shape[1],) * 2, bool))
            mask = before if mask is None else mask & before
        more = (None, 0, context, _of_keys(seen)) if self.cross else ()
        for block in self.blocks:
            x = block(x, mask, train, *more)
            tap(self, "layers", x)
        return self.norm(x) if self.pre_norm else x

    def embedded(self, tokens, segments, at, train, words=None):
        """The input of the blocks, of tokens at places `at`, `at` + 1 ..."""
        count = tokens.shape[1]
        if count > self.length:
            raise ValueError(
                f"a text of {count} tokens is too long for the {self.length} positions of "
                f"the network: give a shorter row, or more positions"
            )
        x = (words or self.words)(tokens)
        x = x * math.sqrt(self.width) if self.multiplied else x
        places = jnp.asarray(self.positions, x.dtype)
        x = x + jax.lax.dynamic_slice_in_dim(places, self.offset + at, count)
        if self.kinds:
            x = x + self.segments(jnp.zeros_like(tokens) if segments is None else segments)
        x = x if self.dtype is None else x.astype(self.dtype)
        x = self.norm0(x) if self._normed else x
        return self.drop(x, deterministic=not train)

    def check_room(self, count):
        """Raises ValueError unless a text of so many tokens can be written.

        The last of them is never read, and needs no position.
        """
        if count > self.length + 1:
            raise ValueError(
                f"a text of {count} tokens cannot be written with the {self.length} "
                f"positions of the network: give a shorter prompt, or draw fewer tokens"
            )

    def empty_cache(self, n, size, dtype=None):
        """Keys and values of no tokens, [depth, 2, n, size, heads, width / heads]."""
        shape = (self.depth, 2, n, size, self.heads, self.width // self.heads)
        return jnp.zeros(shape, dtype or self.dtype or jnp.float32)

    def extend(self, tokens, cache, at, context=None, seen=None, words=None):
        """Outputs of tokens [n, l] that follow `at` earlier ones, and the larger cache.

        Args:
          tokens: int [n, l].
          cache: of `empty_cache`; if the blocks attend to a context, a pair: of the text,
            and of the context.
          at: number of earlier tokens.
          context, seen, words: as in `__call__`; a context of None is that of the cache.
        """
        x = self.embedded(tokens, None, at, False, words)
        keys = jax.tree.leaves(cache)[0].shape[3]
        mask = jnp.arange(keys) <= (at + jnp.arange(tokens.shape[1]))[:, None]
        more = (context, _of_keys(seen)) if self.cross else ()
        found = []
        for i, block in enumerate(self.blocks):
            own = jax.tree.map(lambda x, i=i: x[i], cache)
            x, own = block(x, mask, False, own, at, *more)
            found.append(own)
        x = self.norm(x) if self.pre_norm else x
        return x, jax.tree.map(lambda *each: jnp.stack(each), *found)

    def attend(self, x):
        """Scores of all words, by the embeddings: [..., width] -> [..., vocabulary]."""
        return self.words.attend(x).astype(jnp.promote_types(x.dtype, jnp.float32))


def _of_keys(seen):
    """A mask of keys [n, m] for all heads and queries."""
    return None if seen is None else seen[:, None, None]


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
        self.encoder.check_room(whole.shape[1])
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
