"""DCGAN's networks: the published count, and the rules of the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import nets
from jssl.models.dcgan import Discriminator, Generator

KEY = jax.random.key(0)


def shapes(module, *shape):
    return jax.eval_shape(module.init, KEY, jnp.zeros(shape))


def test_the_generator_of_64_pixels_has_the_published_number_of_weights():
    module = Generator((64, 64, 3))
    of = shapes(module, 1, 100)
    assert sum(x.size for x in jax.tree.leaves(of["params"])) == 18_885_760
    maps = {name: w["kernel"].shape for name, w in of["params"].items() if "conv" in name}
    assert maps == {
        "conv1": (5, 5, 1024, 512),
        "conv2": (5, 5, 512, 256),
        "conv3": (5, 5, 256, 128),
        "conv4": (5, 5, 128, 3),
    }
    assert jax.eval_shape(module.apply, of, jnp.zeros((2, 100))).shape == (2, 64, 64, 3)


def test_the_networks_of_32_pixels_have_the_released_kernels_and_the_papers_features():
    """Newmu/dcgan_code, models/imagenet_gan_pretrain_128f_relu_lrelu_7l_3x3_256z."""
    widths, strides = (128, 128, 256, 256, 512, 512), (1, 2, 1, 2, 1, 2)
    judge = Discriminator(widths, 3, strides)
    of = shapes(judge, 1, 32, 32, 3)
    kernels = {k: w["kernel"].shape for k, w in of["params"].items() if "norm" not in k}
    assert kernels == {
        "conv0": (3, 3, 3, 128),
        "conv1": (3, 3, 128, 128),
        "conv2": (3, 3, 128, 256),
        "conv3": (3, 3, 256, 256),
        "conv4": (3, 3, 256, 512),
        "conv5": (3, 3, 512, 512),
        "head": (8192, 1),
    }
    out = jax.eval_shape(judge.apply, of, jnp.zeros((2, 32, 32, 3)))
    assert out["h"].shape == (2, 28_672)
    maker = Generator((32, 32, 3), widths[::-1], 3, strides[::-1])
    of = shapes(maker, 1, 256)
    kernels = {k: w["kernel"].shape for k, w in of["params"].items() if "norm" not in k}
    assert kernels == {
        "dense": (256, 8192),
        "conv1": (3, 3, 512, 512),
        "conv2": (3, 3, 512, 256),
        "conv3": (3, 3, 256, 256),
        "conv4": (3, 3, 256, 128),
        "conv5": (3, 3, 128, 128),
        "conv6": (3, 3, 128, 3),
    }
    assert jax.eval_shape(maker.apply, of, jnp.zeros((2, 256))).shape == (2, 32, 32, 3)


@pytest.mark.parametrize("strides", [(2,), (2, 3), (1, 0)])
def test_strides_that_do_not_fit_are_refused(strides):
    with pytest.raises(ValueError, match="strides must be 2 numbers, 1 or 2"):
        shapes(Discriminator((4, 8), 4, strides), 1, 8, 8, 1)
    with pytest.raises(ValueError, match="strides must be 2 numbers, 1 or 2"):
        shapes(Generator((8, 8, 1), (8, 4), 4, strides), 1, 4)


@pytest.mark.parametrize(
    ("side", "widths", "kernel", "h"),
    [
        (64, (128, 256, 512, 1024), 5, 16 * (128 + 256 + 512 + 1024)),
        (28, (32, 64), 4, 16 * (32 + 64)),
        (8, (32, 64), 4, 16 * 32 + 4 * 64),
    ],
)
def test_the_discriminator_mirrors_the_generator(side, widths, kernel, h):
    judge = Discriminator(widths, kernel)
    of = shapes(judge, 1, side, side, 1)
    out = jax.eval_shape(judge.apply, of, jnp.zeros((2, side, side, 1)))
    assert (out["logits"].shape, out["h"].shape) == ((2,), (2, h))
    last = side // 2 ** len(widths)
    assert of["params"]["head"]["kernel"].shape == (last * last * widths[-1], 1)
    maker = Generator((side, side, 1), widths[::-1], kernel)
    of = shapes(maker, 1, 16)
    assert of["params"]["dense"]["kernel"].shape == (16, last * last * widths[-1])
    images = jax.eval_shape(maker.apply, of, jnp.zeros((2, 16)))
    assert images.shape == (2, side, side, 1)


def test_norms_stand_everywhere_but_at_the_ends_and_there_are_no_other_biases():
    maker = shapes(Generator((28, 28, 1), (64, 32), 4), 1, 64)["params"]
    assert set(maker) == {"dense", "norm0", "conv1", "norm1", "conv2"}
    judge = shapes(Discriminator((32, 64), 4), 1, 28, 28, 1)["params"]
    assert set(judge) == {"conv0", "conv1", "norm1", "head"}
    for name, weights in (maker | judge).items():
        wanted = {"scale", "bias"} if "norm" in name else {"kernel"}
        assert set(weights) == wanted


def test_weights_begin_around_0_and_scales_around_1():
    maker = jax.jit(Generator((8, 8, 3), (256, 128), 5).init)(KEY, jnp.zeros((1, 100)))
    for name in ("dense", "conv1"):
        kernel = np.asarray(maker["params"][name]["kernel"])
        np.testing.assert_allclose(kernel.std(), 0.02, rtol=0.05)
        np.testing.assert_allclose(kernel.mean(), 0, atol=0.001)
    norm = maker["params"]["norm0"]  # one for each of 2 x 2 x 256 units
    assert norm["scale"].shape == (1024,)
    np.testing.assert_allclose(norm["scale"].std(), 0.02, rtol=0.1)
    np.testing.assert_allclose(norm["scale"].mean(), 1, atol=0.003)
    assert not np.any(norm["bias"])


def test_samples_ignore_each_other_out_of_training_only():
    net = nets.linen(Generator((8, 8, 1), (8, 4), 4))
    z = jax.random.uniform(KEY, (6, 4), minval=-1)
    params, stats = net.init(KEY, z)
    make = jax.jit(net.apply, static_argnames="train")
    calm, same = make(params, stats, z, train=False)
    np.testing.assert_allclose(make(params, stats, z[:2])[0], calm[:2], atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, stats, same)
    busy, moved = make(params, stats, z, train=True)
    assert np.abs(make(params, stats, z[:2], train=True)[0] - busy[:2]).max() > 1e-4
    assert np.any(moved["batch_stats"]["norm0"]["mean"] != 0)
    wild = jax.tree.map(lambda x: 1e3 * x, params)  # tanh keeps the range
    assert np.abs(make(wild, stats, z, train=True)[0]).max() <= 1


def test_sides_that_cannot_be_doubled_to_are_refused():
    with pytest.raises(ValueError, match="multiples of 4, got 30 x 28"):
        shapes(Generator((30, 28, 1), (64, 32), 4), 1, 8)
