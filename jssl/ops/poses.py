r"""Poses of cameras: the motion between two of them, its classes, and the flow it causes.

A pose is a rotation R, whose columns are the axes of the camera in the world (right, down,
forward), and the center t of the camera. A point X of camera 1 is R^T (X - t) in camera 2,
if (R, t) is the pose of camera 2 as seen from camera 1. A pinhole camera sees the point
(X, Y, Z) at (f_x X / Z, f_y Y / Z) from the middle of its image.

Hartley and Zisserman, *Multiple View Geometry in Computer Vision*, 2nd ed. 2004, section 6.
"""

import jax.numpy as jnp
import numpy as np
from jax.scipy.spatial.transform import Rotation
from jaxtyping import Array, Float, Int

from jssl.ops.shapes import expect


def relative_pose(
    rotation: Float[Array, "3 3"],
    center: Float[Array, "3"],
    rotation2: Float[Array, "3 3"],
    center2: Float[Array, "3"],
) -> tuple[Float[Array, "3"], Float[Array, "3"]]:
    """The pose of camera 2 as seen from camera 1: log(R1^T R2) and R1^T (t2 - t1).

    Args:
      rotation, center: pose of camera 1 in the world, R1 and t1.
      rotation2, center2: pose of camera 2, R2 and t2.

    Returns:
      The axis of rotation times the angle in radians, at most pi, and the translation in
      units of the centers, both along the axes of camera 1.

    Raises:
      ValueError: other shapes.

    >>> turn = Rotation.from_rotvec(jnp.array([0.0, 0.5, 0.0])).as_matrix()  # to the right
    >>> found = relative_pose(jnp.eye(3), jnp.zeros(3), turn, jnp.array([0.0, 0.0, 2.0]))
    >>> [x.round(3).tolist() for x in found]
    [[0.0, 0.5, 0.0], [0.0, 0.0, 2.0]]
    """
    matrices = {"rotation": (rotation, "3 3"), "rotation2": (rotation2, "3 3")}
    vectors = {"center": (center, "3"), "center2": (center2, "3")}
    expect("relative_pose", **matrices, **vectors)
    turned = Rotation.from_matrix(rotation.T @ rotation2)
    return turned.as_rotvec(), rotation.T @ (center2 - center)


def bin_pose(
    pose: Float[Array, "n k"], edges: Float[Array | np.ndarray, "k b"]
) -> Int[Array, "n k"]:
    """Number of the bin of each component of motions, from 0 to b: edges[i - 1] <= x.

    Args:
      pose: k components of n motions.
      edges: sorted bounds between the b + 1 bins of each component.

    Raises:
      ValueError: other numbers of components.

    >>> bin_pose(jnp.array([[0.2, -9.0], [-0.2, 9.0]]), np.array([[-0.1, 0.1], [-5, 5]]))
    Array([[2, 0],
           [0, 2]], dtype=int32)
    """
    expect("bin_pose", pose=(pose, "n k"), edges=(edges, "k b"))
    return (pose[..., None] >= jnp.asarray(edges)).sum(-1).astype(jnp.int32)


def camera_flow(
    depth: Float[Array, "h w"],
    rotation: Float[Array, "3"],
    translation: Float[Array, "3"],
    focal: tuple[float, float],
) -> Float[Array, "h w 2"]:
    """Optical flow of a static world: the motion (x, y) of each pixel, in pixels.

    It is exact for the pixels that the second camera sees, and points far outside of the
    image for what is behind it.

    Args:
      depth: Z of what each pixel of the first image shows, in units of the translation.
      rotation, translation: pose of the second camera, as of `relative_pose`.
      focal: f_x and f_y in pixels; a field of view of 90 degrees is half the width.

    Raises:
      ValueError: other shapes.

    >>> ahead = jnp.array([0.0, 0.0, 1.0])  # pixels move outward from the middle
    >>> camera_flow(jnp.full((1, 3), 3.0), jnp.zeros(3), ahead, (1.0, 1.0))[0, :, 0]
    Array([-0.5,  0. ,  0.5], dtype=float32)
    """
    vectors = {"rotation": (rotation, "3"), "translation": (translation, "3")}
    sizes = expect("camera_flow", depth=(depth, "h w"), **vectors)
    fx, fy = focal
    x = jnp.arange(sizes["w"], dtype=jnp.float32) - (sizes["w"] - 1) / 2
    y = jnp.arange(sizes["h"], dtype=jnp.float32)[:, None] - (sizes["h"] - 1) / 2
    points = jnp.stack([depth * x / fx, depth * y / fy, depth], -1)  # [h, w, 3]
    there = (points - translation) @ Rotation.from_rotvec(rotation).as_matrix()
    ahead = jnp.maximum(there[..., 2], 1e-3)
    return jnp.stack([fx * there[..., 0] / ahead - x, fy * there[..., 1] / ahead - y], -1)
