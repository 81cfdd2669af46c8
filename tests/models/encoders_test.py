"""Laws of all convolutional encoders: dtypes, gradients, width, layers, kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import nets
from jssl.models.alexnet import AlexNet
from jssl.models.cnn13 import CNN13
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.models.resnet import ResNet
from jssl.models.vgg import VGG
from jssl.models.wide_resnet import WideResNet

KEY = jax.random.key(0)
IMAGES = jax.random.normal(KEY, (6, 16, 16, 3))
SMALL = {  # encoder, width of h, number of layers
    "convnet": (ConvNet((4, 8)), 8, 2),
    "resnet": (ResNet(10, "cifar", 4, zero_last=False), 32, 5),
    "wide_resnet": (WideResNet(10, 1), 64, 3),
    "cnn13": (CNN13(0.2, layers=((3, 6),) * 7 + ((1, 6), (1, 5))), 5, 9),
    "alexnet": (AlexNet(1, widths=(4, 6, 8, 8, 6), hidden=(9, 7)), 7, 5),
    "vgg": (VGG(((4,), (6, 6)), hidden=(9, 7)), 7, 3),
}


@pytest.fixture(params=SMALL, scope="module")
def case(request):
    module, width, layers = SMALL[request.param]
    net = nets.linen(Classifier(module, 3))
    params, stats = jax.jit(net.init)(KEY, IMAGES)
    out, _ = jax.jit(net.apply)(params, stats, IMAGES)
    return module, width, layers, net, params, stats, out


def test_h_and_its_layers_have_their_shapes(case):
    module, width, layers, _, params, _, out = case
    assert (out["h"].shape, out["h"].dtype) == ((6, width), jnp.float32)
    assert getattr(module, "features", width) == width
    assert [len(x.shape) for x in out["layers"]] == [4] * layers
    first = module.apply({"params": params["encoder"]}, method="filters")
    assert first.shape[0] == out["layers"][0].shape[-1] or isinstance(module, WideResNet)
    assert first.shape[-1] == 3
    assert first.shape[1] == first.shape[2]


def test_every_weight_learns(case):
    """Except biases in front of batch norm, which takes the mean away."""
    net, params, stats, _ = case[3:]

    def loss(params):
        keys = {"dropout": KEY}
        out, _ = net.apply(params, stats, IMAGES, train=True, keys=keys)
        return jnp.sum(out["logits"] ** 3)

    slopes = jax.jit(jax.grad(loss))(params)
    for path, slope in jax.tree_util.tree_flatten_with_path(slopes)[0]:
        name = jax.tree_util.keystr(path)
        assert np.isfinite(slope).all(), name
        assert np.any(slope) or ("conv" in name and "bias" in name), name


def test_float32_agrees_with_float64(case):
    net, params, stats, out = case[3:]
    with jax.enable_x64(True):
        wide = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float64), tree)
        exact, _ = jax.jit(net.apply)(*map(wide, (params, stats, IMAGES)))
        assert exact["h"].dtype == exact["layers"][-1].dtype == jnp.float64
    scale = np.abs(exact["h"]).max()
    np.testing.assert_allclose(out["h"], exact["h"], atol=1e-5 * scale)


@pytest.mark.parametrize("case", [k for k in SMALL if k != "convnet"], indirect=True)
def test_bfloat16_keeps_weights_and_h_in_float32(case):
    module, _, _, _, params, stats, exact = case
    half = nets.linen(Classifier(module.clone(dtype=jnp.bfloat16), 3))
    same, _ = jax.eval_shape(half.init, KEY, IMAGES)
    assert {x.dtype for x in jax.tree.leaves(same)} == {jnp.dtype("float32")}
    found, _ = jax.jit(half.apply)(params, stats, IMAGES)
    assert found["h"].dtype == jnp.float32
    assert found["layers"][-1].dtype == jnp.bfloat16
    apart = np.linalg.norm(found["h"] - exact["h"]) / np.linalg.norm(exact["h"])
    assert 0 < apart < 0.03
