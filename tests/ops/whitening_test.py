import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from jssl.ops.whitening import pca_whiten


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


def test_wrong_arguments_are_refused(unhooked):
    with pytest.raises(ValueError, match="components must be in 1 ... d=3, got 4"):
        pca_whiten(jnp.ones((5, 3)), 4)
    with pytest.raises(ValueError, match=r"x must be float\[n, d\], got int32"):
        pca_whiten(jnp.ones((5, 3), int), 2)
