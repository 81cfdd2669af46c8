import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jssl.ops.divergences import (
    entropy,
    kl_divergence,
    soft_cross_entropy,
    softmax_squared_error,
)

PAIRS = [kl_divergence, softmax_squared_error, soft_cross_entropy]


@pytest.fixture
def logits():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 6, 5)) * 3


def test_the_entropy_and_gradient_of_the_catalogue():
    value, grad = jax.value_and_grad(entropy)(jnp.array([1.0, 0.2, -0.5]))
    # the catalogue prints five decimals
    np.testing.assert_allclose(value, 0.92935, atol=5e-6)
    np.testing.assert_allclose(grad, [-0.24817, 0.10342, 0.14475], atol=6e-6)


def test_values_are_scipys(logits):
    p, q = scipy.special.softmax(logits, -1)
    with jax.enable_x64(True):
        a, b = jnp.asarray(logits)
        mine = entropy(a), kl_divergence(b, a), softmax_squared_error(a, b)
        cross = soft_cross_entropy(a, jnp.asarray(q))
    wanted = [scipy.stats.entropy(p, axis=-1), scipy.stats.entropy(q, p, axis=-1)]
    wanted.append(((p - q) ** 2).mean(-1))
    for value, reference in zip(mine, wanted, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-10)  # float64 rounding
    np.testing.assert_allclose(cross, wanted[1] + scipy.stats.entropy(q, axis=-1))


def test_the_gradient_of_the_entropy_is_minus_p_times_log_p_plus_the_entropy(logits):
    with jax.enable_x64(True):
        z = jnp.asarray(logits[0])
        grad = jax.grad(lambda z: entropy(z).sum())(z)
    p = scipy.special.softmax(logits[0], -1)
    wanted = -p * (np.log(p) + scipy.stats.entropy(p, axis=-1)[:, None])
    np.testing.assert_allclose(grad, wanted, atol=1e-14)


def test_the_entropy_lies_between_that_of_certainty_and_of_ignorance():
    assert entropy(jnp.array([1e4, 0.0, 0.0])) == 0
    np.testing.assert_allclose(entropy(jnp.zeros(7)), np.log(7), rtol=1e-6)
    # a maximum, so the gradient there is rounding
    np.testing.assert_allclose(jax.grad(entropy)(jnp.zeros(7)), 0, atol=1e-7)


def test_the_divergence_is_zero_where_logits_differ_by_a_constant(logits):
    a = jnp.asarray(logits[0], jnp.float32)
    np.testing.assert_allclose(kl_divergence(a, a + 3), 0, atol=1e-5)
    np.testing.assert_allclose(softmax_squared_error(a, a + 3), 0, atol=1e-10)
    assert (kl_divergence(a, a[::-1]) >= 0).all()


def test_the_gradient_of_the_divergence_is_p_minus_q(logits):
    with jax.enable_x64(True):
        q, p = jnp.asarray(logits)
        grad = jax.grad(lambda p: kl_divergence(q, p).sum())(p)
        wanted = jax.nn.softmax(p) - jax.nn.softmax(q)
    np.testing.assert_allclose(grad, wanted, atol=1e-14)


def test_a_small_change_of_logits_diverges_as_the_fisher_form_says(logits):
    p = scipy.special.softmax(logits[0, 0])
    change = 1e-4 * logits[1, 0]
    with jax.enable_x64(True):
        z = jnp.asarray(logits[0, 0])
        value = kl_divergence(z, z + change)
    wanted = change @ (np.diag(p) - np.outer(p, p)) @ change / 2
    np.testing.assert_allclose(value, wanted, rtol=1e-3)  # the cubic term is left out


def test_opposite_and_certain_predictions_differ_by_two_over_c():
    a, b = 100 * jnp.eye(5)[:2]
    np.testing.assert_allclose(softmax_squared_error(a, b), 2 / 5, rtol=1e-6)
    np.testing.assert_allclose(softmax_squared_error(b, a), 2 / 5, rtol=1e-6)


@pytest.mark.parametrize("function", PAIRS)
def test_extreme_logits_give_finite_values_and_gradients(function):
    for a in (1e4 * jnp.eye(3), -1e4 * jnp.eye(3), jnp.zeros((3, 3))):
        b = jnp.roll(a, 1, axis=1)
        grads = jax.grad(lambda a, b: function(a, b).sum(), (0, 1))(a, b)
        assert jnp.isfinite(function(a, b)).all()
        assert all(jnp.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("function", PAIRS)
def test_narrow_inputs_are_computed_in_float32(function):
    narrow = jnp.ones((2, 3), jnp.bfloat16)
    assert function(narrow, narrow).dtype == jnp.float32


@pytest.mark.parametrize("function", PAIRS)
@pytest.mark.parametrize("wrong", [jnp.ones((2, 4)), jnp.ones(3), jnp.ones((2, 3), int)])
def test_another_shape_or_dtype_is_refused(function, wrong, unhooked):
    with pytest.raises(ValueError, match=r"must be float\[n1=2, c=3\]"):
        function(jnp.ones((2, 3)), wrong)
