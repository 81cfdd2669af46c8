"""Pictures as arrays: every one is what its definition says, cell by cell."""

from itertools import combinations

import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals.gallery import (
    activation_attention,
    attention_mass_mask,
    attention_rollout,
    cls_attention,
    filter_grid,
    nearest_neighbor_panel,
    spectrum_points,
    top_activating,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def attention(n=2, heads=3, t=7, seed=0):
    weights = np.exp(normal(n, heads, t, t, seed=seed))
    return weights / weights.sum(axis=-1, keepdims=True)


def test_a_filter_of_zeros_is_gray_and_so_is_the_rest_of_the_grid():
    kernel = normal(3, 5, 3, 7)
    kernel[..., 2] = 0
    grid = filter_grid(kernel)
    assert grid.shape == (3, 3, 3, 5, 3)  # 7 filters and 2 empty places
    np.testing.assert_array_equal(grid[0, 2], 0.5)
    np.testing.assert_array_equal(grid[2, 1:], 0.5)
    for i in (0, 1, 3, 4, 5, 6):
        shown, weights = grid[divmod(i, 3)], kernel[..., i]
        assert abs(shown - 0.5).max() == 0.5
        slope = np.abs(weights).max() * (shown - 0.5) * 2
        np.testing.assert_allclose(slope, weights, rtol=1e-12)


def test_a_filters_scale_changes_nothing_and_its_sign_mirrors_it():
    kernel = normal(3, 3, 1, 4)
    scale = np.array([0.01, 1, 7, 1000])
    np.testing.assert_allclose(filter_grid(kernel * scale), filter_grid(kernel), rtol=1e-12)
    np.testing.assert_allclose(filter_grid(-kernel), 1 - filter_grid(kernel), atol=1e-12)
    short = jnp.asarray(kernel, jnp.bfloat16)
    np.testing.assert_allclose(filter_grid(short), filter_grid(kernel), atol=0.01)


def test_channels_that_make_no_color_stand_side_by_side_on_one_scale():
    kernel = normal(2, 2, 5, 4)
    grid = filter_grid(kernel)
    assert grid.shape == (4, 5, 2, 2, 1)
    want = 0.5 + kernel[..., 3, 2] / (2 * np.abs(kernel[..., 2]).max())
    np.testing.assert_allclose(grid[2, 3, :, :, 0], want, rtol=1e-12)


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_the_strongest_images_are_those_of_a_sort(reduce):
    maps, images = np.maximum(normal(20, 4, 3, 5), 0), np.arange(20)
    found = top_activating(maps, images, unit=2, reduce=reduce)
    scores = [getattr(np, reduce)(m[..., 2]) for m in maps]
    want = sorted(range(20), key=lambda i: -scores[i])[:9]
    assert found.index.tolist() == found.images.tolist() == want
    np.testing.assert_allclose(found.scores, np.array(scores)[want], rtol=1e-12)
    assert (np.diff(found.scores) <= 0).all()
    assert top_activating(maps, images, unit=1).index.tolist() != want


def test_equally_strong_images_keep_their_order_and_their_pixels():
    images = normal(5, 6, 6, 3)
    found = top_activating(jnp.ones((5, 2, 2, 1)), jnp.asarray(images), unit=0, n=3)
    assert found.index.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.images, images[:3], rtol=1e-6)


@pytest.mark.parametrize("p", [1, 2, 4])
def test_attention_of_a_map_is_its_strength_stretched_to_one(p):
    fmap = normal(3, 4, 5, 6)
    found = activation_attention(fmap, (4, 5), p)
    strength = sum(np.abs(fmap[..., c]) ** p for c in range(6))
    for a, want in zip(found, strength, strict=True):
        want = (want - want.min()) / (want.max() - want.min())
        np.testing.assert_allclose(a, want, atol=1e-6)
    order = np.random.default_rng(0).permutation(6)
    shuffled = activation_attention(-fmap[..., order], (4, 5), p)
    np.testing.assert_allclose(shuffled, found, atol=1e-6)


def test_attention_is_enlarged_as_scipy_enlarges():
    from scipy.ndimage import zoom

    fmap = normal(2, 3, 4, 5)
    small, large = activation_attention(fmap, (3, 4)), activation_attention(fmap, (12, 8))
    want = [zoom(a, (4, 2), order=1, mode="nearest", grid_mode=True) for a in small]
    np.testing.assert_allclose(large, want, atol=1e-6)
    assert 0 <= large.min() < large.max() <= 1
    flat = activation_attention(np.ones((1, 2, 2, 3)), (4, 4))
    np.testing.assert_array_equal(flat, np.zeros((1, 4, 4)))


def test_the_class_tokens_row_is_a_map_without_itself():
    a = attention(t=7)
    found = cls_attention(a.astype(np.float32), (2, 3))
    assert found.shape == (2, 3, 2, 3)
    for n, head, i, j in np.ndindex(found.shape):
        np.testing.assert_allclose(found[n, head, i, j], a[n, head, 0, 1 + 3 * i + j], 1e-6)
    np.testing.assert_allclose(found.sum(axis=(2, 3)) + a[:, :, 0, 0], 1, rtol=1e-6)


@pytest.mark.parametrize("mass", [0.1, 0.6, 0.95])
def test_the_mask_holds_its_share_and_no_fewer_cells_would(mass):
    a = np.random.default_rng(1).exponential(size=(4, 2, 3, 3))
    masks = attention_mass_mask(a, mass)
    assert masks.shape == a.shape
    for cells, mask in zip(a.reshape(-1, 9), masks.reshape(-1, 9), strict=True):
        assert cells[mask].sum() >= mass * cells.sum()
        fewer = combinations(cells, mask.sum() - 1)
        assert max(sum(chosen) for chosen in fewer) < mass * cells.sum()
    np.testing.assert_array_equal(masks, attention_mass_mask(7 * a, mass))


