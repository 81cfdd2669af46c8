"""Promotion to float32 or wider, for losses of low-precision network outputs."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped


def widen(*arrays: Shaped[Array, "..."]) -> tuple[Float[Array, "..."], ...]:
    """Cast all arrays to float64 if one of them is float64, else to float32.

    Masks and counts are cast to the same floating dtype.

    >>> half, mask = widen(jnp.ones(2, jnp.bfloat16), jnp.array([True, False]))
    >>> half.dtype, mask
    (dtype('float32'), Array([1., 0.], dtype=float32))
    """
    arrays = tuple(map(jnp.asarray, arrays))
    double = any(x.dtype == jnp.float64 for x in arrays)
    return tuple(x.astype(jnp.float64 if double else jnp.float32) for x in arrays)
