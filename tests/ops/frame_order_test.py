"""Draws of frames: those that are allowed, as often as the motion has it."""

from itertools import combinations, permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.frame_order import (
    crop_frames,
    draw_frames,
    draw_quintuples,
    frame_differences,
    frames_at,
    keep_one_channel,
    order_classes,
    verification_tuples,
)

KEY = jax.random.key(0)
N = 6000


def test_differences_are_those_of_a_loop():
    x = np.random.default_rng(0).random((3, 5, 4, 6, 2), np.float32)
    wanted = [[abs(x[i, t + 1] - x[i, t]).mean() for t in range(4)] for i in range(3)]
    np.testing.assert_allclose(frame_differences(jnp.asarray(x)), wanted, rtol=1e-5)


def test_ends_are_as_frequent_as_the_mean_motion_between_them():
    motion = np.array([0.1, 0.5, 0.0, 1.0, 0.2, 0.7, 0.4])
    count, spread, margin = 3, 4, 1
    places = draw_frames(KEY, jnp.tile(jnp.float32(motion), (N, 1)), count, spread, margin)
    wanted = {
        (i, j): motion[i:j].mean()
        for i, j in combinations(range(margin, 8 - margin), 2)
        if count - 1 <= j - i <= spread
    }
    total = sum(wanted.values())
    ends = [tuple(row) for row in np.asarray(places)[:, [0, -1]].tolist()]
    assert set(ends) <= set(wanted)
    for pair, weight in wanted.items():
        p = weight / total
        assert abs(ends.count(pair) / N - p) < 4 * np.sqrt(p * (1 - p) / N) + 1e-9


def test_frames_between_the_ends_are_uniform_and_different():
    places = np.asarray(draw_frames(KEY, jnp.ones((N, 6)), 4, 6))
    assert (np.diff(places, axis=1) > 0).all()
    whole = places[(places[:, 0] == 0) & (places[:, -1] == 6)]
    inner = [tuple(row) for row in whole[:, 1:3].tolist()]
    for pair in combinations(range(1, 6), 2):
        sigma = np.sqrt(0.1 * 0.9 / len(whole))
        assert abs(inner.count(pair) / len(whole) - 0.1) < 4 * sigma


def test_a_video_at_rest_has_uniform_ends():
    places = np.asarray(draw_frames(KEY, jnp.zeros((N, 3)), 2, 1))
    shares = np.bincount(places[:, 0], minlength=3) / N
    np.testing.assert_allclose(shares, 1 / 3, atol=4 * np.sqrt(2 / 9 / N))


def test_five_places_are_in_order_with_gaps_within_the_spread():
    places = np.asarray(draw_quintuples(KEY, jnp.ones((N, 15)), 6, 3))
    a, b, c, d, e = places.T
    assert (a >= 0).all() and (e <= 15).all()
    assert ((b - a >= 3) & (b < c) & (c < d) & (d - b <= 6) & (e - d >= 3)).all()
    assert (b - a > 3).any() and (e - d > 3).any() and (d - b == 6).any()


def test_three_quarters_of_the_tuples_are_out_of_order_with_the_same_ends():
    places = jnp.tile(jnp.arange(5), (N, 1))
    chosen, y = (np.asarray(x) for x in verification_tuples(KEY, places))
    sigma = np.sqrt(0.75 * 0.25 / N)
    assert abs(1 - y.mean() - 0.75) < 4 * sigma
    assert set(map(tuple, np.sort(chosen[:, [0, 2]]).tolist())) == {(1, 3)}
    assert set(chosen[y == 1, 1]) == {2} and set(chosen[y == 0, 1]) == {0, 4}
    for label in (0, 1):
        backward = (chosen[y == label, 0] == 3).mean()
        assert abs(backward - 0.5) < 4 * np.sqrt(0.25 / (y == label).sum())
    before = (chosen[y == 0, 1] == 0).mean()
    assert abs(before - 0.5) < 4 * np.sqrt(0.25 / (y == 0).sum())


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_orders_and_their_reversals_are_all_permutations(n):
    rows = order_classes(n)
    both = [tuple(x) for x in np.concatenate([rows, rows[:, ::-1]]).tolist()]
    assert sorted(both) == sorted(permutations(range(n)))


