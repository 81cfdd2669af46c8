"""RotNet: turns are turns, and the loss is theirs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted, noisy

from jssl.methods.pretext.rotation import rotation
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.ops.rotations import rotate_all

headline = "loss"


def images():
    y, x, phase = jnp.arange(8)[:, None], jnp.arange(8), jnp.arange(8)[:, None, None]
    wave = 0.5 + 0.5 * jnp.sin(0.9 * y * (phase % 3) + 0.7 * x + phase)
    return (wave * y / 7)[..., None]  # bright below: which way up can be told


def tiny(tx):
    net = jitted(Classifier(ConvNet((8, 16)), 4))
    return rotation(net, tx or optax.adam(3e-3), noisy), {"image": images()}


def test_turns_are_those_of_numpy_and_form_a_group():
    x = jax.random.uniform(jax.random.key(0), (2, 5, 5, 3))
    turned, turns = rotate_all(x)
    for k in range(4):
        np.testing.assert_array_equal(turned[:, k], np.rot90(np.asarray(x), k, (1, 2)))
        again, _ = rotate_all(turned[:, k])
        for j in range(4):
            np.testing.assert_array_equal(again[:, j], turned[:, (k + j) % 4])
    np.testing.assert_array_equal(turns, [[0, 1, 2, 3]] * 2)


def test_no_pixel_is_made_or_lost():
    x = jax.random.uniform(jax.random.key(0), (1, 6, 6, 1))
    turned, _ = rotate_all(x)
    for k in range(4):
        np.testing.assert_array_equal(np.sort(turned[0, k].ravel()), np.sort(x.ravel()))


def test_oblong_images_are_refused(unhooked):
    with pytest.raises(ValueError, match="rotate_all: images must be"):
        rotate_all(jnp.zeros((2, 4, 6, 1)))


def test_guessing_costs_log_four():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(jax.random.key(0), batch)
    params = dict(state.params, head=jax.tree.map(jnp.zeros_like, state.params["head"]))
    step = jax.jit(method.step)
    _, metrics = step(jax.random.key(1), state._replace(params=params), batch)
    np.testing.assert_allclose(metrics["loss"], np.log(4), rtol=1e-6)
    np.testing.assert_allclose(metrics["rotation_accuracy"], 0.25)


def test_the_picture_undoes_the_turn_that_the_network_saw():
    method, batch = tiny(None)
    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    for i in range(200):
        state, metrics = step(jax.random.key(i), state, batch)
    assert metrics["rotation_accuracy"] == 1
    for _ in range(30):  # the running averages catch up
        state, _ = step(jax.random.key(0), state, batch)
    drawn = method.render(None, state, batch, None)
    pairs = drawn["turned, and turned back by the predicted angle"].images
    upright = np.repeat(np.asarray(images())[:, None], 4, 1)
    right = (np.abs(np.asarray(pairs[:, 1::2]) - upright) < 1e-6).all((2, 3, 4))
    assert right.mean() > 0.9
