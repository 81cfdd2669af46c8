"""AlexNet and VGG-16 with batch norm: published counts, maps, and h before its ReLU."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import nets
from jssl.models.alexnet import AlexNet, pooled
from jssl.models.heads import Classifier
from jssl.models.jigsaw import ContextFree
from jssl.models.vgg import VGG

KEY = jax.random.key(0)
TOP = 4096 * 1000 + 1000  # the linear layer of 1,000 classes
NORMS = 2 * (96 + 256 + 384 + 384 + 256)
ALEX = dict(widths=(4, 6, 8, 8, 6), stride=1, hidden=(10, 12))
OXFORD = dict(stages=((4,), (6, 6)), hidden=(10, 12))
SMALL = [AlexNet(**ALEX), VGG(**OXFORD)]
IMAGES = jax.random.normal(KEY, (5, 16, 16, 3))


def of(module, *shape):
    """Number of weights, output, and maps of the layers, at the real size."""
    x = jnp.zeros(shape)
    variables = jax.eval_shape(module.init, KEY, x)
    out, seen = jax.eval_shape(lambda v: module.apply(v, x, mutable=["layers"]), variables)
    count = sum(x.size for x in jax.tree.leaves(variables["params"]))
    return count, out, [x.shape[1:] for x in jax.tree.leaves(seen)]


@pytest.mark.parametrize(
    ("split", "count"),
    [(2, 60_965_224), (1, 62_378_344)],  # Caffe's bvlc_alexnet, and with no groups
)
def test_alexnet_has_the_published_number_of_weights(split, count):
    found, h, maps = of(AlexNet(split=split), 2, 224, 224, 3)
    assert found == count - TOP + NORMS
    assert h.shape == (2, 4096)
    sides, widths = (55, 27, 13, 13, 13), (96, 256, 384, 384, 256)
    assert maps == [(s, s, w) for s, w in zip(sides, widths, strict=True)]


def test_alexnet_of_edges_has_two_channels():
    """DeepCluster's input: Sobel in two directions."""
    three, *_ = of(AlexNet(), 1, 224, 224, 3)
    two, *_ = of(AlexNet(), 1, 224, 224, 2)
    assert three - two == 11 * 11 * 96


def test_vgg_16_has_the_published_number_of_weights():
    """torchvision 0.29.1's vgg16_bn, 138,365,992 with its last layer."""
    found, h, maps = of(VGG(), 2, 224, 224, 3)
    assert found == 138_365_992 - TOP
    assert h.shape == (2, 4096)
    sides = [224] * 2 + [112] * 2 + [56] * 3 + [28] * 3 + [14] * 3
    widths = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert maps == [(s, s, w) for s, w in zip(sides, widths, strict=True)]


def test_the_context_free_network_has_the_published_sizes():
    """Noroozi and Favaro: fc6 of 4 x 4 x 256 x 512 weights, shared by nine tiles."""
    encoder = AlexNet(stride=2, padding=0, hidden=(), split=2)
    module = ContextFree(encoder, 1000, width=512, hidden=4096)
    tiles = jnp.zeros((2, 9, 75, 75, 3))
    variables = jax.eval_shape(module.init, KEY, tiles)
    params = variables["params"]
    assert params["tile"]["kernel"].shape == (4 * 4 * 256, 512)
    assert params["hidden"]["kernel"].shape == (9 * 512, 4096)
    convolutions = 60_965_224 - TOP - 9216 * 4096 - 4096 - 4096 * 4096 - 4096
    dense = 4096 * 512 + 512 + 9 * 512 * 4096 + 4096 + TOP
    count = sum(x.size for x in jax.tree.leaves(params))
    assert count == convolutions + NORMS + dense
    out = jax.eval_shape(module.apply, variables, tiles)
    assert (out["logits"].shape, out["h"].shape) == ((2, 1000), (2, 9 * 512))


def test_the_last_window_of_an_even_side_overhangs():
    x = -1 - jnp.arange(4.0)[None, :, None, None] * jnp.ones((1, 1, 5, 1))
    found = pooled(x)[0, :, :, 0]
    np.testing.assert_array_equal(found, [[-1, -1], [-3, -3]])


