"""Recurrent encoders of texts."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models.intermediates import tap


class BiLSTM(nn.Module):
    """An LSTM in each direction: x [n, l, d] of sizes int [n] -> [n, l, 2 width].

    Outputs of the forward direction are first. What is behind the end of a text changes
    nothing before it; outputs there are not defined.

    Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; Graves and
    Schmidhuber 2005, https://doi.org/10.1016/j.neunet.2005.06.042

    Attributes:
      width: of the state of each direction.
    """

    width: int

    @nn.compact
    def __call__(self, x, sizes):
        ahead = nn.RNN(nn.OptimizedLSTMCell(self.width, name="forward"))
        back = nn.RNN(
            nn.OptimizedLSTMCell(self.width, name="backward"), reverse=True, keep_order=True
        )
        zero = jnp.zeros((len(x), self.width), x.dtype)
        how: dict[str, Any] = dict(initial_carry=(zero, zero), seq_lengths=sizes)
        return jnp.concatenate([jnp.asarray(way(x, **how)) for way in (ahead, back)], -1)


class AttentiveLSTM(nn.Module):
    """DeepMoji's encoder: tokens int [n, l], padded behind the text -> [n, 4 width + d].

    tanh of the embedding e, two BiLSTMs a and b, and the mean of [b, a, e] over the tokens,
    with weights of attention

        w_t = exp(v [b_t, a_t, e_t]) / sum_t' exp(v [b_t', a_t', e_t'])

    Felbo et al. 2017, section 3.2, https://arxiv.org/abs/1708.00524

    Attributes:
      vocabulary: number of tokens.
      embedding: d, width of the embedding.
      width: of the state of each direction of an LSTM.
      pad: token number of the padding.
      dropout: rate of whole channels of the embedding, and of the output.
    """

    vocabulary: int
    embedding: int = 256
    width: int = 512
    pad: int = 0
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens, train=False):
        there = tokens != self.pad
        sizes = there.sum(1)
        init = nn.initializers.normal(0.5)
        x = nn.Embed(
            self.vocabulary, self.embedding, embedding_init=init, name="embedding"
        )(tokens)
        x = jnp.tanh(x)
        x = nn.Dropout(self.dropout, (1,), deterministic=not train)(x)
        first = BiLSTM(self.width, name="lstm0")(x, sizes)
        second = BiLSTM(self.width, name="lstm1")(first, sizes)
        x = jnp.concatenate([second, first, x], -1)
        scores = nn.Dense(1, use_bias=False, name="attention")(x)[..., 0]
        weights = attention(scores, there)
        tap(self, "attention", weights)
        h = jnp.einsum("nl,nld->nd", weights, x)
        return nn.Dropout(self.dropout, deterministic=not train)(h)


def attention(scores: jax.Array, there: jax.Array) -> jax.Array:
    """Softmax of scores [n, l] over the tokens that are there; 0 elsewhere.

    A text without tokens has weights of 0.

    >>> attention(jnp.zeros((2, 3)), jnp.array([[1, 1, 0], [0, 0, 0]], bool)).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    scores = jnp.where(there, scores, jnp.finfo(scores.dtype).min)
    return jnp.where(there, jax.nn.softmax(scores), 0)
