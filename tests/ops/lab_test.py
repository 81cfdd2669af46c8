"""Lab colors: scikit-image's numbers, the published bins, and soft codes by loops."""

from hashlib import sha256
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.neighbors import NearestNeighbors

from jssl.losses import rebalanced_cross_entropy, rebalancing_weights
from jssl.ops.lab import (
    ab_bins,
    annealed_mean,
    encode_ab,
    is_colored,
    lab_to_rgb,
    nearest_bin,
    rgb_to_lab,
    smooth_prior,
)

FILE = Path(__file__).parents[1] / "golden" / "lab.npz"
GOLDEN = {k: jnp.asarray(x) for k, x in np.load(FILE).items() if k != "versions"}
DRAW = np.random.default_rng(0)
BINS = ab_bins()
COLORS = jnp.asarray(DRAW.uniform(-110, 110, (3, 50, 2)), jnp.float32)


def test_lab_is_scikit_images():
    np.testing.assert_allclose(rgb_to_lab(GOLDEN["rgb"]), GOLDEN["lab"], atol=2e-4)


def test_rgb_of_lab_is_scikit_images_inside_and_outside_the_gamut():
    got = np.asarray(lab_to_rgb(GOLDEN["wide"]))
    np.testing.assert_allclose(got, GOLDEN["wide/rgb"], atol=1e-5)
    inside = ((got > 0) & (got < 1)).all(-1).mean()
    assert 0.05 < inside < 0.95


def test_lab_returns_as_the_same_rgb():
    rgb = GOLDEN["rgb"]
    np.testing.assert_allclose(lab_to_rgb(rgb_to_lab(rgb)), rgb, atol=1e-4)


def test_the_bins_are_the_published_ones():
    """The hash is of resources/pts_in_hull.npy, as OpenCV's samples/dnn/colorization.cpp
    has it in `hull_pts`, as little-endian int16, all a and then all b."""
    assert BINS.shape == (313, 2)
    digest = sha256(BINS.T.astype("<i2").tobytes()).hexdigest()
    assert digest[:16] == "836f492bf4dbc18d"


def test_the_bins_have_the_known_counts_for_each_a():
    counts = [int((BINS[:, 0] == a).sum()) for a in range(-90, 101, 10)]
    known = [5, 8, 10, 12, 14, 15, 16, 16, 17, 18, 18, 18, 19, 20, 19, 20, 20, 19, 19, 10]
    assert counts == known
    for a in np.unique(BINS[:, 0]):
        assert set(np.diff(BINS[BINS[:, 0] == a, 1])) == {10}


def test_the_bins_include_all_that_the_gamut_meets():
    """Of the points of the ab grid that are nearest to a color of sRGB, all are bins."""
    levels = np.linspace(0, 1, 52, dtype=np.float32)
    rgb = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    ab = np.asarray(rgb_to_lab(jnp.asarray(rgb)))[:, 1:]
    rounded = {tuple(x) for x in (10 * np.rint(ab / 10)).astype(int)}
    assert rounded <= {tuple(x) for x in BINS.astype(int)}
    assert 225 <= len(rounded) <= 261


def test_a_wider_spacing_keeps_its_multiples():
    wide = ab_bins(20)
    assert len(wide) == 78
    assert not (wide % 20).any()
    with pytest.raises(ValueError, match="spacing must be 10, 20, 30, 40 or 50, got 15"):
        ab_bins(15)


@pytest.mark.parametrize("neighbors", [5, 10])
def test_soft_codes_are_those_of_the_nearest_neighbors_of_scikit_learn(neighbors):
    got = np.asarray(encode_ab(COLORS, BINS, neighbors))
    flat = np.asarray(COLORS).reshape(-1, 2)
    distance, index = NearestNeighbors(n_neighbors=neighbors).fit(BINS).kneighbors(flat)
    want = np.zeros((len(flat), 313))
    for row, (d, at) in enumerate(zip(distance, index, strict=True)):
        # Far colors: the largest exponent, subtracted, keeps 64 bits from underflow.
        w = np.exp(-(d**2 - d[0] ** 2) / (2 * 5**2))
        want[row, at] = w / w.sum()
    np.testing.assert_allclose(got.reshape(-1, 313), want, atol=2e-5)


