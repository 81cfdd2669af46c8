import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.special import logsumexp
from scipy.stats import norm

from jssl.ops.gibbs import RBM, flipped, free_energy
from jssl.ops.partition import annealed_log_partition, log_likelihood, log_partition

KEY = jax.random.key(0)

# Catalogue, generative A1.1 and A1.2.
W = np.array([[0.5, -0.3, 0.2], [-0.4, 0.1, 0.6], [0.3, 0.7, -0.5], [-0.2, 0.4, 0.1]])
B, A = np.array([0.1, -0.2, 0.3, 0.0]), np.array([0.2, -0.1, 0.05])
BASE = np.array([0.3, -0.1, 0.2, 0.0])


def machine(scale=1.0, visible=4):
    return RBM(*(jnp.asarray(x) for x in (scale * W[:visible], B[:visible], A)))


def states(units):
    return np.array(list(itertools.product([0.0, 1.0], repeat=units)))


@pytest.mark.parametrize(
    ("scale", "visible", "kinds", "value"),
    [
        (1, 4, ("bernoulli", "bernoulli"), 5.556657447022072),
        (4, 4, ("bernoulli", "bernoulli"), 8.3100256627),
        (1, 2, ("gaussian", "bernoulli"), 4.1522012178),
        (2, 2, ("gaussian", "bernoulli"), 4.6643341752),
        (1, 4, ("bernoulli", "gaussian"), 6.0337468243),
    ],
)
def test_log_partition_has_its_golden_values(x64, scale, visible, kinds, value):
    got = log_partition(machine(scale, visible), *kinds)
    np.testing.assert_allclose(got, value, rtol=1e-10)


def test_either_layer_may_be_summed_over(x64):
    over_v = logsumexp(-free_energy(machine(), jnp.asarray(states(4))))
    over_h = logsumexp(-free_energy(flipped(machine()), jnp.asarray(states(3))))
    np.testing.assert_allclose(over_v, over_h, rtol=1e-12)
    np.testing.assert_allclose(log_partition(machine()), over_v, rtol=1e-12)


def test_many_units_are_summed_in_chunks(x64):
    # Of 14 and 14 units the visible ones are enumerated: flipping changes sides.
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(14, 14)), rng.normal(size=14), rng.normal(size=14)
    rbm = RBM(*map(jnp.asarray, weights))
    run = jax.jit(log_partition)
    np.testing.assert_allclose(run(rbm), run(flipped(rbm)), rtol=1e-12)


def test_without_weights_log_partition_is_a_sum_over_units(x64):
    rbm = RBM(jnp.zeros((4, 3)), jnp.asarray(BASE), jnp.zeros(3))
    np.testing.assert_allclose(log_partition(rbm), 5.0694794962, rtol=1e-10)
    gaussian = 2 * np.log(2 * np.pi) + 3 * np.log(2)
    got = log_partition(rbm, "gaussian")
    np.testing.assert_allclose(got, gaussian, rtol=1e-12)


def test_probabilities_sum_to_one_and_one_has_its_golden_value(x64):
    log_p = log_likelihood(machine(), jnp.asarray(states(4)))
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(log_p[0b1011], -2.2614136844, rtol=1e-10)


def test_a_gaussian_density_integrates_to_one(x64):
    density = jax.jit(lambda v: jnp.exp(log_likelihood(machine(2, 2), v, "gaussian")))
    mass, _ = dblquad(
        lambda y, x: density(jnp.array([[x, y]]))[0], -8, 9, -8, 9, epsabs=1e-4
    )
    np.testing.assert_allclose(mass, 1, atol=1e-3)


def test_a_gaussian_machine_is_a_mixture_of_gaussians(x64):
    v, h = np.random.default_rng(0).normal(size=(5, 2)), states(3)
    shift = h @ W[:2].T
    log_weights = h @ A + shift @ B[:2] + 0.5 * (shift**2).sum(1)
    log_weights -= logsumexp(log_weights)
    parts = norm.logpdf(v[:, None], (B[:2] + shift)[None]).sum(-1)
    got = log_likelihood(machine(1, 2), jnp.asarray(v), "gaussian")
    np.testing.assert_allclose(got, logsumexp(parts + log_weights, axis=1), rtol=1e-12)


