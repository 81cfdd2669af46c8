"""The best span, against a loop over all of them."""

import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.spans import best_span


@pytest.mark.parametrize("longest", [1, 3, 30])
def test_the_best_span_is_that_of_a_loop_over_all(longest):
    draw = np.random.default_rng(longest)
    start, end = draw.normal(size=(2, 20, 9)).astype(np.float32)
    allowed = draw.random((20, 9)) < 0.7
    allowed[:, 4] = True
    found = np.asarray(best_span(*map(jnp.asarray, (start, end, allowed)), longest))
    for row in range(20):
        every = [
            (start[row, i] + end[row, j], (i, j))
            for i in range(9)
            for j in range(i, min(i + longest, 9))
            if allowed[row, i] and allowed[row, j]
        ]
        assert tuple(found[row]) == max(every)[1]


def test_a_span_of_no_token_is_refused():
    with pytest.raises(ValueError, match="longest must be at least 1, got 0"):
        best_span(jnp.zeros((1, 2)), jnp.zeros((1, 2)), jnp.ones((1, 2), bool), 0)
