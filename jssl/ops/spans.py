"""Spans of tokens, as answers of extractive question answering."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jssl.ops.shapes import expect


def best_span(
    start: Float[Array, "n l"],
    end: Float[Array, "n l"],
    allowed: Bool[Array, "n l"],
    longest: int = 30,
) -> Int[Array, "n 2"]:
    """First and last place of the span with the largest sum of start and end.

    Both are allowed, and last - first is from 0 to `longest` - 1. Devlin et al. 2019,
    section 4.2, https://arxiv.org/abs/1810.04805

    Args:
      start, end: logits of the first and of the last place.
      allowed: places of the context.
      longest: largest number of places of a span.

    Raises:
      ValueError: when shapes differ, or `longest` is less than 1.

    >>> start, end = jnp.array([[0.0, 9.0, 1.0]]), jnp.array([[9.0, 0.0, 1.0]])
    >>> best_span(start, end, jnp.ones((1, 3), bool)).tolist()
    [[1, 2]]
    """
    expect(
        "best_span",
        start=(start, "n l"),
        end=(end, "n l"),
        allowed=(allowed, "n l", "bool"),
    )
    if longest < 1:
        raise ValueError(f"best_span: longest must be at least 1, got {longest}")
    n, length = start.shape
    further = jnp.arange(length) - jnp.arange(length)[:, None]
    fits = (further >= 0) & (further < longest)
    fits = fits & allowed[:, :, None] & allowed[:, None, :]
    both = jnp.where(fits, start[:, :, None] + end[:, None, :], -jnp.inf)
    return jnp.stack(jnp.divmod(both.reshape(n, -1).argmax(1), length), 1)
