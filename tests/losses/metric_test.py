import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl.losses.metric import margin, triplet


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("squared", [False, True])
def test_triplet_is_its_loop(squared):
    rows = [draw(6, 3, seed=s) for s in range(3)]
    total = 0
    for a, p, n in zip(*map(np.asarray, rows), strict=True):
        near, far = np.linalg.norm(a - p), np.linalg.norm(a - n)
        power = 2 if squared else 1
        total += max(0, near**power - far**power + 0.2)
    value = triplet(*rows, margin=0.2, squared=squared)
    np.testing.assert_allclose(value, total / 6, rtol=1e-12)


def test_triplet_is_optax_but_for_its_epsilon():
    rows = [draw(6, 3, seed=s) for s in range(3)]
    theirs = optax.losses.triplet_margin_loss(*rows, margin=1.0).mean()
    np.testing.assert_allclose(triplet(*rows), theirs, rtol=1e-5)  # 1e-6 in the root


def test_a_margin_kept_costs_nothing():
    a, p = draw(6, 3), draw(6, 3, seed=1)
    assert triplet(a, a, a + 2.0) == 0  # 2 sqrt(3) apart, margin 1
    assert margin(a, a + 2.0, jnp.zeros(6)) == 0
    assert margin(p, p, jnp.ones(6)) == 0


@pytest.mark.parametrize("kind", [bool, int, float])
def test_margin_is_its_loop(kind):
    a, b, match = draw(6, 3), draw(6, 3, seed=1), [1, 0, 0, 1, 0, 1]
    total = 0
    for u, v, y in zip(np.asarray(a), np.asarray(b), match, strict=True):
        d = np.linalg.norm(u - v)
        total += y * d**2 + (1 - y) * max(0, 3.0 - d) ** 2
    value = margin(a, b, jnp.asarray(match, kind), 3.0)
    np.testing.assert_allclose(value, total / 6, rtol=1e-12)


def test_no_gradient_flows_through_a_distance_of_zero():
    z = draw(4, 3)
    slope = jax.grad(lambda a: triplet(a, z, z) + margin(a, z, jnp.zeros(4)))(z)
    np.testing.assert_array_equal(slope, 0)