def test_a_soft_code_is_a_distribution_over_so_many_bins():
    near = jnp.asarray(DRAW.uniform(-20, 20, (200, 2)), jnp.float32)
    code = np.asarray(encode_ab(near, BINS))
    np.testing.assert_allclose(code.sum(-1), 1, rtol=1e-6)
    assert ((code > 0).sum(-1) == 5).all()


def test_a_color_on_a_bin_is_mostly_that_bin():
    code = np.asarray(encode_ab(jnp.asarray(BINS), BINS))
    assert (code.argmax(-1) == np.arange(313)).all()
    assert (np.asarray(nearest_bin(jnp.asarray(BINS), BINS)) == np.arange(313)).all()
    inner = np.flatnonzero((np.abs(BINS) <= 30).all(1))
    weight = 1 / (1 + 4 * np.exp(-2))  # four neighbors at a distance of 10
    np.testing.assert_allclose(code[inner, inner], weight, rtol=1e-5)


def test_more_neighbors_than_bins_are_refused():
    with pytest.raises(ValueError, match="neighbors must be 1 to 2, the bins, got 5"):
        encode_ab(COLORS, BINS[:2])


def test_a_smoothed_prior_is_a_double_loop_and_keeps_what_is_uniform():
    counts = DRAW.integers(0, 50, 313).astype(np.float32)
    want = np.zeros(313)
    for q in range(313):
        for r in range(313):
            d = float(((BINS[q] - BINS[r]) ** 2).sum())
            want[q] += counts[r] * np.exp(-d / 50)
    got = smooth_prior(jnp.asarray(counts), BINS)
    np.testing.assert_allclose(got, want / want.sum(), rtol=1e-5)
    inner = np.flatnonzero((np.abs(BINS) <= 30).all(1))
    flat = np.asarray(smooth_prior(jnp.ones(313), BINS))[inner]
    np.testing.assert_allclose(flat, flat[0], rtol=1e-4)
    assert float(smooth_prior(jnp.zeros(313).at[7].set(1.0), BINS).min()) == 0  # underflow


def test_weights_of_the_prior_average_to_one_and_mix_one_ignores_it():
    prior = smooth_prior(jnp.asarray(DRAW.integers(0, 50, 313), jnp.float32), BINS)
    weights = rebalancing_weights(prior)
    np.testing.assert_allclose((prior * weights).sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(rebalancing_weights(prior, 1.0), 1, rtol=1e-6)


def test_uniform_predictions_cost_the_logarithm_of_the_bins():
    """With hard targets in the frequencies of the prior: sum p w log Q = log 313."""
    prior = np.zeros(313, np.float32)
    prior[[3, 100, 200]] = 0.25, 0.25, 0.5
    target = jnp.eye(313)[jnp.array([3, 100, 200, 200])].reshape(1, 2, 2, 313)
    weights = rebalancing_weights(jnp.asarray(prior))
    loss = rebalanced_cross_entropy(jnp.zeros((1, 2, 2, 313)), target, weights)
    np.testing.assert_allclose(loss, 5.7462, atol=1e-4)


def test_the_annealed_mean_is_the_mean_at_one_and_the_mode_near_zero():
    logits = jnp.asarray(DRAW.normal(size=(4, 313)), jnp.float32)
    mean = softmax(logits, -1) @ BINS
    np.testing.assert_allclose(annealed_mean(logits, BINS, 1.0), mean, atol=1e-4)
    mode = BINS[np.asarray(logits).argmax(-1)]
    np.testing.assert_allclose(annealed_mean(logits, BINS, 1e-3), mode, atol=1e-2)
    z = softmax(logits, -1)
    power = np.exp(np.log(z) / 0.38)
    between = power / power.sum(-1, keepdims=True) @ BINS
    np.testing.assert_allclose(annealed_mean(logits, BINS), between, atol=1e-4)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        annealed_mean(logits, BINS, 0.0)


def test_an_image_is_gray_without_a_color_above_the_threshold():
    ab = jnp.zeros((3, 2, 2, 2)).at[1, 0, 1, 1].set(-5.1).at[2].set(5.0)
    assert is_colored(ab).tolist() == [False, True, False]


def test_colors_of_two_channels_are_refused(unhooked):
    for convert in (rgb_to_lab, lab_to_rgb):
        with pytest.raises(ValueError, match=r"must have 3 channels, last .*got \[4, 2\]"):
            convert(jnp.ones((4, 2)))
