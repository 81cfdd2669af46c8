import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logsumexp

from jssl.ops.gibbs import (
    RBM,
    energy,
    flipped,
    free_energy,
    gibbs,
    hidden_mean,
    sample_hidden,
    sample_visible,
    visible_mean,
)

KEY = jax.random.key(0)

# Catalogue, generative A1.1.
W = np.array([[0.5, -0.3, 0.2], [-0.4, 0.1, 0.6], [0.3, 0.7, -0.5], [-0.2, 0.4, 0.1]])
B, A = np.array([0.1, -0.2, 0.3, 0.0]), np.array([0.2, -0.1, 0.05])


def machine():
    return RBM(*map(jnp.asarray, (W, B, A)))


def states(units):
    return np.array(list(itertools.product([0.0, 1.0], repeat=units)))


def test_energies_and_conditionals_have_their_golden_values(x64):
    v, h = jnp.array([[1.0, 0, 1, 1]]), jnp.array([[1.0, 0, 1]])
    np.testing.assert_allclose(energy(machine(), v, h), [-1.05], rtol=1e-12)
    np.testing.assert_allclose(free_energy(machine(), v), [-3.2952437626], rtol=1e-10)
    np.testing.assert_allclose(
        hidden_mean(machine(), v),
        [[0.6899744811, 0.6681877722, 0.4625701547]],
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        visible_mean(machine(), h),
        [[0.6899744811, 0.5, 0.5249791875, 0.4750208125]],
        rtol=1e-9,
    )


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
def test_the_free_energy_sums_the_hidden_units_out(x64, visible):
    v = np.random.default_rng(0).normal(size=(5, 4))
    h = states(3)
    pairs = np.repeat(v, 8, axis=0), np.tile(h, (5, 1))
    joint = energy(machine(), *map(jnp.asarray, pairs), visible).reshape(5, 8)
    got = free_energy(machine(), jnp.asarray(v), visible)
    np.testing.assert_allclose(got, -logsumexp(-joint, axis=1), rtol=1e-12)


def test_the_free_energy_integrates_gaussian_hidden_units_out(x64):
    # Riemann sums of a Gaussian on a fine grid converge faster than any power.
    rbm = RBM(*(jnp.asarray(x) for x in (W[:, :1], B, A[:1])))
    v, h = states(4), np.arange(-12, 12, 0.05)[:, None]
    pairs = np.repeat(v, len(h), axis=0), np.tile(h, (16, 1))
    joint = energy(rbm, *map(jnp.asarray, pairs), "bernoulli", "gaussian")
    wanted = -logsumexp(-joint.reshape(16, -1), axis=1) - np.log(0.05)
    got = free_energy(rbm, jnp.asarray(v), "bernoulli", "gaussian")
    np.testing.assert_allclose(got, wanted, rtol=1e-10)


def test_energies_agree_with_numpy(x64):
    rng = np.random.default_rng(0)
    v, h = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))
    cross = np.einsum("nv,vh,nh->n", v, W, h)
    of = {
        ("bernoulli", "bernoulli"): -v @ B - h @ A,
        ("gaussian", "bernoulli"): ((v - B) ** 2).sum(1) / 2 - h @ A,
        ("bernoulli", "gaussian"): -v @ B + ((h - A) ** 2).sum(1) / 2,
    }
    for kinds, own in of.items():
        got = energy(machine(), jnp.asarray(v), jnp.asarray(h), *kinds)
        np.testing.assert_allclose(got, own - cross, rtol=1e-12)


def test_the_free_energy_ignores_the_order_of_hidden_units(x64):
    v, order = jnp.asarray(states(4)), jnp.array([2, 0, 1])
    shuffled = RBM(jnp.asarray(W)[:, order], jnp.asarray(B), jnp.asarray(A)[order])
    got = free_energy(shuffled, v)
    np.testing.assert_allclose(got, free_energy(machine(), v), rtol=1e-12)


def test_flipping_twice_is_doing_nothing():
    jax.tree.map(np.testing.assert_array_equal, flipped(flipped(machine())), machine())


def test_draws_have_the_means_and_spreads_of_their_layer():
    n = 20_000
    v = jnp.tile(jnp.array([[1.0, 0, 1, 1]]), (n, 1))
    h = jnp.tile(jnp.array([[1.0, 0, 1]]), (n, 1))
    drawn = sample_hidden(KEY, machine(), v)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    error = 4 * 0.5 / np.sqrt(n)
    np.testing.assert_allclose(drawn.mean(0), expit(v[0] @ W + A), atol=error)
    drawn = sample_visible(KEY, machine(), h)
    np.testing.assert_allclose(drawn.mean(0), expit(W @ h[0] + B), atol=error)
    drawn = sample_visible(KEY, machine(), h, "gaussian")
    np.testing.assert_allclose(drawn.mean(0), W @ h[0] + B, atol=2 * error)
    np.testing.assert_allclose(drawn.std(0), 1, atol=2 * error)


def test_long_chains_visit_states_in_proportion_to_their_probability(x64):
    v = states(4)
    p = np.exp(-free_energy(machine(), jnp.asarray(v)))
    p /= p.sum()
    n = 20_000
    end = jax.jit(gibbs, static_argnums=3)(KEY, machine(), jnp.zeros((n, 4)), 25)
    visits = np.bincount(np.asarray(end @ jnp.array([8.0, 4, 2, 1]), int), minlength=16)
    np.testing.assert_allclose(visits / n, p, atol=4 * np.sqrt(0.1 / n))


def test_sweeps_may_be_counted_by_a_traced_number():
    v = jnp.zeros((6, 4))
    traced = jax.jit(lambda k: gibbs(KEY, machine(), v, k))
    for k in 0, 3:
        np.testing.assert_array_equal(traced(jnp.array(k)), gibbs(KEY, machine(), v, k))
    np.testing.assert_array_equal(gibbs(KEY, machine(), v, 0), v)


def test_a_mean_field_sweep_ends_in_means():
    up, _ = jax.random.split(jax.random.fold_in(KEY, 0))
    v = jnp.asarray(states(4), jnp.float32)
    wanted = visible_mean(machine(), sample_hidden(up, machine(), v))
    got = gibbs(KEY, machine(), v, 1, mean=True)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_nothing_differentiates_the_chain():
    def end(rbm):
        return gibbs(KEY, rbm, jnp.ones((2, 4)), 2, "gaussian").sum()

    slopes = jax.jit(jax.grad(end))(machine())
    assert all((slope == 0).all() for slope in slopes)


@pytest.mark.parametrize(
    "call",
    [
        lambda: free_energy(machine(), jnp.ones((2, 3))),
        lambda: free_energy(machine(), jnp.ones((2, 4), int)),
        lambda: free_energy(machine(), jnp.ones((2, 4)), "poisson"),
        lambda: free_energy(machine(), jnp.ones((2, 4)), "gaussian", "gaussian"),
        lambda: free_energy(machine()._replace(a=jnp.ones(4)), jnp.ones((2, 4))),
        lambda: energy(machine(), jnp.ones((2, 4)), jnp.ones((3, 3))),
        lambda: hidden_mean(machine(), jnp.ones(4)),
        lambda: visible_mean(machine(), jnp.ones((2, 4))),
        lambda: sample_visible(KEY, machine(), jnp.ones((2, 4))),
        lambda: gibbs(KEY, machine(), jnp.ones((2, 3))),
    ],
)
def test_wrong_arguments_are_refused_while_tracing(unhooked, call):
    with pytest.raises(ValueError, match="must be|units"):
        jax.eval_shape(call)
