"""Confidence intervals and paired tests for comparing methods.

A claim that A is better than B needs a paired interval that excludes zero over at least
five seeds, the same sign in four of five, and Holm's correction over the methods compared;
two single runs are compared only by McNemar's test on the same test samples. Three seeds
are too few: the half-width of the interval of a mean is then 2.48 standard deviations.

E. B. Wilson, JASA 1927; Student, Biometrika 1908; Q. McNemar, Psychometrika 1947;
B. Efron, Annals of Statistics 1979; S. Holm, Scandinavian Journal of Statistics 1979.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """An estimate and the limits of its confidence interval."""

    estimate: float
    low: float
    high: float


class Paired(NamedTuple):
    """A mean difference, the limits of its interval, and the two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float


def wilson_interval(k: int, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's confidence interval of a rate, from k successes in n trials.

        (k + z^2 / 2 -+ z sqrt(k (n - k) / n + z^2 / 4)) / (n + z^2)

    Unlike p -+ z sqrt(p (1 - p) / n) it is accurate near 0 and 1, e.g. for accuracies of
    98 %. It includes the sampling of the test set, not the variance over seeds.

    Raises:
      ValueError: not 0 <= k <= n, or no trials.

    Reference: E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", JASA 1927.

    >>> low, high = wilson_interval(900, 1000)[1:]
    >>> print(f"{low:.3f} {high:.3f}")  # half-width 1.9 points at 90 % of 1,000
    0.880 0.917
    """
    from scipy.special import ndtri

    if not 0 <= k <= n or n < 1:
        raise ValueError(f"wilson_interval needs 0 <= k <= n, n >= 1, got {k} of {n}")
    z2 = float(ndtri(0.5 + level / 2)) ** 2
    half = np.sqrt(z2 * (k * (n - k) / n + z2 / 4))
    low = 0.0 if k == 0 else (k + z2 / 2 - half) / (n + z2)
    high = 1.0 if k == n else (k + z2 / 2 + half) / (n + z2)
    return Interval(k / n, float(low), float(high))


def difference_interval(
    k: int, n: int, other_k: int, other_n: int, *, level: float = 0.95
) -> Interval:
    """Newcombe's confidence interval of the difference of two independent rates.

        d - sqrt((p - l)^2 + (u' - p')^2)  to  d + sqrt((u - p)^2 + (p' - l')^2)

    with d = p - p' and Wilson's limits l, u of each rate. For two classifiers of the same
    test samples it is conservative, since their errors are correlated.

    Args:
      k, n: successes and trials.
      other_k, other_n: of the rate that is subtracted.
      level: of confidence.

    Raises:
      ValueError: see `wilson_interval`.

    Reference: R. G. Newcombe, "Interval estimation for the difference between independent
    proportions", Statistics in Medicine 1998, method 10.

    >>> found = difference_interval(56, 70, 48, 80)  # its example (a)
    >>> print(*(round(v, 4) for v in found))
    0.2 0.0524 0.3339
    """
    p, low, high = wilson_interval(k, n, level=level)
    q, other_low, other_high = wilson_interval(other_k, other_n, level=level)
    below = np.hypot(p - low, other_high - q)
    above = np.hypot(high - p, q - other_low)
    return Interval(p - q, float(p - q - below), float(p - q + above))


def t_interval(x: Sequence[float] | np.ndarray, *, level: float = 0.95) -> Interval:
    """Confidence interval of the mean of a few runs: mean -+ t s / sqrt(S).

    Raises:
      ValueError: fewer than two values.

    >>> print(*(round(v, 2) for v in t_interval([90.0, 91.0, 92.0])))  # 1 * 2.48
    91.0 88.52 93.48
    """
    from scipy.special import stdtrit

    x = _values("t_interval", x)
    t = float(stdtrit(len(x) - 1, 0.5 + level / 2))
    mean, half = float(x.mean()), float(t * x.std(ddof=1) / np.sqrt(len(x)))
    return Interval(mean, mean - half, mean + half)


def paired_t(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    *,
    level: float = 0.95,
) -> Paired:
    """Student's paired t-test of mean(a - b) = 0; a[s] and b[s] share seed and split.

    Raises:
      ValueError: a and b differ in length, or have fewer than two values.

    >>> test = paired_t([90.0, 92.0, 91.0, 95.0, 93.0], [89.0, 90.0, 91.0, 92.0, 91.0])
    >>> print(*(round(v, 2) for v in test))  # 1.6 -+ 2.776 * 1.140 / sqrt(5)
    1.6 0.18 3.02 0.03
    """
    from scipy.special import stdtr

    a, b = _values("paired_t", a), _values("paired_t", b)
    if len(a) != len(b):
        raise ValueError(f"paired_t needs pairs, got {len(a)} and {len(b)} values")
    difference = t_interval(a - b, level=level)
    error = (a - b).std(ddof=1) / np.sqrt(len(a))
    if error == 0:
        p = float(difference.estimate == 0)
    else:
        p = 2 * float(stdtr(len(a) - 1, -abs(difference.estimate) / error))
    return Paired(*difference, p)


def mcnemar_exact(b: int, c: int) -> float:
    """McNemar's exact p-value for equal accuracy of two classifiers.

    Among the test samples that exactly one of them classified correctly, b were A's and c
    were B's; under the null hypothesis b is Binomial(b + c, 1/2).

    Raises:
      ValueError: a negative count.

    Reference: Q. McNemar, "Note on the sampling error of the difference between
    correlated proportions or percentages", Psychometrika 1947.

    >>> print(f"{mcnemar_exact(15, 5):.3f} {mcnemar_exact(12, 8):.2f}")
    0.041 0.50
    """
    from scipy.special import bdtr

    if min(b, c) < 0:
        raise ValueError(f"mcnemar_exact needs counts, got {b} and {c}")
    return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))


def paired_bootstrap(
    correct_a: np.ndarray,
    correct_b: np.ndarray,
    n_boot: int = 10_000,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of accuracy(a) - accuracy(b) over seeds and test samples.

    Draws seeds and, independently, samples with replacement, the same for a and b, and
    takes percentiles of the mean difference.

    Args:
      correct_a: [seeds, n] of 0 and 1: correct predictions of each run. One run: [1, n].
      correct_b: the same seeds and samples of the other method.
      n_boot: number of bootstrap draws.
      level: of confidence.
      seed: of the draws.

    Raises:
      ValueError: the two do not have the same shape [seeds, n].

    Reference: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of
    Statistics 1979.
    """
    a, b = np.asarray(correct_a, np.float64), np.asarray(correct_b, np.float64)
    if a.ndim != 2 or a.shape != b.shape or a.size == 0:
        raise ValueError(
            "paired_bootstrap needs two arrays [seeds, n], got "
            f"{list(a.shape)} and {list(b.shape)}"
        )
    seeds, n = a.shape
    rng = np.random.default_rng(seed)
    means = np.empty(n_boot)
    for i in range(n_boot):
        times = np.bincount(rng.integers(seeds, size=seeds), minlength=seeds)
        means[i] = (times @ (a - b))[rng.integers(n, size=n)].sum() / (seeds * n)
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float((a - b).mean()), float(low), float(high))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's correction of p-values for multiple comparisons, in the order given.

    The i-th smallest of m becomes max_{j <= i} min(1, (m - j + 1) p_(j)). Rejecting those
    below alpha keeps the probability of any false rejection below alpha.

    Raises:
      ValueError: a value outside [0, 1].

    Reference: S. Holm, "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 1979.

    >>> print(holm([0.01, 0.04, 0.03]))  # 3 * .01; 2 * .03; max(.06, 1 * .04)
    [0.03 0.06 0.06]
    """
    p = np.asarray(p, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"holm needs a list of p-values in [0, 1], got {p}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    steps = np.arange(len(p), 0, -1) * p[order]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def _values(function: str, x) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"{function} needs two values or more, got {list(x.shape)}")
    return x
