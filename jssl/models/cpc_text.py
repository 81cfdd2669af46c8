"""Networks of contrastive predictive coding on text: sentence encoder, GRU, predictors.

van den Oord, Li and Vinyals 2018, section 3.3, https://arxiv.org/abs/1807.03748
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class SentenceEncoder(nn.Module):
    """Convolution over words, ReLU and mean: tokens int [m, l] -> [m, d].

    The padding behind a sentence has no effect; a sentence without tokens is 0.

    Attributes:
      vocabulary: number of tokens.
      embedding: width of the embedding of words.
      width: d, number of channels.
      kernel: words of a window of the convolution.
      pad: token number of the padding.
      dropout: rate of the embedding.
    """

    vocabulary: int
    embedding: int = 620
    width: int = 2400
    kernel: int = 3
    pad: int = 0
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens, train=False):
        there = (tokens != self.pad)[..., None]
        x = nn.Embed(self.vocabulary, self.embedding, name="embedding")(tokens)
        x = nn.Dropout(self.dropout, deterministic=not train)(x) * there
        x = nn.Conv(self.width, (self.kernel,), name="conv")(x)
        return mean_of(nn.relu(x), there)


class SentencePredictor(nn.Module):
    """Contrastive predictive coding on texts of sentences, int [n, s, l].

    Returns a dictionary:

        h         [n, d], the mean of the sentences' latents
        z         [n, s, d], the latents, of sentences with tokens
        contexts  [n, s, c], the states of a GRU after each sentence
        weights   [steps, d, c], a prediction for each number of sentences ahead
        mask      [n, s], 1 for sentences with tokens

    Attributes:
      encoder: encoder of a sentence, [m, l] -> [m, d].
      width: c, of the state of the GRU.
      steps: number of predictions.
    """

    encoder: SentenceEncoder
    width: int = 2400
    steps: int = 3

    @nn.compact
    def __call__(self, sentences, train=False):
        n, s, _ = sentences.shape
        flat = sentences.reshape(n * s, -1)
        z = self.encoder(flat, train=train).reshape(n, s, -1)
        mask = (sentences != self.encoder.pad).any(-1)
        zero = jnp.zeros((n, self.width), z.dtype)
        how: dict[str, Any] = dict(initial_carry=zero)
        contexts = nn.RNN(nn.GRUCell(self.width, name="gru"))(z, **how)
        init = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2, batch_axis=0)
        shape = self.steps, z.shape[-1], self.width
        out = {"z": z, "contexts": contexts, "mask": mask.astype(z.dtype)}
        out["weights"] = self.param("predict", init, shape)
        return out | {"h": mean_of(z, mask[..., None])}


class SentenceMean(nn.Module):
    """The mean of the encodings of a text's sentences, int [n, s, l] -> [n, d].

    Attributes:
      encoder: encoder of a sentence, [m, l] -> [m, d].
    """

    encoder: SentenceEncoder

    @nn.compact
    def __call__(self, sentences, train=False):
        n, s, _ = sentences.shape
        z = self.encoder(sentences.reshape(n * s, -1), train=train).reshape(n, s, -1)
        return mean_of(z, (sentences != self.encoder.pad).any(-1)[..., None])


def mean_of(x: jax.Array, there: jax.Array) -> jax.Array:
    """Mean over axis 1 of x [n, l, d] where `there` [n, l, 1] is 1; 0 if nowhere."""
    return (x * there).sum(1) / jnp.maximum(there.sum(1), 1)
