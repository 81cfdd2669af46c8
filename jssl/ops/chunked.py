r"""Log-sum-exp over many candidates without storing all logits.

Contrastive losses need, for each anchor x, \(\log \sum_j \exp(x \cdot y_j)\) over all
candidates y. With 65,536 pairs of views the matrix of logits takes 64 GiB; computed one
block of candidates at a time, it takes little. The gradient recomputes each block's
softmax from the final sum, as in FlashAttention (Dao et al. 2022,
https://arxiv.org/abs/2205.14135).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jssl.ops.explicit import compares_rows
from jssl.ops.vectors import dots, logsumexp


@compares_rows(like="anchors")
def row_logsumexp(
    anchors: Float[Array, "n d"],
    candidates: Float[Array, "m d"],
    exclude: Int[Array, "n k"] | None = None,
    chunk: int | None = None,
) -> Float[Array, " n"]:
    r"""Log-sum-exp of each anchor's inner products with all candidates.

    .. math:: L_i = \log \sum_{j \notin E_i} \exp(x_i \cdot y_j)

    Where every candidate is excluded, it is -inf with gradient 0.

    Args:
      anchors: x; under `shard_map` and `pmap` those of this device.
      candidates: y; under `shard_map` and `pmap` those of all devices, gathered.
      exclude: E, the rows of `candidates` to exclude for each anchor.
      chunk: maximal number of candidates at a time, in the backward pass too. Memory is
        then n * chunk instead of n * m; the value is the same. Forward-mode
        differentiation (`jax.jvp`) needs chunk=None.

    Raises:
      ValueError: when chunk is not positive.

    >>> x, y = jnp.zeros((1, 2)), jnp.ones((3, 2))
    >>> print(row_logsumexp(x, y, chunk=2))    # log 3
    [1.0986123]
    >>> print(row_logsumexp(x, y, exclude=jnp.array([[0]])))    # log 2
    [0.6931472]
    """
    if chunk is None:
        return logsumexp(_logits(anchors, candidates, exclude), -1)
    if chunk < 1:
        raise ValueError(f"row_logsumexp: chunk must be positive, got {chunk}")
    return _streamed(chunk, *_vary_alike(anchors, candidates, exclude), exclude)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _streamed(chunk, anchors, candidates, exclude):
    def add(total, block):
        rows, first = block
        logits = _logits(anchors, rows, exclude, first, len(candidates))
        return jnp.logaddexp(total, logsumexp(logits, -1)), None

    nothing = jnp.full_like(anchors[:, 0], -jnp.inf)
    return lax.scan(add, nothing, _blocks(candidates, chunk))[0]


def _forward(chunk, anchors, candidates, exclude):
    total = _streamed(chunk, anchors, candidates, exclude)
    return total, (anchors, candidates, exclude, total)


def _backward(chunk, saved, slope):
    anchors, candidates, exclude, total = saved
    total = jnp.where(jnp.isfinite(total), total, 0)

    def add(to_anchors, block):
        rows, first = block
        logits = _logits(anchors, rows, exclude, first, len(candidates))
        share = slope[:, None] * jnp.exp(logits - total[:, None])  # [n, chunk]
        return to_anchors + dots(share, rows.T), dots(share.T, anchors.T)

    blocks = _blocks(candidates, chunk)
    to_anchors, to_blocks = lax.scan(add, jnp.zeros_like(anchors), blocks)
    to_candidates = to_blocks.reshape(-1, to_blocks.shape[-1])[: len(candidates)]
    return to_anchors, to_candidates, None


_streamed.defvjp(_forward, _backward)


def _blocks(candidates, chunk):
    """Rows in blocks of `chunk`, the last padded with 0, and the first row of each."""
    rows, width = candidates.shape
    chunk = min(chunk, max(rows, 1))
    blocks = -(-rows // chunk)
    padded = jnp.pad(candidates, ((0, blocks * chunk - rows), (0, 0)))
    return padded.reshape(blocks, chunk, width), chunk * jnp.arange(blocks)


def _logits(anchors, candidates, exclude, first=0, rows=None):
    """Inner products; -inf at excluded candidates and at padding rows."""
    column = first + jnp.arange(len(candidates))[None]  # [1, m]
    hidden = jnp.zeros(column.shape, bool) if rows is None else column >= rows
    for e in () if exclude is None else exclude.T:
        hidden = hidden | (e[:, None] == column.astype(e.dtype))
    return jnp.where(hidden, -jnp.inf, dots(anchors, candidates))


def _vary_alike(anchors, candidates, exclude):
    """Under `shard_map`, mark both as varying over every mesh axis of any of the three.

    A custom gradient must vary over the axes of its argument: a queue is the same on all
    devices, but its gradients are not until they are summed. Hence the varying zero.
    """
    arrays = [x for x in (anchors, candidates, exclude) if x is not None]
    zero = sum(jnp.zeros_like(x, dtype=anchors.dtype, shape=()) for x in arrays)
    return anchors + zero, candidates + zero
