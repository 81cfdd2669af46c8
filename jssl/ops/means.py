"""Masked averages, on one device or across devices."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jssl.ops.gather import psum
from jssl.ops.precision import widen
from jssl.ops.shapes import expect


def masked_mean(
    x: Float[Array, "*shape"],
    mask: Shaped[Array, "*shape"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Mean of x where the mask is 1.

    .. math:: \frac{\sum_i m_i x_i}{\sum_i m_i}

    If the mask is 0 everywhere, the result and its gradient are 0. The number of ones may
    differ between devices: with `axis_name` both sums run over all of them. Computed in
    float32, or in float64 where an argument is float64. The mask is float or bool.

    Raises:
      ValueError: when the shapes differ or x is not floating.

    >>> print(masked_mean(jnp.array([1.0, 2.0, 9.0]), jnp.array([1, 1, 0])))
    1.5
    """
    shape = " ".join(f"d{i}" for i in range(jnp.ndim(x)))
    expect("masked_mean", x=(x, shape), mask=(mask, shape, "any"))
    x, mask = widen(x, mask)
    total, count = psum(((x * mask).sum(), mask.sum()), axis_name)
    return total / jnp.where(count > 0, count, 1)
