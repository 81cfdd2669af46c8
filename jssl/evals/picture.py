"""Scatter plots of features in two dimensions, by PCA or t-SNE.

K. Pearson, Philosophical Magazine 1901; L. van der Maaten, G. Hinton, "Visualizing Data
using t-SNE", JMLR 2008 (https://jmlr.org/papers/v9/vandermaaten08a.html).

Such plots are not evidence: sizes of clusters and distances between them have no meaning in
t-SNE. The title therefore gives the kNN accuracy of the features themselves.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jssl.evals.knn import knn_accuracy
from jssl.evals.protocol import Eval, Features, fit_and_judge
from jssl.pictures import Scatter

PERPLEXITY = 30


class Pca(NamedTuple):
    """Principal components: x is approximately scores @ components + mean."""

    scores: np.ndarray  # [n, k]
    components: np.ndarray  # [k, d], orthonormal
    explained: np.ndarray  # [k], variances, largest first
    mean: np.ndarray  # [d]


def pca(x: Float[np.ndarray, "n d"], k: int) -> Pca:
    """The first k principal components of the rows of x, exactly, in float64.

    The components are the first eigenvectors of the covariance (divisor n - 1), each
    with the sign that makes its largest loading positive.

    Raises:
      ValueError: k is not in 1 ... min(n - 1, d).

    >>> found = pca(np.array([[0.0, 0.0], [3.0, 4.0]]), 1)  # along (3, 4) / 5
    >>> print(found.components, found.explained)  # 2 * 2.5^2 / (2 - 1)
    [[0.6 0.8]] [12.5]
    """
    n, d = x.shape
    if not 1 <= k <= min(n - 1, d):
        raise ValueError(f"pca: k must be 1 ... {min(n - 1, d)} for {n} x {d}, got {k}")
    mean = x.mean(axis=0, dtype=np.float64)
    centered = x - mean
    if d < n:  # the d x d problem is much faster for many rows
        _, vectors = np.linalg.eigh(centered.T @ centered)
        components = vectors.T[::-1][:k]
    else:
        components = np.linalg.svd(centered, full_matrices=False)[2][:k]
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(k), largest])[:, None]
    scores = centered @ components.T
    return Pca(scores, components, (scores**2).sum(axis=0) / (n - 1), mean)


def embedding_picture(method: str = "pca", limit: int = 1000, seed: int = 0) -> Eval:
    """Scatter plot of at most `limit` rows, evenly spaced over the judged split.

    PCA is fitted on the rows for fitting, and applied to the others. t-SNE (perplexity 30,
    1000 iterations, initialized by PCA) cannot map new rows: it is fitted on the shown rows
    themselves, without their labels. For 1,000 rows PCA takes some milliseconds; t-SNE 5 to
    9 s of one core, too long for a default.

    Args:
      method: "pca" or "tsne".
      limit: largest number of rows.
      seed: of t-SNE.

    Raises:
      ValueError: an unknown method, or a limit below 4.
    """
    if method not in ("pca", "tsne") or limit < 4:
        raise ValueError(
            f'embedding_picture: method is "pca" or "tsne" and limit at least 4, got '
            f"{method!r} and {limit}"
        )

    def run(features: Features, final: bool) -> dict:
        bank, judge = fit_and_judge(features, final)
        score = 100 * knn_accuracy(bank, judge)
        h, y = judge
        shown = np.linspace(0, len(h) - 1, min(limit, len(h))).round().astype(int)
        if method == "pca":
            xy, how = _pca_map(bank[0], h[shown])
        else:
            xy, how = _tsne(h[shown], seed)
        split = "test" if final else "val"
        title = f"{how}, N={len(shown)} of {split}\nkNN (k=20) of h itself: {score:.1f} %"
        names = getattr(features, "class_names", ())
        return {"embedding": Scatter(xy.astype(np.float32), y[shown], title, names)}

    return Eval(f"picture by {method} of {limit} rows, seed={seed}", run)


def _pca_map(h, shown):
    fitted = pca(h, 2)
    total = h.var(axis=0, ddof=1, dtype=np.float64).sum()
    part = 100 * fitted.explained.sum() / max(total, np.finfo(np.float64).tiny)
    xy = (shown - fitted.mean) @ fitted.components.T
    return xy, f"PCA (exact, no seed, {part:.0f} % of the variance)"


def _tsne(shown, seed):
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(shown) - 1) / 3)
    how = f"t-SNE (seed {seed}, perplexity {perplexity:.3g})"
    if not np.ptp(shown, axis=0).any():  # collapsed: scikit-learn would divide by 0
        return np.zeros((len(shown), 2)), how
    tsne = TSNE(
        perplexity=perplexity,
        early_exaggeration=12.0,
        learning_rate="auto",  # max(N / 48, 50)
        max_iter=1000,
        init="pca",
        random_state=seed,
    )
    # For 1,000 points one thread is faster (9 s, not 24 s, on two busy cores), and the
    # number of threads would change the order of sums.
    with threadpool_limits(1):
        xy = tsne.fit_transform(shown)
    return xy, how
