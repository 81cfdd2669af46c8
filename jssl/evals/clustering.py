r"""Agreement of k-means clusters with classes: NMI, ARI, Hungarian accuracy, purity.

With n_ij samples of cluster i and class j, a_i in the cluster and b_j in the class,

.. math:: NMI = \frac{I}{\text{mean}(H_a, H_b)}, \qquad
    ARI = \frac{\sum_{ij} \binom{n_{ij}}{2} - E}
    {\frac{1}{2} (\sum_i \binom{a_i}{2} + \sum_j \binom{b_j}{2}) - E}, \qquad
    E = \frac{\sum_i \binom{a_i}{2} \sum_j \binom{b_j}{2}}{\binom{n}{2}}

where I and H are the mutual information and the entropies of the two labelings.

A. Strehl, J. Ghosh, "Cluster Ensembles", JMLR 2002
(https://www.jmlr.org/papers/v3/strehl02a.html), have NMI with the geometric mean, which
DeepCluster reports too; L. Hubert, P. Arabie, "Comparing partitions", Journal of
Classification 1985 (https://doi.org/10.1007/BF01908075), ARI; H. W. Kuhn, "The Hungarian
method for the assignment problem", 1955 (https://doi.org/10.1002/nav.3800020109).
"""

import warnings
from typing import Literal

import numpy as np
from jaxtyping import Int, Integer

from jssl.evals.protocol import Eval, Features, fit_and_judge, of_settings
from jssl.evals.retrieval import unit_rows
from jssl.ops.shapes import expect

Labels = Integer[np.ndarray, " n"]


def contingency(a: Labels, b: Labels) -> Int[np.ndarray, "i j"]:
    """Contingency table n_ij: number of samples with label i in `a` and j in `b`.

    It has a row or column for every number from 0 to the largest label, used or not.

    Raises:
      ValueError: the two are not integers [n] of one length, or are empty or negative.

    >>> print(contingency(np.array([0, 0, 1]), np.array([1, 1, 0])))
    [[0 2]
     [1 0]]
    """
    expect("contingency", a=(a, "n", "int"), b=(b, "n", "int"))
    if len(a) == 0 or min(a.min(), b.min()) < 0:
        raise ValueError("contingency: wanted labels >= 0 of one sample or more")
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    cell = a.astype(np.int64) * columns + b
    return np.bincount(cell, minlength=rows * columns).reshape(rows, columns)


def nmi(
    a: Labels, b: Labels, average: Literal["arithmetic", "geometric"] = "arithmetic"
) -> float:
    """Normalized mutual information of two labelings, in [0, 1].

    0 if just one of them is constant, 1 if both are. It increases with the number of
    clusters: compare at equal k.

    Args:
      a, b: labelings of the same samples.
      average: mean of the two entropies in the denominator: "arithmetic" as in
        scikit-learn, "geometric" as in DeepCluster.

    Raises:
      ValueError: an unknown average, or invalid labels, see `contingency`.

    Reference: Strehl and Ghosh, JMLR 2002.

    >>> a, b = np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1])
    >>> # H_a = 3/2 ln 2, H_b = ln 2, I = ln 2: 1 / (5/4) and 1 / sqrt(3/2)
    >>> print(f"{nmi(a, b):.4f} {nmi(a, b, average='geometric'):.4f}")
    0.8000 0.8165
    """
    if average not in ("arithmetic", "geometric"):
        raise ValueError(f'nmi: average is "arithmetic" or "geometric", got {average!r}')
    joint = contingency(a, b)
    in_a, in_b = _entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0))
    if min(in_a, in_b) == 0:
        return float(in_a == in_b)
    mean = (in_a + in_b) / 2 if average == "arithmetic" else np.sqrt(in_a * in_b)
    return float(np.clip((in_a + in_b - _entropy(joint)) / mean, 0, 1))


def ari(a: Labels, b: Labels) -> float:
    """Adjusted Rand index: agreement on pairs; 1 if equal, 0 on average for chance.

    It may be negative. 0 if just one of the labelings is constant, 1 if both are.

    Raises:
      ValueError: invalid labels, see `contingency`.

    Reference: Hubert and Arabie, Journal of Classification 1985.

    >>> # Pairs together: 1 of a, 2 of b, 1 of both; E = 1 * 2 / 6: (1 - E) / (3/2 - E)
    >>> print(f"{ari(np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1])):.4f}")
    0.5714
    """
    joint = contingency(a, b)
    together = _pairs(joint)
    in_a, in_b = _pairs(joint.sum(axis=1)), _pairs(joint.sum(axis=0))
    if in_a == in_b == together:  # one partition: where both are trivial, 0 / 0
        return 1.0
    chance = in_a * in_b / _pairs(len(a))
    return (together - chance) / ((in_a + in_b) / 2 - chance)


