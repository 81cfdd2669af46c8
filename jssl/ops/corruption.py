r"""Corruption of samples, for denoising autoencoders.

Each function returns the corrupted samples and a mask of the entries *selected* for
corruption, including those that happen to keep their value. Samples are corrupted
independently.

Vincent, Larochelle, Lajoie, Bengio and Manzagol, "Stacked Denoising Autoencoders",
JMLR 11, 2010. https://www.jmlr.org/papers/v11/vincent10a.html
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, ScalarLike

from jssl.ops.shapes import expect


def gaussian(
    key: jax.Array, x: Float[Array, "n *d"], deviation: ScalarLike
) -> tuple[Float[Array, "n *d"], Bool[Array, "n *d"]]:
    r"""Add Gaussian noise to every entry.

    .. math:: \tilde x_{ij} = x_{ij} + \sigma \epsilon_{ij}, \qquad
              \epsilon_{ij} \sim \mathcal{N}(0, 1)

    Values are not clipped, so that denoising still estimates the gradient of the noisy
    samples' log density (Vincent 2011, https://doi.org/10.1162/NECO_a_00142).

    Raises:
      ValueError: when x is not floating or has no axes.

    >>> x = jnp.zeros((100, 100))
    >>> noisy, selected = gaussian(jax.random.key(0), x, 0.3)
    >>> print(f"{noisy.std():.2f} {selected.mean():.2f}")
    0.30 1.00
    """
    expect("gaussian", x=(x, "... d"))
    noise = jax.random.normal(key, x.shape, x.dtype)
    return x + (deviation * noise).astype(x.dtype), jnp.ones(x.shape, bool)


def masking(
    key: jax.Array, x: Float[Array, "n *d"], share: float, exact: bool = False
) -> tuple[Float[Array, "n *d"], Bool[Array, "n *d"]]:
    r"""Set selected entries to 0.

    .. math:: \tilde x_{ij} = (1 - J_{ij}) x_{ij}

    Unlike dropout, the remaining entries are not scaled up.

    Args:
      key: a PRNG key.
      x: samples.
      share: fraction of entries selected.
      exact: select exactly round(share * d) of the d entries of each sample; otherwise
        each entry independently, with probability `share`.

    Raises:
      ValueError: when x is not floating or has no axes, or share is not in [0, 1].

    >>> masked, selected = masking(jax.random.key(0), jnp.ones((2, 8)), 0.25, exact=True)
    >>> masked.sum(1), selected.sum(1)
    (Array([6., 6.], dtype=float32), Array([2, 2], dtype=int32))
    """
    selected = _select("masking", key, x, share, exact)
    return jnp.where(selected, jnp.zeros((), x.dtype), x), selected


def salt_and_pepper(
    key: jax.Array,
    x: Float[Array, "n *d"],
    share: float,
    low: ScalarLike = 0.0,
    high: ScalarLike = 1.0,
    exact: bool = False,
) -> tuple[Float[Array, "n *d"], Bool[Array, "n *d"]]:
    """Set selected entries to the lowest or the highest value, with probability 1/2 each.

    Args:
      key: a PRNG key.
      x: samples.
      share: fraction of entries selected.
      low: value of pepper.
      high: value of salt.
      exact: select exactly round(share * d) of the d entries of each sample; otherwise
        each entry independently, with probability `share`.

    Raises:
      ValueError: when x is not floating or has no axes, or share is not in [0, 1].

    >>> gray = jnp.full((1, 8), 0.5)
    >>> spoilt, selected = salt_and_pepper(jax.random.key(1), gray, 0.5, exact=True)
    >>> jnp.unique(spoilt), int((spoilt == 0.5).sum())
    (Array([0. , 0.5, 1. ], dtype=float32), 4)
    """
    select_key, coin_key = jax.random.split(key)
    selected = _select("salt_and_pepper", select_key, x, share, exact)
    coin = jax.random.bernoulli(coin_key, 0.5, x.shape)
    spoilt = jnp.where(coin, high, low).astype(x.dtype)
    return jnp.where(selected, spoilt, x), selected


def _select(function, key, x, share, exact):
    """Mask of the entries to corrupt."""
    expect(function, x=(x, "... d"))
    if not 0 <= share <= 1:
        raise ValueError(f"{function}: share must lie in [0, 1], got {share}")
    if not exact:
        return jax.random.bernoulli(key, share, x.shape)
    noise = jax.random.uniform(key, x.shape).reshape(len(x), -1)
    rank = jnp.argsort(jnp.argsort(noise, axis=1), axis=1)
    return (rank < round(share * noise.shape[1])).reshape(x.shape)
