"""Subsampling, windows, noise distribution, bags of words and Huffman codes of word2vec.

Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their
Compositionality". https://arxiv.org/abs/1310.4546
"""

import heapq
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import dots, unit


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


class Alias(NamedTuple):
    """Tables from which words are drawn in constant time.

    A place i is drawn evenly; it stands for word i with probability `kept[i]`, else for
    word `other[i]`.

    Attributes:
      kept: [v] float32.
      other: [v] int32.
    """

    kept: Float[np.ndarray, " v"]
    other: Int[np.ndarray, " v"]


def alias(probabilities: np.ndarray) -> Alias:
    """Alias tables of a distribution; computed on the host.

    Walker 1977, https://doi.org/10.1145/355744.355749; Vose 1991,
    https://doi.org/10.1109/32.92917

    Raises:
      ValueError: when the probabilities are not [v], negative, or all 0.

    >>> tables = alias(np.array([0.75, 0.25]))    # half of place 1 stands for word 0
    >>> tables.kept.tolist(), tables.other.tolist()
    ([1.0, 0.5], [0, 0])
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 1 or not len(p) or p.min() < 0 or not p.sum() > 0:
        raise ValueError(
            f"alias: probabilities must be [v], not negative, and some positive, got "
            f"{list(p.shape)}"
        )
    kept, other = len(p) * p / p.sum(), np.arange(len(p))
    small = [i for i in range(len(p)) if kept[i] < 1]
    large = [i for i in range(len(p)) if kept[i] >= 1]
    while small and large:
        low, high = small.pop(), large[-1]
        other[low] = high
        kept[high] -= 1 - kept[low]
        if kept[high] < 1:
            small.append(large.pop())
    kept[[*small, *large]] = 1  # but for rounding
    return Alias(kept.astype(np.float32), other.astype(np.int32))


def draw_words(key: jax.Array, tables: Alias, shape: tuple[int, ...]) -> Int[Array, "..."]:
    """Independent words of the distribution of `alias`, int32 of a shape.

    >>> tables = alias(np.array([0.0, 1.0]))
    >>> draw_words(jax.random.key(0), tables, (3,)).tolist()
    [1, 1, 1]
    """
    place_key, fate_key = jax.random.split(key)
    place = jax.random.randint(place_key, shape, 0, len(tables.kept))
    fate = jax.random.uniform(fate_key, shape, jnp.float32)
    kept, other = map(jnp.asarray, tables)
    return jnp.where(fate < kept[place], place, other[place]).astype(jnp.int32)


def keep_probability(counts: np.ndarray, sample: float, rule: str = "code") -> np.ndarray:
    r"""Probability that a word of the text is kept: subsampling of frequent words.

    With f the relative frequency and t = `sample`,

    .. math:: \min(1, (\sqrt{f / t} + 1) \, t / f) \quad \text{(the released code)},
              \qquad \min(1, \sqrt{t / f}) \quad \text{(the paper)}

    Words that do not occur are kept with probability 0. `sample` 0 keeps all others.

    Mikolov et al. 2013, section 2.3. https://arxiv.org/abs/1310.4546

    Raises:
      ValueError: when the rule is neither "code" nor "paper".

    >>> print(keep_probability(np.array([96, 4, 0]), 0.04).round(3))
    [0.246 1.    0.   ]
    """
    if rule not in ("code", "paper"):
        raise ValueError(f"keep_probability: rule must be code or paper, got {rule!r}")
    counts = np.asarray(counts, np.float64)
    seen = counts > 0
    if not sample:
        return seen.astype(np.float32)
    ratio = sample / np.where(seen, counts / counts.sum(), 1)
    kept = np.sqrt(ratio) + (ratio if rule == "code" else 0)
    return np.where(seen, np.minimum(kept, 1), 0).astype(np.float32)


def compacted(
    words: Int[Array, "n l"], keep: Shaped[Array, "n l"]
) -> tuple[Int[Array, "n l"], Int[Array, " n"]]:
    """Kept words moved to the front of their rows, and the number of them.

    The places behind them have word 0.

    >>> words, size = compacted(jnp.array([[5, 6, 7]]), jnp.array([[True, False, True]]))
    >>> words.tolist(), size.tolist()
    ([[5, 7, 0]], [2])
    """
    expect("compacted", words=(words, "n l", "int"), keep=(keep, "n l", "bool"))
    n, length = words.shape
    place = jnp.where(keep, jnp.cumsum(keep, 1) - 1, length)  # length: dropped
    rows = jnp.arange(n)[:, None]
    return jnp.zeros_like(words).at[rows, place].set(words, mode="drop"), keep.sum(1)


def window_pairs(reach: Int[Array, "n l"], size: Int[Array, " n"]) -> Bool[Array, "n l l"]:
    """True where word s is in the window of word t: 0 < abs(t - s) <= reach[t].

    Args:
      reach: words on either side of each window; drawn evenly from 1 to the widest, a word
        at distance r is in it with probability (widest - r + 1) / widest.
      size: number of words of each row; pairs with places behind them are False.

    >>> pairs = window_pairs(jnp.array([[2, 1, 1, 1]]), jnp.array([3]))
    >>> pairs.astype(int)[0].tolist()
    [[0, 1, 1, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    """
    expect("window_pairs", reach=(reach, "n l", "int"), size=(size, "n", "int"))
    place = jnp.arange(reach.shape[1])
    far = jnp.abs(place[:, None] - place)
    there = place < size[:, None]
    near = (far > 0) & (far <= reach[:, :, None])
    return near & there[:, :, None] & there[:, None]


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


def nearest_words(
    vectors: Float[Array, "v d"],
    queries: Any,
    k: int,
    among: np.ndarray | None = None,
    without: np.ndarray | None = None,
) -> tuple[Int[Array, "q k"], Float[Array, "q k"]]:
    """The k words of largest cosine similarity to some words or vectors, and the cosines.

    Args:
      vectors: of all words.
      queries: words int [q], which are not their own neighbors; or vectors [q, d].
      k: number of neighbors.
      among: words that are considered, int [w]; None: all.
      without: further words that are left out for each query, int [q, x].

    >>> vectors = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> words, cosines = nearest_words(vectors, np.array([0]), 2)
    >>> print(words, np.asarray(cosines).round(2))
    [[1 2]] [[0.8 0. ]]
    """
    queries = jnp.asarray(queries)
    directions = unit(jnp.asarray(vectors))
    among = np.arange(len(vectors)) if among is None else np.asarray(among)
    if queries.ndim == 1:
        own = queries[:, None]
        without = own if without is None else jnp.concatenate([own, without], 1)
        queries = directions[queries]
    cosines = dots(unit(queries), directions[among])  # [q, w]
    if without is not None:
        left = (jnp.asarray(without)[:, :, None] == among).any(1)
        cosines = jnp.where(left, -jnp.inf, cosines)
    best, place = jax.lax.top_k(cosines, k)
    return jnp.asarray(among)[place], best


def analogies(
    vectors: Float[Array, "v d"],
    questions: Int[np.ndarray, "q 3"],
    k: int = 1,
    among: np.ndarray | None = None,
) -> Int[Array, "q k"]:
    """Answers to "a is to b as c is to ...": the words nearest to b - a + c.

    The vectors have length 1, and a, b and c are no answers.

    Mikolov et al. 2013, section 4. https://arxiv.org/abs/1301.3781

    >>> vectors = jnp.array([[0.8, -0.6], [0.8, 0.6], [-0.8, -0.6], [-0.8, 0.6]])
    >>> analogies(vectors, np.array([[0, 1, 2]])).tolist()
    [[3]]
    """
    directions = unit(jnp.asarray(vectors))
    a, b, c = (directions[x] for x in np.asarray(questions).T)
    return nearest_words(vectors, b - a + c, k, among, questions)[0]
