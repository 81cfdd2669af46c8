"""Losses of clips by loops, and at their extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.losses.video import memory_decoupling, pointer_nll


def test_the_likelihood_of_copied_classes_is_that_of_loops():
    y = jax.nn.softmax(jax.random.normal(jax.random.key(0), (3, 4, 5)))
    classes = jax.random.randint(jax.random.key(1), (3, 4), 0, 5)
    wanted = np.mean([-np.log(y[i, j, classes[i, j]]) for i, j in np.ndindex(3, 4)])
    np.testing.assert_allclose(pointer_nll(y, classes), wanted, rtol=1e-5)


def test_a_class_that_cannot_be_copied_costs_a_finite_number():
    value, grad = jax.value_and_grad(pointer_nll)(
        jnp.array([[[1.0, 0.0]]]), jnp.array([[1]])
    )
    np.testing.assert_allclose(value, 8 * np.log(10), rtol=1e-5)
    assert np.isfinite(grad).all()


def test_decoupling_is_the_mean_cosine_of_loops_over_channels():
    a, b = jax.random.normal(jax.random.key(0), (2, 2, 3, 4, 5, 6))
    cosines = []
    for i, s, q in np.ndindex(2, 3, 6):
        one, two = np.ravel(a[i, s, ..., q]), np.ravel(b[i, s, ..., q])
        cosines.append(abs(one @ two) / np.linalg.norm(one) / np.linalg.norm(two))
    np.testing.assert_allclose(memory_decoupling(a, b), np.mean(cosines), rtol=1e-5)
    np.testing.assert_allclose(memory_decoupling(a, -7 * a), 1, rtol=1e-5)


def test_increments_of_zero_have_no_gradient():
    a = jnp.zeros((1, 1, 2, 2, 1))
    assert np.all(np.asarray(jax.grad(memory_decoupling)(a, a + 1)) == 0)


def test_shapes_that_do_not_fit_are_refused(unhooked):
    with pytest.raises(ValueError, match="classes must be int"):
        pointer_nll(jnp.ones((1, 2, 3)), jnp.zeros((1, 3), int))
    with pytest.raises(ValueError, match="two must be"):
        memory_decoupling(jnp.ones((1, 1, 2, 2, 1)), jnp.ones((1, 1, 2, 2, 3)))
