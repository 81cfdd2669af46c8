"""Grids of sentences: every token in its place, as by a loop."""

import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.sentence_grid import sentence_grid


@pytest.mark.parametrize(("count", "length"), [(3, 4), (6, 2), (2, 9)])
def test_a_grid_is_its_loop(count, length):
    random = np.random.default_rng(0)
    tokens = random.integers(7, 99, (5, 20))
    sentence = np.sort(random.integers(0, 6, (5, 20)), 1)
    for row in sentence:  # numbers without gaps, from any on
        row[:] = 11 + np.unique(row, return_inverse=True)[1]
    there = np.arange(20) < random.integers(8, 21, (5, 1))
    wanted = np.full((5, count, length), 3)
    for i in range(5):
        for number in np.unique(sentence[i]):
            words = tokens[i][(sentence[i] == number) & there[i]][:length]
            if number - sentence[i, 0] < count:
                wanted[i, number - sentence[i, 0], : len(words)] = words
    given = map(jnp.asarray, (tokens, sentence, there))
    np.testing.assert_array_equal(sentence_grid(*given, count, length, pad=3), wanted)
