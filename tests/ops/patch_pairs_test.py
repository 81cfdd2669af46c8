"""Patch pairs: where patches are cut, which class a pair has, what the remedies remove."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jssl.ops import patch_pairs
from jssl.ops.patch_pairs import OFFSETS, PAIRS, POSITIONS, WEIGHTS, nine_patches

cut = jax.jit(nine_patches, static_argnames=("patch", "gap", "jitter"))
COLORS = jax.random.uniform(jax.random.key(0), (4, 9, 6, 6, 3))


def test_classes_are_in_reading_order_and_opposite_ones_sum_to_seven():
    assert POSITIONS.tolist() == [
        OFFSETS.tolist().index([b // 3 - a // 3, b % 3 - a % 3]) for a, b in PAIRS
    ]
    known = dict(zip(map(tuple, PAIRS), POSITIONS, strict=True))
    assert len(known) == 40
    assert all(known[b, a] == 7 - label for (a, b), label in known.items())
    assert [known[4, k] for k in (0, 1, 2, 3, 5, 6, 7, 8)] == list(range(8))


def test_every_pair_of_touching_places_is_one():
    touching = {
        (a, b)
        for a in range(9)
        for b in range(9)
        if a != b and max(abs(a // 3 - b // 3), abs(a % 3 - b % 3)) == 1
    }
    assert set(map(tuple, PAIRS.tolist())) == touching
    np.testing.assert_allclose(WEIGHTS.sum(), 1, rtol=1e-6)


def corners(key, n, jitter, gap=3):
    """Corners [n, 9, 2] of patches of 4 pixels, read from numbered pixels."""
    h, w = 4 * 3 + 2 * gap + 2 * jitter + 3, 4 * 3 + 2 * gap + 2 * jitter + 1
    numbers = jnp.arange(float(h * w)).reshape(1, h, w, 1).repeat(n, 0)
    patches = np.asarray(cut(numbers, patch=4, gap=gap, key=key, jitter=jitter))
    corner = patches[:, :, 0, 0, 0]
    block = np.arange(4)[:, None] * w + np.arange(4)
    np.testing.assert_array_equal(patches[..., 0], corner[..., None, None] + block)
    return np.stack(np.divmod(corner.astype(int), w), -1)


def test_without_a_key_the_grid_is_regular_and_central():
    found = corners(None, 1, 1)[0]
    wanted = [[2 + 7 * i, 1 + 7 * j] for i in range(3) for j in range(3)]
    assert found.tolist() == wanted


def test_with_a_key_grids_lie_anywhere_and_patches_jitter_each_by_itself():
    found = corners(jax.random.key(0), 500, 1)
    step = 7 * np.stack(np.divmod(np.arange(9), 3), 1)
    place = found - step
    assert [set(place[..., axis].ravel()) for axis in (0, 1)] == [
        set(range(6)),
        {0, 1, 2, 3},
    ]
    assert set(np.ptp(place, axis=1).ravel()) <= {0, 1, 2}
    shift = place - place.mean(1, keepdims=True)
    down = np.corrcoef(shift[..., 0].T)  # centered, so that -1/8 is independence
    assert abs(down - np.where(np.eye(9), 1, -1 / 8)).max() < 0.17


def test_without_jitter_only_the_grid_moves():
    found = corners(jax.random.key(0), 50, 0)
    assert (np.diff(found.reshape(50, 3, 3, 2), axis=1)[..., 0] == 7).all()
    assert (np.diff(found.reshape(50, 3, 3, 2), axis=2)[..., 1] == 7).all()
    assert len(np.unique(found[:, 0], axis=0)) == 8


def test_patches_never_overlap_if_the_gap_is_twice_the_jitter():
    found = corners(jax.random.key(1), 500, 2, gap=4)
    apart = abs(found[:, :, None] - found[:, None]).max(-1)  # [500, 9, 9]
    assert apart[:, ~np.eye(9, dtype=bool)].min() >= 4


def test_a_grid_that_does_not_fit_is_refused(unhooked):
    with pytest.raises(ValueError, match="need images of 20 x 20, got 19 x 30"):
        nine_patches(jnp.zeros((1, 19, 30, 1)), 4, 3, jax.random.key(0), 1)


def test_dropping_keeps_one_centered_channel_and_a_hundredth_of_noise():
    dropped = np.asarray(patch_pairs.drop_colors(jax.random.key(1), COLORS))
    centered = COLORS - COLORS.mean((2, 3), keepdims=True)
    kept = np.asarray((abs(dropped - centered) < 1e-6).all((2, 3)))  # [4, 9, 3]
    assert (kept.sum(-1) == 1).all()
    assert set(kept.argmax(-1).ravel()) == {0, 1, 2}
    deviation = np.where(kept, np.asarray(COLORS.std((2, 3))), 0).sum(-1)
    noise = (
        np.where(kept[:, :, None, None], np.nan, dropped) / deviation[..., None, None, None]
    )
    assert np.nanstd(noise) == pytest.approx(0.01, rel=0.05)
    assert abs(np.nanmean(noise)) < 1e-3


def test_channels_are_kept_equally_often_and_gray_patches_always():
    many = jnp.broadcast_to(COLORS[:1, :1], (3000, 1, 6, 6, 3))
    dropped = patch_pairs.drop_colors(jax.random.key(2), many)
    kept = np.asarray(dropped.std((1, 2, 3))).argmax(-1)
    assert abs(np.bincount(kept) / 3000 - 1 / 3).max() < 0.03
    gray = COLORS[..., :1]
    dropped = patch_pairs.drop_colors(jax.random.key(2), gray)
    np.testing.assert_allclose(dropped, gray - gray.mean((2, 3), keepdims=True), atol=1e-6)


def test_the_projection_is_that_of_the_paper():
    wanted = np.array([[5, 2, -1], [2, 2, 2], [-1, 2, 5]]) / 6
    matrix = np.asarray(patch_pairs.project_colors(jnp.eye(3)[:, None, None]))[:, 0, 0]
    np.testing.assert_allclose(matrix, wanted, atol=1e-6)
    np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-6)
    assert np.trace(matrix) == pytest.approx(2)
    np.testing.assert_allclose(
        patch_pairs.project_colors(COLORS), np.asarray(COLORS) @ wanted.T, atol=1e-6
    )


def test_two_channels_cannot_be_projected(unhooked):
    with pytest.raises(ValueError, match="must have 3 channels or 1, got 2"):
        patch_pairs.project_colors(COLORS[..., :2])


def test_a_standardized_patch_has_the_rms_and_channels_of_mean_zero():
    x = np.asarray(patch_pairs.standardize(COLORS * jnp.array([1.0, 3.0, 0.1]), 50.0))
    np.testing.assert_allclose(np.square(x).mean((2, 3, 4)), 2500, rtol=1e-4)
    np.testing.assert_allclose(x.mean((2, 3)), 0, atol=1e-4)
    ratio = x[..., 1].std((2, 3)) / x[..., 0].std((2, 3))
    wanted = 3 * COLORS[..., 1].std((2, 3)) / COLORS[..., 0].std((2, 3))
    np.testing.assert_allclose(ratio, wanted, rtol=1e-4)
    flat = patch_pairs.standardize(jnp.full((1, 4, 4, 3), 0.7))
    np.testing.assert_allclose(flat, 0, atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 7, 11])
def test_a_reduced_patch_is_that_of_pillow(side):
    patch = np.asarray(jax.random.uniform(jax.random.key(side), (12, 12)))
    small = Image.fromarray(patch).resize((side, side), Image.Resampling.BILINEAR)
    wanted = np.asarray(small.resize((12, 12), Image.Resampling.BILINEAR))
    found = patch_pairs._resampled(jnp.asarray(patch)[..., None], jnp.float32(side))
    np.testing.assert_allclose(found[..., 0], wanted, atol=2e-6)


def test_a_share_of_the_patches_is_reduced_to_sides_uniform_in_area():
    """The side of each is found among the reductions of one patch to all sides."""
    patch = jax.random.uniform(jax.random.key(3), (20, 20, 1))
    many = jnp.broadcast_to(patch, (3000, 20, 20, 1))
    found = jax.jit(patch_pairs.pixelate)(jax.random.key(4), many, 0.4)
    changed = np.asarray((found != many).any((1, 2, 3)))
    assert abs(changed.mean() - 0.4) < 0.03
    known = jax.vmap(patch_pairs._resampled, (None, 0))(patch, jnp.arange(2.0, 20.0))
    errors = abs(np.asarray(found)[changed][:, None] - np.asarray(known)).max((2, 3, 4))
    assert errors.min(1).max() < 1e-5
    counts = np.bincount(errors.argmin(1), minlength=18) / changed.sum()
    wanted = np.diff(np.arange(2, 21) ** 2) / (20**2 - 2**2)
    assert abs(counts - wanted).max() < 0.025
