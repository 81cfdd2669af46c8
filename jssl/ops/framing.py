"""Texts between the special tokens of an encoder, as inputs of downstream tasks."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jssl.ops.shapes import expect


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Framed:
    """Texts with a token before and one behind them, or one behind alone, and padding.

    Attributes:
      ids: [n, l] tokens.
      segments: [n, l] 1 behind the separator of a pair, up to the last token; else 0.
      size: [n] tokens that are no padding, with the first and last one.
      first: place of the first token of a text: 1, or 0 if there is none before it.
    """

    ids: Int[Array, "n l"]
    segments: Int[Array, "n l"]
    size: Int[Array, " n"]
    first: int = field(default=1, metadata={"static": True})

    @property
    def there(self) -> Bool[Array, "n l"]:
        """True for tokens that are no padding."""
        return jnp.arange(self.ids.shape[1]) < self.size[:, None]

    @property
    def inner(self) -> Bool[Array, "n l"]:
        """True for the tokens of the texts themselves."""
        place = jnp.arange(self.ids.shape[1])
        return (place >= self.first) & (place < self.size[:, None] - 1)


def framed(
    tokens: Int[Array, "n l"],
    *,
    begin: int | None,
    end: int,
    sep: int,
    eos: int,
    fill: int = 0,
    pad: int = 0,
) -> Framed:
    """Texts [n, l + 1]: `begin`, the text, `end`, and padding; [n, l] without `begin`.

    A text ends with `eos`, which `end` replaces, and `fill` follows; of a text that is
    longer than a row the last token is replaced. BERT: [CLS] A [SEP], or [CLS] A [SEP] B
    [SEP]; GPT: [BOS] A [EOS], or [BOS] A [SEP] B [EOS]; PEGASUS: A [EOS]. Devlin et al.
    2019, section 3.2, https://arxiv.org/abs/1810.04805; Radford et al. 2018, section 3.3.

    Args:
      tokens: rows of texts.
      begin, end: tokens around a text; begin None: there is none before it.
      sep: between the two texts of a pair.
      eos: at the end of a text, in `tokens`.
      fill: behind it, in `tokens`.
      pad: behind the text in the result.

    Raises:
      ValueError: when `tokens` are not int [n, l].

    >>> x = framed(jnp.array([[9, 8, 6, 0], [9, 3, 8, 6]]), begin=2, end=3, sep=3, eos=6)
    >>> x.ids.tolist(), x.segments.tolist()
    ([[2, 9, 8, 3, 0], [2, 9, 3, 8, 3]], [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]])
    """
    expect("framed", tokens=(tokens, "n l", "int"))
    place = jnp.arange(tokens.shape[1])
    last = jnp.where(tokens != fill, place, -1).max(1)
    ended = jnp.take_along_axis(tokens, jnp.maximum(last, 0)[:, None], 1)[:, 0] == eos
    size = jnp.minimum(last + 1 - ended, tokens.shape[1] - 1)[:, None]
    closing = jnp.where(place == size, end, pad)
    ids = jnp.where(place < size, tokens, closing).astype(tokens.dtype)
    segments = (behind(ids == sep) & (place <= size)).astype(jnp.int32)
    first = int(begin is not None)
    before = ((0, 0), (first, 0))
    ids = jnp.pad(ids, before, constant_values=begin or 0)
    return Framed(ids, jnp.pad(segments, before), size[:, 0] + 1 + first, first)


def behind(ends: Bool[Array, "n l"]) -> Bool[Array, "n l"]:
    """True behind the first mark of each row.

    >>> behind(jnp.array([[False, True, False, True]])).tolist()
    [[False, False, True, True]]
    """
    return jnp.cumsum(ends, 1) - ends > 0


def segments_of(tokens: Int[Array, "n l"], sep: int, pad: int) -> Int[Array, "n l"]:
    """Segments of texts [n, l] with [SEP] at the end of each: 0, behind the first one 1.

    A text with one [SEP] alone has segment 0 throughout, and padding too.

    >>> segments_of(jnp.array([[2, 9, 3, 8, 3, 0]]), sep=3, pad=0).tolist()
    [[0, 0, 0, 1, 1, 0]]
    """
    return (behind(tokens == sep) & (tokens != pad)).astype(jnp.int32)
