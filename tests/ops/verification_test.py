"""Metrics of two classes against scikit-learn's."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from jssl.ops.verification import area_under_curve, balanced_accuracy


@pytest.mark.parametrize("seed", range(5))
def test_they_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    y = rng.random(60) < 0.25
    scores = np.round(y + rng.normal(0, 1, 60), 1).astype(np.float32)  # with ties
    found = area_under_curve(jnp.asarray(scores), jnp.asarray(y))
    np.testing.assert_allclose(found, roc_auc_score(y, scores), rtol=1e-6)
    guess = scores > 0.5
    found = balanced_accuracy(jnp.asarray(guess == y), jnp.asarray(y))
    np.testing.assert_allclose(found, balanced_accuracy_score(y, guess), rtol=1e-6)


def test_the_majority_is_worth_one_half():
    y = jnp.arange(40) % 4 == 0
    np.testing.assert_allclose(area_under_curve(jnp.zeros(40), y), 0.5)
    np.testing.assert_allclose(balanced_accuracy(~y, y), 0.5)


def test_a_batch_of_one_class_gives_finite_numbers():
    y = jnp.zeros(4, bool)
    assert area_under_curve(jnp.arange(4.0), y) == 0
    assert balanced_accuracy(~y, y) == 0.5
