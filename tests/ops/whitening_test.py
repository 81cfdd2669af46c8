import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from jssl.ops import whitening
from jssl.ops.whitening import contrast_normalize, pca_whiten, zca


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)) + 3


def test_it_is_scikit_learns(x):
    theirs = PCA(4, whiten=True, svd_solver="full").fit(x)
    with jax.enable_x64(True):
        z, mean, projection = pca_whiten(jnp.asarray(x), 4)
    np.testing.assert_allclose(mean, theirs.mean_, rtol=1e-10)
    z, wanted = np.asarray(z), theirs.transform(x)
    signs = np.sign((z * wanted).sum(0))
    np.testing.assert_allclose(z, wanted * signs, atol=1e-8)
    axes = theirs.components_ / np.sqrt(theirs.explained_variance_)[:, None]
    np.testing.assert_allclose(projection, axes.T * signs, atol=1e-8)


def test_the_covariance_becomes_the_identity(x):
    z = pca_whiten(jnp.asarray(x, jnp.float32), 6).z
    np.testing.assert_allclose(np.cov(z, rowvar=False), np.eye(6), atol=1e-4)


def test_the_largest_weight_of_each_component_is_positive(x):
    projection = np.asarray(pca_whiten(jnp.asarray(x, jnp.float32), 6).projection)
    assert (projection[np.abs(projection).argmax(0), np.arange(6)] > 0).all()


def test_other_samples_are_whitened_by_mean_and_projection(x):
    x = jnp.asarray(x, jnp.float32)
    z, mean, projection = pca_whiten(x, 3)
    again = (x[:2] - mean[None]) @ projection
    np.testing.assert_allclose(again, z[:2], atol=1e-5)


def test_directions_without_variance_are_not_blown_up():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(20, 2)), np.full((20, 3), 0.1)], axis=1)
    z = np.asarray(pca_whiten(jnp.asarray(x, jnp.float32), 5).z)
    np.testing.assert_allclose(z[:, :2].std(0, ddof=1), 1, rtol=1e-4)
    np.testing.assert_allclose(z[:, 2:], 0, atol=1e-2)


@pytest.mark.parametrize("x", [jnp.ones((5, 3)), jnp.ones((1, 3)), jnp.zeros((2, 3))])
def test_constant_samples_become_zero(x):
    z, _, projection = pca_whiten(x, 2)
    assert not np.asarray(z).any()
    assert np.isfinite(projection).all()


@pytest.mark.parametrize("block", [1, 7, 49, 50, 99])
def test_blocks_of_samples_have_the_same_components(x, block):
    whole = pca_whiten(jnp.asarray(x, jnp.float32), 4)
    parts = pca_whiten(np.float32(x), 4, block=block)
    for ours, theirs in zip(parts, whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    if block >= 50:
        np.testing.assert_array_equal(parts.z, whole.z)


def test_a_block_of_samples_at_a_time_is_on_the_device(x, monkeypatch):
    sizes, wide = [], whitening.widen
    monkeypatch.setattr(
        whitening, "widen", lambda *arrays: (sizes.append(len(arrays[0])), wide(*arrays))[1]
    )
    pca_whiten(np.float32(x), 4, block=20)
    assert sizes == [20, 20, 10] * 3


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_zca_is_the_svd_of_the_centered_samples_turned_back(x, epsilon):
    """And for epsilon 0 scikit-learn's PCA whitening, turned back by its components."""
    fitted = zca(x, epsilon)
    centered = x - x.mean(0)
    _, sizes, axes = np.linalg.svd(centered, full_matrices=False)
    wanted = centered @ axes.T / np.sqrt(sizes**2 / (len(x) - 1) + epsilon) @ axes
    found = np.asarray(fitted(jnp.asarray(x.reshape(50, 3, 2), jnp.float32)))
    np.testing.assert_allclose(found.reshape(50, 6), wanted, atol=2e-5)
    if not epsilon:
        theirs = PCA(whiten=True, svd_solver="full").fit(x)
        turned = theirs.transform(x) @ theirs.components_
        np.testing.assert_allclose(found.reshape(50, 6), turned, atol=2e-5)


def test_zca_is_that_of_the_released_codes():
    """Mean Teacher: pixels of length 55, variances + 0.1. VAT: 1 / sqrt(S) + 1e-6."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 12)).astype(np.float64)
    gcn = pixels - pixels.mean(1, keepdims=True)
    gcn /= np.sqrt((gcn**2).sum(1, keepdims=True)) / 55
    variances, axes = np.linalg.eigh(np.cov(gcn.T) + 0.1 * np.eye(12))
    wanted = (gcn - gcn.mean(0)) @ (axes @ np.diag(variances**-0.5) @ axes.T)
    x = contrast_normalize(pixels / 255)
    found = zca(x, 0.1)(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    unit = (pixels - 127.5) / 255
    sigma = (unit - unit.mean(0)).T @ (unit - unit.mean(0)) / 300
    u, s, _ = np.linalg.svd(sigma)
    wanted = (unit - unit.mean(0)) @ (u @ np.diag(1 / np.sqrt(s) + 1e-6) @ u.T)
    found = zca(pixels / 255)(jnp.asarray(pixels / 255, jnp.float32))
    np.testing.assert_allclose(found, wanted, rtol=3e-3, atol=1e-4)  # over n - 1, not n


def test_zca_removes_directions_without_variance(x):
    wide = np.concatenate([x, np.full((50, 2), 0.3)], axis=1)
    found = np.asarray(zca(wide)(jnp.asarray(wide, jnp.float32)))
    np.testing.assert_allclose(found[:, 6:], 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(found[:, :6].T), np.eye(6), atol=1e-4)
    assert not np.asarray(zca(np.ones((5, 3)))(jnp.ones((2, 3)))).any()
    assert not contrast_normalize(jnp.ones((2, 3, 1))).any()


def test_wrong_arguments_are_refused(unhooked):
    with pytest.raises(ValueError, match="two samples or more and epsilon >= 0, got 1 and"):
        zca(np.ones((1, 3)))
    with pytest.raises(ValueError, match="block must be at least 1, got 0"):
        pca_whiten(jnp.ones((5, 3)), 2, block=0)
    with pytest.raises(ValueError, match="components must be in 1 ... d=3, got 4"):
        pca_whiten(jnp.ones((5, 3)), 4)
    with pytest.raises(ValueError, match=r"x must be float\[n, d\], got int32"):
        pca_whiten(jnp.ones((5, 3), int), 2)
