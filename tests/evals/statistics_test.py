import numpy as np
import pytest
from scipy import stats

from jssl.evals.statistics import (
    holm,
    mcnemar_exact,
    paired_bootstrap,
    paired_t,
    t_interval,
    wilson_interval,
)

A = np.array([90.1, 91.4, 89.7, 92.0, 90.8])
B = np.array([89.5, 90.2, 89.9, 90.6, 90.1])


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (980, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilsons_interval_is_scipys(k, n, level):
    theirs = stats.binomtest(k, n).proportion_ci(level, method="wilson")
    ours = wilson_interval(k, n, level=level)
    np.testing.assert_allclose(ours, [k / n, theirs.low, theirs.high], atol=1e-12)


def test_wilsons_interval_ends_at_0_and_1():
    assert wilson_interval(0, 7).low == 0.0
    assert wilson_interval(7, 7).high == 1.0


def test_wilsons_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    seen = [wilson_interval(int(k), 300) for k in rng.binomial(300, 0.9, size=3000)]
    hits = [low <= 0.9 <= high for _, low, high in seen]
    assert 0.93 < np.mean(hits) < 0.97


@pytest.mark.parametrize(
    ("n", "half"), [(360, [5.2, 4.1, 3.1, 2.3, 1.4]), (1000, [3.1, 2.5, 1.9, 1.4, 0.9])]
)
def test_half_widths_are_those_of_the_catalogue(n, half):
    for accuracy, want in zip([0.5, 0.8, 0.9, 0.95, 0.98], half, strict=True):
        _, low, high = wilson_interval(round(accuracy * n), n)
        # Printed to .05; Wilson's differs by z^2 / n at most from the plain interval.
        assert abs(100 * (high - low) / 2 - want) < 0.05 + 100 * 0.5 / n


@pytest.mark.parametrize(("seeds", "factor"), [(3, 2.48), (5, 1.24), (10, 0.72)])
def test_the_half_width_of_a_mean_in_standard_deviations(seeds, factor):
    x = np.random.default_rng(seeds).normal(size=seeds)
    _, low, high = t_interval(x)
    np.testing.assert_allclose((high - low) / 2 / x.std(ddof=1), factor, atol=0.005)


def test_the_t_interval_is_scipys():
    theirs = stats.ttest_1samp(A, 0).confidence_interval(0.99)
    np.testing.assert_allclose(t_interval(A, level=0.99), [A.mean(), *theirs])


def test_the_t_interval_covers_the_truth_as_often_as_it_says():
    x = np.random.default_rng(1).normal(3.0, 2.0, size=(3000, 5))
    hits = [low <= 3 <= high for _, low, high in map(t_interval, x)]
    assert 0.93 < np.mean(hits) < 0.97


def test_the_paired_t_test_is_scipys():
    theirs = stats.ttest_rel(A, B)
    limits = theirs.confidence_interval(0.95)
    want = [np.mean(A - B), *limits, theirs.pvalue]
    np.testing.assert_allclose(paired_t(A, B), want, rtol=1e-10)


def test_pairing_ignores_what_seeds_have_in_common():
    luck = np.array([10.0, -7.0, 3.0, 0.0, -20.0])
    np.testing.assert_allclose(paired_t(A, B), paired_t(A + luck, B + luck), rtol=1e-9)


def test_differences_without_spread_are_certain():
    assert paired_t([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == (0.0, 0.0, 0.0, 1.0)
    assert paired_t([2.0, 3.0, 4.0], [1.0, 2.0, 3.0]) == (1.0, 1.0, 1.0, 0.0)


@pytest.mark.parametrize(("b", "c"), [(15, 5), (5, 15), (12, 8), (4, 4), (0, 0)])
def test_mcnemars_test_is_the_binomial_one(b, c):
    want = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    np.testing.assert_allclose(mcnemar_exact(b, c), want, rtol=1e-10)


def test_mcnemars_constants_of_the_catalogue():
    np.testing.assert_allclose(mcnemar_exact(15, 5), 0.041, atol=5e-4)
    np.testing.assert_allclose(mcnemar_exact(12, 8), 0.50, atol=5e-3)


def test_the_bootstrap_over_one_run_is_scipys():
    rng = np.random.default_rng(2)
    a, b = (rng.uniform(size=(2, 1, 400)) < [[[0.9]], [[0.8]]]).astype(float)
    ours = paired_bootstrap(a, b, 4000)
    theirs = stats.bootstrap(
        ((a - b)[0],), np.mean, n_resamples=4000, method="percentile", rng=rng
    ).confidence_interval
    np.testing.assert_allclose(ours.estimate, np.mean(a) - np.mean(b))
    # Both are random: percentiles of 4,000 draws wander by a tenth of a deviation.
    np.testing.assert_allclose(ours[1:], theirs, atol=4e-3)


def test_the_bootstrap_over_seeds_is_wider_when_seeds_disagree():
    rng = np.random.default_rng(3)
    b = (rng.uniform(size=(5, 300)) < 0.8).astype(float)
    alike = (rng.uniform(size=(5, 300)) < 0.85).astype(float)
    rates = np.array([[0.65], [0.75], [0.85], [0.95], [1.0]])
    apart = (rng.uniform(size=(5, 300)) < rates).astype(float)
    narrow, wide = (paired_bootstrap(a, b, 1000) for a in (alike, apart))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_the_bootstrap_is_the_same_every_time_and_zero_for_equals():
    a = np.random.default_rng(4).integers(2, size=(3, 50))
    b = np.random.default_rng(5).integers(2, size=(3, 50))
    assert paired_bootstrap(a, b, 200) == paired_bootstrap(a, b, 200)
    assert paired_bootstrap(a, b, 200) != paired_bootstrap(a, b, 200, seed=1)
    assert paired_bootstrap(a, a, 50) == (0.0, 0.0, 0.0)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04: times 4 3 2 1, never falling.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).shape == (0,)


def test_holm_lies_between_no_correction_and_bonferronis():
    p = np.random.default_rng(6).uniform(size=12) ** 3
    adjusted = holm(p)
    assert (p <= adjusted).all()
    assert (adjusted <= np.minimum(1, 12 * p) + 1e-12).all()
    np.testing.assert_array_equal(np.argsort(adjusted[np.argsort(p)]), np.arange(12))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson_interval(3, 2), "got 3 of 2"),
        (lambda: wilson_interval(0, 0), "got 0 of 0"),
        (lambda: t_interval([1.0]), "two values or more"),
        (lambda: paired_t(A, B[:4]), "got 5 and 4"),
        (lambda: mcnemar_exact(-1, 2), "got -1 and 2"),
        (lambda: paired_bootstrap(A, B), r"\[seeds, n\]"),
        (lambda: holm([0.1, 1.2]), r"in \[0, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
