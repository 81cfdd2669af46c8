"""Noise distribution, bags of words and Huffman codes for word2vec.

Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their
Compositionality". https://arxiv.org/abs/1310.4546
"""

import heapq
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from jssl.ops.precision import widen
from jssl.ops.shapes import expect


def noise_distribution(
    counts: Shaped[Array, " v"], power: float = 0.75
) -> Float[Array, " v"]:
    r"""Probability of each word as a negative: proportional to its count to the power 3/4.

    .. math:: P_w = n_w^{3/4} \Big/ \sum_v n_v^{3/4}

    Power 1 is the unigram distribution, 0 the uniform one. Counts are int or float.

    Mikolov et al. 2013, section 2.2. https://arxiv.org/abs/1310.4546

    Raises:
      ValueError: when the counts are not [v].

    >>> p = noise_distribution(jnp.array([81, 16]))    # 27 : 8
    >>> print(f"{p[0]:.4f} {p[1]:.4f}")
    0.7714 0.2286
    """
    expect("noise_distribution", counts=(counts, "v", "any"))
    (counts,) = widen(counts)
    mass = counts**power
    return mass / mass.sum()


def bag_of_words(
    inputs: Float[Array, "v d"],
    context: Int[Array, "n w"],
    mask: Shaped[Array, "n w"],
    mean: bool = True,
) -> Float[Array, "n d"]:
    """Mean (or sum) of the vectors of each window's words: h in CBOW.

    `mask` (float or bool) is 1 where the window holds a word; an empty window gives 0.

    Mikolov et al. 2013, "Efficient Estimation of Word Representations in Vector
    Space", section 3.1. https://arxiv.org/abs/1301.3781

    Raises:
      ValueError: when shapes do not fit, or the context is not an integer array.

    >>> inputs, mask = jnp.array([[1.0], [3.0], [9.0]]), jnp.array([[1, 1, 0]])
    >>> print(bag_of_words(inputs, jnp.array([[0, 1, 2]]), mask))
    [[2.]]
    """
    expect(
        "bag_of_words",
        inputs=(inputs, "v d"),
        context=(context, "n w", "int"),
        mask=(mask, "n w", "any"),
    )
    vectors, mask = widen(inputs[context], mask)
    total = (vectors * mask[..., None]).sum(1)
    if not mean:
        return total
    count = mask.sum(1, keepdims=True)
    return total / jnp.where(count > 0, count, 1)


class Huffman(NamedTuple):
    """The path from the root to each of v words: row w belongs to word w, padded with 0.

    Attributes:
      codes: [v, b] the binary decisions from the root down.
      points: [v, b] the inner node of each decision; v - 2 is the root.
      lengths: [v] number of decisions.
    """

    codes: Int[np.ndarray, "v b"]
    points: Int[np.ndarray, "v b"]
    lengths: Int[np.ndarray, " v"]


def huffman(counts: np.ndarray) -> Huffman:
    """Huffman code, the binary code of minimal mean length; computed on the host.

    The two rarest subtrees are joined until one is left; ties go to the older. There are
    v - 1 inner nodes, numbered in order of creation.

    Huffman 1952, "A Method for the Construction of Minimum-Redundancy Codes".

    Raises:
      ValueError: when there are fewer than two words.

    >>> tree = huffman(np.array([5, 1, 1]))
    >>> tree.lengths.tolist(), tree.points.tolist()
    ([1, 2, 2], [[1, 0], [1, 0], [1, 0]])
    """
    v = len(counts)
    if np.ndim(counts) != 1 or v < 2:
        raise ValueError(
            f"huffman: counts must be [v] with v of 2 or more, got {np.shape(counts)}"
        )
    heap = [(count, word) for word, count in enumerate(np.asarray(counts).tolist())]
    heapq.heapify(heap)
    above = {}  # node -> (parent, decision); node v + i is the inner node i
    for node in range(v, 2 * v - 1):
        (a, left), (b, right) = heapq.heappop(heap), heapq.heappop(heap)
        above[left], above[right] = (node, 0), (node, 1)
        heapq.heappush(heap, (a + b, node))
    paths = [_turns(word, above, v) for word in range(v)]
    lengths = np.array([len(path) for path in paths], np.int32)
    table = np.zeros((2, v, lengths.max()), np.int32)
    for word, path in enumerate(paths):
        table[:, word, : len(path)] = np.array(path).T
    return Huffman(table[0], table[1], lengths)


def _turns(node, above, v):
    """(decision, inner node) pairs from the root down to a word."""
    path = []
    while node in above:
        node, turn = above[node]
        path.append((turn, node - v))
    return path[::-1]
