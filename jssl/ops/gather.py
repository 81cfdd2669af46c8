"""Collectives for losses that compare samples across devices.

Under `jit` with sharded inputs a loss already has the global batch and needs none of
these. Under `pmap` and `shard_map` it has one device's rows; `gather` adds the others.
Its gradient is exact: the transpose of an all-gather is a reduce-scatter, which returns
the gradients that other devices compute for a device's rows as positives or negatives.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, Shaped


def gather(
    x: Shaped[Array, "n ..."], axis_name: str | None = None
) -> Shaped[Array, "N ..."]:
    """The rows of all devices, in device order; `x` itself when `axis_name` is None.

    Local row i of device r is at r * n + i.

    >>> gather(jnp.arange(3)).tolist()
    [0, 1, 2]
    >>> import jax
    >>> jax.vmap(lambda x: gather(x, "i"), axis_name="i")(jnp.arange(4).reshape(2, 2))
    Array([[0, 1, 2, 3],
           [0, 1, 2, 3]], dtype=int32)
    """
    return x if axis_name is None else lax.all_gather(x, axis_name, tiled=True)


def global_rows(n: int, axis_name: str | None = None) -> Int[Array, " n"]:
    """Indices of a device's n rows among the gathered ones: r * n + (0 ... n - 1).

    >>> global_rows(3).tolist()
    [0, 1, 2]
    """
    rows = jnp.arange(n)
    return rows if axis_name is None else lax.axis_index(axis_name) * n + rows


def pmean(tree, axis_name: str | None = None):
    """The mean over devices of every leaf; the tree itself when `axis_name` is None."""
    return tree if axis_name is None else lax.pmean(tree, axis_name)


def psum(tree, axis_name: str | None = None):
    """The sum over devices of every leaf; the tree itself when `axis_name` is None."""
    return tree if axis_name is None else lax.psum(tree, axis_name)
