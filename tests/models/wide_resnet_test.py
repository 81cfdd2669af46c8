"""WRN-28-2: the published count, and MixMatch's code, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import nets
from jssl.models.heads import Classifier
from jssl.models.wide_resnet import WideResNet

KEY = jax.random.key(0)


def test_wrn_28_2_has_the_published_number_of_weights_and_shapes():
    """1,467,610 without biases, as in github.com/xternalz/WideResNet-pytorch; MixMatch's
    code has 16 biases in the first convolution, 2 * 4 * (32 + 64 + 128) in the blocks and
    32 + 64 + 128 in the shortcuts."""
    module = Classifier(WideResNet(), 10)
    images = jnp.zeros((2, 32, 32, 3))
    of = jax.eval_shape(module.init, KEY, images)
    count = sum(x.size for x in jax.tree.leaves(of["params"]))
    assert count == 1_467_610 + 16 + 9 * (32 + 64 + 128) == 1_469_642
    out, seen = jax.eval_shape(lambda v: module.apply(v, images, mutable=["layers"]), of)
    assert out["h"].shape == (2, WideResNet().features) == (2, 128)
    maps = [x.shape for x in seen["layers"]["encoder"]["tap"]]
    assert maps == [(2, 32, 32, 32), (2, 16, 16, 64), (2, 8, 8, 128)]


def same(x, kernel, bias, stride):
    """TensorFlow's convolution "same" in numpy."""
    side, outs = len(kernel), -(-x.shape[1] // stride)
    pad = max((outs - 1) * stride + side - x.shape[1], 0)
    x = np.pad(x, [(0, 0), *[(pad // 2, pad - pad // 2)] * 2, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
    windows = windows[:, ::stride, ::stride]
    return np.einsum("nabchw,hwcd->nabd", windows, kernel) + bias


def test_the_network_is_that_of_mixmatchs_code():
    """`ResNet.classifier` of libml/models.py, with one block a stage, in training."""
    module = WideResNet(10, 1)
    images = np.asarray(jax.random.normal(KEY, (3, 8, 8, 2)))
    variables = module.init(KEY, images)
    h, moved = module.apply(variables, images, train=True, mutable=["batch_stats"])
    params = jax.tree.map(np.float64, variables["params"])

    def conv(x, name, stride=1):
        return same(x, params[name]["kernel"], params[name]["bias"], stride)

    def active(x):
        x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-3)
        return np.where(x > 0, x, 0.1 * x)

    x = first = conv(images, "conv")
    for stage, stride in enumerate((1, 2, 2)):
        y = active(x)
        x = y if stage == 0 else x
        y = conv(active(conv(y, f"stage{stage}_0_conv0", stride)), f"stage{stage}_0_conv1")
        name = f"stage{stage}_0_shortcut"
        x = (conv(x, name, stride) if name in params else x) + y
    np.testing.assert_allclose(h, active(x).mean((1, 2)), rtol=1e-4, atol=1e-5)
    kept = moved["batch_stats"]["stage0_0_norm0"]["mean"]
    np.testing.assert_allclose(kept, 0.001 * first.mean((0, 1, 2)), rtol=1e-4, atol=1e-7)


def test_kernels_begin_with_the_variance_of_their_fan_out():
    params = jax.jit(WideResNet(10, 4).init)(KEY, jnp.zeros((1, 8, 8, 3)))["params"]
    kernel = params["stage1_0_conv0"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 128)), rtol=0.01)


def test_rows_do_not_see_each_other_out_of_training():
    net = nets.linen(Classifier(WideResNet(10, 1, dtype=jnp.bfloat16), 4))
    images = jax.random.normal(KEY, (4, 8, 8, 3))
    params, stats = net.init(KEY, images)
    out, same = jax.jit(net.apply)(params, stats, images)
    assert out["h"].dtype == jnp.float32
    assert len(out["layers"]) == 3
    alone, _ = jax.jit(net.apply)(params, stats, images[:1])
    np.testing.assert_allclose(alone["h"], out["h"][:1], rtol=0.02, atol=1e-3)
    jax.tree.map(np.testing.assert_array_equal, stats, same)


@pytest.mark.parametrize("depth", [4, 9, 26])
def test_another_depth_is_refused(depth):
    with pytest.raises(ValueError, match=f"10, 16, 22 ..., got {depth}"):
        WideResNet(depth).init(KEY, jnp.zeros((1, 8, 8, 3)))