def test_the_twelve_orders_are_those_of_the_released_code_up_to_reversal():
    released = "1234 1324 1342 1243 1423 1432 2134 2143 2314 3124 3142 3214"
    theirs = {frozenset((x, x[::-1])) for x in released.split()}
    ours = ["".join(map(str, row + 1)) for row in order_classes(4)]
    assert {frozenset((x, x[::-1])) for x in ours} == theirs


def test_frames_are_those_of_the_video():
    x = np.random.default_rng(1).random((4, 6, 2, 3, 1))
    places = np.random.default_rng(2).integers(6, size=(4, 3))
    wanted = np.stack([x[i, places[i]] for i in range(4)])
    found = frames_at(jnp.asarray(x), jnp.asarray(places))
    np.testing.assert_array_equal(found, np.float32(wanted))


def test_one_channel_is_kept_by_row_or_by_frame():
    x = jnp.broadcast_to(jnp.arange(3.0), (500, 4, 2, 2, 3))
    by_frame = np.asarray(keep_one_channel(KEY, x, 2))
    assert (by_frame == by_frame[:, :, :1, :1, :1]).all()
    assert by_frame.std(1).any()
    shares = np.bincount(by_frame[:, :, 0, 0, 0].astype(int).ravel()) / 2000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)
    by_row = np.asarray(keep_one_channel(KEY, x, 1))
    assert (by_row == by_row[:, :1, :1, :1, :1]).all() and by_row.std(0).all()


def test_crops_share_a_place_up_to_their_jitter():
    y, x = np.mgrid[:12, :10]
    frames = np.broadcast_to((100 * y + x)[..., None], (300, 3, 12, 10, 1))
    crops = np.asarray(crop_frames(jnp.asarray(frames), 4, KEY, 2))
    corners = np.stack(np.divmod(crops[:, :, 0, 0, 0], 100), -1)  # [n, k, 2]
    assert (np.diff(crops[..., 0], axis=-1) == 1).all()
    assert (np.diff(crops[..., 0], axis=-2) == 100).all()
    spread = np.ptp(corners, axis=1)
    assert spread.max() == 4 and corners.min() == 0
    assert corners.max((0, 1)).tolist() == [8, 6]
    still = np.asarray(crop_frames(jnp.asarray(frames), 4, KEY))
    assert (still[:, :1] == still).all() and (still[:1] != still).any()
    np.testing.assert_array_equal(
        crop_frames(jnp.asarray(frames), 4)[0, 0], frames[0, 0, 4:8, 3:7]
    )


def test_places_of_crops_are_as_frequent_as_the_motion_within_them():
    rng = np.random.default_rng(3)
    motion = np.float32(rng.random((7, 6)) ** 4)
    y, x = np.mgrid[:7, :6]
    frames = jnp.broadcast_to(jnp.asarray(100 * y + x)[..., None], (N, 1, 7, 6, 1))
    weights = jnp.broadcast_to(motion, (N, 7, 6))
    crops = np.asarray(crop_frames(frames, 3, KEY, 0, weights))[:, 0, 0, 0, 0]
    wanted = {
        (i, j): motion[i : i + 3, j : j + 3].sum() for i in range(5) for j in range(4)
    }
    total = sum(wanted.values())
    for (i, j), weight in wanted.items():
        p = weight / total
        found = (crops == 100 * i + j).mean()
        assert abs(found - p) < 4.5 * np.sqrt(p * (1 - p) / N)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_frames(KEY, jnp.ones((1, 3)), 3, 1), "need a spread of 2"),
        (lambda: draw_frames(KEY, jnp.ones((1, 3)), 3, 3, 1), "and 5 frames or more"),
        (lambda: draw_quintuples(KEY, jnp.ones((1, 9)), 3, 0), "gap must be at least 1"),
        (lambda: order_classes(1), "n must be at least 2"),
        (lambda: crop_frames(jnp.ones((1, 1, 5, 5, 1)), 4, KEY, 1), "need frames of 6 x 6"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
