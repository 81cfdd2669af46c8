"""RBM: its updates are those of the textbook, and its likelihood climbs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl.losses.energy import cd_gradients, free_energy_difference
from jssl.methods.energy.rbm import rbm
from jssl.ops.gibbs import RBM
from jssl.ops.partition import annealed_log_partition, log_likelihood, log_partition

headline = "reconstruction"


def images():
    """Eight of four binary patterns."""
    pattern = np.random.default_rng(0).integers(0, 2, (4, 4, 4, 1))
    return jnp.asarray(np.concatenate([pattern, pattern]), jnp.float32)


def tiny(tx):
    noisy = images() * 0.9 + 0.05 * jnp.arange(8)[:, None, None, None] / 8
    return rbm(8, tx or optax.sgd(0.5)), {"image": noisy}


def small(seed=0):
    """Four visible and three hidden units."""
    random = np.random.default_rng(seed)
    return RBM(*(jnp.asarray(random.normal(size=s)) for s in ((4, 3), (4,), (3,))))


DATA = jnp.asarray([[1, 0, 0, 1], [0, 1, 0, 1], [1, 1, 0, 0.0], [1, 0, 1, 1]])


def test_a_step_is_minus_the_rate_times_the_gradient_of_cd():
    method = rbm(3, optax.sgd(0.1), k=2, mean=False)
    batch = {"image": DATA.reshape(4, 2, 2, 1).astype(jnp.float32)}
    state = jax.jit(method.init)(jax.random.key(0), batch)
    after, _ = jax.jit(method.step)(jax.random.key(1), state, batch)
    grads, _ = jax.jit(cd_gradients, static_argnums=3)(
        jax.random.key(1), state.learner.params, DATA.astype(jnp.float32), 2
    )
    for new, old, g in zip(after.learner.params, state.learner.params, grads, strict=True):
        np.testing.assert_allclose(new, old - 0.1 * g, rtol=1e-5, atol=1e-7)


def test_after_many_sweeps_cd_is_the_exact_gradient(x64):
    """Enumeration of the 4 x 3 machine's 128 states; four standard errors."""
    machine = small()
    exact = jax.jit(jax.grad(lambda m: -log_likelihood(m, DATA).mean()))(machine)
    many = jnp.tile(DATA, (100, 1))
    draw = jax.jit(jax.vmap(lambda key: cd_gradients(key, machine, many, 40)[0]))
    draws = draw(jax.random.split(jax.random.key(0), 40))
    for found, wanted in zip(map(np.asarray, draws), exact, strict=True):
        error = found.std(0, ddof=1) / np.sqrt(len(found))
        assert np.all(np.abs(found.mean(0) - wanted) < 4 * error + 1e-9)


def test_cd_is_the_gradient_of_the_free_energies_difference(x64):
    machine = small(1)
    grads, model = cd_gradients(jax.random.key(0), machine, DATA, 1)
    wanted = jax.grad(free_energy_difference)(machine, DATA, model)
    for a, b in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_annealing_finds_log_z_within_its_interval(x64):
    machine = RBM(*(3 * x for x in small(2)))
    anneal = jax.jit(annealed_log_partition, static_argnames="runs")
    found = anneal(jax.random.key(0), machine, jnp.linspace(0, 1, 300), runs=500)
    exact = float(log_partition(machine))
    assert float(found.low) <= exact <= float(found.high)
    assert float(found.high - found.low) < 0.5


@pytest.mark.parametrize("chains", [0, 20])
def test_the_exact_likelihood_of_the_data_climbs(chains):
    method = rbm(6, optax.sgd(0.1), k=1, chains=chains, mean=False)
    batch = {"image": images()}
    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    rows = images().reshape(8, -1)
    likelihood = jax.jit(log_likelihood)
    before = float(likelihood(state.learner.params, rows).mean())
    for i in range(1500):
        state, _ = step(jax.random.key(i), state, batch)
    after = float(likelihood(state.learner.params, rows).mean())
    assert before < -10  # sixteen fair coins: -11.09
    assert -np.log(4) - 1e-3 > after > -4  # four patterns: -1.39 at best


def test_pixels_begin_at_their_log_odds():
    often = jnp.asarray([0.0, 0.25, 0.5, 1.0])
    method = rbm(3, optax.sgd(0.1), frequency=often)
    state = method.init(jax.random.key(0), {"image": jnp.zeros((2, 2, 2, 1))})
    p = np.clip(often, 0.01, 0.99)
    np.testing.assert_allclose(state.learner.params.b, np.log(p / (1 - p)), rtol=1e-5)


def test_chains_live_on_and_the_data_do_not_enter_them():
    method = rbm(6, optax.sgd(0.0), chains=5)
    batch = {"image": images()}
    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    one, _ = step(jax.random.key(1), state, batch)
    two, _ = step(jax.random.key(1), state, {"image": 1 - images()})
    np.testing.assert_array_equal(one.chains, two.chains)
    assert np.any(one.chains != state.chains)
