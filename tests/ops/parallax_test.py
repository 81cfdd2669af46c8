"""Flow of a moving camera and depth from it, against derivatives of the projection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from jssl.data.rendering import rendered
from jssl.ops.parallax import (
    estimate_translation,
    percentile_normalize,
    relative_depth,
    rotational_flow,
)

FOCAL, H, W = 20.0, 12, 16
KEY = jax.random.key(0)
DEPTH = jax.random.uniform(KEY, (H, W), minval=2.0, maxval=10.0)


def instantaneous(translation, omega, depth=DEPTH):
    """The derivative by time of the projections of points, by automatic differentiation."""
    x, y = jnp.meshgrid(jnp.arange(W) - (W - 1) / 2, jnp.arange(H) - (H - 1) / 2)
    point = depth[..., None] * jnp.stack([x / FOCAL, y / FOCAL, jnp.ones_like(x)], -1)

    def projected(t):
        cross = jnp.cross(jnp.broadcast_to(omega, point.shape), point)
        moved = point - t * (translation + cross)
        return FOCAL * moved[..., :2] / moved[..., 2:]

    return jax.jvp(projected, (0.0,), (1.0,))[1]


def test_a_rotation_moves_pixels_whatever_their_depth():
    omega = jnp.array([0.02, -0.03, 0.05])
    found = rotational_flow(omega, FOCAL, H, W)
    for depth in (DEPTH, 3 * DEPTH):
        wanted = instantaneous(jnp.zeros(3), omega, depth)
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert not rotational_flow(jnp.zeros(3), FOCAL, H, W).any()


@pytest.mark.parametrize("direction", [[0.3, 0.1, 0.2], [0.2, 0, 0], [0.02, -0.01, 0.4]])
def test_depth_follows_from_flow_up_to_one_factor(direction):
    t, omega = jnp.array(direction), jnp.array([0.01, 0.02, -0.03])
    flow = instantaneous(t, omega) - rotational_flow(omega, FOCAL, H, W)
    z, valid = relative_depth(flow, 5 * t, FOCAL, least=1e-3)
    ratio = (z / DEPTH)[valid]
    assert valid.mean() > 0.95
    assert ratio.std() / ratio.mean() < 1e-4
    assert spearmanr(z[valid], DEPTH[valid])[0] > 1 - 1e-6
    np.testing.assert_allclose(ratio.mean(), 5, rtol=1e-4)


def test_nothing_is_known_at_the_focus_of_expansion_and_of_moving_objects():
    t = jnp.array([0.0, 0.0, 0.4])
    depth = jnp.ones((H, W - 1)) * 4  # an odd width has a central pixel
    x, y = jnp.meshgrid(jnp.arange(W - 1) - (W - 2) / 2, jnp.arange(H) - (H - 1) / 2)
    flow = jnp.stack([x, y], -1) * 0.4 / depth[..., None]
    flow = flow.at[0, 0].set(-flow[0, 0])  # it moves against the camera's motion
    _, valid = relative_depth(flow, t, FOCAL, least=0.2)
    near = jnp.hypot(x, y) * 0.1 < 0.2
    np.testing.assert_array_equal(valid, (~near).at[0, 0].set(False))
    assert near.any()


@pytest.mark.parametrize("direction", [[0.6, 0, 0.8], [0, -1, 0], [-0.36, 0.48, -0.8]])
def test_the_translation_is_estimated_from_the_directions_of_the_flow(direction):
    flow = instantaneous(jnp.array(direction), jnp.zeros(3))
    found = estimate_translation(jnp.stack([flow, -flow]), FOCAL)
    np.testing.assert_allclose(found[0], direction, atol=1e-3)
    np.testing.assert_allclose(found[1], -np.array(direction), atol=1e-3)


def test_pixels_without_weight_do_not_count():
    flow = instantaneous(jnp.array([0.6, 0.0, 0.8]), jnp.zeros(3))
    wrong = flow.at[:4].set(jnp.array([0.0, 3.0]))
    weight = jnp.ones((H, W)).at[:4].set(0)
    found = estimate_translation(wrong, FOCAL, weight)
    np.testing.assert_allclose(found, [0.6, 0, 0.8], atol=1e-3)


def test_percentiles_are_uniform_and_the_same_for_every_increasing_map():
    z, valid = DEPTH[None], jnp.arange(H * W).reshape(1, H, W) % 5 > 0
    p = percentile_normalize(z, valid)
    np.testing.assert_allclose(
        np.sort(p[valid]), (np.arange(valid.sum()) + 0.5) / valid.sum(), atol=1e-6
    )
    for change in (lambda z: 3 * z, jnp.square, lambda z: z - 1 / z):
        np.testing.assert_array_equal(percentile_normalize(change(z), valid), p)
    assert not p[~valid].any()


def test_nearly_equal_depths_have_equal_percentiles():
    z = jnp.array([[1.0, 4.0], [4.0001, 3.9999]])
    p = percentile_normalize(z, jnp.ones((2, 2), bool), tolerance=0.01)
    np.testing.assert_allclose(p, [[0.125, 0.625], [0.625, 0.625]])


def test_the_flow_of_rendered_scenes_puts_pixels_in_order_of_depth():
    """Finite motions: the formula, of instantaneous ones, ranks depths all the same."""
    x = rendered(KEY, 32, camera=0.2, moving=0.0)
    camera = jnp.asarray(x["camera"][:, 0])
    z, valid = relative_depth(jnp.asarray(x["flow"][:, 0]), camera[:, :3], 32.0)
    z, valid, depth = (np.asarray(a).reshape(32, -1) for a in (z, valid, x["depth"][:, 0]))
    one, two = np.random.default_rng(0).integers(0, z.shape[1], (2, 32, 500))
    of = lambda a, i: np.take_along_axis(a, i, 1)
    judged = of(valid, one) & of(valid, two)
    judged &= np.abs(np.log(of(depth, one) / of(depth, two))) > 0.1
    right = (of(z, one) > of(z, two)) == (of(depth, one) > of(depth, two))
    assert judged.sum() > 3000 and right[judged].mean() > 0.95


def test_bad_shapes_are_refused(unhooked):
    with pytest.raises(ValueError, match="relative_depth: direction"):
        relative_depth(jnp.zeros((4, 4, 2)), jnp.zeros(2), 4.0)
    with pytest.raises(ValueError, match="percentile_normalize: valid"):
        percentile_normalize(jnp.ones((4, 4)), jnp.ones((4, 4)))
