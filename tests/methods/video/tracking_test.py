"""Tracking: patches are found where they went; the ranking is the double loop."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl.losses.motion import triplet_ranking
from jssl.methods.video.tracking import first_patches, tracking
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese
from jssl.ops.tracking import mine_tracks, moving_patch, ncc_track

headline = "loss"
discrete = True  # the likest square, the hardest negative


def clips():
    """Textures [8, 5, 16, 16, 1] that move by one pixel a frame on gray."""
    random = np.random.default_rng(0)
    texture = random.random((8, 6, 6, 1), np.float32)
    found = np.full((8, 5, 16, 16, 1), 0.5, np.float32)
    for i, t in product(range(8), range(5)):
        y, x = (3 + t, 2 + i % 3) if i % 2 else (4 + i % 3, 7 - t)
        found[i, t, y : y + 6, x : x + 6] = texture[i]
    return jnp.asarray(found)


def network():
    return jitted(Siamese(ConvNet((4, 8)), MLP((8,))))


def tiny(tx):
    knobs = dict(steps=3, side=8, radius=2, negatives=4)
    return tracking(network(), tx or optax.adam(3e-3), **knobs), {"video": clips()}


def test_a_known_translation_is_recovered_exactly():
    random = np.random.default_rng(1)
    frame = jnp.asarray(random.random((20, 20, 3), np.float32))
    for move in [(0, 0), (2, -1), (-3, 3), (1, 3)]:
        after = jnp.roll(frame, move, (0, 1))
        corner, like = ncc_track(frame, after, jnp.array([6, 7]), 8, 3)
        assert corner.tolist() == [6 + move[0], 7 + move[1]]
        np.testing.assert_allclose(like, 1, rtol=1e-6)
        brighter, like = ncc_track(frame, 0.2 + 0.5 * after, jnp.array([6, 7]), 8, 3)
        assert brighter.tolist() == corner.tolist()
        np.testing.assert_allclose(like, 1, rtol=1e-5)


def test_correlations_are_those_of_numpy():
    random = np.random.default_rng(2)
    frame, after = (random.random((9, 9, 1), np.float32) for _ in range(2))
    corner, like = ncc_track(
        jnp.asarray(frame), jnp.asarray(after), jnp.array([1, 5]), 4, 2
    )
    found = {}
    for dy, dx in product(range(-2, 3), repeat=2):
        y, x = np.clip([1 + dy, 5 + dx], 0, 5)
        squares = frame[1:5, 5:9].ravel(), after[y : y + 4, x : x + 4].ravel()
        found[y, x] = np.corrcoef(*squares)[0, 1]
    best = max(found, key=found.get)
    assert tuple(corner.tolist()) == best
    np.testing.assert_allclose(like, found[best], rtol=1e-5)


def test_a_patch_is_taken_where_most_changes_and_followed():
    patches, found = mine_tracks(None, clips(), steps=4, side=8, radius=2)
    for i in range(8):
        path = np.asarray(found["corners"][i])
        wanted = [1, 0] if i % 2 else [0, -1]
        np.testing.assert_array_equal(np.diff(path, axis=0), [wanted] * 4)
        assert found["likeness"][i] > 0.99
        for k, t in ((0, 0), (1, 4)):
            y, x = path[t]
            square = clips()[i, t, y : y + 8, x : x + 8]
            np.testing.assert_array_equal(patches[i, k], square)
        change = np.square(np.diff(clips()[i, :2, ..., 0], axis=0))[0]
        sums = {
            (y, x): change[y : y + 8, x : x + 8].mean()
            for y, x in product(range(9), repeat=2)
        }
        np.testing.assert_allclose(found["energy"][i], max(sums.values()), rtol=1e-5)
        np.testing.assert_allclose(sums[tuple(path[0])], max(sums.values()), rtol=1e-5)


def test_the_first_frame_is_any_that_leaves_room():
    video = jnp.broadcast_to(jnp.arange(6.0)[:, None, None, None], (200, 6, 4, 4, 1))
    patches, _ = mine_tracks(jax.random.key(0), video, steps=2, side=2, radius=0)
    first, last = np.asarray(patches[..., 0, 0, 0]).T
    np.testing.assert_array_equal(last - first, 2)
    assert set(first) == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="steps must be 1 to 5 .* got 6 and 2 of 4x4"):
        mine_tracks(None, video, steps=6, side=2, radius=0)


def test_all_patches_of_others_as_negatives_are_the_double_loop():
    z = np.random.default_rng(3).normal(size=(5, 2, 4)).astype("f4")
    found = triplet_ranking(jax.random.key(0), jnp.asarray(z), 0.7, negatives=8, hard=0.0)
    z = z / np.linalg.norm(z, axis=-1, keepdims=True)
    d = lambda a, b: 1 - a @ b
    total = 0.0
    for i, j, a in product(range(5), range(5), range(2)):
        if i != j:
            near = d(z[i, 0], z[i, 1])
            total += max(0, near - d(z[i, 0], z[j, a]) + 0.7)
            total += max(0, near - d(z[i, 1], z[j, a]) + 0.7)
    np.testing.assert_allclose(found, total / (2 * 8 * 5), rtol=1e-5)


def test_far_negatives_cost_nothing_and_coinciding_patches_the_margin():
    far = jnp.stack([jnp.eye(2), jnp.eye(2)], 1)  # two tracks, at right angles
    assert triplet_ranking(jax.random.key(0), far, 0.9, negatives=2) == 0
    same = jnp.ones((6, 2, 3))
    for hard in (0.0, 0.5, 1.0):
        found = triplet_ranking(jax.random.key(1), same, 0.8, negatives=4, hard=hard)
        np.testing.assert_allclose(found, 0.8, rtol=1e-6)


def test_hard_negatives_are_the_worst_and_none_is_of_the_same_track():
    z = jnp.asarray(np.random.default_rng(4).normal(size=(6, 2, 3)).astype("f4"))
    loss = lambda z, **knobs: triplet_ranking(jax.random.key(0), z, 1.0, **knobs)
    hardest = loss(z, negatives=2, hard=1.0)
    terms = []
    unit = np.asarray(z / jnp.linalg.norm(z, axis=-1, keepdims=True))
    for i in range(6):
        near = unit[i, 0] @ unit[i, 1]
        each = [
            sum(max(0, unit[i, b] @ unit[j, a] - near + 1) for b in range(2))
            for j, a in product(range(6), range(2))
            if j != i
        ]
        terms.append(sum(sorted(each)[-2:]))
    np.testing.assert_allclose(hardest, sum(terms) / (2 * 2 * 6), rtol=1e-5)
    assert loss(z, negatives=2, hard=0.0) < hardest
    with pytest.raises(ValueError, match="negatives must be 1 to 10 for 6 pairs"):
        loss(z, negatives=11)


def test_embedding_sees_the_moving_patch_of_the_first_frame():
    method, batch = tiny(None)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    patches = first_patches(clips(), 8)
    corner, _ = moving_patch(clips()[3, 0], clips()[3, 1], 8)
    y, x = corner
    np.testing.assert_array_equal(patches[3], clips()[3, 0, y : y + 8, x : x + 8])
    wanted, _ = network().apply(state.params, state.stats, patches)
    found = method.embed(state, batch)
    np.testing.assert_allclose(found["h"], wanted["h"], atol=1e-6)
    drawn = method.render(None, state, batch, None)["first and last patch of a track"]
    assert drawn.images.shape == (8, 2, 8, 8, 1)
