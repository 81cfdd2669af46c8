from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jssl.ops.word2vec import (
    alias,
    analogies,
    bag_of_words,
    compacted,
    draw_words,
    huffman,
    keep_probability,
    nearest_words,
    noise_distribution,
    window_pairs,
)

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


def test_frequent_words_are_kept_up_to_the_square_of_the_golden_ratio():
    """(sqrt(f / t) + 1) t / f is 1 at f = t ((1 + sqrt 5) / 2)^2."""
    ratio = ((1 + 5**0.5) / 2) ** 2
    counts = np.array([ratio * 1.001, ratio * 0.999, 0, 1000])
    kept = keep_probability(counts, 1 / counts.sum())
    assert kept[0] < 1 and kept[1] == 1 and kept[2] == 0
    f = counts / counts.sum() * counts.sum()
    np.testing.assert_allclose(kept[3], (np.sqrt(f[3]) + 1) / f[3], rtol=1e-6)
    paper = keep_probability(counts, 1 / counts.sum(), "paper")
    np.testing.assert_allclose(paper[3], np.sqrt(1 / f[3]), rtol=1e-6)
    assert keep_probability(counts, 0.0).tolist() == [1, 1, 0, 1]
    with pytest.raises(ValueError, match="rule must be code or paper, got 'c'"):
        keep_probability(counts, 0.1, "c")


def test_words_are_drawn_by_their_probability():
    p = noise_distribution(jnp.array([50, 1, 8, 20, 0, 3]))
    drawn = draw_words(jax.random.key(0), alias(np.asarray(p)), (100, 600))
    shares = np.bincount(np.asarray(drawn).ravel(), minlength=6) / 60_000
    np.testing.assert_allclose(shares, p, atol=4 * np.sqrt(0.25 / 60_000))
    assert shares[4] == 0
    with pytest.raises(ValueError, match="not negative, and some positive"):
        alias(np.zeros(3))


def test_kept_words_move_to_the_front_in_their_order():
    random = np.random.default_rng(0)
    words, keep = random.integers(1, 9, (5, 7)), random.random((5, 7)) < 0.6
    found, size = compacted(jnp.asarray(words), jnp.asarray(keep))
    for row, mask, own, n in zip(words, keep, found, size, strict=True):
        assert own[:n].tolist() == row[mask].tolist()
        assert (own[n:] == 0).all()


def test_a_word_at_distance_r_is_in_a_drawn_window_as_often_as_in_the_code():
    """With probability (w - r + 1) / w for the widest window w."""
    reach = jax.random.randint(jax.random.key(0), (4000, 9), 1, 5)
    pairs = window_pairs(reach, jnp.full(4000, 9))
    shares = np.asarray(pairs.mean(0))
    for r in range(1, 6):
        found = np.diag(shares, r)
        np.testing.assert_allclose(found, max(5 - r, 0) / 4, atol=0.04)
        np.testing.assert_allclose(np.diag(shares, -r), found, atol=0.06)
    assert (np.diag(shares) == 0).all()


def test_neighbors_and_analogies_are_by_cosine_and_leave_out_what_was_asked():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(12, 4)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -9)
    table = jnp.asarray(vectors)
    words, best = nearest_words(table, np.array([3, 5]), 4)
    for row, found, asked in zip(np.asarray(words), np.asarray(best), (3, 5), strict=True):
        order = np.argsort(-cosines[asked])[:4]
        np.testing.assert_array_equal(row, order)
        np.testing.assert_allclose(found, cosines[asked][order], rtol=1e-5)
    some, _ = nearest_words(table, np.array([3]), 2, among=np.array([0, 3, 7]))
    assert set(some[0].tolist()) == {0, 7}
    answer = int(analogies(table, np.array([[0, 1, 2]]))[0, 0])
    scores = unit @ (unit[1] - unit[0] + unit[2])
    scores[:3] = -9
    assert answer == scores.argmax()