def test_twenty_one_units_are_too_many(unhooked):
    rbm = RBM(jnp.zeros((21, 21)), jnp.zeros(21), jnp.zeros(21))
    with pytest.raises(ValueError, match="too many"):
        jax.eval_shape(log_partition, rbm)


anneal = jax.jit(annealed_log_partition, static_argnames=("runs", "visible"))


@pytest.mark.parametrize("base", [None, BASE])
def test_annealing_finds_the_exact_value_within_its_error(x64, base):
    base = None if base is None else jnp.asarray(base)
    got = anneal(KEY, machine(4), jnp.linspace(0, 1, 100), runs=1000, base=base)
    assert got.low < 8.3100256627 < got.high
    assert got.high - got.low < 0.2
    assert 100 < got.effective <= 1000


def test_annealing_finds_the_exact_value_of_a_gaussian_machine(x64):
    got = anneal(KEY, machine(2, 2), jnp.linspace(0, 1, 50), runs=1000, visible="gaussian")
    assert got.low < 4.6643341752 < got.high
    assert got.high - got.low < 0.2


def test_annealing_to_the_base_itself_has_no_variance(x64):
    rbm = RBM(jnp.zeros((4, 3)), jnp.asarray(BASE), jnp.zeros(3))
    got = anneal(KEY, rbm, jnp.linspace(0, 1, 5), runs=10)
    np.testing.assert_allclose(got.log_weights, 0, atol=1e-12)
    for log_z in got.log_z, got.low, got.high:
        np.testing.assert_allclose(log_z, 5.0694794962, rtol=1e-10)
    np.testing.assert_allclose(got.effective, 10, rtol=1e-12)


def test_one_temperature_is_plain_importance_sampling(x64):
    got = anneal(KEY, machine(), jnp.array([0.0, 1.0]), runs=64, base=jnp.asarray(BASE))
    v = jnp.asarray(states(4))
    ratio = -free_energy(machine(), v) - v @ jnp.asarray(BASE) - 3 * np.log(2)
    gaps = np.abs(np.asarray(got.log_weights)[:, None] - np.asarray(ratio)[None])
    assert gaps.min(1).max() < 1e-12  # every weight is that of one of the 16 states
    # Under the base their mean is Z / Z_0 exactly: the estimate is unbiased.
    log_base = v @ jnp.asarray(BASE) - np.logaddexp(0, BASE).sum()
    mean = logsumexp(ratio + log_base)
    np.testing.assert_allclose(mean, 5.556657447022072 - 5.0694794962, rtol=1e-9)


def test_the_estimate_is_the_log_of_the_mean_weight(x64):
    got = anneal(KEY, machine(), jnp.array([0.0, 0.5, 1.0]), runs=50)
    weights = np.exp(got.log_weights)
    log_z0 = np.logaddexp(0, B).sum() + 3 * np.log(2)
    np.testing.assert_allclose(got.log_z, log_z0 + np.log(weights.mean()), rtol=1e-12)
    error = 3 * weights.std() / np.sqrt(50)
    np.testing.assert_allclose(
        (got.low, got.high),
        log_z0 + np.log([weights.mean() - error, weights.mean() + error]),
        rtol=1e-12,
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: log_partition(machine(), "gaussian", "gaussian"),
        lambda: log_likelihood(machine(), jnp.ones((2, 3))),
        lambda: annealed_log_partition(KEY, machine(), jnp.ones((3, 1))),
        lambda: annealed_log_partition(KEY, machine(), jnp.ones(1)),
        lambda: annealed_log_partition(KEY, machine(), jnp.ones(3), runs=0),
        lambda: annealed_log_partition(KEY, machine(), jnp.ones(3), base=jnp.ones(3)),
    ],
)
def test_wrong_arguments_are_refused_while_tracing(unhooked, call):
    with pytest.raises(ValueError, match="must be|may not|at least"):
        jax.eval_shape(call)
