"""Encoders of texts without an order of words."""

import flax.linen as nn
import jax.numpy as jnp


class MeanOfWords(nn.Module):
    """The mean of the vectors of a text's words: int [n, l], 0 for padding -> [n, d].

    Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification",
    https://arxiv.org/abs/1607.01759

    Attributes:
      vocabulary: number of tokens.
      width: of the vectors.
    """

    vocabulary: int
    width: int

    @nn.compact
    def __call__(self, tokens, train=False):
        small = nn.initializers.uniform(1 / self.width)
        vectors = nn.Embed(self.vocabulary, self.width, embedding_init=small)(tokens)
        mask = (tokens > 0)[..., None]
        return (vectors * mask).sum(1) / jnp.maximum(mask.sum(1), 1)
