"""Edges: morphology against SciPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import grey_dilation

from jssl.ops.edges import edge_image


def test_an_edge_image_is_the_dilation_minus_the_image():
    x = np.random.default_rng(0).random((3, 6, 7, 2)).astype(np.float32)
    wanted = grey_dilation(x, (1, 3, 3, 1), mode="nearest") - x
    np.testing.assert_array_equal(edge_image(jnp.asarray(x)), wanted)


def test_constant_images_have_no_edges():
    assert not np.any(edge_image(jnp.full((2, 5, 5, 1), 0.7)))


def test_images_without_channels_are_refused(unhooked):
    with pytest.raises(ValueError, match=r"images must be float\[n, h, w, c\]"):
        edge_image(jnp.zeros((5, 5)))