def test_the_whole_mass_is_every_cell_that_has_any():
    a = np.array([[0.1, 0.0], [0.7, 0.2]])
    np.testing.assert_array_equal(attention_mass_mask(a, 1.0), a > 0)
    assert not attention_mass_mask(np.zeros((2, 2))).any()
    np.testing.assert_array_equal(attention_mass_mask(np.ones((1, 4)), 0.5), [[1, 1, 0, 0]])


def test_rollout_multiplies_the_layers_the_last_one_first():
    layers = [attention(seed=seed) for seed in range(3)]
    found = attention_rollout(layers)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-12)
    assert found.min() > 0
    for n in range(2):
        one, two, three = ((a[n].mean(axis=0) + np.eye(7)) / 2 for a in layers)
        np.testing.assert_allclose(found[n], three @ two @ one, rtol=1e-12)
    assert not np.allclose(attention_rollout(layers[::-1]), found)
    still = np.tile(np.eye(7), (2, 3, 1, 1))
    np.testing.assert_allclose(attention_rollout([still] * 4), still[:, 0], rtol=1e-12)
    np.testing.assert_allclose(
        attention_rollout([still, layers[1]])[0], (layers[1][0].mean(0) + np.eye(7)) / 2
    )


def test_a_panel_is_the_images_of_its_indices():
    images = normal(6, 2, 3, 1)
    idx = np.array([[4, 0, 5], [1, 2, 0]])
    panel = nearest_neighbor_panel(images, jnp.asarray(idx))
    assert panel.shape == (2, 3, 2, 3, 1)
    for q, k in np.ndindex(2, 3):
        np.testing.assert_array_equal(panel[q, k], images[idx[q, k]])


def test_a_spectrum_is_that_of_the_covariance():
    z = normal(50, 4) @ np.diag([5.0, 1, 0.2, 0]) + 9
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(z.T))[::-1], 0))
    found = spectrum_points(z.astype(np.float32))
    np.testing.assert_allclose(found, values / values[0], atol=1e-6)
    assert found[0] == 1 and (np.diff(found) <= 0).all() and found[3] < 1e-6
    np.testing.assert_allclose(spectrum_points(3 * z - 100), found, atol=1e-6)


def test_the_spectrum_of_a_constant_is_nothing():
    constant = np.full((10, 3), 0.1, np.float32)
    np.testing.assert_array_equal(spectrum_points(constant), np.zeros(3))
    np.testing.assert_array_equal(spectrum_points(np.zeros((4, 6))), np.zeros(3))


def test_the_spectrum_of_few_wide_rows_has_no_cliff():
    """Isotropic rows: the squared values are n (1 +- sqrt(n / d))^2 of Marchenko-Pastur."""
    found = spectrum_points(normal(30, 90))
    low, high = 1 - np.sqrt(30 / 90), 1 + np.sqrt(30 / 90)
    assert found.shape == (29,)
    np.testing.assert_allclose(found[-1], low / high, atol=0.05)


NAN = np.full((2, 2, 2, 2), np.nan)
IMAGES = np.zeros((3, 2, 2, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: filter_grid(np.ones((3, 3, 4))), r"kernel must be float\[h, w, i, o\]"),
        (lambda: filter_grid(NAN), "empty or not finite"),
        (lambda: top_activating(IMAGES, IMAGES, 0, n=4), "among 1 ... 3 .* n=4"),
        (lambda: top_activating(IMAGES, IMAGES, 1, n=1), "unit below 1, .* unit=1"),
        (lambda: top_activating(IMAGES, IMAGES[:2], 0, n=1), "3 maps, 2 images"),
        (lambda: top_activating(IMAGES, IMAGES, 0, 1, "sum"), '"mean" or "max", got .sum'),
        (lambda: activation_attention(NAN[0], (4, 4)), r"fmap must be float\[n, h, w, c\]"),
        (lambda: activation_attention(NAN, (4, 4)), "empty or not finite"),
        (lambda: cls_attention(attention(t=7), (2, 2)), "has 5 tokens .* got 7"),
        (lambda: cls_attention(np.log(attention(t=7)), (2, 3)), "after the softmax"),
        (lambda: cls_attention(attention()[..., :6], (2, 3)), "n, heads, t, t"),
        (lambda: attention_mass_mask(-np.ones((2, 2))), "cells >= 0 .* cell of -1"),
        (lambda: attention_mass_mask(np.ones((2, 2)), 60), r"mass in \(0, 1\], .* 60"),
        (lambda: attention_rollout([]), "layers of one shape, got"),
        (lambda: attention_rollout([attention(), attention(t=5)]), "layers of one shape"),
        (lambda: nearest_neighbor_panel(IMAGES, np.array([[0, 3]])), "be 0 ... 2, got 0"),
        (lambda: nearest_neighbor_panel(IMAGES, np.array([[0, -1]])), "got -1 ... 0"),
        (lambda: nearest_neighbor_panel(IMAGES, np.array([[2, 1, 2]])), "own neighbors"),
        (lambda: spectrum_points(np.full((3, 2), np.inf)), "finite rows"),
    ],
)
def test_what_makes_no_picture_is_refused(unhooked, call, message):
    with pytest.raises(ValueError, match=message):
        call()
