import numpy as np
import pytest

from jssl.data.toys import RING
from jssl.evals import Features, mode_coverage, modes
from jssl.pictures import Scatter


def test_a_perfect_sampler_misses_one_point_in_ninety():
    rng = np.random.default_rng(0)
    n = 200_000
    samples = RING[rng.integers(8, size=n)] + 0.05 * rng.normal(size=(n, 2))
    found = mode_coverage(samples, RING, 0.05)
    share = 1 - np.exp(-4.5)  # a chi-square of two degrees, up to 9
    assert found.modes == 8
    error = np.sqrt(share * (1 - share) / n)
    np.testing.assert_allclose(found.high_quality, share, atol=4 * error)
    assert 0 <= found.reverse_kl < 1e-3


def test_seven_even_modes_of_eight_diverge_by_log_8_over_7():
    from scipy.spatial.distance import jensenshannon

    samples = np.repeat(RING[:7], 30, axis=0)
    found = mode_coverage(samples, RING, 0.05)
    assert (found.modes, found.high_quality) == (7, 1.0)
    np.testing.assert_allclose(found.reverse_kl, np.log(8 / 7), rtol=1e-12)
    np.testing.assert_allclose(found.reverse_kl, 0.1335313926, rtol=1e-9)
    p = found.counts / found.counts.sum()
    symmetric = jensenshannon(p, np.full(8, 1 / 8)) ** 2
    np.testing.assert_allclose(symmetric, 0.0454065781, rtol=1e-8)


def test_a_mode_is_covered_by_enough_samples_of_high_quality():
    near, far = RING[2] + [0.149, 0], RING[2] + [0.151, 0]  # three deviations: 0.15
    samples = np.stack([*[near] * 20, *[far] * 60, *[RING[5]] * 19])
    found = mode_coverage(samples, RING, 0.05)
    assert (found.modes, found.high_quality) == (1, 39 / 99)
    np.testing.assert_array_equal(found.counts, [0, 0, 20, 0, 0, 19, 0, 0])
    assert mode_coverage(samples, RING, 0.05, least=19).modes == 2
    assert mode_coverage(samples, RING, 0.05, within=3.1).counts[2] == 80


def test_without_a_good_sample_no_mode_is_covered():
    found = mode_coverage(np.zeros((50, 2)), RING, 0.05)
    assert (found.modes, found.high_quality) == (0, 0)
    np.testing.assert_allclose(found.reverse_kl, np.log(8))


class Generator(Features):
    """Samples of a method, and the splits for which they were generated."""

    def __init__(self, made):
        self.made, self.asked = made, []

    def generated(self, split):
        self.asked.append(split)
        return {"image": self.made}


@pytest.mark.parametrize("final", [False, True])
def test_the_eval_judges_the_samples_of_a_split_and_draws_them(final):
    made = np.concatenate([np.repeat(RING[:6], 20, axis=0), np.zeros((30, 2))])
    features = Generator(made)
    found = modes(RING, 0.05)(features, final)
    assert features.asked == ["test" if final else "val"]
    assert (found["modes"], found["high_quality"]) == (6.0, 0.8)
    np.testing.assert_allclose(found["reverse_kl"], np.log(8 / 6))
    scatter = found["generated"]
    assert isinstance(scatter, Scatter)
    np.testing.assert_array_equal(scatter.labels, [*np.repeat(np.arange(6), 20), *[8] * 30])
    assert scatter.title == "N=150 generated\n6 of 8 modes, 80.0 % within 3 deviations"


def test_a_protocol_names_its_settings():
    assert modes(RING, 0.05).protocol == (
        "8 modes of deviation 0.05: samples within 3 deviations, 20 to cover a mode"
    )


def test_more_than_two_axes_are_judged_without_a_picture():
    means = np.eye(3)
    found = modes(means, 0.1)(Generator(np.repeat(means, 20, axis=0)), True)
    assert found == {"modes": 3.0, "high_quality": 1.0, "reverse_kl": 0.0}


@pytest.mark.parametrize("shape", [(5, 3), (5,), (0, 2)])
def test_samples_of_another_width_are_refused(unhooked, shape):
    with pytest.raises(ValueError, match="rows of one width"):
        mode_coverage(np.zeros(shape), RING, 0.05)
