"""Encoder-decoder transformers of text: BART and PEGASUS.

The encoder reads a text, the decoder writes another one, token by token, and attends to the
outputs of the encoder; both have the same embeddings of tokens, which give the scores too.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; Lewis et al. 2020 (BART),
https://arxiv.org/abs/1910.13461; Zhang et al. 2020 (PEGASUS),
https://arxiv.org/abs/1912.08777
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.transformer import Transformer, mean_of_text

BART = dict(pre_norm=False, eps=1e-5, offset=2)
PEGASUS = dict(pre_norm=True, eps=1e-5, sinusoidal=True, multiplied=True, activation="relu")


def frame_of(encoder: Transformer) -> tuple[str | None, str]:
    """Names of the tokens before and behind a text, as an encoder's pretraining has them.

    GPT and BART: [BOS] and [EOS]; PEGASUS: none and [EOS]; others, as BERT: [CLS] and
    [SEP].

    Args:
      encoder: BART's is known by the `offset` of its positions, PEGASUS's by sinusoidal
        positions and multiplied embeddings.

    >>> frame_of(Transformer(9, 8, 4, 1, 1, **PEGASUS))
    (None, '[EOS]')
    """
    if encoder.sinusoidal and encoder.multiplied:
        return None, "[EOS]"
    return ("[BOS]", "[EOS]") if encoder.causal or encoder.offset else ("[CLS]", "[SEP]")


class EncoderDecoder(nn.Module):
    """Scores of a text given another one: tokens int [n, l], int [n, t] -> outputs by name.

    {"logits": [n, t, v], "written": [n, t, d], "tokens": [n, l, d], "h": [n, d]}: scores of
    the token after each one of the second text, outputs of the decoder, outputs of the
    encoder, and their mean over the first text.

    Attributes:
      encoder: a `Transformer`.
      decoder: a causal one that attends to a context; its embeddings are the encoder's.
    """

    encoder: Transformer
    decoder: Transformer

    def __call__(self, source, inputs, train=False):
        x = self.encoder(source, None, train)
        words, seen = self.encoder.words, self._seen(source)
        y = self.decoder(inputs, None, train, x, seen, words)
        out = {"logits": self.encoder.attend(y), "written": y, "tokens": x}
        return out | {"h": mean_of_text(source, x, self.encoder.pad)}

    def encode(self, source, train=False):
        """{"h": [n, d], "tokens": [n, l, d]}, of the encoder alone."""
        x = self.encoder(source, None, train)
        return {"h": mean_of_text(source, x, self.encoder.pad), "tokens": x}

    def begin(self, source, inputs, whole, train=False):
        """Scores [n, v] of the token after a prefix [n, p] of the second text, and a cache.

        The cache has the keys and values of the first text, and room for as many tokens of
        the second one as `whole` [n, t] has; only its shape matters.
        """
        self.decoder.check_room(whole.shape[1])
        x, seen = self.encoder(source, None, train), self._seen(source)
        cache = tuple(
            self.decoder.empty_cache(len(source), text.shape[1], x.dtype)
            for text in (whole, source)
        )
        return self._extended(inputs, cache, 0, x, seen)

    def extend(self, inputs, cache, at, train=False):
        """Scores [n, v] of the token after some more tokens [n, t], and the cache."""
        cache, seen = cache
        return self._extended(inputs, cache, at, None, seen)

    def _extended(self, inputs, cache, at, context, seen):
        words = self.encoder.words
        y, cache = self.decoder.extend(inputs, cache, at, context, seen, words)
        return self.encoder.attend(y[:, -1]), (cache, seen)

    def _seen(self, source):
        pad = self.encoder.pad
        return jnp.ones(source.shape, bool) if pad is None else source != pad


def encoder_decoder(
    vocabulary: int,
    length: int,
    width: int,
    depth: int,
    heads: int,
    *,
    pad: int | None = 0,
    decoder_depth: int | None = None,
    **more: Any,
) -> EncoderDecoder:
    """An encoder and a decoder of equal blocks.

    Args:
      vocabulary: number of tokens.
      length: largest number of tokens of either text.
      width, depth, heads: of the blocks.
      pad: padding of the text that is read.
      decoder_depth: blocks of the decoder; None: as many as the encoder has.
      **more: further attributes of both, such as `BART` or `PEGASUS`.
    """
    encoder = Transformer(vocabulary, length, width, depth, heads, pad=pad, **more)
    decoder = encoder.clone(depth=decoder_depth or depth, causal=True, pad=None, cross=True)
    return EncoderDecoder(encoder, decoder)
