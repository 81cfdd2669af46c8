"""Halving: the filters are those of Pillow, and each image has a random one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jssl.ops.halving import FILTERS, _matrices, halve

IMAGES = jax.random.uniform(jax.random.key(0), (400, 8, 12, 2))
PILLOW = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)


def reduced(image, method):
    """By Pillow, [8, 12, 2] -> [4, 6, 2]."""
    channels = [Image.fromarray(x).resize((6, 4), method) for x in image.transpose(2, 0, 1)]
    return np.stack([np.asarray(x) for x in channels], -1)


def test_each_filter_is_that_of_pillow():
    down, across = _matrices(8, jnp.float32), _matrices(12, jnp.float32)
    image = np.asarray(IMAGES[0])
    for k, method in enumerate(PILLOW):
        found = np.einsum("yh,xw,hwc->yxc", down[k], across[k], image)
        np.testing.assert_allclose(found, reduced(image, method), atol=2e-6)


def test_each_image_has_one_of_the_filters_at_random():
    found = np.asarray(jax.jit(halve)(IMAGES, jax.random.key(1)))
    known = [[reduced(x, method) for method in PILLOW] for x in np.asarray(IMAGES)]
    same = np.abs(found[:, None] - np.stack(known)).max((2, 3, 4)) < 1e-5
    assert (same.sum(1) == 1).all()
    assert abs(same.mean(0) - 1 / len(FILTERS)).max() < 0.07


def test_without_a_key_pixels_are_means():
    wanted = np.asarray(IMAGES).reshape(400, 4, 2, 6, 2, 2).mean((2, 4))
    np.testing.assert_allclose(jax.jit(halve)(IMAGES), wanted, atol=1e-6)


def test_odd_sides_are_refused(unhooked):
    with pytest.raises(ValueError, match="must be even, got 8 x 7"):
        halve(IMAGES[:, :, :7])
