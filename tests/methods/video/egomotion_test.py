"""Egomotion: motions can be undone, classes are those of the motion, and the losses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl.methods.video.egomotion import egomotion
from jssl.models.convnet import ConvNet
from jssl.models.siamese_pairs import SiamesePairs
from jssl.ops.affine import affine, motion
from jssl.ops.egomotion import ego_pairs, motion_between

headline = "loss"


def network():
    encoder = ConvNet((4, 8), (1, 1), maps=True)
    return jitted(SiamesePairs(encoder, (3, 3, 4), (8,), 16))


def tiny(tx, **options):
    task = dict(shift=1, degrees=20.0, bins=4) | options
    return egomotion(network(), tx or optax.adam(3e-3), **task), {"image": images()}


def blobs():
    """Smooth images [8, 32, 32, 1], black near the border."""
    y, x = jnp.mgrid[:32, :32] - 15.5
    phase = jnp.arange(8)[:, None, None]
    wave = 1 + jnp.cos(0.15 * x + phase) * jnp.sin(0.2 * y + 0.5 * phase)
    return (0.4 * wave * jnp.exp(-(x**2 + y**2) / 60))[..., None]


def test_the_class_undoes_the_second_motion():
    pairs, labels = ego_pairs(jax.random.key(0), blobs())
    for (first, second), (down, right, degrees) in zip(
        pairs, motion_between(labels, 3, 30.0, 20), strict=True
    ):
        # R (p + d) turned back, then moved back: the inverse of turn, then shift.
        moved = affine(second, motion(0.0, -down, -right))
        undone = affine(moved, motion(-degrees))
        np.testing.assert_allclose(undone[8:24, 8:24], first[8:24, 8:24], atol=1e-2)
        assert abs(second - first).max() > 1e-2


def test_translations_are_whole_pixels_and_classes_are_uniform():
    _, labels = ego_pairs(jax.random.key(1), jnp.zeros((4000, 2, 2, 1)))
    for column, classes in zip(np.asarray(labels).T, (7, 7, 20), strict=True):
        counts = np.bincount(column, minlength=classes)
        spread = 4 * np.sqrt(4000 / classes)
        assert len(counts) == classes and abs(counts - 4000 / classes).max() < spread
    centers = motion_between(jnp.array([[3, 3, 9], [3, 3, 10]]), 3, 30.0, 20)
    np.testing.assert_allclose(centers, [[0, 0, -1.5], [0, 0, 1.5]])  # no motion, 3 degrees
    image = blobs()[0]
    there = affine(image, motion(0.0, 2.0, -3.0))
    np.testing.assert_allclose(there[2:, :-3], image[:-2, 3:], atol=1e-6)


def test_a_margin_cuts_the_border_of_both_images():
    key = jax.random.key(2)
    whole, _ = ego_pairs(key, blobs())
    inner, _ = ego_pairs(key, blobs(), margin=5)
    np.testing.assert_array_equal(inner, whole[:, :, 5:-5, 5:-5])
    with pytest.raises(ValueError, match="margin of 16 leaves nothing of 32x32"):
        ego_pairs(key, blobs(), margin=16)


def test_guessing_costs_the_logarithms_of_all_classes():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(jax.random.key(0), batch)
    heads = {name: jax.tree.map(jnp.zeros_like, state.params[name]) for name in
             ("head0", "head1", "head2")}  # fmt: skip
    state = state._replace(params=state.params | heads)
    _, metrics = jax.jit(method.step)(jax.random.key(1), state, batch)
    np.testing.assert_allclose(metrics["loss"], 2 * np.log(3) + np.log(4), rtol=1e-6)


def test_slow_features_pull_views_together_and_push_other_images_apart():
    """By the margin loss of Hadsell et al. 2006 (eq. 4, without its halves), in a loop.

    Each image is paired with its own second view, and with that of the image before it.
    """
    method, batch = tiny(optax.sgd(0.0), slow=1.5)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    _, metrics = jax.jit(method.step)(jax.random.key(1), state, batch)
    _, moves = jax.random.split(jax.random.key(1))
    pairs, _ = ego_pairs(moves, batch["image"], shift=1, degrees=20.0, bins=4)
    out, _ = network().apply(state.params, state.stats, pairs, train=True)
    both, total = np.asarray(out["both"]), 0.0
    for i in range(8):
        near = np.square(both[i, 0] - both[i, 1]).sum()
        far = np.sqrt(np.square(both[i, 0] - both[i - 1, 1]).sum())
        total += near + max(0.0, 1.5 - far) ** 2
    np.testing.assert_allclose(metrics["loss"], total / 8, rtol=1e-4)


def test_the_picture_moves_the_first_view_by_the_predicted_class():
    method, batch = tiny(None)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    for i in range(2):
        state, _ = method.step(jax.random.key(i), state, batch)
    drawn = method.render(jax.random.key(3), state, batch, None)["motion between two views"]
    assert drawn.images.shape == (8, 3, 8, 8, 1)
    pairs, _ = ego_pairs(jax.random.key(3), batch["image"], shift=1, degrees=20.0, bins=4)
    np.testing.assert_allclose(drawn.images[:, :2], pairs, atol=1e-6)
