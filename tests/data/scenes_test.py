"""Rendered rooms: annotations agree with pictures, each other and geometry."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.data import load
from jssl.data.rendering import (
    ABSENT,
    BALL,
    KINDS,
    MOST,
    STYLES,
    Scene,
    render,
    rendered,
    sample_scene,
)
from jssl.ops.flow import warp

SIZE = 32
KEY = jax.random.key(7)


@cache
def found(style="synthetic", **motion):
    return rendered(KEY, 32, frames=3, size=SIZE, style=STYLES[style], **motion)


def room(**changes):
    """A room with one square in front of the wall, and nothing that moves."""
    still = jnp.zeros((MOST, 3))
    scene = Scene(
        wall=jnp.float32(8.0),
        floor=jnp.float32(ABSENT),
        ceiling=jnp.float32(ABSENT),
        center=jnp.tile(jnp.array([0.0, 0.0, 4.0]), (MOST, 1)),
        radius=jnp.full(MOST, 0.8),
        kind=jnp.full(MOST, 2),
        present=jnp.arange(MOST) < 1,
        velocity=still,
        translation=jnp.zeros(3),
        rotation=jnp.zeros(3),
        color=jnp.full((MOST + 3, 3), 0.5),
        seed=jnp.arange(MOST + 3, dtype=jnp.uint32),
        light=jnp.array([0.0, 0.0, -1.0]),
    )
    return scene._replace(**changes)


draw = jax.jit(lambda scene: render(KEY, scene, frames=2, size=SIZE))


def test_semantic_instance_and_motion_maps_agree():
    x = found()
    np.testing.assert_array_equal(x["semantic"] > 0, x["objects"] > 0)
    assert x["objects"].max() <= MOST and x["semantic"].max() <= len(KINDS)
    assert not (x["moving"] & (x["objects"] == 0)).any()
    assert 0.2 < (x["objects"] > 0).any((1, 2, 3)).mean() <= 1
    for semantic, label in zip(x["semantic"][:, 0], x["label"], strict=True):
        counts = np.bincount(semantic.ravel(), minlength=5)[1:]
        assert counts[label] == counts.max() > 0


def test_normals_are_unit_vectors_that_face_the_camera():
    normal = found(turn=0.05)["normal"]
    np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1, atol=1e-5)
    at = (np.arange(SIZE) - (SIZE - 1) / 2) / SIZE
    x, y = np.meshgrid(at, at)
    rays = np.stack([x, y, np.ones_like(x)], -1)
    assert ((normal * rays).sum(-1) < 1e-5).all()


def test_edges_are_pixels_with_a_neighbor_of_another_object():
    ids, edge = found()["objects"][0, 0], found()["edge"][0, 0]
    for i, j in np.ndindex(SIZE, SIZE):
        around = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
        near = [ids[a] for a in around if 0 <= min(a) and max(a) < SIZE]
        assert edge[i, j] == any(x != ids[i, j] for x in near)


def test_the_depth_of_a_room_is_that_of_its_planes_and_of_its_nearest_surface():
    depth = draw(room(floor=jnp.float32(1.5)))["depth"][0]
    y = np.arange(SIZE) - (SIZE - 1) / 2
    wanted = np.where(y > 0, np.minimum(SIZE * 1.5 / np.maximum(y, 1e-9), 8), 8.0)
    covered = draw(room())["objects"][0] > 0
    wanted = np.broadcast_to(wanted[:, None], depth.shape)
    np.testing.assert_allclose(depth[~covered], wanted[~covered], rtol=1e-5)
    np.testing.assert_allclose(depth[covered], 4, rtol=1e-5)
    inside = np.abs(y) < SIZE * 0.85 * 0.8 / 4
    np.testing.assert_array_equal(covered, inside[:, None] & inside)


def test_a_ball_has_the_depth_and_normals_of_a_sphere():
    x = draw(room(kind=jnp.full(MOST, BALL)))
    at = (np.arange(SIZE) - (SIZE - 1) / 2) / SIZE
    rays = np.stack([*np.meshgrid(at, at), np.ones((SIZE, SIZE))], -1)
    point = x["depth"][0][..., None] * rays
    ball = np.asarray(x["objects"][0] > 0)
    out = (np.asarray(point) - [0, 0, 4])[ball] / 0.8
    np.testing.assert_allclose(np.linalg.norm(out, axis=-1), 1, atol=1e-4)
    np.testing.assert_allclose(x["normal"][0][ball], out, atol=1e-4)
    assert ball.sum() > 100


def test_nothing_flows_where_nothing_moves():
    still = found(camera=0.0, moving=0.0)
    assert np.abs(still["flow"]).max() < 1e-4
    assert not still["occluded"].any() and not still["camera"].any()
    assert np.abs(np.diff(still["video"].astype(int), axis=1)).max() <= 1


def test_warping_by_a_whole_number_of_pixels_gives_the_previous_frame_exactly():
    """A square at a depth of 4 that moves by 3 pixels, 3 * 4 / 32 units."""
    moved = jnp.zeros((MOST, 3)).at[0].set(jnp.array([3 * 4 / SIZE, -2 * 4 / SIZE, 0]))
    x = draw(room(velocity=moved))
    seen = np.asarray(x["occluded"][0] == 0)
    back = warp(x["video"][1:], x["flow"])[0]
    np.testing.assert_allclose(back[seen], x["video"][0][seen], atol=2e-4)
    on = np.asarray(x["objects"][0] == 1)
    np.testing.assert_allclose(x["flow"][0][on], np.tile([3, -2], (on.sum(), 1)), atol=1e-4)
    np.testing.assert_allclose(x["flow"][0][~on], 0, atol=1e-4)
    assert (~seen).sum() > 20


@pytest.mark.parametrize("turn", [0.0, 0.03])
def test_warping_by_the_flow_gives_the_previous_frame_where_it_is_not_hidden(turn):
    x = found(turn=turn)
    video = x["video"] / np.float32(255)
    for t in range(2):
        back = partial(warp, flow=jnp.asarray(x["flow"][:, t]))
        # Interpolation mixes both sides of a contour, which is not hidden itself.
        contour = back(jnp.float32(x["edge"][:, t + 1, ..., None]))[..., 0] > 0
        clear = (x["occluded"][:, t] == 0) & ~np.asarray(contour)
        error = np.abs(back(jnp.asarray(video[:, t + 1])) - video[:, t]).mean(-1)[clear]
        copy = np.abs(video[:, t + 1] - video[:, t]).mean(-1)[clear]
        assert error.mean() < 0.02 and error.mean() < copy.mean() / 2
        assert clear.mean() > 0.6


def test_points_that_are_not_hidden_have_the_depth_that_the_next_frame_shows():
    """Occlusion is that of depths: the next frame's, read at the end of the flow."""
    x = found(camera=0.15)
    depth, flow, seen = x["depth"], x["flow"][:, 0], x["occluded"][:, 0] == 0
    at = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1) + flow
    near = np.rint(at).astype(int).clip(0, SIZE - 1)
    rows = np.arange(len(depth))[:, None, None]
    then = depth[rows, 1, near[..., 1], near[..., 0]]
    ids = x["objects"]
    same = ids[rows, 1, near[..., 1], near[..., 0]] == ids[:, 0]
    inside = ((at >= 0) & (at <= SIZE - 1)).all(-1)
    assert same[seen].mean() > 0.98
    hidden = ~seen & inside
    assert (same[hidden]).mean() < 0.5
    assert (then[hidden] < depth[:, 0][hidden]).mean() > 0.6


