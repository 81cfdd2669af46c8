"""A pool of past samples, of which a discriminator sees some beside new ones."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, PRNGKeyArray, Shaped


class Pool(NamedTuple):
    """Past samples.

    Attributes:
      rows: the samples, [size, ...].
      filled: number of samples that were ever added, at most the size.
    """

    rows: Shaped[Array, "size *shape"]
    filled: Int[Array, ""]


def pool_init(size: int, shape: tuple[int, ...]) -> Pool:
    """An empty pool of samples of one shape.

    >>> pool_init(4, (2,)).rows.shape
    (4, 2)
    """
    return Pool(jnp.zeros((size, *shape)), jnp.zeros((), jnp.int32))


def pool_update(
    key: PRNGKeyArray, pool: Pool, rows: Shaped[Array, "n *shape"]
) -> tuple[Shaped[Array, "n *shape"], Pool]:
    """Samples to show, some of them past ones, and the pool after it.

    Until the pool is full, new samples are added to it and shown. Then each, with
    probability 1/2, takes the place of a random past one, which is shown instead. A
    discriminator that sees the newest samples alone forgets earlier ones: Shrivastava et
    al. 2017, section 2.3, https://arxiv.org/abs/1612.07828. No gradient passes.

    Raises:
      ValueError: more rows than the pool has, or of another shape.

    >>> rows = jnp.array([[1.0], [2.0]])
    >>> shown, pool = pool_update(jax.random.key(0), pool_init(2, (1,)), rows)
    >>> shown.ravel().tolist(), pool.rows.ravel().tolist(), int(pool.filled)
    ([1.0, 2.0], [1.0, 2.0], 2)
    """
    n, size = len(rows), len(pool.rows)
    if n > size or rows.shape[1:] != pool.rows.shape[1:]:
        raise ValueError(
            f"pool_update: a pool {list(pool.rows.shape)} takes at most {size} rows of its "
            f"shape, got {list(rows.shape)}"
        )
    rows = lax.stop_gradient(rows).astype(pool.rows.dtype)
    swapping, placing = jax.random.split(key)
    full = pool.filled + n > size
    next_ones = (pool.filled + jnp.arange(n)) % size
    places = jnp.where(full, jax.random.permutation(placing, size)[:n], next_ones)
    swap = jax.random.bernoulli(swapping, 0.5, (n,)) & full
    write = (swap | ~full).reshape(-1, *[1] * (rows.ndim - 1))
    past = pool.rows[places]
    shown = jnp.where(write & full, past, rows)
    after = pool.rows.at[places].set(jnp.where(write, rows, past))
    return shown, Pool(after, jnp.where(full, pool.filled, pool.filled + n))
