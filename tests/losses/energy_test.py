import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit
from sklearn.neural_network import BernoulliRBM

from jssl.losses.energy import (
    cd_gradients,
    contrast,
    free_energy_difference,
    moments,
    negative_pseudo_likelihood,
    pcd_gradients,
    stochastic_pseudo_likelihood,
)
from jssl.ops.gibbs import RBM, free_energy, hidden_mean
from jssl.ops.partition import log_likelihood

KEY = jax.random.key(0)
KINDS = [
    ("bernoulli", "bernoulli"),
    ("gaussian", "bernoulli"),
    ("bernoulli", "gaussian"),
]

# Catalogue, generative A1.1.
W = np.array([[0.5, -0.3, 0.2], [-0.4, 0.1, 0.6], [0.3, 0.7, -0.5], [-0.2, 0.4, 0.1]])
B, A = np.array([0.1, -0.2, 0.3, 0.0]), np.array([0.2, -0.1, 0.05])
DATA = np.array([[1.0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]])
DREAM = np.array([[1.0, 1, 1, 0], [0, 0, 1, 0], [1, 0, 0, 1]])
UPHILL = RBM(  # of the data's mean log likelihood
    np.array(
        [
            [0.0506196142, 0.0318027515, 0.0606357539],
            [0.1022041242, 0.0636862292, 0.1095164771],
            [0.0071668448, 0.0163279095, 0.0092109104],
            [-0.0793856669, -0.1302084626, -0.1484258956],
        ]
    ),
    np.array([0.0883029108, 0.1783718496, 0.0209890361, -0.2106934792]),
    np.array([0.0056441139, -0.0181030472, 0.0214307052]),
)


def machine():
    return RBM(*map(jnp.asarray, (W, B, A)))


def states(units):
    return np.array(list(itertools.product([0.0, 1.0], repeat=units)))


