"""Reversed gradients are the gradients, with the other sign."""

import jax
import jax.numpy as jnp
import numpy as np

from jssl.ops.reversal import grad_reverse


def test_a_reversed_gradient_has_the_other_sign_exactly():
    x = jax.random.normal(jax.random.key(0), (5, 3))
    f = lambda x: jnp.sin(x).sum()
    np.testing.assert_array_equal(grad_reverse(x, 0.3), x)
    plain = jax.grad(f)(x)
    np.testing.assert_array_equal(jax.grad(lambda x: f(grad_reverse(x)))(x), -plain)
    quarter = jax.grad(lambda x: f(grad_reverse(x, 0.25)))(x)
    np.testing.assert_array_equal(quarter, -0.25 * plain)


def test_trees_are_reversed_leaf_by_leaf():
    tree = {"a": jnp.ones(2), "b": (jnp.zeros(()),)}
    found = jax.grad(lambda t: sum(x.sum() for x in jax.tree.leaves(grad_reverse(t))))(tree)
    assert all((x == -1).all() for x in jax.tree.leaves(found))