@pytest.mark.parametrize("module", SMALL, ids=["alexnet", "vgg"])
def test_h_precedes_the_relu_that_the_classifier_applies(module):
    net = nets.linen(Classifier(module, 3, relu=True))
    params, stats = net.init(KEY, IMAGES)
    out, _ = net.apply(params, stats, IMAGES)
    assert (out["h"] < 0).any() and out["h"].dtype == jnp.float32
    head = params["head"]
    wanted = np.maximum(out["h"], 0) @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(out["logits"], wanted, rtol=1e-5, atol=1e-6)
    plain = nets.linen(Classifier(module, 3)).apply(params, stats, IMAGES)[0]
    wanted = out["h"] @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(plain["logits"], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("module", SMALL, ids=["alexnet", "vgg"])
def test_h_without_dense_layers_is_the_last_map_pooled(module):
    maps = module.clone(hidden=())
    variables = maps.init(KEY, IMAGES)
    h, seen = maps.apply(variables, IMAGES, mutable=["layers"])
    last = np.asarray(seen["layers"]["tap"][-1])
    side = last.shape[1]
    cells = [last[:, i : i + 3 if side == 4 else i + 2] for i in range(0, side, 2)]
    rows = np.stack([cell.max(1) for cell in cells], 1)
    cells = [rows[:, :, i : i + 3 if side == 4 else i + 2] for i in range(0, side, 2)]
    wanted = np.stack([cell.max(2) for cell in cells], 2)
    np.testing.assert_array_equal(h, wanted.reshape(len(h), -1))


@pytest.mark.parametrize(
    ("module", "count"), [(SMALL[0], 2), (SMALL[1], 1)], ids=["alexnet", "vgg"]
)
def test_dropout_is_drawn_in_training_only(module, count):
    net = nets.linen(Classifier(module, 3))
    params, stats = net.init(KEY, IMAGES)

    def h(seed, train=True):
        keys = {"dropout": jax.random.key(seed)}
        return net.apply(params, stats, IMAGES, train=train, keys=keys)[0]["h"]

    assert np.abs(h(0) - h(1)).max() > 0
    np.testing.assert_array_equal(h(0, train=False), h(1, train=False))
    _, seen = module.apply(
        {"params": params["encoder"], "batch_stats": stats["batch_stats"]["encoder"]},
        IMAGES,
        train=True,
        rngs={"dropout": KEY},
        capture_intermediates=lambda m, _: isinstance(m, nn.Dropout),
        mutable=["intermediates", "batch_stats"],
    )
    assert len(seen["intermediates"]) == count


@pytest.mark.parametrize("kind", [AlexNet, VGG])
def test_weights_begin_as_in_deepclusters_code(kind):
    images = jnp.zeros((1, 64, 64, 3))
    params = jax.jit(kind(hidden=(256, 32)).init)(KEY, images)["params"]
    kernel = params["conv2"]["kernel"]
    wanted = np.sqrt(2 / (9 * kernel.shape[-1]))
    np.testing.assert_allclose(kernel.std(), wanted, rtol=0.02)
    np.testing.assert_allclose(params["fc7"]["kernel"].std(), 0.01, rtol=0.05)
    assert not any(np.any(p["bias"]) for p in params.values())


@pytest.mark.parametrize(
    ("module", "least"),
    [(AlexNet(), 35), (AlexNet(stride=2, padding=0), 25), (SMALL[0], 14), (VGG(), 32)],
)
def test_images_that_are_too_small_are_refused(module, least):
    match = f"{least} x {least} pixels or more, got 64 x {least - 1}"
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(module.init, KEY, jnp.zeros((1, 64, least - 1, 3)))
    out = jax.eval_shape(module.init, KEY, jnp.zeros((1, least, least, 3)))
    last = module.widths[-1] if isinstance(module, AlexNet) else module.stages[-1][-1]
    assert out["params"]["fc6"]["kernel"].shape[0] == last  # one cell
