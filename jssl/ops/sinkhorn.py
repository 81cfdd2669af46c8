r"""Sinkhorn-Knopp normalization: soft assignment of samples to equally sized clusters.

Sinkhorn's iteration scales columns and rows of \(Q = \exp(S / \epsilon)\) in turn: each
cluster to 1/K of the batch, then each sample to a distribution over clusters.

Cuturi 2013, "Sinkhorn Distances", https://arxiv.org/abs/1306.0895; as used by SwAV,
Caron et al. 2020, https://arxiv.org/abs/2006.09882, listing 1.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jssl.ops.explicit import compares_rows
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

    In log space, because entries may be e^-100 of their row and yet decide the outcome:
    whatever the scores and the number of iterations, nothing over- or underflows. Each row
    sums to 1 exactly, each column to n / k in the limit. With 0 iterations it is the
    softmax of S / epsilon, which does not prevent collapse. The sum over samples is over
    all devices of `axis_name`. `swav` uses it without gradient.

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
    rows, columns = jnp.zeros_like(log_q[:, 0]), jnp.zeros_like(log_q[0])
    for _ in range(iterations):
        columns = -logsumexp(log_q - rows[:, None], 0, axis_name=axis_name)
        rows = logsumexp(log_q + columns[None], 1)
    return jax.nn.softmax(log_q + columns[None])
