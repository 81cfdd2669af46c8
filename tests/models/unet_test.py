"""U-Net: diffusers' with the same weights, and what it refuses."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusers_layout import ATTENTION, RESIDUAL, UNET, weight

from jssl.models.unet import UNet

FOUND = np.load(Path(__file__).parents[1] / "golden" / "diffusion.npz")


def theirs(path, shape):
    """The weight of diffusers at a path of ours, in our layout."""
    at, *inner, leaf = path
    of = ATTENTION if "attention" in at else RESIDUAL
    places = [f"unet/{UNET[at]}", *(of[name] for name in inner)]
    return weight(FOUND, places, leaf, shape)


def test_it_computes_what_diffusers_does_with_the_same_weights():
    net = UNet(8, (1, 2), 1, (1,), groups=4)
    x, t = FOUND["net/x"], FOUND["net/t"]
    shapes = jax.eval_shape(net.init, jax.random.key(0), x, t)["params"]
    params = jax.tree.map_with_path(
        lambda path, leaf: theirs([key.key for key in path], leaf.shape), shapes
    )
    taken = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert taken == sum(FOUND[name].size for name in FOUND if name.startswith("unet/"))
    out = jax.jit(net.apply)({"params": params}, x, t)["output"]
    np.testing.assert_allclose(
        out, FOUND["net/y"], atol=2e-5 * np.abs(FOUND["net/y"]).max()
    )


def built(net, x, *more):
    return jax.jit(net.init)(jax.random.key(0), x, jnp.zeros(len(x), int), *more)


def test_it_begins_with_an_output_of_zero_in_patches_too():
    x = jnp.ones((2, 8, 8, 3))
    net = UNet(4, (1, 2), 1, (), groups=2, patch=2)
    out = net.apply(built(net, x), x, jnp.arange(2))
    assert out["output"].shape == x.shape and out["h"].shape == (2, 8)
    np.testing.assert_array_equal(out["output"], 0)


def test_the_step_and_the_class_matter_row_by_row():
    x = jnp.ones((3, 4, 4, 1))
    net = UNet(4, (1,), 1, (), groups=2, classes=2)
    c, i = jnp.array([0, 1, 2]), jnp.zeros(3, int)
    variables = built(net, x, c)
    variables = jax.tree.map(
        lambda w: w + 0.1 * jnp.cos(jnp.arange(w.size)).reshape(w.shape), variables
    )
    apply = jax.jit(lambda i, c: net.apply(variables, x, i, c)["output"])
    one, other = apply(i, c), apply(i.at[1].set(9), c)
    assert np.any(one[0] != one[1]) and np.any(one[1] != one[2])
    np.testing.assert_allclose(one[jnp.array([0, 2])], other[jnp.array([0, 2])], rtol=1e-6)
    assert np.any(one[1] != other[1])


@pytest.mark.parametrize(
    ("net", "classes", "told"),
    [
        (UNet(4, (1, 2), 1, (), groups=2), (), "multiples of 2, got 7 x 7"),
        (UNet(4, (1,), 1, (), groups=2, patch=4), (), "multiples of 4, got 7 x 7"),
        (UNet(4, (1,), 1, (), groups=2, classes=3), (), "of 3 classes needs the class"),
        (UNet(4, (1,), 1, (), groups=2), (1,), "of 0 classes needs no class"),
    ],
)
def test_what_does_not_fit_is_refused(net, classes, told):
    x, more = jnp.ones((1, 7, 7, 1)), [jnp.zeros(1, int) for _ in classes]
    with pytest.raises(ValueError, match=told):
        jax.eval_shape(lambda: built(net, x, *more))
