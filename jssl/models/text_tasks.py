"""Heads on encoders of text: classes of texts, tags of words, and spans.

The inputs are `jssl.ops.framing.Framed` texts; an encoder is any module of (tokens [n, l],
segments [n, l], train) -> [n, l, d]. Devlin et al. 2019, section 3.2,
https://arxiv.org/abs/1810.04805
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models.transformer import NORMAL
from jssl.ops.crf import Chain, viterbi
from jssl.ops.framing import Framed
from jssl.ops.spans import best_span

POOLS = ("first", "last", "mean")


class Tagged(NamedTuple):
    """Texts, and the tokens that have a tag.

    Attributes:
      texts: [n, l + 1], or [n, l] without a token before them.
      known: bool [n, l], without the token before a text.
    """

    texts: Framed
    known: jax.Array


def pooled(x: jax.Array, texts: Framed, pool: str) -> jax.Array:
    """One output [n, d] of each text: of its first or last token, or their mean.

    Raises:
      ValueError: another pooling.
    """
    if pool not in POOLS:
        raise ValueError(f"pool must be one of {', '.join(POOLS)}, got {pool!r}")
    if pool == "first":
        return x[:, 0]
    if pool == "last":
        return jnp.take_along_axis(x, texts.size[:, None, None] - 1, 1)[:, 0]
    there = texts.there[..., None].astype(x.dtype)
    return (x * there).sum(1) / there.sum(1)


class Head(nn.Module):
    """A linear layer on outputs of an encoder, in float32, after dropout.

    Attributes:
      width: of the result.
      dropout: rate.
    """

    width: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, train=False):
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.width, kernel_init=NORMAL, name="out")(x)


class TextClassifier(nn.Module):
    """Framed texts -> {"logits": [n, classes], "h": [n, d], "tokens": [n, l, d]}.

    Attributes:
      encoder: of the tokens.
      classes: number of classes.
      pool: output that is classified, h: first, last or mean.
      dropout: rate, before the linear layer.
    """

    encoder: nn.Module
    classes: int
    pool: str = "first"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, texts, train=False):
        x = self.encoder(texts.ids, texts.segments, train)
        h = pooled(x, texts, self.pool)
        logits = Head(self.classes, self.dropout, name="head")(h, train)
        return {"logits": logits, "h": h, "tokens": x[:, texts.first :]}


class TextTagger(nn.Module):
    """`Tagged` texts -> {"logits": [n, l, tags], "h": [n, d], "tokens": [n, l, d], "tags"}.

    "tags" int [n, l] are the predicted ones, -1 of tokens without a tag. In training there
    are none, but "chain", if there is a conditional random field: the scores of
    `jssl.ops.crf`.

    Attributes:
      encoder: of the tokens.
      tags: number of tags.
      crf: tags are predicted jointly, by a conditional random field.
      dropout: rate, before the linear layer.
    """

    encoder: nn.Module
    tags: int
    crf: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tagged, train=False):
        texts, known = tagged
        x = self.encoder(texts.ids, texts.segments, train)
        tokens = x[:, texts.first :]
        logits = Head(self.tags, self.dropout, name="head")(tokens, train)
        out = {"logits": logits, "h": pooled(x, texts, "mean"), "tokens": tokens}
        if not self.crf:
            return out | (
                {} if train else {"tags": jnp.where(known, logits.argmax(-1), -1)}
            )
        k, zeros = self.tags, nn.initializers.zeros
        chain = Chain(
            self.param("first", zeros, (k,)),
            self.param("steps", zeros, (k, k)),
            self.param("last", zeros, (k,)),
        )
        if train:
            return out | {"chain": chain}
        return out | {"tags": viterbi(logits, chain, known)}


class SpanFinder(nn.Module):
    """Framed texts -> {"logits": [n, l, 2], "h": [n, d], "tokens": [n, l, d], "span": [n, 2]}.

    Logits are of the first and of the last place; the span, outside training, is the best
    one within the second text of a pair, or within a single text.

    Attributes:
      encoder: of the tokens.
      longest: largest number of tokens of a span.
      dropout: rate, before the linear layer.
    """  # noqa: E501

    encoder: nn.Module
    longest: int = 30
    dropout: float = 0.0

    @nn.compact
    def __call__(self, texts, train=False):
        x = self.encoder(texts.ids, texts.segments, train)
        tokens = x[:, texts.first :]
        logits = Head(2, self.dropout, name="head")(tokens, train)
        out = {"logits": logits, "h": pooled(x, texts, "mean"), "tokens": tokens}
        if train:
            return out
        second = texts.segments == 1
        context = texts.inner & (second | ~second.any(1, keepdims=True))
        context = context[:, texts.first :]
        span = best_span(logits[..., 0], logits[..., 1], context, self.longest)
        return out | {"span": span}
