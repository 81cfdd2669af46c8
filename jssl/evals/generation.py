"""Metrics of generated images: FID, KID, precision and recall, density and coverage.

Heusel et al., NIPS 2017 (https://arxiv.org/abs/1706.08500), compare mean and covariance of
features; Binkowski et al., ICLR 2018 (https://arxiv.org/abs/1801.01401), all moments up to
the third; Kynkaanniemi et al., NeurIPS 2019 (https://arxiv.org/abs/1904.06991), and Naeem
et al., ICML 2020 (https://arxiv.org/abs/2002.09797), separate fidelity from diversity.

    FID = |mu_r - mu_g|^2 + tr(S_r + S_g - 2 (S_r^1/2 S_g S_r^1/2)^1/2)
    KID = mean_{i != j} k(r_i, r_j) + mean_{i != j} k(g_i, g_j) - 2 mean_ij k(r_i, g_j),
    k(x, y) = (x . y / d + 1)^3

All take rows of features [n, d] and compute in float64. FID decreases with n (Chong and
Forsyth, CVPR 2020, https://arxiv.org/abs/1911.07023): compare at the same encoder and n.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from threadpoolctl import threadpool_limits

from jssl.evals.protocol import Eval, Features

Rows = Float[np.ndarray, "n d"]
Others = Float[np.ndarray, "m d"]
Mean = Float[np.ndarray, " d"]
Covariance = Float[np.ndarray, "d d"]

WIDE = 1024  # features, beyond which FID of fewer rows needs no covariances


class Prdc(NamedTuple):
    """Precision, recall, density and coverage; 1 is good, only density may exceed it."""

    precision: float  # fraction of generated rows inside a ball of a real row
    recall: float  # fraction of real rows inside a ball of a generated row
    density: float  # mean number of real balls around a generated row, over k
    coverage: float  # fraction of real rows with a generated row in their ball


def feature_stats(f: Rows) -> tuple[Mean, Covariance]:
    """Mean and covariance (divisor n - 1) of two rows or more.

    >>> print(*feature_stats(np.array([[0.0, 0.0], [2.0, 0.0]])))  # 1^2 + 1^2, over 1
    [1. 0.] [[2. 0.]
     [0. 0.]]
    """
    (f,) = _rows("feature_stats", 2, f)
    centered = f - f.mean(axis=0)
    return f.mean(axis=0), centered.T @ centered / (len(f) - 1)


def frechet_distance(mu1: Mean, c1: Covariance, mu2: Mean, c2: Covariance) -> float:
    """Squared Wasserstein distance between two Gaussians.

    Matrix roots are computed by eigendecomposition, with negative eigenvalues set to 0. The
    last trace is the sum of the singular values of c1^1/2 c2^1/2, since the eigenvalues of
    its square would lose half of the digits.

    >>> far = np.array([1.0, 0.0]), np.diag([4.0, 1.0])
    >>> print(frechet_distance(np.zeros(2), np.eye(2), *far))  # 1^2 + (2 - 1)^2
    2.0
    """
    with threadpool_limits(1):  # 784 columns, two busy cores: eigh 0.2 s, not 11
        shared = np.linalg.norm(_root(c1) @ _root(c2), "nuc")
    apart = np.square(mu1 - mu2).sum() + np.trace(c1) + np.trace(c2) - 2 * shared
    return max(float(apart), 0.0)


def fid(real: Rows, generated: Others) -> float:
    """Frechet distance of Gaussians fitted to two sets of rows.

    With fewer rows than columns the covariances are singular and FID is not meaningful.

    Raises:
      ValueError: not finite rows [n, d], two or more, of one width.

    >>> real = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    >>> print(f"{fid(real, real + np.array([3.0, 4.0])):.4f}")  # 3^2 + 4^2
    25.0000
    """
    real, generated = _rows("fid", 2, real, generated)
    if real.shape[1] > max(len(real), len(generated), WIDE):
        return _distance_of_few(real, generated)
    return frechet_distance(*feature_stats(real), *feature_stats(generated))


def _distance_of_few(x, y):
    """`fid` by matrices of rows: with c = a' a, |c1^1/2 c2^1/2|_* = |a1 a2'|_*."""
    a, b = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (x, y))
    with threadpool_limits(1):
        shared = np.linalg.norm(a @ b.T, "nuc")
    spread = np.square(a).sum() + np.square(b).sum() - 2 * shared
    return max(float(np.square(x.mean(axis=0) - y.mean(axis=0)).sum() + spread), 0.0)


def kid(real: Rows, generated: Others) -> float:
    """Unbiased squared maximum mean discrepancy with the cubic kernel.

    Its mean is 0 if both sets come from one distribution, so it may be negative.

    >>> real, generated = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    >>> print(kid(real, generated))  # 1 + 27 - 2 * (1 + 1 + 8 + 27) / 4
    9.5
    """
    x, y = _rows("kid", 2, real, generated)

    def total(a, b):
        return sum(((part @ b.T / b.shape[1] + 1) ** 3).sum() for part in _chunks(a))

    def within(a):
        diagonal = ((np.square(a).mean(axis=1) + 1) ** 3).sum()
        return (total(a, a) - diagonal) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * total(x, y) / (len(x) * len(y)))


def kid_subsets(
    seed: int, real: Rows, generated: Others, subsets: int = 50, size: int | None = None
) -> tuple[float, float]:
    """Mean of `kid` over random subsets, and its standard error.

    Subsets share rows: the error includes the number of subsets, not the number of rows.
    The default size is 200, or half of the rows if that is less; the paper's is 1,000.

    Raises:
      ValueError: size is not in 2 ... number of rows, or subsets is below 2.

    >>> real, generated = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    >>> print(kid_subsets(0, real, generated, size=2))  # every subset is the whole
    (9.5, 0.0)
    """
    most = min(len(real), len(generated))
    size = min(200, most // 2) if size is None else size
    if not 2 <= size <= most or subsets < 2:
        raise ValueError(
            f"kid_subsets needs subsets >= 2 and size 2 ... {most}, got {subsets}, {size}"
        )
    rng = np.random.default_rng(seed)
    draw = lambda x: x[rng.choice(len(x), size, replace=False)]
    found = np.array([kid(draw(real), draw(generated)) for _ in range(subsets)])
    return float(found.mean()), float(found.std(ddof=1) / np.sqrt(subsets))


def mmd_rbf(
    real: Rows, generated: Others, bandwidths: tuple[float, ...] | None = None
) -> float:
    """Unbiased squared maximum mean discrepancy, summed over Gaussian kernels.

        k(x, y) = exp(-|x - y|^2 / (2 s^2)),    for each bandwidth s

    Its mean is 0 if both sets come from one distribution, so it may be negative (Gretton et
    al., JMLR 2012, https://jmlr.org/papers/v13/gretton12a.html).

    Args:
      real, generated: rows of features, two or more.
      bandwidths: s; None: a half, once and twice the median distance of real rows.

    >>> real, generated = np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]])
    >>> print(f"{mmd_rbf(real, generated, (1.0,)):.4f}")  # e^-1/2 - 1
    -0.3935
    """
    from scipy.spatial.distance import cdist

    x, y = _rows("mmd_rbf", 2, real, generated)
    within, apart = cdist(x, x, "sqeuclidean"), cdist(x, y, "sqeuclidean")
    own = cdist(y, y, "sqeuclidean")
    if bandwidths is None:
        median = np.sqrt(np.median(within[np.triu_indices(len(x), 1)]))
        bandwidths = (median / 2, median, 2 * median)

    def mean(d, s):
        k = np.exp(-d / (2 * s**2))
        same = d is not apart
        return (k.sum() - same * len(d)) / (d.size - same * len(d))

    each = (mean(within, s) + mean(own, s) - 2 * mean(apart, s) for s in bandwidths)
    return float(sum(each))


def prdc(real: Rows, generated: Others, k: int, *, chunk: int = 1024) -> Prdc:
    """Precision, recall, density and coverage from k-nearest-neighbor balls.

        precision = mean_j any_i d_ij < r_i      density  = sum_ij [d_ij < r_i] / (k m)
        recall    = mean_i any_j d_ij < s_j      coverage = mean_i any_j d_ij < r_i

    d_ij = |real_i - generated_j|; r_i and s_j are the distances from a row to its k-th
    nearest other row of the same set. For a perfect generator and n = m, density is 1 on
    average and coverage nearly 1 - 2^-k.

    Args:
      real, generated: rows of features.
      k: 3 in the paper of precision and recall, 5 in that of density and coverage.
      chunk: rows compared at a time; memory is chunk * m.

    Raises:
      ValueError: not finite rows of one width, more than k in both.

    >>> real, generated = np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [9.0]])
    >>> found = prdc(real, generated, 1)  # r = 1, 1, 2; s = 8.5, 8.5; .5 is in two balls
    >>> print(*(f"{value:.2f}" for value in found))
    0.50 1.00 1.00 0.67
    """
    if min(k, chunk) < 1:
        raise ValueError(f"prdc needs k >= 1 and chunk >= 1, got {k} and {chunk}")
    real, generated = _rows("prdc", k + 1, real, generated)
    reach, reach_made = _reach(real, k, chunk), _reach(generated, k, chunk)
    n, m = len(real), len(generated)
    precise, recalled, balls, covered = np.zeros(m, bool), 0, 0, 0
    far = _distances(real, generated, chunk)
    for apart, radius in zip(far, _chunks(reach, chunk), strict=True):
        inside = apart < radius[:, None]
        precise |= inside.any(axis=0)
        recalled += (apart < reach_made).any(axis=1).sum()
        balls += inside.sum()
        covered += inside.any(axis=1).sum()
    return Prdc(*map(float, (precise.mean(), recalled / n, balls / (k * m), covered / n)))


def memorization(train: Rows, test: Others, samples: Float[np.ndarray, "s d"]) -> float:
    """Median distance of samples to the nearest training row, over that of test rows.

    About 1 without memorization, far below 1 for copies of training rows.

    Raises:
      ValueError: half of the test rows are training rows.

    >>> train, test = np.array([[0.0], [10.0]]), np.array([[1.0], [11.0]])
    >>> print(memorization(train, test, np.array([[0.0], [9.5]])))  # (0 + .5) / 2, over 1
    0.25
    """
    bank, *others = _rows("memorization", 1, train, test, samples)
    nearest = [[part.min(axis=1) for part in _distances(x, bank)] for x in others]
    healthy, found = (float(np.median(np.concatenate(parts))) for parts in nearest)
    if healthy == 0:
        raise ValueError("memorization: half of the test rows are training rows")
    return found / healthy


def class_histogram_jsd(
    real: Integer[np.ndarray, " n"], generated: Integer[np.ndarray, " m"], classes: int
) -> float:
    """Jensen-Shannon divergence, in nats, of the class frequencies p and q of two sets.

        (KL(p || (p + q) / 2) + KL(q || (p + q) / 2)) / 2,    from 0 to log 2

    Raises:
      ValueError: no rows, or a class out of range.

    >>> found = class_histogram_jsd(np.array([0, 1]), np.array([0, 0]), 2)
    >>> print(f"{found:.4f}")  # (.5 log(.5 / .75) + .5 log 2) / 2 + log(1 / .75) / 2
    0.2158
    """
    from scipy.special import rel_entr

    if any(not len(y) or y.min() < 0 or y.max() >= classes for y in (real, generated)):
        raise ValueError(f"class_histogram_jsd needs rows of classes 0 ... {classes - 1}")
    p, q = (np.bincount(y, minlength=classes) / len(y) for y in (real, generated))
    return float((rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)).sum() / 2)


def generation(
    encode: Callable,
    field: str = "image",
    k: int = 5,
    seed: int = 0,
    *,
    encoder: str,
    n: int | None = None,
) -> Eval:
    """FID, KID and `prdc` of generated against real images of the judged split.

    The real images of the split are divided at random into two halves of n. Each metric is
    the mean over both, each against n samples; "fid/real_halves" is the FID between the
    halves, the value that real images would reach.

    Args:
      encode: images [n, h, w, c], floats in [0, 1] -> features [n, d].
      field: name of the images, and of the method's samples, images or flat rows [N, v].
      k: neighbors of `prdc`.
      seed: of the halves.
      encoder: name of `encode` in the protocol: architecture, and training.
      n: half of the split's rows if None. A fixed n makes val and test comparable.

    Raises:
      ValueError: images are not of one shape or not in [0, 1], or fewer than 2 n.
    """
    judged = lambda x, y: {"fid": fid(x, y), "kid": kid(x, y)} | prdc(x, y, k)._asdict()

    def run(features: Features, final: bool) -> dict:
        images = _images(features, "test" if final else "val", field)
        real, made = (np.asarray(encode(x), np.float64) for x in images)
        size = len(real) // 2 if n is None else n
        if len(real) < 2 * size:
            raise ValueError(f"generation: {len(real)} images are too few for twice {size}")
        order = np.random.default_rng(seed).permutation(len(real))
        one, two = order[:size], order[size : 2 * size]
        a, b = (judged(real[half], made[half]) for half in (one, two))
        means = {metric: (a[metric] + b[metric]) / 2 for metric in a}
        return means | {"fid/real_halves": fid(real[one], real[two])}

    how = f"n={n or 'half of the split'} of each, mean of two halves, seed={seed}, k={k}"
    of = f"samples and real images by {encoder} (not comparable with Inception's numbers)"
    return Eval(f"{of}: {how}", run)


def _images(features, split, field):
    """Real and generated images, both [N, h, w, c]."""
    real = np.asarray(features.rows(split)[field])
    generated = features.generated(split)
    if field not in generated:
        raise ValueError(
            f"generation: the method must generate {field!r}, it generates "
            f"{', '.join(generated) or 'nothing'}"
        )
    made = np.asarray(generated[field])
    shape = [len(real), *real.shape[1:]]
    for what, x in (("real images", real), ("samples", made)):
        fits = len(shape) == 4 and len(x) == len(real) and x.size == np.prod(shape) > 0
        if not fits or not (x.min() >= 0 and x.max() <= 1):  # False for nan, too
            came = f"{list(x.shape)}" + (f", {x.min():g} ... {x.max():g}" if fits else "")
            raise ValueError(
                f"generation: {what} must be images [N, h, w, c], of {shape} here, or flat "
                f"ones, in [0, 1], got {came}"
            )
    return real.reshape(shape), made.reshape(shape)


def _root(c):
    values, vectors = np.linalg.eigh(c)
    return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


def _chunks(x, rows=1024):
    return (x[at : at + rows] for at in range(0, len(x), rows))


def _distances(x, y, chunk=1024):
    from scipy.spatial.distance import cdist  # x . y would cancel

    return (cdist(part, y) for part in _chunks(x, chunk))


def _reach(x, k, chunk):
    """Distance of each row to its k-th nearest other row; the nearest is itself."""
    return np.concatenate([np.partition(d, k)[:, k] for d in _distances(x, x, chunk)])


def _rows(function, least, *arrays):
    found = [np.asarray(x, np.float64) for x in arrays]
    came = [list(x.shape) for x in found]
    right = all(len(c) == 2 and c[1] == came[0][1] and c[0] >= least for c in came)
    if not right or not all(np.isfinite(x).all() for x in found):
        raise ValueError(f"{function} needs {least}+ finite rows, one width, got {came}")
    return found