def assert_close(got, wanted, **tolerance):
    for x, y in zip(got, wanted, strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


def test_exact_moments_give_the_golden_gradient_of_the_likelihood(x64):
    v = jnp.asarray(states(4))
    p = jnp.exp(log_likelihood(machine(), v))
    each = jax.vmap(lambda v: moments(machine(), v[None]))(v)
    dream = [jnp.tensordot(p, x, 1) for x in each]
    data = moments(machine(), jnp.asarray(DATA))
    assert_close([x - y for x, y in zip(data, dream, strict=True)], UPHILL, atol=1e-10)


def test_differentiating_the_enumerated_likelihood_gives_the_golden_gradient(x64):
    def mean(rbm):
        return log_likelihood(rbm, jnp.asarray(DATA)).mean()

    value, slope = jax.jit(jax.value_and_grad(mean))(machine())
    np.testing.assert_allclose(value, -2.7138710881, rtol=1e-10)
    assert_close(slope, UPHILL, atol=1e-10)


def test_the_gradient_vanishes_where_the_model_is_the_data(x64):
    v = jnp.asarray(states(4))
    p = jnp.exp(log_likelihood(machine(), v))

    def cross_entropy(rbm):
        return -(p * log_likelihood(rbm, v)).sum()

    slope = jax.jit(jax.grad(cross_entropy))(machine())
    assert_close(slope, jax.tree.map(jnp.zeros_like, slope), atol=1e-14)


def test_contrast_and_free_energy_difference_have_their_golden_values(x64):
    data, dream = jnp.asarray(DATA), jnp.asarray(DREAM)
    got = free_energy_difference(machine(), data, dream)
    np.testing.assert_allclose(got, -0.0130178392, rtol=1e-8)
    wanted = [
        [-0.0012328798, -0.0016474683, -0.0033659536],
        [0.1512551327, 0.1650191984, 0.2171264696],
        [-0.0177206563, 0.0306771927, 0.0080072183],
        [0.0225050500, 0.0560625907, -0.0413491414],
    ]
    got = contrast(machine(), data, dream).w
    np.testing.assert_allclose(got, -np.array(wanted), atol=1e-10)


@pytest.mark.parametrize(("visible", "hidden"), KINDS)
def test_contrast_is_the_gradient_of_the_free_energy_difference(x64, visible, hidden):
    rng = np.random.default_rng(0)
    data, dream = (
        jnp.asarray(rng.normal(size=(5, 4))),
        jnp.asarray(rng.normal(size=(3, 4))),
    )
    slope = jax.grad(free_energy_difference)(machine(), data, dream, visible, hidden)
    assert_close(contrast(machine(), data, dream, hidden), slope, atol=1e-12)


@pytest.mark.parametrize(("visible", "hidden"), KINDS)
def test_cd_is_the_gradient_of_the_free_energy_difference_at_its_dream(
    x64, visible, hidden
):
    data = jnp.asarray(DATA)

    def surrogate(rbm):
        _, dream = cd_gradients(KEY, rbm, data, 2, visible, hidden)
        return free_energy_difference(rbm, data, dream, visible, hidden)

    grads, dream = cd_gradients(KEY, machine(), data, 2, visible, hidden)
    assert dream.shape == data.shape
    assert_close(grads, jax.jit(jax.grad(surrogate))(machine()), atol=1e-12)


def test_no_sweep_gives_no_gradient(x64):
    grads, dream = cd_gradients(KEY, machine(), jnp.asarray(DATA), k=0)
    np.testing.assert_array_equal(dream, DATA)
    assert all((x == 0).all() for x in grads)


def strong():
    """A machine that mixes slowly enough for CD-1 to be visibly wrong."""
    return machine()._replace(w=3 * jnp.asarray(W))


def exact():
    """The gradient of its negative log likelihood."""
    slope = jax.grad(lambda rbm: -log_likelihood(rbm, jnp.asarray(DATA)).mean())
    return jax.jit(slope)(strong())


def distance(grads, dream):
    """The largest, in standard errors of the dream's moments."""
    v, h = np.asarray(dream), np.asarray(hidden_mean(strong(), dream))
    errors = [x.std(0) / np.sqrt(len(v)) for x in (v[:, :, None] * h[:, None], v, h)]
    gaps = zip(grads, exact(), errors, strict=True)
    return max(np.max(np.abs(got - wanted) / error) for got, wanted, error in gaps)


def test_many_sweeps_lead_to_the_exact_gradient_and_one_does_not(x64):
    data, run = jnp.tile(jnp.asarray(DATA), (4000, 1)), jax.jit(cd_gradients)
    # The largest of 19 standard normals exceeds 4 once in 800 keys.
    assert distance(*run(KEY, strong(), data, 50)) < 4
    assert distance(*run(KEY, strong(), data, 1)) > 8


def test_persistent_chains_lead_to_the_exact_gradient(x64):
    chain, run = jnp.zeros((12_000, 4)), jax.jit(pcd_gradients)
    for i in range(50):
        key = jax.random.fold_in(KEY, i)
        grads, chain = run(key, strong(), jnp.asarray(DATA), chain)
    assert distance(grads, chain) < 4


def test_a_chain_of_any_length_is_handed_back():
    grads, chain = pcd_gradients(KEY, machine(), jnp.asarray(DATA), jnp.zeros((7, 4)), 2)
    assert chain.shape == (7, 4)
    assert [x.shape for x in grads] == [(4, 3), (4,), (3,)]
    wanted = contrast(machine(), jnp.asarray(DATA), chain)
    assert_close(grads, wanted, rtol=1e-6)


def test_hintons_recipe_hands_on_means():
    _, dream = cd_gradients(KEY, machine(), jnp.asarray(DATA, jnp.float32), mean=True)
    assert ((dream > 0) & (dream < 1)).all()


@pytest.fixture
def theirs():
    model = BernoulliRBM(3, learning_rate=0.3, random_state=0)
    model.components_, model.intercept_hidden_, model.intercept_visible_ = (
        W.T.copy(),
        A.copy(),
        B.copy(),
    )
    model.h_samples_ = np.array([[1.0, 0, 1], [0, 1, 1], [0, 0, 0]])
    return model


def test_free_energies_and_codes_agree_with_sklearn(x64, theirs):
    v = jnp.asarray(states(4))
    ours = free_energy(machine(), v)
    np.testing.assert_allclose(ours, theirs._free_energy(states(4)), rtol=1e-12)
    ours = hidden_mean(machine(), v)
    np.testing.assert_allclose(ours, theirs.transform(states(4)), rtol=1e-12)


def test_one_persistent_update_agrees_with_sklearn(x64, theirs):
    # Its chain keeps h, ours v: the v it is about to draw, with its own random numbers.
    rates = expit(theirs.h_samples_ @ W.T + B)
    dream = np.random.RandomState(7).uniform(size=rates.shape) < rates
    grads = contrast(machine(), jnp.asarray(DATA), jnp.asarray(dream, float))
    theirs._fit(DATA, np.random.RandomState(7))
    assert_close(
        [x - 0.3 * g for x, g in zip(machine(), grads, strict=True)],
        [theirs.components_.T, theirs.intercept_visible_, theirs.intercept_hidden_],
        atol=1e-12,
    )


def test_pseudo_likelihoods_have_their_golden_values(x64):
    each = jax.vmap(lambda v: negative_pseudo_likelihood(machine(), v[None]))
    wanted = [2.2586668145, 2.8731224208, 2.9967997589]
    np.testing.assert_allclose(each(jnp.asarray(DATA)), wanted, rtol=1e-10)
    together = negative_pseudo_likelihood(machine(), jnp.asarray(DATA))
    np.testing.assert_allclose(together, np.mean(wanted), rtol=1e-10)


def test_the_pseudo_likelihood_is_made_of_free_energies_of_neighbors(x64):
    v = np.random.default_rng(0).uniform(size=(3, 4))  # greys are flipped to 1 - v

    def f(v):
        return np.asarray(free_energy(machine(), jnp.asarray(v)))

    total = 0
    for i in range(4):
        other = v.copy()
        other[:, i] = 1 - other[:, i]
        total += np.log(expit(f(other) - f(v)))
    got = negative_pseudo_likelihood(machine(), jnp.asarray(v))
    np.testing.assert_allclose(got, -total.mean(), rtol=1e-12)


def test_the_stochastic_pseudo_likelihood_is_right_on_average(x64, theirs):
    v = np.tile(DATA[:1], (5000, 1))
    got = stochastic_pseudo_likelihood(KEY, machine(), jnp.asarray(v))
    scores = theirs.score_samples(v)  # the same estimator, with other random units
    error = 4 * scores.std() / np.sqrt(5000)
    np.testing.assert_allclose(got, 2.2586668145, atol=error)
    np.testing.assert_allclose(got, -scores.mean(), atol=2 * error)


def test_no_gradient_passes_to_the_dream():
    slope = jax.grad(free_energy_difference, 2)(machine(), *[jnp.asarray(DATA)] * 2)
    assert (slope == 0).all()


EXTREME = st.sampled_from([0.0, 1.0, 1e4, -1e4])


def everything(rbm, v):
    total = negative_pseudo_likelihood(rbm, v)
    total += stochastic_pseudo_likelihood(KEY, rbm, v)
    for kinds in KINDS:
        total += free_energy_difference(rbm, v, 1 - v, *kinds)
        total += sum(x.sum() for x in cd_gradients(KEY, rbm, v, 1, *kinds)[0])
    return total


STEEP = jax.jit(jax.value_and_grad(everything))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    w=arrays(np.float32, (3, 2), elements=EXTREME),
    b=arrays(np.float32, (3,), elements=EXTREME),
    a=arrays(np.float32, (2,), elements=EXTREME),
    v=arrays(np.float32, (2, 3), elements=st.sampled_from([0.0, 1.0])),
    case=st.sampled_from([(1, jnp.float32), (2, jnp.bfloat16)]),
)
def test_extreme_weights_have_finite_values_and_gradients(w, b, a, v, case):
    n, dtype = case
    rbm = RBM(*(jnp.asarray(x, dtype) for x in (w, b, a)))
    value, slopes = STEEP(rbm, jnp.asarray(v[:n], dtype))
    assert value.dtype == jnp.float32
    assert np.isfinite(value)
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in slopes)


@pytest.mark.parametrize(
    "call",
    [
        lambda: cd_gradients(KEY, machine(), jnp.ones((2, 3))),
        lambda: cd_gradients(KEY, machine(), jnp.ones((2, 4)), 1, "gaussian", "gaussian"),
        lambda: pcd_gradients(KEY, machine(), jnp.ones((2, 4)), jnp.ones((2, 3))),
        lambda: free_energy_difference(machine(), jnp.ones((2, 4)), jnp.ones(4)),
        lambda: moments(machine(), jnp.ones((2, 4), int)),
        lambda: negative_pseudo_likelihood(machine(), jnp.ones(4)),
        lambda: stochastic_pseudo_likelihood(KEY, machine(), jnp.ones((2, 5))),
    ],
)
def test_wrong_arguments_are_refused_while_tracing(unhooked, call):
    with pytest.raises(ValueError, match="must be|may not"):
        jax.eval_shape(call)
