import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp as scipy_logsumexp

from jssl.ops.vectors import (
    cosine,
    dots,
    layer_norm,
    log_mean_exp,
    logsumexp,
    norm,
    unit,
)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def test_lengths_and_directions_are_numpys():
    x, y = draw(2, 5, 3), draw(2, 5, 3, seed=1)
    length = np.linalg.norm(x, axis=-1)
    np.testing.assert_allclose(norm(x), length)
    np.testing.assert_allclose(unit(x), x / length[..., None])
    wanted = np.einsum("abd,abd->ab", x, y) / length / np.linalg.norm(y, axis=-1)
    np.testing.assert_allclose(cosine(x, y), wanted)
    np.testing.assert_allclose(dots(x[0], y[0]), np.asarray(x[0]) @ np.asarray(y[0]).T)


@pytest.mark.parametrize("function", [norm, unit, layer_norm])
def test_gradients_agree_with_differences(function):
    x, direction, step = draw(4, 3), draw(4, 3, seed=1), 1e-6
    weights = draw(*function(x).shape, seed=2)

    def value(x):
        return (weights * function(x)).sum()

    difference = value(x + step * direction) - value(x - step * direction)
    slope = (jax.grad(value)(x) * direction).sum()
    np.testing.assert_allclose(slope, difference / (2 * step), rtol=1e-7)


@pytest.mark.parametrize("size", [0.0, 1e-13])
def test_what_has_no_length_has_no_direction_and_no_gradient(size):
    x = jnp.full((2, 3), size)
    np.testing.assert_array_equal(unit(x), 0)
    np.testing.assert_array_equal(jax.grad(lambda x: unit(x).sum())(x), 0)
    np.testing.assert_array_equal(jax.grad(lambda x: norm(x).sum())(0 * x), 0)
    second = jax.hessian(lambda x: unit(x).sum() + norm(x).sum())(0 * x)
    assert jnp.isfinite(second).all()


def test_a_short_vector_still_has_a_direction():
    np.testing.assert_allclose(unit(jnp.array([3e-11, 4e-11])), [0.6, 0.8])


def test_layer_norm_has_mean_0_and_variance_1():
    x = layer_norm(7 * draw(4, 30) + 3)
    np.testing.assert_allclose(x.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(x.var(-1), 1, atol=1e-6)  # its eps
    np.testing.assert_array_equal(layer_norm(jnp.ones((2, 3))), 0)


def test_logsumexp_is_scipys_with_axes_and_a_mask():
    x = 100 * draw(3, 4, 5)
    where = draw(3, 4, 5, seed=1) > 0
    hidden = np.where(where, x, -np.inf)
    for axis in (None, 1, (0, 2)):
        np.testing.assert_allclose(logsumexp(x, axis), scipy_logsumexp(x, axis))
        wanted = scipy_logsumexp(hidden, axis)
        np.testing.assert_allclose(logsumexp(x, axis, where), wanted)


def test_log_mean_exp_of_nothing_is_0_and_passes_no_gradient():
    x = draw(3, 4)
    nothing = jnp.zeros((3, 4), bool)
    np.testing.assert_allclose(log_mean_exp(x), np.log(np.exp(x).mean()))
    np.testing.assert_allclose(log_mean_exp(x, x > 0), np.log(np.exp(x)[x > 0].mean()))
    assert log_mean_exp(x, nothing) == 0
    np.testing.assert_array_equal(jax.grad(log_mean_exp)(x, nothing), 0)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_sums_over_devices_are_sums_over_all(scale):
    x = scale * draw(4, 3, 2)
    mapped = jax.vmap(lambda x: logsumexp(x, 0, axis_name="i"), axis_name="i")(x)
    np.testing.assert_allclose(mapped, [scipy_logsumexp(x, (0, 1))] * 4)
    mean = jax.vmap(lambda x: log_mean_exp(x, axis_name="i"), axis_name="i")(x)
    np.testing.assert_allclose(mean, [scipy_logsumexp(x) - np.log(24)] * 4)


def test_a_device_that_has_nothing_to_add_does_no_harm():
    x, where = draw(2, 3), jnp.array([[True, False, True], [False] * 3])

    def mapped(x):
        sums = jax.vmap(lambda *x: logsumexp(x[0], 0, x[1], "i"), axis_name="i")
        return sums(x, where)

    wanted = scipy_logsumexp(x[0, jnp.array([0, 2])])
    np.testing.assert_allclose(mapped(x), [wanted] * 2)
    slope = jax.grad(lambda x: mapped(x)[0])(x)
    assert (slope[where] > 0).all()
    np.testing.assert_array_equal(slope[~where], 0)
