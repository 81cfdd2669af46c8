"""CNN-13: the count of VAT's code, its maps, dropout and the norm of the logits."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import nets
from jssl.models.cnn13 import CNN13
from jssl.models.heads import Classifier
from jssl.models.norm import BatchNorm

KEY = jax.random.key(0)
SMALL = tuple((side, 4) for side in (3, 3, 3, 3, 3, 3, 3, 1, 1))
IMAGES = jax.random.normal(KEY, (6, 12, 12, 3))


def test_cnn_13_has_the_number_of_weights_and_the_maps_of_vats_code():
    """Counted from `cnn.py` of vat_tf: f_in * f_out * ksize^2, and two a channel of bn."""
    layers = [(3, 3, 128), (3, 128, 128), (3, 128, 128)]
    layers += [(3, 128, 256), (3, 256, 256), (3, 256, 256)]
    layers += [(3, 256, 512), (1, 512, 256), (1, 256, 128)]
    wanted = sum(k * k * i * o + 2 * o for k, i, o in layers) + 128 * 10 + 10
    module = Classifier(CNN13(), 10)
    images = jnp.zeros((2, 32, 32, 3))
    of = jax.eval_shape(module.init, KEY, images)
    count = sum(x.size for x in jax.tree.leaves(of["params"]))
    assert count == wanted == 3_121_802
    out, seen = jax.eval_shape(lambda v: module.apply(v, images, mutable=["layers"]), of)
    assert out["h"].shape == (2, CNN13().features) == (2, 128)
    maps = [x.shape[1:] for x in seen["layers"]["encoder"]["tap"]]
    sides = [32] * 3 + [16] * 3 + [6] * 3
    assert maps == [(s, s, o) for s, (_, _, o) in zip(sides, layers, strict=True)]


def test_a_layer_is_a_convolution_a_norm_and_a_leaky_relu():
    module = CNN13(0.0, layers=SMALL)
    variables = module.init(KEY, IMAGES)
    _, seen = module.apply(
        variables,
        IMAGES,
        train=True,
        capture_intermediates=lambda m, _: m.name in ("conv0", "conv1"),
        mutable=["intermediates", "layers", "batch_stats"],
    )
    x = np.float64(seen["intermediates"]["conv0"]["__call__"][0])
    wanted = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-6)
    wanted = np.maximum(wanted, 0.1 * wanted)
    np.testing.assert_allclose(seen["layers"]["tap"][0], wanted, rtol=1e-4, atol=1e-5)
    assert set(variables["params"]["conv0"]) == {"kernel"}
    kept = seen["batch_stats"]["norm0"]["mean"]
    np.testing.assert_allclose(kept, 0.01 * x.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)


def test_dropout_follows_each_pool_in_training_only():
    net = nets.linen(Classifier(CNN13(layers=SMALL), 3))
    params, stats = net.init(KEY, IMAGES)

    def h(seed, rate_of=net, train=True):
        keys = {"dropout": jax.random.key(seed)}
        return rate_of.apply(params, stats, IMAGES, train=train, keys=keys)[0]["h"]

    assert np.abs(h(0) - h(1)).max() > 0.01
    np.testing.assert_array_equal(h(0), h(0))
    np.testing.assert_array_equal(h(0, train=False), h(1, train=False))
    sure = nets.linen(Classifier(CNN13(0.0, layers=SMALL), 3))
    np.testing.assert_array_equal(h(0, sure), h(1, sure))
    zeros = {}
    module = CNN13(layers=SMALL)
    _, seen = module.apply(
        {"params": params["encoder"], "batch_stats": stats["batch_stats"]["encoder"]},
        IMAGES,
        train=True,
        rngs={"dropout": KEY},
        capture_intermediates=lambda m, _: isinstance(m, nn.Dropout),
        mutable=["intermediates", "batch_stats"],
    )
    for name, calls in seen["intermediates"].items():
        zeros[name] = float((calls["__call__"][0] == 0).mean())
    assert zeros == pytest.approx({"Dropout_0": 0.5, "Dropout_1": 0.5}, abs=0.1)


def test_the_logits_may_be_normalized_as_by_vats_top_bn():
    norm = BatchNorm(momentum=0.99, eps=1e-6)
    net = nets.linen(Classifier(CNN13(0.0, layers=SMALL), 3, logits_norm=norm))
    params, stats = net.init(KEY, IMAGES)
    assert set(params) == {"encoder", "head", "logits_norm"}
    logits = net.apply(params, stats, IMAGES, train=True)[0]["logits"]
    np.testing.assert_allclose(logits.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(logits.std(0), 1, rtol=1e-3)
    plain = nets.linen(Classifier(CNN13(0.0, layers=SMALL), 3))
    assert set(plain.init(KEY, IMAGES)[0]) == {"encoder", "head"}


def test_images_that_the_unpadded_convolution_cannot_see_are_refused():
    module = CNN13(layers=SMALL)
    with pytest.raises(ValueError, match="9 x 9 pixels or more, got 12 x 8"):
        module.init(KEY, jnp.zeros((1, 12, 8, 3)))
    assert np.isfinite(module.init_with_output(KEY, jnp.ones((1, 9, 9, 3)))[0]).all()
