"""Hypercolumns: SciPy's interpolation, dense upsampling, and histograms by loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from jssl.evals import hypercolumns as dense
from jssl.ops.hypercolumns import (
    bin_numbers,
    circular_mean,
    histogram_median,
    hypercolumn,
    sample_bilinear,
    window_histograms,
)

DRAW = np.random.default_rng(0)


def test_bilinear_samples_are_scipys_inside_and_beyond_the_border():
    maps = np.float32(DRAW.normal(size=(2, 5, 7, 3)))
    points = np.float32(DRAW.uniform(-2, 8, (2, 40, 2)))
    points[:, :3] = [[0, 0], [4, 6], [2, 3]]
    got = sample_bilinear(jnp.asarray(maps), jnp.asarray(points))
    for n in range(2):
        for c in range(3):
            want = map_coordinates(maps[n, ..., c], points[n].T, order=1, mode="nearest")
            np.testing.assert_allclose(got[n, :, c], want, atol=1e-5)


def test_a_sparse_hypercolumn_is_the_dense_one_at_its_places():
    """Maps that are upsampled to the image by JAX's resizing, and gathered."""
    sizes = (12, 1), (12, 3), (6, 4), (3, 2)
    maps = [jnp.asarray(DRAW.normal(size=(2, s, s, c)), jnp.float32) for s, c in sizes]
    places = jnp.asarray(DRAW.integers(0, 12, (2, 30, 2)), jnp.int32)
    got = hypercolumn(maps, places)
    whole = np.asarray(dense(maps))
    assert got.shape == (2, 30, 10)
    for n in range(2):
        for p, (y, x) in enumerate(np.asarray(places[n])):
            np.testing.assert_allclose(got[n, p], whole[n, y, x], atol=1e-5)


def test_gradients_reach_the_maps_at_sampled_places_only():
    def loss(maps):
        return hypercolumn([jnp.zeros((1, 8, 8, 1)), maps], jnp.array([[[0, 0]]])).sum()

    grads = np.asarray(jax.grad(loss)(jnp.ones((1, 4, 4, 1))))[0, ..., 0]
    assert grads[0, 0] == 1 and grads.sum() == 1


@pytest.mark.parametrize("window", [1, 3, 7])
def test_histograms_of_windows_are_loops(window):
    values = np.float32(DRAW.random((2, 6, 5)))
    values[0, 0, :2] = 0.0, 1.0
    places = DRAW.integers(0, 5, (2, 8, 2)).astype(np.int32)
    got = window_histograms(jnp.asarray(values), jnp.asarray(places), 4, window)
    half = window // 2
    for n, p in np.ndindex(2, 8):
        y, x = places[n, p]
        want = np.zeros(4)
        for i in range(y - half, y + half + 1):
            for j in range(x - half, x + half + 1):
                v = values[n, min(max(i, 0), 5), min(max(j, 0), 4)]
                want[min(int(v * 4), 3)] += 1 / window**2
        np.testing.assert_allclose(got[n, p], want, atol=1e-6)


def test_even_windows_are_refused():
    with pytest.raises(ValueError, match="window must be odd, got 2"):
        window_histograms(jnp.zeros((1, 4, 4)), jnp.zeros((1, 1, 2), jnp.int32), 4, 2)


def test_bins_are_those_of_numpys_histogram():
    values = np.float32(DRAW.random(1000))
    counts = np.bincount(bin_numbers(jnp.asarray(values), 8), minlength=8)
    np.testing.assert_array_equal(counts, np.histogram(values, 8, (0, 1))[0])


def test_the_median_is_the_first_bin_that_reaches_a_half():
    p = DRAW.dirichlet(np.ones(16) / 4, 50)
    want = [(next(k for k in range(16) if p_[: k + 1].sum() >= 0.5) + 0.5) / 16 for p_ in p]
    got = histogram_median(jnp.asarray(p, jnp.float32))
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_circular_mean_is_that_of_complex_numbers_and_turns_with_the_histogram():
    p = DRAW.dirichlet(np.ones(16) / 4, 50)
    z = (p * np.exp(2j * np.pi * (np.arange(16) + 0.5) / 16)).sum(-1)
    mean, length = circular_mean(jnp.asarray(p, jnp.float32))
    np.testing.assert_allclose(mean, np.angle(z) / (2 * np.pi) % 1, atol=1e-5)
    np.testing.assert_allclose(length, abs(z), atol=1e-6)
    turned, same = circular_mean(jnp.asarray(np.roll(p, 1, -1), jnp.float32))
    np.testing.assert_allclose((turned - mean) % 1, 1 / 16, atol=1e-5)
    np.testing.assert_allclose(same, length, atol=1e-6)
