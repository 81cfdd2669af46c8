"""Pointers and propagated labels: distributions, identity, and a double loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.pointers import pointers, propagate_labels

KEY = jax.random.key(0)


def features(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("most", [None, 3])
def test_rows_are_distributions(most):
    a = pointers(features(2, 5, 4), features(2, 7, 4, seed=1), 0.3, most)
    np.testing.assert_allclose(a.sum(-1), 1, rtol=1e-6)
    if most:
        np.testing.assert_array_equal((a > 0).sum(-1), most)


def test_the_order_of_the_references_does_not_matter_to_what_is_copied():
    target, known = features(2, 5, 4), features(2, 7, 4, seed=1)
    values, order = features(2, 7, 3, seed=2), np.array([3, 0, 6, 2, 5, 1, 4])
    one = pointers(target, known) @ values
    two = pointers(target, known[:, order]) @ values[:, order]
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_orthonormal_features_at_a_low_temperature_point_to_themselves():
    names = jnp.eye(6)[None]
    np.testing.assert_allclose(pointers(names, names, 1e-2)[0], np.eye(6), atol=1e-6)


def test_propagation_is_that_of_loops_and_keeps_distributions():
    f = np.asarray(features(2, 5, 6, 3), np.float64)
    labels = np.asarray(jax.nn.softmax(features(2, 6, 4, seed=1)), np.float64)
    found = propagate_labels(
        jnp.asarray(f, jnp.float32), jnp.asarray(labels), references=2, temperature=0.7
    )
    for i in range(2):
        y = [labels[i]]
        for t in range(1, 5):
            frames = sorted({0, *range(max(1, t - 2), t)})
            rows = []
            for place in f[i, t]:
                weight = np.exp([[k @ place / 0.7 for k in f[i, s]] for s in frames])
                weight /= weight.sum()
                rows.append(sum(weight[j] @ y[s] for j, s in enumerate(frames)))
            y.append(np.stack(rows))
        np.testing.assert_allclose(found[i], np.stack(y), atol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="most must be 1 to 7, got 8"):
        pointers(features(2, 5, 4), features(2, 7, 4), most=8)
    with pytest.raises(ValueError, match="references must be positive"):
        propagate_labels(features(1, 2, 3, 4), features(1, 3, 2), references=0)
