"""Measured attributes of strokes, of shapes whose attributes are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.strokes import ink, inverted, slant, thickness


def bar(width, lean=0.0, rows=40, columns=60):
    """A bar across all rows, with smooth edges, that leans to the right."""
    y, x = np.mgrid[:rows, :columns]
    center = columns / 2 - lean * (y - (rows - 1) / 2)
    return np.clip(width / 2 + 0.5 - np.abs(x - center), 0, 1)[None, ..., None]


@pytest.mark.parametrize("width", [1.0, 2.0, 3.5, 6.0])
def test_the_thickness_of_a_bar_is_its_width(width):
    np.testing.assert_allclose(thickness(jnp.asarray(bar(width))), width, rtol=1e-3)


@pytest.mark.parametrize("lean", [-0.5, 0.0, 0.3])
def test_the_slant_of_a_bar_is_its_lean_and_changes_its_sign_in_the_mirror(lean):
    image = jnp.asarray(bar(3.0, lean))
    np.testing.assert_allclose(slant(image), lean, atol=0.01)
    np.testing.assert_allclose(slant(image[:, :, ::-1]), -lean, atol=0.01)


def test_neither_depends_on_the_contrast_and_an_empty_image_has_neither():
    image = jnp.asarray(bar(2.0, 0.2))
    assert inverted(jnp.concatenate([image, 1 - image])).tolist() == [False, True]
    for measure in (thickness, slant, ink):
        np.testing.assert_allclose(measure(1 - image), measure(image), atol=1e-5)
    empty = jnp.zeros((1, 8, 8, 1))
    assert thickness(empty)[0] == 0 and slant(empty)[0] == 0
