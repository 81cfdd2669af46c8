"""Optical flow: exact flow of rendered scenes, other implementations, robust fits."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from jssl.data.rendering import rendered
from jssl.ops.flow import (
    affine_flow,
    block_matching_flow,
    end_point_error,
    fit_affine_flow,
    lucas_kanade,
    motion_mask,
    warp,
)

KEY = jax.random.key(0)
GOLDEN = Path(__file__).parents[1] / "golden" / "farneback.npz"


@cache
def scenes():
    return rendered(KEY, 32, size=64, camera=0.3)


def frames():
    video = jnp.asarray(scenes()["video"] / np.float32(255))
    return video[:, 0], video[:, 1]


def clear():
    """Pixels that are seen in both frames, away from contours."""
    x = scenes()
    return (x["occluded"][:, 0] == 0) & (x["edge"][:, 0] == 0) & (x["edge"][:, 1] == 0)


def test_warping_agrees_with_scipy():
    image = np.random.default_rng(0).random((2, 9, 11, 3)).astype(np.float32)
    flow = 3 * np.random.default_rng(1).normal(size=(2, 9, 11, 2)).astype(np.float32)
    y, x = np.mgrid[:9, :11]
    for n, c in np.ndindex(2, 3):
        at = [y + flow[n, ..., 1], x + flow[n, ..., 0]]
        wanted = map_coordinates(image[n, ..., c], at, order=1, mode="nearest")
        found = warp(jnp.asarray(image), jnp.asarray(flow))[n, ..., c]
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("shift", [(3, -2), (0, 4), (-4, 0), (0, 0)])
def test_block_matching_finds_a_whole_shift_exactly(shift):
    x, y = shift
    first = jax.random.uniform(KEY, (2, 24, 24, 3))
    second = jnp.roll(first, (y, x), (1, 2))
    flow = block_matching_flow(first, second)[:, 8:-8, 8:-8]
    np.testing.assert_array_equal(flow, np.broadcast_to(shift, flow.shape))


def test_block_matching_agrees_with_a_double_loop():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 7, 8, 1)).astype(np.float32)
    found = block_matching_flow(
        jnp.asarray(first[None]), jnp.asarray(second[None]), radius=2, block=3, penalty=0.01
    )[0]
    h, w = first.shape[:2]
    for i, j in np.ndindex(h, w):
        best = {}
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                cost, count = 0.0, 0
                for a in range(max(i - 1, 0), min(i + 2, h)):
                    for b in range(max(j - 1, 0), min(j + 2, w)):
                        at = np.clip(a + dy, 0, h - 1), np.clip(b + dx, 0, w - 1)
                        cost += float((first[a, b, 0] - second[*at, 0]) ** 2)
                        count += 1
                best[dx, dy] = cost / count + 0.01 * np.hypot(dx, dy)
        np.testing.assert_array_equal(found[i, j], min(best, key=best.__getitem__))


def test_both_estimators_find_the_exact_flow_of_rendered_scenes():
    truth = jnp.asarray(scenes()["flow"][:, 0])
    errors = {"still": end_point_error(jnp.zeros_like(truth), truth)}
    errors["blocks"] = end_point_error(block_matching_flow(*frames()), truth)
    errors["lucas"] = end_point_error(jax.jit(lucas_kanade)(*frames()), truth)
    mean = {name: float(np.asarray(x)[clear()].mean()) for name, x in errors.items()}
    half = {name: float(np.median(np.asarray(x)[clear()])) for name, x in errors.items()}
    assert mean["lucas"] < 0.6 * mean["still"], mean
    assert mean["blocks"] < 0.9 * mean["still"], mean
    assert half["lucas"] < 0.2 and half["blocks"] < 0.5, half


def test_estimates_on_camera_frames_are_near_those_of_opencv():
    """Farneback's method in OpenCV, on two frames of a film of a moving head."""
    golden = np.load(GOLDEN)
    first, second = (
        jnp.asarray(x[None, ..., None] / np.float32(255)) for x in golden["frames"]
    )
    wanted = jnp.asarray(golden["flow"], jnp.float32)[None]
    found = jax.jit(lucas_kanade)(first, second)
    blocks = block_matching_flow(first, second)
    moves = np.asarray(jnp.square(wanted).sum(-1) > 1)[0]
    apart = lambda flow: float(np.asarray(end_point_error(flow, wanted))[0][moves].mean())
    still = apart(jnp.zeros_like(wanted))
    assert apart(found) < 0.5 * still and apart(blocks) < 0.6 * still
    photometric = lambda flow: float(jnp.abs(warp(second, flow) - first).mean())
    assert photometric(found) < 1.1 * photometric(wanted)
    assert photometric(blocks) < 1.1 * photometric(wanted)
    assert photometric(found) < 0.7 * photometric(jnp.zeros_like(wanted))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.45])
def test_the_affine_fit_recovers_a_field_with_outliers(share):
    rng = np.random.default_rng(0)
    matrix = np.array([[0.02, -0.01, 1.5], [0.03, 0.015, -2.0]], np.float32)
    flow = np.array(affine_flow(jnp.asarray(matrix), 20, 30))
    out = rng.random((20, 30)) < share
    flow[out] += rng.normal(0, 3, (int(out.sum()), 2)) + 2
    found, weight = fit_affine_flow(jnp.asarray(flow))
    np.testing.assert_allclose(found, matrix, atol=1e-4)
    assert np.asarray(weight)[~out].min() > 0.9
    assert not share or np.asarray(weight)[out].mean() < 0.05


def test_fits_of_several_flows_are_those_of_each():
    flow = jax.random.normal(KEY, (3, 2, 8, 8, 2))
    every, _ = fit_affine_flow(flow)
    for i, j in np.ndindex(3, 2):
        alone, _ = fit_affine_flow(flow[i, j])
        np.testing.assert_allclose(every[i, j], alone, rtol=1e-3, atol=1e-4)


def test_a_camera_that_pans_moves_no_object():
    flow = jnp.broadcast_to(jnp.array([3.0, -1.0]), (2, 16, 16, 2))
    mask, valid = motion_mask(flow, cells=4)
    assert mask.shape == (2, 4, 4)
    assert not mask.any() and valid.all()


def test_masks_of_rendered_scenes_are_the_objects_that_move():
    still_camera = rendered(KEY, 64, camera=0.05)
    truth = still_camera["moving"][:, 0] > 0
    mask, valid = map(np.asarray, motion_mask(jnp.asarray(still_camera["flow"][:, 0])))
    known = valid > 0
    union = ((mask > 0) | truth) & known
    assert ((mask > 0) & truth & known).sum() / union.sum() > 0.9
    assert known.mean() > 0.95


def test_uncertain_pixels_are_neither_foreground_nor_background():
    flow = jnp.zeros((9, 9, 2)).at[4, 4].set(jnp.array([0.5, 0.0]))  # sigmoid(0) = 0.5
    mask, valid = motion_mask(flow)
    assert valid[4, 4] == 0 and mask[4, 4] == 0 and valid.sum() == 80


def test_bad_arguments_are_refused(unhooked):
    x = jnp.zeros((1, 10, 10, 1))
    with pytest.raises(ValueError, match="block odd"):
        block_matching_flow(x, x, block=4)
    with pytest.raises(ValueError, match=r"multiples of 2\^\(levels - 1\)"):
        lucas_kanade(x, x, levels=3)
    with pytest.raises(ValueError, match="in order"):
        motion_mask(jnp.zeros((4, 4, 2)), low=0.8)
    with pytest.raises(ValueError, match="warp: flow"):
        warp(x, jnp.zeros((1, 10, 9, 2)))