def hungarian_accuracy(
    clusters: Labels, classes: Labels
) -> tuple[float, Int[np.ndarray, " i"]]:
    """Accuracy in [0, 1] of the best one-to-one assignment of clusters to classes.

        1/n max_pi sum_i n_{i, pi(i)}

    With more clusters than classes some clusters are unassigned, and their samples count as
    errors; with fewer, some classes are never predicted.

    Returns:
      The accuracy, and pi: the class of each cluster, -1 for none.

    Raises:
      ValueError: invalid labels, see `contingency`.

    Reference: Kuhn, Naval Research Logistics Quarterly 1955, solved by scipy.

    >>> accuracy, naming = hungarian_accuracy(np.array([1, 1, 0]), np.array([0, 0, 0]))
    >>> print(f"{accuracy:.4f}", naming)  # two of three; cluster 0 has no class
    0.6667 [-1  0]
    """
    from scipy.optimize import linear_sum_assignment

    joint = contingency(clusters, classes)
    rows, columns = linear_sum_assignment(joint, maximize=True)
    naming = np.full(len(joint), -1)
    naming[rows] = columns
    return float(joint[rows, columns].sum() / len(clusters)), naming


def purity(clusters: Labels, classes: Labels) -> float:
    """Fraction in [0, 1] of samples in the most frequent class of their cluster.

        1/n sum_i max_j n_ij

    Several clusters may have the same class, so this is not an accuracy: with one cluster
    per sample it is 1.

    Raises:
      ValueError: invalid labels, see `contingency`.

    >>> print(purity(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])))  # (2 + 1) / 4
    0.75
    """
    return float(contingency(clusters, classes).max(axis=1).sum() / len(clusters))


@of_settings("clustering_scores(x, y)")
def clustering(restarts: int = 20, over: int = 1, seed: int = 0) -> Eval:
    """NMI (arithmetic), ARI, Hungarian accuracy and purity of k-means clusters.

    k-means is fitted, without labels, on the rows for fitting; judged rows are only
    assigned. k is the number of classes times `over`. With over > 1 a one-to-one assignment
    is undefined and "hungarian" is omitted (majority assignment is purity), and metric
    names end in "/over10", for example, since these numbers increase with k.

    Args:
      restarts: number of runs, of which the one of least inertia is kept.
      over: clusters per class.
      seed: of the initial centroids.

    Raises:
      ValueError: restarts or over is below 1; while running, fewer rows than clusters.
    """
    if min(restarts, over) < 1:
        raise ValueError(
            f"clustering needs restarts and over of 1 or more, got {restarts}, {over}"
        )
    suffix = f"/over{over}" if over > 1 else ""

    def run(features: Features, final: bool) -> dict:
        (h, y), (judged, truth) = fit_and_judge(features, final)
        k = over * len(np.unique(y))
        found = _kmeans_assign(h, judged, k, restarts, seed)
        metrics = {"nmi": nmi(found, truth), "ari": ari(found, truth)}
        if over == 1:
            metrics["hungarian"] = hungarian_accuracy(found, truth)[0]
        metrics["purity"] = purity(found, truth)
        return {name + suffix: value for name, value in metrics.items()}

    return Eval(
        f"clustering: k-means on the unit sphere, k = {over} x classes, k-means++, "
        f"{restarts} restarts, seed={seed}; NMI by the arithmetic mean",
        run,
    )


def _kmeans_assign(h, judged, k: int, restarts: int, seed: int) -> Int[np.ndarray, " m"]:
    """Index of the nearest of k centroids fitted on h, all rows scaled to length 1."""
    from scipy.spatial.distance import cdist
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if k > len(h):
        raise ValueError(f"clustering: {k} clusters need as many rows, got {len(h)}")
    means = KMeans(k, init="k-means++", n_init=restarts, random_state=seed)
    # One thread: 3,500 x 96 rows in 10 clusters took 0.2 s, and 2 s with two threads on a
    # busy machine.
    with threadpool_limits(1), warnings.catch_warnings():
        # Collapsed features have fewer distinct rows than clusters; the scores show that.
        warnings.filterwarnings("ignore", "Number of distinct", ConvergenceWarning)
        means.fit(unit_rows(h))
    # cdist is exact for equal rows, unlike matrix products: ties go to the first.
    apart = cdist(unit_rows(judged), means.cluster_centers_, "sqeuclidean")
    return apart.argmin(axis=1)


def _entropy(counts) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _pairs(counts) -> float:
    """The number of pairs within groups of these sizes."""
    counts = np.asarray(counts, np.float64)
    return float((counts * (counts - 1) / 2).sum())
