"""Networks of super-resolution: the published sizes, and a residual branch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import images, jitted

from jssl.models.convnet import ConvNet
from jssl.models.srgan import SRCNN, Enlarger, Judge, SRResNet
from jssl.nets import linen
from jssl.ops.maps import bicubic_enlarge

LOW = jnp.zeros((1, 24, 24, 3))


def count(module, x):
    net = linen(module)
    params, stats = jax.eval_shape(net.init, jax.random.key(0), x)
    out = jax.eval_shape(net.apply, params, stats, x)[0]
    return sum(leaf.size for leaf in jax.tree.leaves(params)), out


def test_srresnet_has_the_layers_of_figure_4():
    size, out = count(SRResNet(), LOW)
    assert out["output"].shape == (1, 96, 96, 3) and out["h"].shape == (1, 64)
    ends = 81 * 3 * 64 + 64 + 81 * 64 * 3 + 3
    block = 2 * (9 * 64 * 64 + 2 * 64)
    up = 9 * 64 * 256 + 256
    prelu = 64 * (1 + 16 + 2)
    assert size == ends + 16 * block + (9 * 64 * 64 + 2 * 64) + 2 * up + prelu


def test_the_discriminator_has_the_layers_of_figure_4():
    size, out = count(Judge(), jnp.zeros((1, 96, 96, 3)))
    assert out["logits"].shape == (1,) and out["h"].shape == (1, 1024)
    widths = [3, 64, 64, 128, 128, 256, 256, 512, 512]
    convs = sum(9 * a * b for a, b in zip(widths, widths[1:], strict=False))
    norms = 2 * sum(widths[2:])
    dense = 6 * 6 * 512 * 1024 + 1024 + 1024 + 1
    assert size == convs + 64 + norms + dense


def test_srcnn_has_three_layers_on_the_enlarged_image():
    size, out = count(SRCNN(), jnp.zeros((1, 24, 24, 1)))
    assert out["output"].shape == (1, 96, 96, 1)
    assert size == 81 * 64 + 64 + 64 * 32 + 32 + 25 * 32 + 1


def test_srcnn_of_a_single_path_is_bicubic_interpolation():
    net = jitted(SRCNN(2, (2, 2), (1, 1, 1)))
    x = jax.random.uniform(jax.random.key(0), (1, 6, 6, 1))
    params, stats = net.init(jax.random.key(1), x)
    signs = jnp.array([1.0, -1.0])  # relu(x) - relu(-x) = x
    weights = {
        "conv0": signs.reshape(1, 1, 1, 2),
        "conv1": jnp.eye(2).reshape(1, 1, 2, 2),
        "out": signs.reshape(1, 1, 2, 1),
    }
    params = {
        name: {"kernel": w, "bias": jnp.zeros(w.shape[-1])} for name, w in weights.items()
    }
    out, _ = net.apply(params, stats, x)
    wanted = jnp.clip(jax.image.resize(x, (1, 12, 12, 1), "bicubic"), 0, 1)
    np.testing.assert_allclose((out["output"] + 1) / 2, wanted, atol=1e-6)


@pytest.mark.parametrize(
    "net",
    [
        SRCNN(2, (4, 3), added=True),
        SRResNet(2, 4, 1, 3, True),
        Enlarger(ConvNet((4, 3), (1, 2), maps=True), 2, (4, 4)),
    ],
)
def test_a_network_whose_output_is_added_begins_as_bicubic_interpolation(net):
    low = images()
    variables = net.init(jax.random.key(0), low)
    wanted = 2 * bicubic_enlarge(low, 2) - 1
    np.testing.assert_allclose(net.apply(variables, low)["output"], wanted, atol=1e-6)


@pytest.mark.parametrize(("side", "shuffles"), [(14, 3), (16, 3), (20, 3)])
def test_pixel_shuffles_double_the_maps_up_to_the_size_of_the_output(side, shuffles):
    """Maps of 4, 4 and 5 for images of 28, 32 and 40 pixels; larger ones are cropped."""
    module = Enlarger(ConvNet((4, 4, 4), (1, 2, 2), maps=True), 2, (6,) * shuffles)
    size, out = count(module, jnp.zeros((1, side, side, 1)))
    assert out["output"].shape == (1, 2 * side, 2 * side, 1) and out["h"].shape == (1, 4)
    encoder = 9 * 4 + 2 * 9 * 16 + 3 * 2 * 4
    up = 9 * 4 * 24 + 24 + (shuffles - 1) * (9 * 6 * 24 + 24)
    assert size == encoder + up + 9 * 6 + 1


def test_too_few_pixel_shuffles_are_refused():
    module = Enlarger(ConvNet((4, 4), maps=True), 2, (4, 4))
    with pytest.raises(
        ValueError, match="3 pixel shuffles enlarge maps of 2 x 2 to 16 x 16"
    ):
        linen(module).init(jax.random.key(0), images())
