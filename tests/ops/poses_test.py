"""Relative poses, their bins, and flow: against SciPy, and by projecting points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jssl.ops.poses import bin_pose, camera_flow, relative_pose


def cameras(seed):
    """Rotations [2, 3, 3] and centers [2, 3]."""
    turns = Rotation.random(2, random_state=seed).as_matrix()
    return np.float32(turns), np.random.default_rng(seed).normal(size=(2, 3)).astype("f4")


@pytest.mark.parametrize("seed", range(5))
def test_the_relative_pose_is_that_of_scipy(seed):
    (one, two), (t1, t2) = cameras(seed)
    turn, shift = relative_pose(*map(jnp.asarray, (one, t1, two, t2)))
    wanted = (Rotation.from_matrix(one).inv() * Rotation.from_matrix(two)).as_rotvec()
    np.testing.assert_allclose(turn, wanted, atol=2e-5)
    np.testing.assert_allclose(shift, one.T @ (t2 - t1), atol=1e-5)


def test_equal_poses_have_no_motion_and_a_motion_and_its_inverse_cancel():
    (one, two), (t1, t2) = (map(jnp.asarray, x) for x in cameras(0))
    np.testing.assert_allclose(
        np.concatenate(relative_pose(one, t1, one, t1)), 0, atol=2e-7
    )
    turn, shift = relative_pose(one, t1, two, t2)
    back, moved = relative_pose(two, t2, one, t1)
    there = Rotation.from_rotvec(turn).as_matrix()
    np.testing.assert_allclose(
        there @ Rotation.from_rotvec(back).as_matrix(), np.eye(3), atol=1e-5
    )
    np.testing.assert_allclose(there @ moved + shift, 0, atol=1e-5)


def test_bins_are_those_of_digitize(unhooked):
    pose = np.random.default_rng(0).normal(size=(50, 3)).astype("f4")
    edges = np.sort(np.random.default_rng(1).normal(size=(3, 4)).astype("f4"))
    found = bin_pose(jnp.asarray(pose), edges)
    wanted = [np.digitize(x, e) for x, e in zip(pose.T, edges, strict=True)]
    np.testing.assert_array_equal(found.T, wanted)
    with pytest.raises(ValueError, match=r"bin_pose: edges must be float\[k=3, b\]"):
        bin_pose(jnp.asarray(pose), edges[:2])


def test_flow_follows_the_projection_of_points():
    """A loop over pixels: unproject, move to the second camera, project."""
    random = np.random.default_rng(0)
    depth = 4 + random.random((5, 6)).astype("f4")
    turn, shift = np.float32([0.1, -0.2, 0.05]), np.float32([0.3, -0.1, 0.5])
    found = camera_flow(
        jnp.asarray(depth), jnp.asarray(turn), jnp.asarray(shift), (4.0, 5.0)
    )
    axes = Rotation.from_rotvec(turn).as_matrix()
    for i in range(5):
        for j in range(6):
            x, y = j - 2.5, i - 2
            point = depth[i, j] * np.array([x / 4, y / 5, 1])
            there = axes.T @ (point - shift)
            wanted = [4 * there[0] / there[2] - x, 5 * there[1] / there[2] - y]
            np.testing.assert_allclose(found[i, j], wanted, rtol=1e-4, atol=1e-5)


def test_without_motion_there_is_no_flow_and_a_turn_ignores_depth():
    depth = jnp.asarray(np.random.default_rng(0).random((4, 4)).astype("f4")) + 1
    still = jnp.zeros(3)
    np.testing.assert_allclose(camera_flow(depth, still, still, (3.0, 3.0)), 0, atol=1e-6)
    turn = jnp.array([0.0, 0.1, 0.02])
    flows = [camera_flow(x, turn, still, (3.0, 3.0)) for x in (depth, 7 * depth)]
    np.testing.assert_allclose(*flows, atol=1e-5)
    assert jax.numpy.abs(flows[0]).max() > 0.1
