r"""Sinkhorn-Knopp normalization: soft assignment of samples to equally sized clusters.

Sinkhorn's iteration scales columns and rows of \(Q = \exp(S / \epsilon)\) in turn: each
cluster to 1/K of the batch, then each sample to a distribution over clusters.

Cuturi 2013, "Sinkhorn Distances", https://arxiv.org/abs/1306.0895; as used by SwAV,
Caron et al. 2020, https://arxiv.org/abs/2006.09882, listing 1.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jssl.ops.explicit import compares_rows
from jssl.ops.gather import psum
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import logsumexp


@compares_rows(like="scores")
def sinkhorn(
    scores: Float[Array, "n k"],
    epsilon: ScalarLike = 0.05,
    iterations: int = 3,
    axis_name: str | None = None,
) -> Float[Array, "n k"]:
    r"""Distributions over k equally used clusters for each of n samples.

    Starting from \(Q = \exp(S / \epsilon)\), repeat

    .. math:: Q_{ij} \leftarrow Q_{ij} / \sum_i Q_{ij}, \qquad
              Q_{ij} \leftarrow Q_{ij} / \sum_j Q_{ij}

    The first iteration is in log space, so that large scores do not overflow; after it
    each column has an entry of at least 1 / (n k), and the rest is linear: one factor for
    each row and column, so that Q is read but not rewritten. Each row sums to 1 exactly,
    each column to n / k in the limit. With 0 iterations it is the softmax of S / epsilon,
    which does not prevent collapse. The sum over samples is over all devices of
    `axis_name`. `swav` uses it without gradient.

    Raises:
      ValueError: when `scores` is not float[n, k].

    >>> q = jnp.array([[1.0, 1.0], [3.0, 1.0]])    # by columns [[1/4, 1/2], [3/4, 1/2]]
    >>> codes = sinkhorn(jnp.log(q), epsilon=1.0, iterations=1)
    >>> print(f"{codes[0, 0]:.4f} {codes[1, 0]:.4f}")    # then by rows: 1/3, 3/5
    0.3333 0.6000
    """
    expect("sinkhorn", scores=(scores, "n k"))
    (scores,) = widen(scores)
    log_q = scores / epsilon
    if iterations:
        log_q = log_q - logsumexp(log_q, 0, axis_name=axis_name)[None]
    q = jnp.exp(log_q - logsumexp(log_q, 1)[:, None])
    rows, columns = jnp.ones_like(q[:, 0]), jnp.ones_like(q[0])
    for _ in range(iterations - 1):
        columns = 1 / psum(jnp.matmul(rows, q, precision="highest"), axis_name)
        columns /= columns.mean()  # otherwise (n / k) ** iterations overflows
        rows = 1 / jnp.matmul(q, columns, precision="highest")
    return rows[:, None] * q * columns
