import numpy as np
import pytest

from jssl.evals import embedding_picture, knn, pca
from jssl.pictures import Scatter


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6)) + 3


def test_explained_variances_are_the_eigenvalues_of_the_covariance(x):
    values = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    np.testing.assert_allclose(pca(x, 6).explained, values, rtol=1e-10)


def test_scikit_learn_finds_the_same_subspace(x):
    from sklearn.decomposition import PCA

    theirs = PCA(3, svd_solver="full").fit(x)
    ours = pca(x, 3)
    sign = np.sign(np.sum(ours.components * theirs.components_, axis=1))
    np.testing.assert_allclose(
        ours.components, sign[:, None] * theirs.components_, atol=1e-9
    )
    np.testing.assert_allclose(ours.scores, sign * theirs.transform(x), atol=1e-8)


def test_what_k_components_miss_is_the_sum_of_the_other_eigenvalues(x):
    found = pca(x, 2)
    missed = x - (found.scores @ found.components + found.mean)
    values = np.linalg.eigvalsh(np.cov(x.T))
    np.testing.assert_allclose(np.sum(missed**2) / 39, values[:4].sum(), rtol=1e-10)


@pytest.mark.parametrize("shape", [(40, 6), (5, 9)])
def test_the_largest_loading_is_positive_and_components_are_orthonormal(shape):
    x = np.random.default_rng(1).normal(size=shape)
    found = pca(x, 4)
    largest = np.abs(found.components).argmax(axis=1)
    assert (found.components[np.arange(4), largest] > 0).all()
    gram = found.components @ found.components.T
    np.testing.assert_allclose(gram, np.eye(4), atol=1e-12)


def test_mirrored_features_have_the_same_components(x):
    # Mirrored through the origin, scores change sign, directions do not.
    np.testing.assert_allclose(pca(-x, 3).components, pca(x, 3).components, atol=1e-10)
    np.testing.assert_allclose(pca(-x, 3).scores, -pca(x, 3).scores, atol=1e-8)


def test_wide_and_tall_arrays_agree(x):
    # Zero columns turn 40 x 6 into 40 x 60, which goes the other way, by SVD.
    wide = np.hstack([x, np.zeros((40, 54))])
    np.testing.assert_allclose(pca(wide, 3).scores, pca(x, 3).scores, atol=1e-9)


@pytest.mark.parametrize("k", [0, 7])
def test_impossible_numbers_of_components_are_refused(x, k):
    with pytest.raises(ValueError, match=f"k must be 1 ... 6 for 40 x 6, got {k}"):
        pca(x, k)


@pytest.mark.parametrize("final", [False, True])
def test_a_pca_picture_maps_the_judged_rows_by_the_axes_of_the_others(final, splits):
    features = splits()
    (scatter,) = embedding_picture()(features, final).values()
    h, y = features.arrays, features.truth
    bank, split = h["train"], "val"
    if final:
        bank, split = np.concatenate([h["train"], h["val"]]), "test"
    axes = pca(bank, 2)
    want = (h[split] - axes.mean) @ axes.components.T
    np.testing.assert_allclose(scatter.xy, want, rtol=1e-4, atol=1e-5)  # float32
    np.testing.assert_array_equal(scatter.labels, y[split])
    share = 100 * axes.explained.sum() / np.trace(np.cov(bank.T))
    right = 100 * knn()(features, final)["knn"]
    assert scatter.title == (
        f"PCA (exact, no seed, {share:.0f} % of the variance), N={len(want)} of {split}"
        f"\nkNN (k=20) of h itself: {right:.1f} %"
    )


def test_a_limit_spreads_the_shown_rows_over_the_split(splits):
    features = splits()
    features.truth["val"] = np.arange(45, dtype=np.int32)
    (scatter,) = embedding_picture(limit=5)(features, False).values()
    assert scatter.labels.tolist() == [0, 11, 22, 33, 44]
    assert scatter.xy.shape == (5, 2)
    assert "N=5 of val" in scatter.title


def test_a_tsne_picture_keeps_neighbors_and_says_how_it_was_made(splits):
    from sklearn.neighbors import KNeighborsClassifier

    features = splits(spread=0.2)
    evaluate = embedding_picture("tsne", limit=45, seed=3)
    (scatter,) = evaluate(features, False).values()
    assert isinstance(scatter, Scatter)
    assert scatter.xy.dtype == np.float32
    nearest = KNeighborsClassifier(5).fit(scatter.xy, scatter.labels)
    assert nearest.score(scatter.xy, scatter.labels) > 0.9
    # 44 / 3: a perplexity of 30 needs more rows.
    assert scatter.title == (
        "t-SNE (seed 3, perplexity 14.7), N=45 of val\nkNN (k=20) of h itself: 100.0 %"
    )
    (again,) = evaluate(features, False).values()
    np.testing.assert_array_equal(again.xy, scatter.xy)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_collapsed_features_are_one_point(method, splits):
    features = splits()
    for h in features.arrays.values():
        h[:] = 0.5
    (scatter,) = embedding_picture(method)(features, False).values()
    np.testing.assert_allclose(scatter.xy, 0, atol=1e-6)


@pytest.mark.parametrize("settings", [{"method": "umap"}, {"limit": 3}])
def test_other_maps_and_too_few_rows_are_refused(settings):
    with pytest.raises(ValueError, match='"pca" or "tsne" and limit at least 4'):
        embedding_picture(**settings)
