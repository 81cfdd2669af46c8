import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.next_token import next_token

KEY = jax.random.key(0)
LOGITS = jnp.log(jnp.tile(jnp.array([[0.1, 0.2, 0.3, 0.4]]), (20_000, 1)))


def shares(**how):
    return np.bincount(np.asarray(next_token(KEY, LOGITS, **how)), minlength=4) / 20_000


def test_tokens_are_drawn_by_their_probability():
    np.testing.assert_allclose(shares(), [0.1, 0.2, 0.3, 0.4], atol=0.015)


def test_a_temperature_raises_the_probabilities_to_a_power():
    p = np.array([0.1, 0.2, 0.3, 0.4]) ** 2
    np.testing.assert_allclose(shares(temperature=0.5), p / p.sum(), atol=0.015)


def test_top_k_leaves_the_others_out():
    np.testing.assert_allclose(shares(top_k=2), [0, 0, 3 / 7, 4 / 7], atol=0.015)
    np.testing.assert_allclose(shares(top_k=9), [0.1, 0.2, 0.3, 0.4], atol=0.015)


def test_zero_takes_the_largest_and_negative_numbers_are_refused():
    assert (next_token(KEY, LOGITS, 0.0) == 3).all()
    with pytest.raises(ValueError, match="must not be negative, got -1.0"):
        next_token(KEY, LOGITS, -1.0)
