"""Ends of texts: tokens around a text, the text before an end, inputs of a decoder."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from jssl.ops.shapes import expect


def enclosed(
    tokens: Int[Array, "n l"], first: int | None, last: int, pad: int = 0
) -> Int[Array, "n m"]:
    """Texts with a token before and one behind them: first, text, last, padding.

    Args:
      tokens: texts with padding behind.
      first: token before a text; None: none, and a result of l + 1 tokens, not l + 2.
      last: token behind a text.
      pad: padding.

    Raises:
      ValueError: when tokens are not int[n, l].

    >>> enclosed(jnp.array([[7, 8], [9, 0]]), 5, 6).tolist()
    [[5, 7, 8, 6], [5, 9, 6, 0]]
    """
    expect("enclosed", tokens=(tokens, "n l", "int"))
    size = (tokens != pad).sum(1)
    before = int(first is not None)
    longer = jnp.pad(tokens, ((0, 0), (before, 1)), constant_values=pad)
    longer = longer if first is None else longer.at[:, 0].set(first)
    return longer.at[jnp.arange(len(tokens)), size + before].set(last)


def until(tokens: Int[Array, "n l"], end: int, pad: int = 0) -> Int[Array, "n l"]:
    """Texts before the first end token or padding, with padding behind.

    Raises:
      ValueError: when tokens are not int[n, l].

    >>> until(jnp.array([[7, 6, 8], [7, 8, 9]]), end=6).tolist()
    [[7, 0, 0], [7, 8, 9]]
    """
    expect("until", tokens=(tokens, "n l", "int"))
    over = jnp.cumsum((tokens == end) | (tokens == pad), 1) > 0
    return jnp.where(over, pad, tokens)


def shift_right(tokens: Int[Array, "n l"], start: int) -> Int[Array, "n l"]:
    """Inputs of a decoder that predicts `tokens`: a start token, and all but the last.

    Raises:
      ValueError: when tokens are not int[n, l].

    >>> shift_right(jnp.array([[7, 8, 9]]), 6).tolist()
    [[6, 7, 8]]
    """
    expect("shift_right", tokens=(tokens, "n l", "int"))
    return jnp.concatenate([jnp.full_like(tokens[:, :1], start), tokens[:, :-1]], 1)
