from collections import deque

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jssl.ops.word2vec import bag_of_words, huffman, noise_distribution

COUNTS = np.random.default_rng(0).zipf(1.5, 40).clip(1, 10_000)


def test_noise_is_counts_to_the_power_three_quarters():
    p = COUNTS**0.75
    noise = noise_distribution(jnp.asarray(COUNTS))
    np.testing.assert_allclose(noise, p / p.sum(), rtol=1e-5)
    unigram = noise_distribution(jnp.asarray(COUNTS), power=1.0)
    np.testing.assert_allclose(unigram, COUNTS / COUNTS.sum(), rtol=1e-5)
    uniform = noise_distribution(jnp.asarray(COUNTS), power=0.0)
    np.testing.assert_allclose(uniform, 1 / 40, rtol=1e-5)


def test_bags_are_numpys_means_and_sums():
    rng = np.random.default_rng(0)
    inputs, context = rng.normal(size=(9, 4)), rng.integers(0, 9, (3, 5))
    mask = np.array([[1, 1, 0, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
    arguments = jnp.asarray(inputs, jnp.float32), jnp.asarray(context)
    bags = bag_of_words(*arguments, jnp.asarray(mask))
    sums = bag_of_words(*arguments, jnp.asarray(mask), mean=False)
    for i in range(2):
        words = inputs[context[i][mask[i]]]
        np.testing.assert_allclose(bags[i], words.mean(0), atol=1e-6)
        np.testing.assert_allclose(sums[i], words.sum(0), atol=1e-6)
    assert not np.asarray(bags[2]).any()


def two_queues(counts):
    """The total length of Huffman's code, by another algorithm than a heap."""
    leaves, joined, total = deque(sorted(counts)), deque(), 0
    while len(leaves) + len(joined) > 1:
        pair = []
        for _ in range(2):
            first = not joined or (leaves and leaves[0] <= joined[0])
            pair.append((leaves if first else joined).popleft())
        joined.append(sum(pair))
        total += sum(pair)
    return total


@pytest.mark.parametrize("counts", [COUNTS, np.ones(7, int), np.array([3, 5])])
def test_the_code_is_the_shortest_there_is(counts):
    codes, points, lengths = huffman(counts)
    v = len(counts)
    assert np.sum(0.5**lengths) == 1  # Kraft
    assert (counts * lengths).sum() == two_queues(counts.tolist())
    bits = scipy.stats.entropy(counts, base=2)
    mean = (counts * lengths).sum() / counts.sum()
    assert bits - 1e-12 <= mean < bits + 1
    assert (points[:, 0] == v - 2).all()  # the root
    words = ["".join(map(str, c[:n])) for c, n in zip(codes, lengths, strict=True)]
    assert all(
        not a.startswith(b) for a in words for b in words if a is not b
    )  # no code begins another
    assert points.max() == v - 2
    assert points.min() == 0


def test_equal_turns_lead_to_equal_nodes():
    codes, points, lengths = huffman(COUNTS)
    nodes = {}
    for code, point, length in zip(codes, points, lengths, strict=True):
        for j in range(length):
            assert nodes.setdefault(tuple(code[:j]), point[j]) == point[j]
    assert len(nodes) == len(set(nodes.values())) == len(COUNTS) - 1


def test_wrong_arguments_are_refused(unhooked):
    with pytest.raises(ValueError, match=r"v of 2 or more, got \(1,\)"):
        huffman(np.array([4]))
    with pytest.raises(ValueError, match=r"counts must be any\[v\]"):
        noise_distribution(jnp.ones((2, 2)))
    with pytest.raises(ValueError, match=r"mask must be any\[n=2, w=3\]"):
        bag_of_words(jnp.ones((5, 2)), jnp.ones((2, 3), int), jnp.ones((2, 2)))
