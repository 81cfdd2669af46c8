import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

from jssl.losses.clustering import deepcluster, nat


def unit_rows(shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_deepcluster_is_the_log_loss_of_scikit_learn():
    logits = np.random.default_rng(0).normal(size=(6, 4))
    clusters = np.array([0, 1, 2, 3, 0, 0])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    with jax.enable_x64(True):
        loss = deepcluster(jnp.asarray(logits), jnp.asarray(clusters))
    np.testing.assert_allclose(loss, log_loss(clusters, p), rtol=1e-12)


def test_a_new_head_costs_log_k():
    loss = deepcluster(jnp.zeros((5, 30)), jnp.zeros(5, int))
    np.testing.assert_allclose(loss, np.log(30), rtol=1e-6)


def test_nat_is_two_n_less_twice_the_trace():
    z, c = unit_rows((7, 3)), unit_rows((7, 3), seed=1)
    with jax.enable_x64(True):
        loss = nat(jnp.asarray(5 * z), jnp.asarray(c))
    np.testing.assert_allclose(loss, ((z - c) ** 2).sum(), rtol=1e-12)
    np.testing.assert_allclose(loss, 2 * 7 - 2 * np.trace(z @ c.T), rtol=1e-12)


def test_nat_moves_features_along_the_sphere_and_no_targets():
    z = jnp.asarray(2 * unit_rows((4, 3)), jnp.float32)
    c = jnp.asarray(unit_rows((4, 3), seed=1), jnp.float32)
    on_z, on_c = jax.grad(nat, argnums=(0, 1))(z, c)
    np.testing.assert_allclose((on_z * z).sum(1), 0, atol=1e-6)
    assert (np.linalg.norm(on_z, axis=1) > 1e-3).all()
    assert not np.asarray(on_c).any()


def test_nat_sums_over_devices():
    z = jnp.asarray(unit_rows((6, 3)), jnp.float32)
    c = jnp.asarray(unit_rows((6, 3), seed=1), jnp.float32)

    def sharded(z):
        cut = z.reshape(3, 2, 3), c.reshape(3, 2, 3)
        values = jax.vmap(lambda z, c: nat(z, c, axis_name="i"), axis_name="i")(*cut)
        return values.mean(), values

    (_, values), grad = jax.value_and_grad(sharded, has_aux=True)(z)
    value, wanted = jax.value_and_grad(nat)(z, c)
    np.testing.assert_allclose(values, value, rtol=1e-6)
    np.testing.assert_allclose(grad, wanted, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("size", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_extreme_inputs_give_finite_values_and_gradients(n, size, dtype):
    x = size * jnp.eye(3, dtype=dtype)[:n]
    labels = jnp.zeros(n, int)
    target = jnp.eye(3)[jnp.arange(n) * 0 + 1]
    losses = [lambda x: deepcluster(x, labels), lambda x: nat(x, target)]
    for loss in losses:
        value, grad = jax.value_and_grad(loss)(x)
        assert value.dtype == jnp.float32
        assert np.isfinite(value)
        assert np.isfinite(np.asarray(grad, np.float32)).all()


def test_wrong_shapes_and_dtypes_are_refused(unhooked):
    a = jnp.ones((2, 3))
    with pytest.raises(ValueError, match=r"assignments must be int\[n=2\]"):
        deepcluster(a, a[:, 0])
    with pytest.raises(ValueError, match=r"targets must be float\[n=2, d=3\]"):
        nat(a, a[:1])
