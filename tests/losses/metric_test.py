import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl.losses.metric import counting, margin, triplet


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


def test_counting_is_its_loop():
    whole, other, tiles = draw(6, 3), draw(6, 3, seed=1), draw(6, 4, 3, seed=2)
    total, near, far = 0, 0, 0
    for x, y, t in zip(*map(np.asarray, (whole, other, tiles)), strict=True):
        same = sum((x[k] - sum(t[j, k] for j in range(4))) ** 2 for k in range(3))
        different = sum((y[k] - sum(t[j, k] for j in range(4))) ** 2 for k in range(3))
        total += same + max(0, 12.0 - different)
        near, far = near + same, far + different
    value, terms = counting(whole, tiles, other, margin=12.0)
    np.testing.assert_allclose(value, total / 6, rtol=1e-12)
    np.testing.assert_allclose(
        [terms["same"], terms["different"]], [near / 6, far / 6], rtol=1e-12
    )


def test_counting_nothing_costs_the_margin():
    zero = jnp.zeros((5, 3))
    value, terms = counting(zero, jnp.zeros((5, 4, 3)), zero, margin=7.0)
    assert (value, terms["same"]) == (7, 0)


def test_counts_that_add_up_and_differ_by_the_margin_cost_nothing():
    tiles = jnp.abs(draw(6, 4, 3))
    whole = tiles.sum(1)
    far = whole.at[:, 0].add(3.2)  # squared, 10.24
    assert counting(whole, tiles, far)[0] == pytest.approx(0, abs=1e-12)
    slope = jax.grad(lambda y: counting(whole, tiles, y)[0])(far)
    np.testing.assert_array_equal(slope, 0)
