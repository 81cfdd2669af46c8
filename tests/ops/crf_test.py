"""Conditional random fields against sums and maxima over all tags of short texts."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.crf import Chain, crf_log_likelihood, crf_log_partition, crf_score, viterbi

N, L, K = 6, 5, 3
draw = np.random.default_rng(0)
SCORES = draw.normal(size=(N, L, K)).astype(np.float32)
CHAIN = Chain(
    *(jnp.asarray(draw.normal(size=x), jnp.float32) for x in ((K,), (K, K), (K,)))
)
KNOWN = np.array([
    [1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 1, 0, 0], [1, 0, 0, 0, 1],
    [0, 0, 0, 0, 0],
], bool)  # fmt: skip


def every(row):
    """(tags, score) of all tags of a row's known tokens."""
    first, steps, last = (np.asarray(x, np.float64) for x in CHAIN)
    places = np.flatnonzero(KNOWN[row])
    for tags in itertools.product(range(K), repeat=len(places)):
        score = sum(float(SCORES[row, i, tag]) for i, tag in zip(places, tags, strict=True))
        score += sum(steps[pair] for pair in itertools.pairwise(tags))
        if tags:
            score += first[tags[0]] + last[tags[-1]]
        yield tags, score


def test_the_partition_is_the_sum_over_all_tags():
    found = crf_log_partition(jnp.asarray(SCORES), CHAIN, jnp.asarray(KNOWN))
    wanted = [np.log(sum(np.exp(score) for _, score in every(row))) for row in range(N)]
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_the_likelihoods_of_all_tags_sum_to_one():
    for row in range(N):
        tags = np.full((K ** KNOWN[row].sum(), L), -1)
        each = list(every(row))
        tags[:, KNOWN[row]] = [tag for tag, _ in each]
        scores = jnp.asarray(np.repeat(SCORES[row : row + 1], len(tags), 0))
        logs = crf_log_likelihood(scores, CHAIN, jnp.asarray(tags))
        np.testing.assert_allclose(np.exp(logs).sum(), 1, rtol=1e-5)
        found = crf_score(scores, CHAIN, jnp.asarray(tags))
        np.testing.assert_allclose(found, [s for _, s in each], rtol=1e-5, atol=1e-5)


def test_viterbi_finds_the_best_of_all_tags():
    found = viterbi(jnp.asarray(SCORES), CHAIN, jnp.asarray(KNOWN))
    wanted = np.full((N, L), -1)
    for row in range(N):
        wanted[row, KNOWN[row]] = max(every(row), key=lambda x: x[1])[0]
    np.testing.assert_array_equal(found, wanted)


def test_the_gradient_is_expected_less_given_tags():
    """Of the transitions: their expected number under the field, less those of the tags."""
    tags = jnp.asarray(np.where(KNOWN, 1, -1))

    def nll(steps):
        chain = CHAIN._replace(steps=steps)
        return -crf_log_likelihood(jnp.asarray(SCORES), chain, tags).sum()

    wanted = np.zeros((K, K))
    for row in range(N):
        each = list(every(row))
        p = np.exp([s for _, s in each])
        for (tags_, _), weight in zip(each, p / p.sum(), strict=True):
            for pair in itertools.pairwise(tags_):
                wanted[pair] += weight
        wanted[1, 1] -= max(KNOWN[row].sum() - 1, 0)
    found = jax.grad(nll)(CHAIN.steps)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_chains_of_another_number_of_tags_are_refused():
    with pytest.raises(ValueError, match="steps"):
        crf_log_partition(
            jnp.zeros((2, 3, 4)),
            Chain(jnp.zeros(4), jnp.zeros((3, 3)), jnp.zeros(4)),
            jnp.ones((2, 3), bool),
        )
