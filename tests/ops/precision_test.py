import jax
import jax.numpy as jnp
import pytest

from jssl.ops.precision import widen


@pytest.mark.parametrize("narrow", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_widest_dtype_is_that_of_all(narrow):
    x = jnp.ones(2, narrow)
    assert [y.dtype for y in widen(x, x > 0, jnp.arange(2))] == [jnp.float32] * 3
    with jax.enable_x64(True):
        assert [y.dtype for y in widen(x, jnp.ones(2))] == [jnp.float64] * 2
