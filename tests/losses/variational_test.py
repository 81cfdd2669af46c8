import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from jssl.losses.variational import gaussian_kl, negative_elbo, negative_iwae
from jssl.ops.densities import gaussian_log_density


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def test_gaussian_kl_has_its_golden_values(x64):
    # Catalogue, generative 3.1: KL(N(1, 0.25) || N(0, 1)), KL(N(0, 1) || N(1, 4)).
    one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
    quarter, four = jnp.log(one / 4), jnp.log(4 * one)
    np.testing.assert_allclose(gaussian_kl(one, quarter), 0.8181471806, rtol=1e-9)
    got = gaussian_kl(zero, zero, one, four)
    np.testing.assert_allclose(got, 0.4431471806, rtol=1e-9)


def test_gaussian_kl_agrees_with_quadrature(x64):
    mean, log_variance, m, s = (normal(seed, 3, 2) for seed in range(4))
    wanted = 0.0
    for q, log_q, p, log_p in zip(
        *(x.ravel() for x in (mean, log_variance, m, s)), strict=True
    ):
        ours, prior = norm(q, np.exp(log_q / 2)), norm(p, np.exp(log_p / 2))
        wanted += ours.expect(lambda x, a=ours, b=prior: a.logpdf(x) - b.logpdf(x))
    got = gaussian_kl(*map(jnp.asarray, (mean, log_variance, m, s)))
    np.testing.assert_allclose(got, wanted / 3, rtol=1e-7)  # quadrature's own accuracy


def test_gaussian_kl_rests_at_the_prior():
    zero = jnp.zeros((3, 2))
    value, slopes = jax.jit(jax.value_and_grad(gaussian_kl, (0, 1)))(zero, zero)
    assert value == 0
    assert all((slope == 0).all() for slope in slopes)


# Catalogue, generative A1.3: z ~ N(0, I), x = W z + m + noise of variance s2.
W = np.array([[1, 0.5], [-0.5, 1], [0.2, 0.3]])
M, S2, X = np.array([0.1, -0.2, 0.3]), 0.25, np.array([0.5, -1.0, 0.2])
PRECISION = np.eye(2) + W.T @ W / S2
COVARIANCE = np.linalg.inv(PRECISION)
MEAN = COVARIANCE @ W.T @ (X - M) / S2
LOG_LIKELIHOOD = -2.7911817781


def expected_log_likelihood(variance):
    """E_q log p(x|z) for q = N(MEAN, diag(variance)), in closed form."""
    at_mean = norm(W @ MEAN + M, np.sqrt(S2)).logpdf(X).sum()
    return at_mean - np.sum(W**2 * variance) / (2 * S2)


@pytest.mark.parametrize(
    ("variance", "elbo"),
    [
        (np.diag(COVARIANCE), -2.7919185158),
        (1 / np.diag(PRECISION), -2.7919174329),
    ],
)
def test_the_elbo_of_a_linear_model_has_its_golden_value(x64, variance, elbo):
    log_likelihood = jnp.array([expected_log_likelihood(variance)])
    q = jnp.asarray(MEAN)[None], jnp.log(jnp.asarray(variance))[None]
    loss, parts = negative_elbo(log_likelihood, *q)
    np.testing.assert_allclose(loss, -elbo, rtol=1e-10)
    np.testing.assert_allclose(parts["reconstruction"] + parts["kl"], loss, rtol=1e-12)
    exact = multivariate_normal(M, W @ W.T + S2 * np.eye(3)).logpdf(X)
    np.testing.assert_allclose(exact, LOG_LIKELIHOOD, rtol=1e-10)
    assert -loss < exact


def test_the_bound_of_the_exact_posterior_is_tight_at_every_draw(x64):
    # One hidden dimension, where the exact posterior is the encoder's kind of Gaussian.
    w, s2, x = np.array([1.0, -0.5, 0.2]), 0.25, X - M
    variance = 1 / (1 + w @ w / s2)
    mean = variance * (w @ x) / s2
    z = jnp.asarray(mean + np.sqrt(variance) * normal(0, 4, 1, 1))
    center = z * jnp.asarray(w)[None, None]  # [4, 1, 3]
    noise = jnp.full((1, 1, 3), np.log(s2))
    log_likelihood = gaussian_log_density(jnp.asarray(x)[None, None], center, noise)
    exact = multivariate_normal(np.zeros(3), np.outer(w, w) + s2 * np.eye(3)).logpdf(x)
    q = jnp.full((1, 1), mean), jnp.full((1, 1), np.log(variance))
    for k in 1, 4:
        got = negative_iwae(log_likelihood[:k], z[:k], *q)
        np.testing.assert_allclose(got, -exact, rtol=1e-10)


def test_more_draws_tighten_the_bound_which_stays_below_the_likelihood(x64):
    # A wide q, so that the bounds differ by much more than the errors of 5,000 runs.
    variance, runs = np.array([0.6, 0.6]), 5_000
    z = MEAN + np.sqrt(variance) * normal(0, 16, runs, 2)
    log_likelihood = norm(z @ W.T + M, np.sqrt(S2)).logpdf(X).sum(-1)
    q = jnp.tile(MEAN, (runs, 1)), jnp.tile(np.log(variance), (runs, 1))
    draws = jnp.asarray(log_likelihood), jnp.asarray(z)
    bound = {k: -negative_iwae(*(x[:k] for x in draws), *q) for k in (1, 4, 16)}
    log_likelihood = jnp.array([expected_log_likelihood(variance)])
    elbo, _ = negative_elbo(log_likelihood, *(x[:1] for x in q))
    assert -elbo + 0.3 < bound[4] < bound[16] - 0.02 < LOG_LIKELIHOOD
    np.testing.assert_allclose(bound[1], -elbo, atol=0.2)  # 4 standard errors


