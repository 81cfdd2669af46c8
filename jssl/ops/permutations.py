"""Sets of permutations with large Hamming distances, for jigsaw puzzles; in numpy.

The Hamming distance of two permutations is the number of positions at which they differ.
"""

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int, Integer

Mode = Literal["max", "maxmin", "middle", "min"]


def permutation_set(
    n_tiles: int, count: int, mode: Mode = "max", seed: int | None = None
) -> Int[np.ndarray, "count n_tiles"]:
    r"""Select permutations greedily by their Hamming distances to those already selected.

    Starting with one, the next of all n! permutations is always

    .. math:: \arg\max_q \sum_{p \in S} d(p, q)

    ("max", as in the paper), the one with the largest minimal distance and among these
    the largest sum ("maxmin"), one with the median sum ("middle") or the smallest sum
    ("min"). Ties are resolved by lexicographic order.

    Noroozi and Favaro 2016, algorithm 1. https://arxiv.org/abs/1603.09246

    Args:
      n_tiles: n, from 2 to 10.
      count: number of permutations.
      mode: selection criterion, as above.
      seed: None starts at the identity. A number starts at a random permutation and
        resolves ties of "middle" at random.

    Raises:
      ValueError: when n is outside 2 ... 10, there are fewer than `count` permutations,
        or the mode is unknown.

    >>> permutation_set(3, 3, "maxmin").tolist()
    [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    """
    if not 2 <= n_tiles <= 10:
        raise ValueError(f"permutation_set: n_tiles must be 2 to 10, got {n_tiles}")
    if not 1 <= count <= math.factorial(n_tiles):
        raise ValueError(
            f"permutation_set: count must be 1 to {math.factorial(n_tiles)}, the "
            f"permutations of {n_tiles} tiles, got {count}"
        )
    if mode not in get_args(Mode):
        known = ", ".join(get_args(Mode))
        raise ValueError(f"permutation_set: mode must be one of {known}, got {mode!r}")
    columns = np.ascontiguousarray(_all(n_tiles).T)  # [n, n!], in lexicographic order
    free = np.ones(columns.shape[1], bool)
    total = np.zeros(columns.shape[1], np.int32)
    least = np.full(columns.shape[1], n_tiles, np.int32)
    rng = None if seed is None else np.random.default_rng(seed)
    chosen = [0 if rng is None else int(rng.integers(len(free)))]
    while len(chosen) < count:
        last = chosen[-1]
        free[last] = False
        apart = sum((c != c[last]).view(np.int8) for c in columns)
        total += apart
        if mode == "maxmin":
            np.minimum(least, apart, out=least)
            score = least * (count * n_tiles + 1) + total
        else:
            score = total
        if mode == "min":
            following = np.where(free, score, score.max() + 1).argmin()
        elif mode == "middle":
            rest = score[free]
            middle = np.partition(rest, len(rest) // 2)[len(rest) // 2]
            equal = np.flatnonzero(free & (score == middle))
            following = equal[0] if rng is None else rng.choice(equal)
        else:
            following = np.where(free, score, -1).argmax()
        chosen.append(int(following))
    return columns[:, chosen].T.astype(np.int32)


class Hamming(NamedTuple):
    """Statistics of the Hamming distances between all pairs of a set."""

    mean: float
    minimum: int
    maximum: int


def hamming_statistics(permutations: Integer[np.ndarray, "count n"]) -> Hamming:
    r"""Mean, minimum and maximum Hamming distance over all pairs of permutations.

    The mean is at most (n - 1) N / (N - 1), attained by N permutations if and only if
    every symbol occurs equally often at every position.

    Raises:
      ValueError: when there is no pair.

    >>> hamming_statistics(permutation_set(3, 3, "maxmin"))
    Hamming(mean=3.0, minimum=3, maximum=3)
    """
    rows = np.asarray(permutations)
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(
            f"hamming_statistics: permutations must be int[count, n], at least two, got "
            f"{rows.dtype}{list(rows.shape)}"
        )
    apart = sum((c[:, None] != c[None]).astype(np.int32) for c in rows.T)
    pairs = apart[np.triu_indices(len(rows), 1)]
    return Hamming(float(pairs.mean()), int(pairs.min()), int(pairs.max()))


def affine_permutations_9() -> Int[np.ndarray, "72 9"]:
    """The maps k -> a k + b of the field of nine elements, a not 0: 72 permutations.

    Any two agree at one position at most, so that distances are 8 or 9, and every symbol
    occurs at every position 8 times. Element 3 x + y of the field is x i + y, with
    arithmetic modulo 3 and i^2 = -1.

    >>> hamming_statistics(affine_permutations_9())[1:]
    (8, 9)
    """
    k = np.arange(9)

    def plus(a, b):
        return (a // 3 + b // 3) % 3 * 3 + (a + b) % 3

    def times(a, b):
        (x, y), (u, v) = divmod(a, 3), divmod(b, 3)
        return (x * v + y * u) % 3 * 3 + (y * v - x * u) % 3

    maps = [plus(times(a, k), b) for a in range(1, 9) for b in range(9)]
    return np.stack(maps).astype(np.int32)


def _all(n):
    """The n! permutations, int8 [n!, n], in lexicographic order."""
    if n == 0:
        return np.zeros((1, 0), np.int8)
    rest = _all(n - 1)
    blocks = []
    for first in range(n):
        block = np.empty((len(rest), n), np.int8)
        block[:, 0], block[:, 1:] = first, rest + (rest >= first)
        blocks.append(block)
    return np.concatenate(blocks)
