"""Texts as grids of sentences."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from jssl.ops.shapes import expect


def sentence_grid(
    tokens: Int[Array, "n m"],
    sentence: Int[Array, "n m"],
    there: Shaped[Array, "n m"],
    count: int,
    length: int,
    pad: int = 0,
) -> Int[Array, "n {count} {length}"]:
    """The sentences of texts as rows of their own, padded.

    Sentences beyond `count` and tokens of a sentence beyond `length` are left out.

    Args:
      tokens: of each text, which begins where a sentence does.
      sentence: number of the sentence of each token, ascending in steps of 1.
      there: 1 for tokens that belong to a sentence, 0 for padding and ends.
      count: sentences of the result.
      length: tokens of a sentence of the result.
      pad: what is in places without a token.

    Raises:
      ValueError: when a shape is wrong.

    >>> tokens, sentence = jnp.array([[7, 8, 9, 7, 6, 0]]), jnp.array([[4, 4, 5, 5, 6, 6]])
    >>> sentence_grid(tokens, sentence, tokens > 6, 3, 2).tolist()
    [[[7, 8], [9, 7], [0, 0]]]
    """
    expect(
        "sentence_grid",
        tokens=(tokens, "n m", "int"),
        sentence=(sentence, "n m", "int"),
        there=(there, "n m", "any"),
    )
    n, m = tokens.shape
    row = sentence - sentence[:, :1]
    place = jnp.arange(m)
    begins = jnp.pad(row[:, 1:] != row[:, :-1], ((0, 0), (1, 0)))
    first = jax.lax.cummax(jnp.where(begins, place, 0), 1)
    row = jnp.where(there > 0, row, count)  # out of the grid
    grid = jnp.full((n, count, length), pad, tokens.dtype)
    text = jnp.arange(n)[:, None]
    return grid.at[text, row, place - first].set(tokens, mode="drop")