def test_negative_iwae_agrees_with_scipy(x64):
    log_likelihood, z = normal(0, 5, 3), normal(1, 5, 3, 2)
    mean, log_variance = normal(2, 3, 2), normal(3, 3, 2)
    ratio = norm.logpdf(z) - norm.logpdf(z, mean, np.exp(log_variance / 2))
    wanted = logsumexp(log_likelihood + ratio.sum(-1), axis=0) - np.log(5)
    got = negative_iwae(*map(jnp.asarray, (log_likelihood, z, mean, log_variance)))
    np.testing.assert_allclose(got, -wanted.mean(), rtol=1e-12)


def test_beta_and_free_bits_weigh_the_divergence_unit_by_unit(x64):
    mean = jnp.array([[1.0, 0.1], [2.0, 0.1]])  # divergences 1/2, 2; 0.005, 0.005
    log_variance, log_likelihood = jnp.zeros((2, 2)), jnp.array([-3.0, -5.0])
    loss, parts = negative_elbo(log_likelihood, mean, log_variance, 2.0, 0.5)
    np.testing.assert_allclose(loss, 4 + 2 * (1.25 + 0.5), rtol=1e-12)
    np.testing.assert_allclose(parts["kl"], 1.25 + 0.005, rtol=1e-12)
    slope = jax.grad(lambda m: negative_elbo(log_likelihood, m, log_variance, 1.0, 0.5)[0])
    assert (slope(mean)[:, 1] == 0).all()
    no_bound, _ = negative_elbo(log_likelihood, mean, log_variance, 0.0)
    np.testing.assert_allclose(no_bound, 4, rtol=1e-12)


def test_devices_agree_with_one_on_free_bits(x64):
    batch = [jnp.asarray(normal(seed, 4, *d)) for seed, d in enumerate([(), (2,), (2,)])]

    def loss(shift, log_likelihood, mean, log_variance, axis_name=None):
        arguments = log_likelihood, mean + shift[None], log_variance
        return negative_elbo(*arguments, free_bits=0.9, axis_name=axis_name)[0]

    def on_device(shift, *shard):
        value, slope = jax.value_and_grad(loss)(shift, *shard, "devices")
        return value, jax.lax.pmean(slope, "devices")

    run = jax.vmap(on_device, in_axes=(None, 0, 0, 0), axis_name="devices")
    shards = [x.reshape(2, 2, *x.shape[1:]) for x in batch]
    shift = jnp.array([0.3, -0.2])
    got, slope = jax.jit(run)(shift, *shards)
    wanted, wanted_slope = jax.jit(jax.value_and_grad(loss))(shift, *batch)
    np.testing.assert_allclose(got, [wanted, wanted], rtol=1e-12)
    np.testing.assert_allclose(slope[1], wanted_slope, rtol=1e-10)


EXTREME = arrays(np.float32, (2, 2), elements=st.sampled_from([0.0, 1.0, 1e4, -1e4]))


def everything(a, b):
    value, _ = negative_elbo(a[:, 0], a, b, free_bits=0.1)
    value += gaussian_kl(a, b, b, a)
    return value + negative_iwae(a, jnp.stack([a, -a]), a, b)


STEEP = jax.jit(jax.value_and_grad(everything, (0, 1)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(a=EXTREME, b=EXTREME, dtype=st.sampled_from([jnp.float32, jnp.bfloat16]))
def test_extreme_inputs_have_finite_values_and_gradients(a, b, dtype):
    value, slopes = STEEP(jnp.asarray(a, dtype), jnp.asarray(b, dtype))
    assert value.dtype == jnp.float32
    assert np.isfinite(value)
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in slopes)


def test_half_precision_is_computed_in_single():
    a, b = (jnp.asarray(normal(seed, 2, 2), jnp.bfloat16) for seed in (0, 1))
    wide = everything(a.astype(jnp.float32), b.astype(jnp.float32))
    np.testing.assert_allclose(everything(a, b), wide, rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: gaussian_kl(jnp.ones((2, 3)), jnp.ones((2, 1))),
        lambda: gaussian_kl(*[jnp.ones((2, 3))] * 2, jnp.ones(3)),
        lambda: gaussian_kl(jnp.ones((2, 3), int), jnp.ones((2, 3))),
        lambda: negative_elbo(jnp.ones((2, 1)), *[jnp.ones((2, 3))] * 2),
        lambda: negative_elbo(jnp.ones(3), *[jnp.ones((2, 3))] * 2),
        lambda: negative_iwae(jnp.ones((4, 2)), *[jnp.ones((2, 3))] * 3),
        lambda: negative_iwae(jnp.ones((2, 2)), jnp.ones((2, 2, 3)), *[jnp.ones(3)] * 2),
    ],
)
def test_wrong_arguments_are_refused_while_tracing(unhooked, call):
    with pytest.raises(ValueError, match="must be float"):
        jax.eval_shape(call)
