r"""Samples spoilt, for a denoising autoencoder to put right.

Each function returns the corrupted samples, and which entries were *selected* for
corruption: an entry that happens to keep its value is selected all the same. No two
samples share a draw.

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
    r"""Adds normal noise to every entry.

    .. math:: \tilde x_{ij} = x_{ij} + \sigma \epsilon_{ij}, \qquad
              \epsilon_{ij} \sim \mathcal{N}(0, 1)

    Nothing is clipped, so that denoising still points along the gradient of the noisy
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
    r"""Sets selected entries to 0, and leaves the others as they are.

    .. math:: \tilde x_{ij} = (1 - J_{ij}) x_{ij}

    It is no dropout: what is left does not grow to make up for what is gone.

    Args:
      key: a PRNG key.
      x: samples.
      share: of the entries that is selected.
      exact: selects round(share * d) entries of each sample, d being their number;
        else each entry by itself, with probability `share`.

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
    """Sets selected entries to the least or the greatest value, as a fair coin falls.

    Args:
      key: a PRNG key.
      x: samples.
      share: of the entries that is selected.
      low: the pepper.
      high: the salt.
      exact: selects round(share * d) entries of each sample, d being their number;
        else each entry by itself, with probability `share`.

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
    """True where an entry is to be corrupted."""
    expect(function, x=(x, "... d"))
    if not 0 <= share <= 1:
        raise ValueError(f"{function}: share must lie in [0, 1], got {share}")
    if not exact:
        return jax.random.bernoulli(key, share, x.shape)
    noise = jax.random.uniform(key, x.shape).reshape(len(x), -1)
    rank = jnp.argsort(jnp.argsort(noise, axis=1), axis=1)
    return (rank < round(share * noise.shape[1])).reshape(x.shape)
