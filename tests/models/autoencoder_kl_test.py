"""The autoencoder of latent diffusion: diffusers' with the same weights, and its sizes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusers_layout import ATTENTION, RESIDUAL, weight

from jssl.models.autoencoder_kl import KLAutoencoder

FOUND = np.load(Path(__file__).parents[1] / "golden" / "latent.npz")
KEY = jax.random.key(0)
ENDS = {
    "first": "conv_in",
    "norm": "conv_norm_out",
    "last": "conv_out",
    "middle0": "mid_block.resnets.0",
    "middle1": "mid_block.resnets.1",
    "middle_attention": "mid_block.attentions.0",
}
ENCODER = {
    "down0_0": "down_blocks.0.resnets.0",
    "down1_0": "down_blocks.1.resnets.0",
    "halve0": "down_blocks.0.downsamplers.0.conv",
}
DECODER = {
    "double1": "up_blocks.0.upsamplers.0.conv",
    "up1_0": "up_blocks.0.resnets.0",
    "up1_1": "up_blocks.0.resnets.1",
    "up0_0": "up_blocks.1.resnets.0",
    "up0_1": "up_blocks.1.resnets.1",
}


def theirs(path, shape):
    """The weight of diffusers at a path of ours, in our layout."""
    whole, *inner, leaf = path
    if whole in ("posterior", "code"):
        places = [f"coder/{dict(posterior='quant_conv', code='post_quant_conv')[whole]}"]
    else:
        at, *rest = inner
        of = ATTENTION if "attention" in at else RESIDUAL
        places = [f"coder/{whole}", (ENDS | ENCODER | DECODER)[at], *(of[x] for x in rest)]
    return weight(FOUND, places, leaf, shape)


def test_it_encodes_and_decodes_as_diffusers_does_with_the_same_weights():
    net = KLAutoencoder((8, 8, 3), 4, (1, 2), 1, groups=4)
    shapes = jax.eval_shape(net.init, KEY, FOUND["coded/x"])["params"]
    params = jax.tree.map_with_path(
        lambda path, leaf: theirs([key.key for key in path], leaf.shape), shapes
    )
    taken = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert taken == sum(FOUND[name].size for name in FOUND if name.startswith("coder/"))
    apply = jax.jit(net.apply, static_argnames="method")

    def close(got, name):
        wanted = FOUND[f"coded/{name}"]
        top = np.abs(wanted).max()
        np.testing.assert_allclose(got.reshape(wanted.shape), wanted, atol=2e-5 * top)

    mean, log_variance = apply({"params": params}, FOUND["coded/x"], method="encode")
    close(mean, "mean")
    close(log_variance, "log_variance")
    z = FOUND["coded/z"].reshape(2, -1)
    close(apply({"params": params}, z, method="decode"), "y")


def test_the_public_model_has_as_many_weights_and_a_code_of_an_eighth():
    """Of Stable Diffusion 1, by diffusers: 83,653,863."""
    net, x = KLAutoencoder((256, 256, 3)), jnp.zeros((1, 256, 256, 3))
    variables = jax.eval_shape(net.init, KEY, x)
    leaves = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in leaves) == 83_653_863
    assert net.grid == (32, 32, 4)
    mean, _ = jax.eval_shape(lambda v: net.apply(v, x, method="encode"), variables)
    assert mean.shape == (1, 32 * 32 * 4)


def test_patches_and_sides_that_differ_are_decoded_to_the_shape_of_the_image():
    net, x = KLAutoencoder((8, 16, 1), 4, (1, 2), 1, 3, 2, patch=2), jnp.ones((2, 8, 16, 1))
    out, variables = jax.jit(net.init_with_output)(KEY, x)
    assert net.grid == (2, 4, 3) and out.shape == x.shape


def test_images_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="2 levels on patches of 2 .* 4, got 6 x 8"):
        _ = KLAutoencoder((6, 8, 1), 4, (1, 2), 1, 3, 2, patch=2).grid