def test_the_flow_is_the_projection_of_points_seen_from_the_next_camera():
    """A double loop over pixels, in float64, from depth and camera motion alone."""
    x = found(camera=0.15, turn=0.05, moving=0.0)
    for n in range(3):
        t, r = np.split(x["camera"][n, 0].astype(np.float64), 2)
        angle = np.linalg.norm(r)
        axis = r / angle
        for i, j in np.ndindex(SIZE, SIZE):
            ray = np.array([j - (SIZE - 1) / 2, i - (SIZE - 1) / 2, SIZE]) / SIZE
            p = x["depth"][n, 0, i, j] * ray - t
            # The inverse rotation, by Rodrigues' formula for vectors.
            along = axis * (axis @ p) * (1 - np.cos(angle))
            p = p * np.cos(angle) - np.cross(axis, p) * np.sin(angle) + along
            flow = SIZE * p[:2] / p[2] - SIZE * ray[:2]
            np.testing.assert_allclose(x["flow"][n, 0, i, j], flow, atol=2e-4)


def test_a_camera_is_reflected_before_it_leaves_the_room():
    scene = room(
        floor=jnp.float32(1.2),
        ceiling=jnp.float32(1.5),
        translation=jnp.array([0.1, 0.4, 0.6]),
        present=jnp.zeros(MOST, bool),
    )
    x = jax.jit(lambda scene: render(KEY, scene, frames=24, size=SIZE))(scene)
    moves = np.asarray(x["camera"])[:, :3]
    np.testing.assert_allclose(np.abs(moves), [[0.1, 0.4, 0.6]] * 23, atol=1e-6)
    np.testing.assert_array_equal(moves[:2], np.float32([[0.1, 0.4, 0.6]] * 2))
    place = np.cumsum([np.zeros(3), *moves], 0)
    assert place[:, 1].max() < 1.2 and place[:, 1].min() > -1.5 and place[:, 2].max() < 8
    slope = (np.arange(SIZE) - (SIZE - 1) / 2) / SIZE
    for depth, (_, y, z) in zip(np.asarray(x["depth"]), place, strict=True):
        plane = np.where(slope > 0, 1.2 - y, 1.5 + y) / np.abs(slope)
        wanted = np.minimum(plane, 8 - z)
        np.testing.assert_allclose(depth, np.tile(wanted[:, None], SIZE), rtol=1e-4)


