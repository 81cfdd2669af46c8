import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from jssl.ops.kmeans import kmeans, nearest_centroid, split_into_empty

KEY = jax.random.key(0)


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) + rng.integers(0, 3, (60, 1))
    return jnp.asarray(x, jnp.float32)


from_array = jax.jit(kmeans, static_argnames=("k", "iterations", "chunk"))
from_name = jax.jit(kmeans, static_argnames=("k", "iterations", "chunk", "init"))


def fitted(key, x, k, init="random", **options):
    fit = from_name if isinstance(init, str) else from_array
    return jax.tree.map(np.asarray, fit(key, x, k=k, init=init, **options))


def test_labels_centroids_and_inertia_are_scikit_learns(x):
    for iterations in (1, 8):
        theirs = KMeans(5, init=np.asarray(x[:5]), n_init=1, max_iter=iterations, tol=0)
        theirs.fit(np.asarray(x))
        mine = fitted(KEY, x, 5, iterations=iterations, init=x[:5])
        np.testing.assert_array_equal(mine.assignments, theirs.labels_)
        np.testing.assert_allclose(mine.centroids, theirs.cluster_centers_, atol=1e-5)
        np.testing.assert_allclose(mine.inertia[-1], theirs.inertia_, rtol=1e-5)
        assert mine.inertia.shape == (iterations,)


@pytest.mark.parametrize("init", ["random", "++"])
def test_inertia_never_rises_and_is_that_of_the_result(x, init):
    centroids, assignments, inertia = fitted(KEY, x, 9, iterations=10, init=init)
    assert (np.diff(inertia) <= 1e-4).all()
    wanted = np.square(x - centroids[assignments]).sum()
    np.testing.assert_allclose(inertia[-1], wanted, rtol=1e-5)
    assert set(assignments.tolist()) == set(range(9))


def test_the_first_centroids_are_different_samples(x):
    for init in ("random", "++"):
        centroids = fitted(KEY, x, 60, iterations=1, init=init).centroids
        # 60 different centres of 60 samples are the samples
        order = np.lexsort(np.round(centroids, 3).T), np.lexsort(np.round(x, 3).T)
        found, wanted = centroids[order[0]], np.asarray(x)[order[1]]
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_plus_plus_begins_in_every_distant_group():
    rng = np.random.default_rng(0)
    groups = 1000 * np.eye(4)[np.arange(40) % 4] + rng.normal(size=(40, 4))
    groups = jnp.asarray(groups, jnp.float32)
    for seed in range(3):
        clusters = fitted(jax.random.key(seed), groups, 4, iterations=1, init="++")
        found = clusters.assignments.reshape(10, 4)
        assert (found == found[0]).all()
        assert sorted(found[0].tolist()) == [0, 1, 2, 3]


def test_the_same_key_gives_the_same_clusters_and_another_others(x):
    first, again, other = (
        fitted(jax.random.key(seed), x, 7, iterations=2) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.centroids, again.centroids)
    assert not np.array_equal(first.centroids, other.centroids)


def test_distances_in_chunks_give_the_same_clusters(x):
    whole = fitted(KEY, x, 5, iterations=3)
    cut = fitted(KEY, x, 5, iterations=3, chunk=7)
    np.testing.assert_array_equal(whole.assignments, cut.assignments)
    np.testing.assert_allclose(whole.centroids, cut.centroids, atol=1e-6)


def test_samples_far_from_the_origin_are_told_apart():
    x = 1e4 + jnp.array([[0.0], [0.01], [1.0], [1.01]])
    clusters = fitted(KEY, x, 2, iterations=2, init=x[jnp.array([0, 2])])
    assert clusters.assignments.tolist() == [0, 0, 1, 1]


def test_empty_clusters_are_filled_and_the_others_left_alone(x):
    assignments = jnp.arange(60) % 3
    centroids = jnp.stack([x[assignments == i].mean(0) for i in range(3)])
    centroids = jnp.concatenate([centroids, jnp.full((2, 3), 99.0)])
    filled, after = jax.jit(split_into_empty)(KEY, x, centroids, assignments)
    filled, after = np.asarray(filled), np.asarray(after)
    assert set(after.tolist()) == set(range(5))
    for i in range(5):
        mean = np.asarray(x)[after == i].mean(0)
        np.testing.assert_allclose(filled[i], mean, atol=1e-5)
    kept = after < 3
    np.testing.assert_array_equal(after[kept], np.asarray(assignments)[kept])


def test_samples_that_all_coincide_are_dealt_out():
    x = jnp.ones((6, 2))
    clusters = fitted(KEY, x, 6, iterations=2)
    assert sorted(clusters.assignments.tolist()) == list(range(6))
    np.testing.assert_allclose(clusters.centroids, 1)


@pytest.mark.parametrize("n", [1, 2])
def test_as_many_clusters_as_samples_leave_no_inertia(n):
    x = jnp.arange(2.0 * n).reshape(n, 2)
    assert fitted(KEY, x, n, iterations=2).inertia[-1] == 0


def test_narrow_samples_are_clustered_in_float32(x):
    clusters = fitted(KEY, x.astype(jnp.bfloat16), 3, iterations=1)
    assert clusters.centroids.dtype == jnp.float32


def test_wrong_arguments_are_refused(x, unhooked):
    with pytest.raises(ValueError, match=r"k must be in 1 ... n=60, got 61"):
        kmeans(KEY, x, 61)
    with pytest.raises(ValueError, match=r"random, \+\+ or an array"):
        kmeans(KEY, x, 3, init="best")
    with pytest.raises(ValueError, match=r"init must be float\[3, d=3\]"):
        kmeans(KEY, x, 3, init=jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"x must be float\[n, d\]"):
        kmeans(KEY, x[:, 0], 3)
    with pytest.raises(ValueError, match=r"centroids must be float\[k, d=3\]"):
        nearest_centroid(x, jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="2 samples cannot fill 3 clusters"):
        split_into_empty(KEY, x[:2], x[:3], jnp.zeros(2, int))
