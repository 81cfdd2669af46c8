import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr

from jssl.losses.sparsity import average_activation, kl_sparsity, l1_sparsity


def uniform(seed, *shape):
    return np.random.default_rng(seed).uniform(0.05, 0.95, size=shape)


def test_l1_sparsity_is_summed_over_units_and_averaged_over_samples(x64):
    h = np.random.default_rng(0).normal(size=(4, 3, 2))
    wanted = np.mean([np.abs(x).sum() for x in h])
    np.testing.assert_allclose(l1_sparsity(jnp.asarray(h)), wanted, rtol=1e-12)


def test_l1_sparsity_scales_with_the_code(x64):
    h = jnp.asarray(uniform(0, 4, 3))
    np.testing.assert_allclose(l1_sparsity(3 * h), 3 * l1_sparsity(h), rtol=1e-12)


def test_kl_sparsity_has_its_golden_value_and_slope(x64):
    # Catalogue, generative A1.7: KL(0.05 || 0.2), whose derivative is 0.9375.
    value, slope = jax.value_and_grad(kl_sparsity)(jnp.array([[0.2]]), 0.05)
    np.testing.assert_allclose(value, 0.0939430260, rtol=1e-9)
    np.testing.assert_allclose(slope, 0.9375, rtol=1e-12)


def test_kl_sparsity_of_the_batch_mean_agrees_with_scipy(x64):
    h, rho = uniform(0, 7, 3), 0.1
    q = h.mean(0)
    wanted = (rel_entr(rho, q) + rel_entr(1 - rho, 1 - q)).sum()
    np.testing.assert_allclose(kl_sparsity(jnp.asarray(h), rho), wanted, rtol=1e-12)


def test_kl_sparsity_rests_at_its_target(x64):
    h = jnp.array([[0.02], [0.08]])
    value, slope = jax.value_and_grad(kl_sparsity)(h, 0.05)
    np.testing.assert_allclose(value, 0, atol=1e-15)
    np.testing.assert_allclose(slope, 0, atol=1e-12)


def test_a_running_average_remembers_without_a_gradient_to_the_past(x64):
    h, previous = jnp.asarray(uniform(0, 5, 2)), jnp.array([0.4, 0.1])
    q = average_activation(h, previous, momentum=0.75)
    np.testing.assert_allclose(q, 0.75 * previous + 0.25 * h.mean(0), rtol=1e-12)

    def loss(h, previous):
        return kl_sparsity(h, 0.05, previous, 0.75)

    of_h, of_previous = jax.grad(loss, (0, 1))(h, previous)
    assert (of_previous == 0).all()
    wanted = 0.25 / 5 * (-0.05 / q + 0.95 / (1 - q))
    np.testing.assert_allclose(of_h, np.tile(wanted, (5, 1)), rtol=1e-10)


def test_devices_agree_with_one_on_the_average_activation(x64):
    h = jnp.asarray(uniform(0, 6, 3))
    on_device = jax.value_and_grad(lambda h: kl_sparsity(h, axis_name="i"))
    got, slope = jax.jit(jax.vmap(on_device, axis_name="i"))(h.reshape(2, 3, 3))
    wanted, wanted_slope = jax.jit(jax.value_and_grad(kl_sparsity))(h)
    np.testing.assert_allclose(got, [wanted, wanted], rtol=1e-12)
    # Each of the 2 devices holds the whole loss, so the slope comes out twice.
    np.testing.assert_allclose(slope.reshape(6, 3) / 2, wanted_slope, rtol=1e-10)


STEEP = [jax.jit(jax.value_and_grad(loss)) for loss in (l1_sparsity, kl_sparsity)]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    h=st.sampled_from([1, 2]).flatmap(
        lambda n: arrays(
            np.float32, (n, 2), elements=st.sampled_from([0.0, 1.0, 0.5, -1e4, 1e4])
        )
    ),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
)
def test_extreme_activations_have_finite_values_and_gradients(h, dtype):
    h = jnp.asarray(h, dtype)
    for loss in STEEP:
        value, slope = loss(h)
        assert value.dtype == jnp.float32
        assert np.isfinite(value)
        assert np.isfinite(np.asarray(slope, np.float32)).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: l1_sparsity(jnp.ones(())),
        lambda: l1_sparsity(jnp.ones((2, 3), int)),
        lambda: kl_sparsity(jnp.ones(3)),
        lambda: kl_sparsity(jnp.ones((2, 3)), rho=1.0),
        lambda: kl_sparsity(jnp.ones((2, 3)), previous=jnp.ones(2)),
        lambda: average_activation(jnp.ones((2, 3)), jnp.ones((1, 3))),
    ],
)
def test_wrong_arguments_are_refused_while_tracing(unhooked, call):
    with pytest.raises(ValueError, match="must"):
        jax.eval_shape(call)
