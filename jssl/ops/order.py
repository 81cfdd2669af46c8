"""Sampling in which every cluster is equally frequent."""

import jax
import numpy as np
from jaxtyping import Array, Int


def balanced_order(
    key: jax.Array, clusters: Int[Array | np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """n indices of samples, shuffled, equally many from each nonempty cluster.

    Samples of small clusters are repeated in turn; some of large ones are left out.
    Computed on the host, because the sizes of clusters depend on the values.

    Caron et al. 2018, section 3.2. https://arxiv.org/abs/1807.05520

    >>> order = balanced_order(jax.random.key(0), np.array([0, 0, 0, 0, 0, 1]))
    >>> sorted(np.array([0, 0, 0, 0, 0, 1])[order].tolist())
    [0, 0, 0, 1, 1, 1]
    """
    clusters, (first, last) = np.asarray(clusters), jax.random.split(key)
    order = np.asarray(jax.random.permutation(first, len(clusters)))
    groups = [order[clusters[order] == c] for c in np.unique(clusters)]
    rounds = -(-len(order) // len(groups))
    # One of each cluster in turn, so that truncation to n affects all alike.
    turns = np.stack([np.resize(group, rounds) for group in groups], 1).ravel()
    turns = turns[: len(order)]
    return turns[np.asarray(jax.random.permutation(last, len(turns)))]
