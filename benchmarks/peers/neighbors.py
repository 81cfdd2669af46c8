"""What judges features: k-means, weighted kNN, and the exact linear probe.

k-means: 60,000 x 64 float32, 100 clusters begun at samples drawn at random, 20 iterations
of Lloyd's algorithm, none stopped early, all samples used.
kNN: 1,000 queries against 60,000 x 256 float32, cosine, k = 20, votes exp(cosine / 0.07);
on the unit sphere the Euclidean neighbours are the same, and scikit-learn's path for them
is the faster one, so it may take either.
Probe: multinomial logistic regression on 60,000 x 256 standardised float64 features of
falling variance before that, 10 classes, penalty 0.01 on the mean loss, until no entry of
the gradient exceeds 1e-6; scikit-learn by each of its solvers that stop by the gradient.
What either side reached is told beside its time: `gradient`.
"""

from functools import partial

from peers.pair import Pair, Work

CLASSES, K, TEMPERATURE, L2, TOL = 10, 20, 0.07, 0.01, 1e-6


def features(n, d, dtype="float32", seed=0):
    """Correlated features [n, d] of CLASSES overlapping classes, and the classes [n]."""
    import numpy as np

    draw = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).standard_normal((d, d)) / np.sqrt(1 + np.arange(d))
    centers = np.random.default_rng(8).standard_normal((CLASSES, d)) / 4
    label = draw.integers(0, CLASSES, n)
    h = (draw.standard_normal((n, d)) + centers[label]) @ mixing.T
    return h.astype(dtype), label


def sphere(h):
    import numpy as np

    return h / np.linalg.norm(h, axis=1, keepdims=True)


def clusters_size(quick):
    """(n, d, k, iterations)."""
    return (600, 8, 5, 5) if quick else (60_000, 64, 100, 20)


def kmeans_ours(quick):
    import jax
    import jax.numpy as jnp

    from jssl.ops.kmeans import kmeans

    n, d, k, iterations = clusters_size(quick)
    x = jnp.asarray(features(n, d)[0])
    run = jax.jit(lambda key, x: kmeans(key, x, k, iterations))
    last = None

    def call():
        nonlocal last
        last = jax.block_until_ready(run(jax.random.key(0), x))

    return Work(call, warm=1, notes=lambda: {"inertia": float(last.inertia[-1])})


def kmeans_sklearn(quick):
    from sklearn.cluster import KMeans

    n, d, k, iterations = clusters_size(quick)
    x = features(n, d)[0]
    run = KMeans(k, init="random", n_init=1, max_iter=iterations, tol=0, random_state=0)

    def notes():
        return {"inertia": float(run.inertia_), "iterations": int(run.n_iter_)}

    return Work(lambda: run.fit(x), warm=1, notes=notes)


def kmeans_faiss(quick):
    import faiss

    n, d, k, iterations = clusters_size(quick)
    x = features(n, d)[0]
    run = faiss.Kmeans(d, k, niter=iterations, max_points_per_centroid=n, seed=0)

    def call():
        run.train(x)
        run.index.search(x, 1)  # the clusters of the samples, which the others give too

    return Work(call, warm=1, notes=lambda: {"inertia": float(run.obj[-1])})


def bank(quick):
    """Training rows on the sphere, their classes, and queries."""
    n, m, d = (600, 20, 16) if quick else (60_000, 1_000, 256)
    h, y = features(n, d)
    return sphere(h), y, sphere(features(m, d, seed=1)[0])


def knn_ours(quick):
    import jax
    import jax.numpy as jnp

    from jssl.evals.knn import knn_predict

    h, y, queries = map(jnp.asarray, bank(quick))
    vote = jax.jit(partial(knn_predict, k=K, temperature=TEMPERATURE, classes=CLASSES))
    last = None

    def call():
        nonlocal last
        last = jax.block_until_ready(vote(h, y, queries))

    return Work(call, len(queries), warm=1, notes=lambda: {"sum": int(last[0].sum())})


def knn_theirs(metric, quick):
    import numpy as np
    from sklearn.neighbors import KNeighborsClassifier

    h, y, queries = bank(quick)
    cosine = {"cosine": lambda d: 1 - d, "euclidean": lambda d: 1 - d * d / 2}[metric]
    weights = lambda d: np.exp((cosine(d) - 1) / TEMPERATURE)
    vote = KNeighborsClassifier(
        K, weights=weights, algorithm="brute", metric=metric, n_jobs=-1
    ).fit(h, y)
    last = None

    def call():
        nonlocal last
        last = vote.predict(queries)

    return Work(call, len(queries), warm=1, notes=lambda: {"sum": int(last.sum())})


def labeled(quick):
    """Standardised float64 features, and classes."""
    n, d = (600, 16) if quick else (60_000, 256)
    h, y = features(n, d, "float64")
    return (h - h.mean(0)) / h.std(0), y


def steepness(h, y, weights, bias):
    """The largest entry of the objective's gradient; weights [d, classes]."""
    import numpy as np

    logits = h @ weights + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    slope = h.T @ p / len(y) + L2 * weights
    return float(max(np.abs(slope).max(), np.abs(p.mean(0)).max()))


def probe_ours(quick):
    import scipy.optimize  # noqa: F401, which the fit would import

    from jssl.evals.linear import logreg_fit

    h, y = labeled(quick)
    last = None

    def call():
        nonlocal last
        last = logreg_fit(h, y, classes=CLASSES, l2=L2, tol=TOL, standardize=False)

    def notes():
        gradient = steepness(h, y, last.weights, last.bias)
        return {"gradient": gradient, "iterations": last.info.iterations}

    return Work(call, warm=0, calls=1, notes=notes)


def probe_theirs(solver, quick):
    from sklearn.linear_model import LogisticRegression

    h, y = labeled(quick)
    run = LogisticRegression(C=1 / (L2 * len(y)), tol=TOL, solver=solver, max_iter=1000)

    def notes():
        gradient = steepness(h, y, run.coef_.T, run.intercept_)
        return {"gradient": gradient, "iterations": int(run.n_iter_.max())}

    return Work(lambda: run.fit(h, y), warm=0, calls=1, notes=notes)


SOLVERS = ("lbfgs", "newton-cg", "newton-cholesky")
PAIRS = {
    "k-means": Pair(
        "clustering",
        kmeans_ours,
        {"scikit-learn": kmeans_sklearn, "faiss": kmeans_faiss},
        target=1,
    ),
    "knn": Pair(
        "query",
        knn_ours,
        {f"scikit-learn, {m}": partial(knn_theirs, m) for m in ("cosine", "euclidean")},
        target=3,
    ),
    "linear-probe": Pair(
        "fit",
        probe_ours,
        {f"scikit-learn, {s}": partial(probe_theirs, s) for s in SOLVERS},
        target=3,
    ),
}
