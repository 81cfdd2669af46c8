r"""Deals samples out to clusters so that every cluster gets the same share.

Sinkhorn's iteration scales rows and columns of \(Q = \exp(S / \epsilon)\) in turn: each
cluster is given 1/K of the batch, then each sample one whole code.

Cuturi 2013, "Sinkhorn Distances", https://arxiv.org/abs/1306.0895; as used by SwAV,
Caron et al. 2020, https://arxiv.org/abs/2006.09882, listing 1.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jssl.ops.gather import psum
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import logsumexp


def sinkhorn(
    scores: Float[Array, "n k"],
    epsilon: ScalarLike = 0.05,
    iterations: int = 3,
    axis_name: str | None = None,
) -> Float[Array, "n k"]:
    r"""Codes: a distribution over k clusters for each of n samples, evenly dealt out.

    Repeats, from \(Q = \exp(S / \epsilon)\),

    .. math:: Q_{ij} \leftarrow Q_{ij} / \sum_i Q_{ij}, \qquad
              Q_{ij} \leftarrow Q_{ij} / \sum_j Q_{ij}

    the first time in logarithms, so that no score is too large; after it each column has
    an entry of 1 / (n k) at least, and plain numbers do: a factor for each row and one for
    each column, so that Q is read and not written. Each row sums to 1 exactly; each
    column to n / k in the limit. With 0 iterations it is the softmax of S / epsilon,
    which nothing keeps from collapsing. The sum over samples is over all devices of
    `axis_name`. Not differentiated in use: see `swav`.

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
        columns /= columns.mean()  # or n / k to the power of the iterations overflows
        rows = 1 / jnp.matmul(q, columns, precision="highest")
    return rows[:, None] * q * columns
