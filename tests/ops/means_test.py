import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.means import masked_mean


def test_it_is_numpys_mean_of_the_marked_entries():
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(5, 7)), rng.random((5, 7)) < 0.4
    with jax.enable_x64(True):
        value = masked_mean(jnp.asarray(x), jnp.asarray(mask))
    np.testing.assert_allclose(value, x[mask].mean(), rtol=1e-14)  # float64 rounding


def test_with_nothing_marked_value_and_gradient_are_zero():
    value, grad = jax.value_and_grad(masked_mean)(jnp.ones(3), jnp.zeros(3))
    assert value == 0
    assert not grad.any()


def test_devices_with_unequal_counts_give_the_mean_over_all():
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    mask = jnp.array([[1, 1], [1, 0]])
    mean = jax.vmap(lambda x, m: masked_mean(x, m, axis_name="i"), axis_name="i")
    np.testing.assert_allclose(mean(x, mask), [2.0, 2.0])


def test_bfloat16_is_summed_in_float32():
    x = jnp.ones(1000, jnp.bfloat16)  # bfloat16 cannot count beyond 256
    value = masked_mean(x, jnp.ones(1000, jnp.bfloat16))
    assert value.dtype == jnp.float32
    assert value == 1


def test_a_mask_of_another_shape_is_refused(unhooked):
    with pytest.raises(ValueError, match=r"mask must be any\[d0=3\], got float32\[2\]"):
        masked_mean(jnp.ones(3), jnp.ones(2))
