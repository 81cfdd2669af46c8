"""U-Net: diffusers' with the same weights, and what it refuses."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models.unet import UNet

FOUND = np.load(Path(__file__).parents[1] / "golden" / "diffusion.npz")
BLOCK = {
    "norm0": "norm1",
    "conv0": "conv1",
    "time": "time_emb_proj",
    "norm1": "norm2",
    "conv1": "conv2",
    "shortcut": "conv_shortcut",
}
ATTENTION = {
    "norm": "group_norm",
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "out": "to_out.0",
}
PLACES = {
    "first": "conv_in",
    "time0": "time_embedding.linear_1",
    "time1": "time_embedding.linear_2",
    "halve0": "down_blocks.0.downsamplers.0.conv",
    "double1": "up_blocks.0.upsamplers.0.conv",
    "norm": "conv_norm_out",
    "last": "conv_out",
    "middle0": "mid_block.resnets.0",
    "middle1": "mid_block.resnets.1",
    "middle_attention": "mid_block.attentions.0",
    "down0_0": "down_blocks.0.resnets.0",
    "down1_0": "down_blocks.1.resnets.0",
    "down1_0_attention": "down_blocks.1.attentions.0",
    "up1_0": "up_blocks.0.resnets.0",
    "up1_0_attention": "up_blocks.0.attentions.0",
    "up1_1": "up_blocks.0.resnets.1",
    "up1_1_attention": "up_blocks.0.attentions.1",
    "up0_0": "up_blocks.1.resnets.0",
    "up0_1": "up_blocks.1.resnets.1",
}


def theirs(path, shape):
    """The weight of diffusers at a path of ours, in our layout."""
    at, *inner, leaf = path
    if inner:
        of = ATTENTION if "attention" in at else BLOCK
        inner = [of[name] for name in inner]
    weight = FOUND[
        ".".join([f"unet/{PLACES[at]}", *inner, "bias" if leaf == "bias" else "weight"])
    ]
    weight = weight.astype(np.float32)
    if weight.ndim == 4:
        weight = weight.transpose(2, 3, 1, 0)
    elif weight.ndim == 2:
        weight = weight.T
    return weight.reshape(shape)  # a shortcut is theirs as a 1 x 1 convolution


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
