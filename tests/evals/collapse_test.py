"""Diagnostics of collapse, against closed forms and loops."""

import numpy as np
import pytest
from scipy import stats

from jssl.evals import collapse


def sphere(n, d, seed=0):
    z = np.random.default_rng(seed).normal(size=(n, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_rankme_of_equal_values_is_their_number():
    assert collapse.rankme(np.eye(8)) == pytest.approx(8.000007, abs=1e-6)


def test_rankme_of_one_direction_is_one_and_ignores_scale():
    z = np.outer(np.arange(1.0, 9), [1.0, 2.0, 3.0])
    assert collapse.rankme(z) == pytest.approx(1, abs=1e-4)
    mixed = sphere(20, 5)
    assert collapse.rankme(100 * mixed) == pytest.approx(collapse.rankme(mixed))


def test_rankme_of_halving_values_is_the_catalogues():
    assert collapse.rankme(np.diag(0.5 ** np.arange(8))) == pytest.approx(3.89867, abs=1e-5)


def test_rank_by_covariance_is_another_number():
    z = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]])
    assert collapse.effective_rank(z) == pytest.approx(1.64938, abs=1e-5)
    values = np.linalg.eigvalsh(np.cov(z.T))
    assert collapse.effective_rank(z) == pytest.approx(np.exp(stats.entropy(values)))
    assert collapse.participation_ratio(z) == pytest.approx(1.47059, abs=1e-5)


def test_constant_rows_have_no_rank_and_no_spread():
    z = np.full((50, 6), 0.3) + 1e-9 * sphere(50, 6)
    assert collapse.effective_rank(z) == 0
    assert collapse.feature_std(z) < 1e-7
    assert collapse.resultant(z) == pytest.approx(1)
    assert collapse.uniformity(z) == pytest.approx(0, abs=1e-9)


def test_an_even_sphere_spreads_as_far_as_it_can():
    z = sphere(4000, 16)
    assert collapse.feature_std(z) == pytest.approx(1 / 4, rel=0.01)
    assert collapse.resultant(z) < 3 / np.sqrt(4000)
    assert collapse.uniformity(z) == pytest.approx(collapse.uniformity_sphere(16), abs=0.01)


@pytest.mark.parametrize(
    ("d", "value"), [(2, -1.575027), (3, -2.079777), (16, -3.513036), (128, -3.93753)]
)
def test_uniformity_of_the_sphere_is_the_catalogues(d, value):
    assert collapse.uniformity_sphere(d) == pytest.approx(value, abs=1e-6)


def test_uniformity_and_alignment_equal_loops():
    a, b = sphere(7, 3, 1), sphere(7, 3, 2)
    pairs = [np.exp(-2 * ((a[i] - a[j]) ** 2).sum()) for i in range(7) for j in range(i)]
    assert collapse.uniformity(3 * a) == pytest.approx(np.log(np.mean(pairs)))
    gaps = [((x - y) ** 2).sum() for x, y in zip(a, b, strict=True)]
    assert collapse.alignment(a, 5 * b) == pytest.approx(np.mean(gaps))
    assert collapse.alignment(a, b) == pytest.approx(2 - 2 * (a * b).sum(1).mean())


def test_singular_values_fall_off_after_the_rank():
    z = sphere(40, 3) @ np.random.default_rng(3).normal(size=(3, 10)) + 5
    values = collapse.singular_values(z)
    assert (values[:3] > 0.1).all()
    assert (values[3:] < 1e-12 * values[0] * 100).all()


def test_prototypes_are_counted_by_how_they_are_used():
    alike = np.zeros((6, 4))
    assert collapse.usage(alike) == pytest.approx((4, 4))
    assert collapse.usage(50 * np.eye(4)) == pytest.approx((4, 1))
    assert collapse.usage(np.tile([50.0, 0, 0, 0], (6, 1))) == pytest.approx((1, 1))


def test_bad_rows_are_told(unhooked):
    with pytest.raises(ValueError, match="two or more"):
        collapse.feature_std(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="finite"):
        collapse.rankme(np.array([[np.nan, 1.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="pairs"):
        collapse.alignment(np.ones((3, 2)), np.ones((4, 2)))
