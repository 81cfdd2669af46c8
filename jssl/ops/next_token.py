"""Choice of the next token from scores: temperature and top-k."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jssl.ops.shapes import expect


def next_token(
    key: jax.Array,
    logits: Float[Array, "n v"],
    temperature: float = 1.0,
    top_k: int = 0,
) -> Int[Array, " n"]:
    """Draw a token from softmax(logits / temperature), of the k with the largest scores.

    Fan, Lewis and Dauphin 2018 (top-k), https://arxiv.org/abs/1805.04833

    Args:
      key: a PRNG key.
      logits: scores of all tokens.
      temperature: 0 takes the token with the largest score.
      top_k: number of tokens that can be drawn; 0: all.

    Raises:
      ValueError: when the logits are not [n, v], or a number is negative.

    >>> logits = jnp.array([[0.0, 5.0, 4.0]])
    >>> next_token(jax.random.key(0), logits, temperature=0.0).tolist()
    [1]
    >>> next_token(jax.random.key(0), logits, top_k=1).tolist()
    [1]
    """
    expect("next_token", logits=(logits, "n v"))
    if temperature < 0 or top_k < 0:
        raise ValueError(
            f"next_token: temperature and top_k must not be negative, got {temperature} "
            f"and {top_k}"
        )
    if temperature == 0:
        return logits.argmax(-1).astype(jnp.int32)
    if 0 < top_k < logits.shape[-1]:
        least = jax.lax.top_k(logits, top_k)[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    return jax.random.categorical(key, logits / temperature).astype(jnp.int32)
