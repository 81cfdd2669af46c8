"""Features of EEG: closed forms for Gaussian signals and sines, and turned caps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal, stats

from jssl.ops.eeg import (
    BANDS,
    band_filter,
    de_features,
    differential_entropy,
    eeg_noise,
    eeg_rotate,
    hemisphere,
    interpolation,
    moving_average,
    topographic_map,
)


def test_the_entropy_of_gaussian_rows_is_the_closed_form():
    scale = np.array([0.1, 1.0, 1.0, 7.0])
    x = scale[:, None] * np.random.default_rng(0).normal(size=(4, 200_000))
    found = differential_entropy(jnp.asarray(x, jnp.float32))
    wanted = [stats.norm(scale=s).entropy() for s in scale]
    np.testing.assert_allclose(wanted[1], 1.4189385332, rtol=1e-10)
    np.testing.assert_allclose(found, wanted, atol=4 / np.sqrt(2 * 200_000))
    spaced = [stats.differential_entropy(row, method="vasicek") for row in x]
    np.testing.assert_allclose(found, spaced, atol=0.02)


def test_twice_the_amplitude_adds_log_2_and_a_sine_has_its_number(x64):
    t = np.arange(200) / 200
    x = jnp.asarray(np.sin(2 * np.pi * 10 * t))
    np.testing.assert_allclose(differential_entropy(x), 1.0723649429, rtol=1e-9)
    more = differential_entropy(2 * x) - differential_entropy(x)
    np.testing.assert_allclose(more, np.log(2), rtol=1e-10)


def test_a_sine_is_in_its_band_alone(x64):
    t = np.arange(1000) / 200
    tones = {"delta": 2, "theta": 6, "alpha": 10, "beta": 20, "gamma": 40}
    x = np.stack(
        [
            a * np.sin(2 * np.pi * f * t)
            for a, f in zip(range(1, 6), tones.values(), strict=True)
        ]
    )
    found = np.asarray(de_features(jnp.asarray(x.sum(0, keepdims=True)), 200))
    assert found.shape == (5, 1, 5)
    wanted = 1.0723649429 + np.log(np.arange(1, 6))
    np.testing.assert_allclose(found[:, 0], np.tile(wanted, (5, 1)), rtol=1e-9)
    for band, tone in zip(BANDS.values(), x, strict=True):
        np.testing.assert_allclose(
            band_filter(jnp.asarray(x.sum(0)), 200, band), tone, atol=1e-10
        )


def test_the_power_of_a_band_is_that_of_the_periodogram(x64):
    x = np.random.default_rng(1).normal(size=(3, 400))
    frequency, power = signal.periodogram(x, 200, detrend=False)
    inside = (8 <= frequency) & (frequency < 14)
    wanted = power[:, inside].sum(1) * (frequency[1] - frequency[0])
    filtered = band_filter(jnp.asarray(x), 200, (8, 14))
    np.testing.assert_allclose(np.square(filtered).mean(1), wanted, rtol=1e-9)
    with pytest.raises(ValueError, match="0 <= low < high, got 4, 4"):
        band_filter(jnp.asarray(x), 200, (4, 4))
    with pytest.raises(ValueError, match="rate 50 have no frequency from 31 to 50"):
        band_filter(jnp.asarray(x), 50, (31, 50))
    with pytest.raises(ValueError, match="are no window of 800"):
        de_features(jnp.asarray(x), 200, window=4)


def test_a_moving_average_is_the_mean_of_the_rows_around():
    x = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    found = moving_average(jnp.asarray(x), 4)
    for i in range(7):
        np.testing.assert_allclose(found[i], x[max(i - 1, 0) : i + 3].mean(0), rtol=1e-5)
    np.testing.assert_array_equal(moving_average(x, 1), x)


def test_electrodes_are_spread_over_the_upper_half_of_the_sphere():
    places = hemisphere()
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1)
    assert (places[:, 2] > 0).all()
    far = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(62)
    nearest = far.min(1)
    assert nearest.min() > 0.5 * nearest.max()


def test_a_cap_that_is_not_turned_has_its_values_and_a_turned_one_those_of_the_field():
    """A smooth function of the place, turned with the cap."""
    places = hemisphere()
    field = lambda p: np.stack([p[:, 0] * p[:, 2], p[:, 1]], 1)
    x = jnp.asarray(field(places)[None], jnp.float32)
    np.testing.assert_allclose(eeg_rotate(x, places, 0.0), x, atol=1e-4)
    angle = np.deg2rad(18)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    wanted = field(places @ turn.T)
    inside = places[:, 2] > 0.2
    found = eeg_rotate(x, places)[0]
    np.testing.assert_allclose(found[inside], wanted[inside], atol=0.06)
    assert np.abs(wanted - x[0])[inside].max() > 0.2
    np.testing.assert_allclose(interpolation(places[:9] * 1.01, places).sum(1), 1)
    with pytest.raises(ValueError, match="right, front or up, got 'left'"):
        eeg_rotate(x, places, axis="left")


def test_noise_is_in_units_of_the_deviation_of_each_feature():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5000, 3)) * [1, 10, 0])
    key = jax.random.key(0)
    np.testing.assert_array_equal(eeg_noise(key, x, 0), x)
    added = np.asarray(eeg_noise(key, x) - x)
    np.testing.assert_allclose(added.std(0), [0.2, 2, 0], rtol=0.05)


def test_a_map_shows_front_up_and_right_right():
    places = hemisphere()
    front, right = topographic_map(places[:, :2].T[::-1], places, side=33)
    assert front[2, 16] > 0.7 and front[30, 16] < -0.7
    assert right[16, 30] > 0.7 and right[16, 2] < -0.7
    assert np.isnan(front[0, 0]) and abs(front[16, 16]) < 0.1
