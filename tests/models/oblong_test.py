"""Kernels and attention of oblong images are drawn in their own shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.exhibits import attention
from jssl.models.dense import Autoencoder, Dense

KEY = jax.random.key(0)


def test_an_autoencoders_filters_have_the_shape_of_its_images():
    module = Autoencoder((2, 8, 1), (5,))
    variables = module.init(KEY, jnp.zeros((1, 2, 8, 1)))
    kernels = module.apply(variables, method="filters")
    assert kernels.shape == (5, 2, 8, 1)
    kernel = variables["params"]["encoder"]["dense0"]["kernel"]
    np.testing.assert_array_equal(kernels[3].ravel(), kernel[:, 3])


@pytest.mark.parametrize(("shape", "wanted"), [((4, 4, 1), (4, 4, 1)), ((4, 4, 3),) * 2])
def test_square_images_need_no_shape(shape, wanted):
    module = Dense((5,))
    variables = module.init(KEY, jnp.zeros((1, *shape)))
    assert module.apply(variables, method="filters").shape == (5, *wanted)


def test_filters_of_no_square_need_a_shape():
    module = Dense((5,))
    variables = module.init(KEY, jnp.zeros((1, 8, 16, 1)))
    with pytest.raises(ValueError, match="128 inputs.*pass their shape"):
        module.apply(variables, method="filters")
    seen = module.apply(variables, (8, 16, 1), method="filters")
    assert seen.shape == (5, 8, 16, 1)


def test_attention_lies_on_the_rows_and_columns_of_the_patches():
    images = np.zeros((1, 4, 8, 1))
    weights = np.full((1, 1, 9, 9), 1e-6)
    weights[:, :, 0, 1 + 5] = 1  # of 2 x 4 patches the one in row 1, column 1
    seen = attention(images, [weights / weights.sum(-1, keepdims=True)]).images[0, 1]
    assert (seen[2:, 2:4] == 1).all()
    assert seen.sum() == pytest.approx(2 * 2, abs=0.1)
