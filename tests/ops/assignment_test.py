from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import linear_sum_assignment

from jssl.losses.clustering import nat
from jssl.ops.assignment import hungarian, nat_reassign, nat_targets

KEY = jax.random.key(0)


def costs():
    rng = np.random.default_rng(0)
    yield from (rng.normal(size=(n, n)).astype(np.float32) for n in (1, 2, 5, 6))
    yield np.zeros((4, 4), np.float32)
    yield rng.integers(0, 2, (5, 5)).astype(np.float32)  # many equals
    yield 1e4 * np.eye(3, dtype=np.float32)


@pytest.mark.parametrize("cost", list(costs()), ids=range(7))
def test_no_pairing_is_cheaper(cost):
    n = len(cost)
    columns = np.asarray(hungarian(jnp.asarray(cost)))
    assert sorted(columns.tolist()) == list(range(n))
    total = cost[np.arange(n), columns].sum()
    best = min(cost[np.arange(n), p].sum() for p in permutations(range(n)))
    np.testing.assert_allclose(total, best, atol=1e-6)
    np.testing.assert_allclose(total, cost[linear_sum_assignment(cost)].sum())
    theirs = optax.assignment.hungarian_algorithm(jnp.asarray(cost))
    np.testing.assert_allclose(total, cost[theirs].sum(), atol=1e-6)


def test_it_runs_inside_jit_vmap_and_grad():
    cost = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 4)), jnp.float32)
    columns = jax.jit(jax.vmap(hungarian))(cost)
    for mine, one in zip(columns, cost, strict=True):
        np.testing.assert_array_equal(mine, linear_sum_assignment(one)[1])

    @jax.grad
    def grad(cost):
        columns = hungarian(cost)
        return jnp.take_along_axis(cost, columns[:, None], axis=1).sum()

    chosen = np.zeros((4, 4))
    chosen[linear_sum_assignment(cost[0])] = 1
    np.testing.assert_array_equal(grad(cost[0]), chosen)


def test_narrow_costs_are_solved():
    cost = jnp.array([[1.0, 2.0], [1.0, 9.0]], jnp.bfloat16)
    assert hungarian(cost).tolist() == [1, 0]


def test_targets_lie_on_the_sphere_and_each_sample_has_its_own():
    targets, labels = nat_targets(KEY, 50, 4)
    np.testing.assert_allclose(np.linalg.norm(targets, axis=1), 1, rtol=1e-6)
    assert sorted(labels.tolist()) == list(range(50))


def test_reassignment_keeps_labels_one_to_one_and_never_costs():
    rng = np.random.default_rng(0)
    targets, labels = nat_targets(KEY, 40, 3)
    reassign = jax.jit(nat_reassign)
    for _ in range(5):
        batch = rng.permutation(40)[:16]
        z = jnp.asarray(rng.normal(size=(16, 3)), jnp.float32)
        before = nat(z, targets[labels[batch]])
        labels = labels.at[batch].set(reassign(z, targets, labels[batch]))
        after = nat(z, targets[labels[batch]])
        assert sorted(labels.tolist()) == list(range(40))
        assert after < before


def test_features_that_are_their_targets_keep_them():
    targets, labels = nat_targets(KEY, 8, 5)
    same = nat_reassign(3 * targets[labels], targets, labels[::-1])
    np.testing.assert_array_equal(same, labels)


def test_wrong_shapes_and_dtypes_are_refused(unhooked):
    z, labels = jnp.ones((2, 3)), jnp.zeros(2, int)
    with pytest.raises(ValueError, match=r"cost must be float\[n, n\]"):
        hungarian(z)
    with pytest.raises(ValueError, match=r"targets must be float\[n, d=3\]"):
        nat_reassign(z, jnp.ones((5, 2)), labels)
    with pytest.raises(ValueError, match=r"labels must be int\[b=2\]"):
        nat_reassign(z, z, z[:, 0])