def test_the_flow_of_a_reflected_camera_that_turns_is_that_of_its_motions():
    from scipy.spatial.transform import Rotation

    x = rendered(KEY, 32, frames=12, size=8, camera=1.0, turn=0.1, moving=0.0)
    t, r = np.split(np.float64(x["camera"]), 2, -1)
    assert (np.abs(np.diff(t, axis=1)).max((1, 2)) > 0.1).mean() > 0.3  # reflected
    at = (np.arange(8) - 3.5) / 8
    rays = np.stack([*np.meshgrid(at, at), np.ones((8, 8))], -1)
    seen = x["depth"][:, :-1, ..., None] * rays - t[:, :, None, None]
    back = Rotation.from_rotvec(r.reshape(-1, 3)).inv().as_matrix()
    seen = np.einsum("ntij,nthwj->nthwi", back.reshape(32, 11, 3, 3), seen)
    ahead = seen[..., 2] > 0.5
    there = 8 * seen[..., :2] / seen[..., 2:] - 8 * rays[..., :2]
    np.testing.assert_allclose(x["flow"][ahead], there[ahead], atol=2e-3)
    assert ahead.mean() > 0.8


def test_mobility_depends_on_the_kind():
    scenes = jax.vmap(sample_scene)(jax.random.split(KEY, 500))
    moves = np.asarray((scenes.velocity != 0).any(-1))
    for kind, share in zip(range(4), (0.05, 0.95, 0.05, 0.95), strict=True):
        assert abs(moves[np.asarray(scenes.kind) == kind].mean() - share) < 0.05


def test_the_row_of_a_pixel_says_little_of_its_depth():
    depth = rendered(KEY, 400)["depth"][:, 0]
    apart = np.abs(depth - depth.mean()).mean()
    by_row = np.abs(depth - depth.mean((0, 2))[:, None]).mean()
    assert by_row > 0.85 * apart


def test_domains_differ_in_their_pictures_and_not_in_their_geometry():
    one, two = found(), found("real")
    np.testing.assert_allclose(one["depth"], two["depth"], rtol=1e-6)
    assert np.abs(one["video"].astype(int) - two["video"]).mean() > 10


def test_the_source_has_a_split_of_other_scenes_and_is_a_function_of_its_knobs():
    knobs = dict(count=64, size=16)
    source = load("scenes", 8, **knobs)
    assert [source.split(x).size for x in ("train", "val", "test")] == [64, 8, 8]
    again = load("scenes", 8, **knobs)
    np.testing.assert_array_equal(source.column("video"), again.column("video"))
    val, real = source.split("val"), load("scenes:real", 8, **knobs)
    assert (source.column("depth")[:8] != val.column("depth")).any((1, 2, 3)).all()
    assert (source.column("depth") != real.column("depth")).any((1, 2, 3)).all()
    assert source.plain(source.decode(next(source.scan()))).shape == (8, 2 * 16 * 16 * 3)
    assert "flow" in next(source.stream()) and "label" not in next(source.stream())


def test_clips_of_one_frame_have_no_flow():
    source = load("scenes", 8, count=8, size=16, frames=1)
    assert not {"flow", "camera", "occluded"} & set(source.row_shapes())


@pytest.mark.parametrize(
    ("name", "knobs", "told"),
    [
        ("scenes:photographs", {}, "domain must be synthetic or real"),
        ("scenes", {"size": 4}, "size and count 8"),
        ("scenes", {"frames": 0}, "frames must be at least 1"),
        ("scenes", {"moving": 2.0}, "moving must be 0 to 1"),
    ],
)
def test_bad_knobs_are_refused_in_a_line(name, knobs, told):
    with pytest.raises(ValueError, match=told) as error:
        load(name, 8, **knobs)
    assert "\n" not in str(error.value)
