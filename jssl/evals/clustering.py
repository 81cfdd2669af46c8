r"""Do classes form clusters by themselves? k-means without labels, then labels to compare.

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

from jssl.evals.protocol import Eval, Features, fit_and_judge
from jssl.evals.retrieval import unit_rows
from jssl.ops.shapes import expect

Labels = Integer[np.ndarray, " n"]


def contingency(a: Labels, b: Labels) -> Int[np.ndarray, "i j"]:
    """n_ij: how many samples have label i in `a` and j in `b`.

    A row or column for every number from 0 to the largest label, used or not.

    Raises:
      ValueError: the two are no integers [n] of one length, empty, or negative.

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
    """Normalised mutual information in [0, 1]: what one labeling tells of the other.

    0 if just one of them is constant, 1 if both are. It rises with the number of
    clusters by itself: compare at equal k.

    Args:
      average: the mean of the two entropies that divides: scikit-learn's default is the
        arithmetic one, DeepCluster's the geometric.

    Raises:
      ValueError: another average, or labels that `contingency` refuses.

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
    """Adjusted Rand index: agreement on pairs, 0 on average by chance, 1 for equals.

    It may be negative. 0 if just one of the labelings is constant, 1 if both are.

    Raises:
      ValueError: labels that `contingency` refuses.

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
    """The accuracy in [0, 1] of the best one-to-one naming of clusters by classes.

        1/n max_pi sum_i n_{i, pi(i)}

    With more clusters than classes some have no name, and all their samples count as
    wrong; with fewer, some classes are never found.

    Returns:
      It, and pi: the class of each cluster, -1 for none.

    Raises:
      ValueError: labels that `contingency` refuses.

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
    """The share in [0, 1] of samples in their cluster's most frequent class.

        1/n sum_i max_j n_ij

    Several clusters may have one name, so it is no accuracy: with a cluster for each
    sample it is 1.

    Raises:
      ValueError: labels that `contingency` refuses.

    >>> print(purity(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])))  # (2 + 1) / 4
    0.75
    """
    return float(contingency(clusters, classes).max(axis=1).sum() / len(clusters))


def clustering(restarts: int = 20, over: int = 1, seed: int = 0) -> Eval:
    """NMI (arithmetic), ARI, Hungarian accuracy and purity of k-means clusters.

    k-means is fitted, without labels, on what may be fitted on, and only assigns the
    judged rows. k is the number of classes there, times `over`. With over > 1 clusters
    cannot be named one to one: there is no "hungarian" (naming each by its majority is
    purity), and the names end in "/over10", say, for these numbers rise with k.

    Args:
      restarts: the one of least inertia is kept.

    Raises:
      ValueError: restarts or over is below 1; while running, there are fewer rows than
        clusters.
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
    """The nearest to each judged row of k centroids of the others, all scaled to 1."""
    from scipy.spatial.distance import cdist
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if k > len(h):
        raise ValueError(f"clustering: {k} clusters need as many rows, got {len(h)}")
    means = KMeans(k, init="k-means++", n_init=restarts, random_state=seed)
    # One thread: 3,500 x 96 rows in 10 clusters took 0.2 s with it and 2 s with the two
    # of a busy machine.
    with threadpool_limits(1), warnings.catch_warnings():
        # Collapsed features have fewer distinct rows than clusters: the scores show it.
        warnings.filterwarnings("ignore", "Number of distinct", ConvergenceWarning)
        means.fit(unit_rows(h))
    # Unlike matrix products, cdist measures equal rows equally: ties are the first's.
    apart = cdist(unit_rows(judged), means.cluster_centers_, "sqeuclidean")
    return apart.argmin(axis=1)


def _entropy(counts) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _pairs(counts) -> float:
    """The number of pairs within groups of these sizes."""
    counts = np.asarray(counts, np.float64)
    return float((counts * (counts - 1) / 2).sum())
