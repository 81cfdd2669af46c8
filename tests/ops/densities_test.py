import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit
from scipy.stats import bernoulli, laplace, norm

from jssl.ops.densities import (
    bernoulli_log_density,
    discretised_gaussian_log_density,
    gaussian_divergence,
    gaussian_log_density,
    laplace_log_density,
    reparameterise,
)

KEY = jax.random.key(0)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def test_bernoulli_log_density_agrees_with_scipy(x64):
    s, x = normal(0, 5, 3), (normal(1, 5, 3) > 0).astype(float)
    wanted = bernoulli.logpmf(x, expit(s)).sum(-1)
    got = bernoulli_log_density(jnp.asarray(x), jnp.asarray(s))
    np.testing.assert_allclose(got, wanted, rtol=1e-10)


def test_zero_logits_cost_log_two_an_entry():
    got = bernoulli_log_density(jnp.ones((2, 64)), jnp.zeros((2, 64)))
    np.testing.assert_allclose(got, -44.3614, atol=1e-4)


def test_gaussian_log_density_agrees_with_scipy_and_broadcasts_draws(x64):
    z, mean, log_variance = normal(0, 4, 5, 3), normal(1, 1, 5, 3), normal(2, 1, 5, 3)
    wanted = norm.logpdf(z, mean, np.exp(log_variance / 2)).sum(-1)
    got = gaussian_log_density(*map(jnp.asarray, (z, mean, log_variance)))
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_laplace_log_density_agrees_with_scipy_and_broadcasts(x64):
    x, mean, log_scale = normal(0, 4, 5, 3), normal(1, 1, 5, 3), normal(2, 1, 5, 3)
    wanted = laplace.logpdf(x, mean, np.exp(log_scale)).sum(-1)
    got = laplace_log_density(*map(jnp.asarray, (x, mean, log_scale)))
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_gaussian_divergence_is_zero_at_its_prior_alone(x64):
    a, b = (jnp.asarray(normal(seed, 4, 3)) for seed in (0, 1))
    np.testing.assert_allclose(gaussian_divergence(a, b, a, b), 0, atol=1e-15)
    assert (gaussian_divergence(a, b) > 0).all()


def test_a_reparameterised_draw_has_the_gradient_of_its_mean_square():
    # E z^2 = mu^2 + sigma^2, whose slopes by mu and log sigma^2 are 2 mu and sigma^2.
    mean, log_variance, n = jnp.array([0.7]), jnp.array([-0.5]), 40_000

    def mean_square(mean, log_variance):
        tiled = (jnp.broadcast_to(x, (n, 1)) for x in (mean, log_variance))
        return jnp.square(reparameterise(KEY, *tiled)).mean()

    got = jax.jit(jax.grad(mean_square, (0, 1)))(mean, log_variance)
    np.testing.assert_allclose(got[0], 1.4, atol=4 * 2 * 0.78 / np.sqrt(n))
    np.testing.assert_allclose(got[1], np.exp(-0.5), atol=4 * 1.2 / np.sqrt(n))


LEVELS = np.arange(256) / 127.5 - 1


def test_a_discretised_gaussian_has_its_golden_values(x64):
    # Catalogue, generative A1.5: mean 0, deviation 0.5.
    x = jnp.asarray(LEVELS)
    got = discretised_gaussian_log_density(x, 0 * x, jnp.full_like(x, np.log(0.5)))
    np.testing.assert_allclose(got[100], -5.1669571999, rtol=1e-9)
    np.testing.assert_allclose(got[jnp.array([0, 255])], -3.7645981162, rtol=1e-9)


@pytest.mark.parametrize("mean", [-3.0, -1.0, 0.13, 1.0])
@pytest.mark.parametrize("log_scale", [-7.0, -2.0, 1.0])
def test_the_probabilities_of_all_levels_sum_to_one(x64, mean, log_scale):
    x = jnp.asarray(LEVELS)
    log_p = discretised_gaussian_log_density(x, 0 * x + mean, 0 * x + log_scale)
    np.testing.assert_allclose(jnp.exp(log_p).sum(), 1, rtol=1e-9)


def test_a_discretised_gaussian_agrees_with_scipy_on_both_sides(x64):
    x = jnp.asarray(LEVELS[1:-1])
    scale = 0.05
    got = discretised_gaussian_log_density(x, 0 * x, 0 * x + np.log(scale))
    # By symmetry in the lower tail, where the difference of two cdfs does not cancel.
    low = -np.abs(LEVELS[1:-1])
    high, low = (
        norm.logcdf(low + 1 / 255, 0, scale),
        norm.logcdf(low - 1 / 255, 0, scale),
    )
    np.testing.assert_allclose(got, high + np.log1p(-np.exp(low - high)), rtol=1e-7)


def test_levels_far_away_have_the_slope_of_the_nearest_edge(x64):
    # 1,000 deviations off, -log p = z^2 / 2 with z the distance of the interval's edge.
    def log_p(mean):
        return discretised_gaussian_log_density(jnp.zeros(()), mean, jnp.log(1e-3))

    slope = jax.grad(log_p)(jnp.array(1.0))
    np.testing.assert_allclose(slope, -(1 - 1 / 255) / 1e-6, rtol=1e-4)


EXTREME = st.sampled_from([0.0, 1.0, -1.0, 1e4, -1e4])


def everything(a, b, c):
    return (
        bernoulli_log_density(a, b).sum()
        + gaussian_log_density(a, b, c).sum()
        + gaussian_divergence(a, b, c, a).sum()
        + reparameterise(KEY, a, b).sum()
        + discretised_gaussian_log_density(jnp.clip(a, -1, 1), b, c).sum()
    )


STEEP = jax.jit(jax.value_and_grad(everything, (0, 1, 2)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    x=arrays(np.float32, (3, 1, 2), elements=EXTREME),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
)
def test_extreme_inputs_have_finite_values_and_gradients(x, dtype):
    value, slopes = STEEP(*jnp.asarray(x, dtype))
    assert value.dtype == jnp.float32
    assert np.isfinite(value)
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in slopes)


@pytest.mark.parametrize(
    "call",
    [
        lambda: bernoulli_log_density(jnp.ones((2, 3)), jnp.ones((2, 1))),
        lambda: bernoulli_log_density(jnp.ones((2, 3), int), jnp.ones((2, 3))),
        lambda: gaussian_log_density(*[jnp.ones((2, 3))] * 2, jnp.ones((2, 1))),
        lambda: gaussian_divergence(jnp.ones(2, int), jnp.ones(2)),
        lambda: reparameterise(KEY, jnp.ones((2, 3)), jnp.ones((2, 2))),
        lambda: discretised_gaussian_log_density(*[jnp.ones(2, int)] * 3),
    ],
)
def test_wrong_arguments_are_refused_while_tracing(unhooked, call):
    with pytest.raises(ValueError, match="must be float"):
        jax.eval_shape(call)
