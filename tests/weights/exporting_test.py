"""The encoder behind h, found in a state, and its way out and back."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import nets, weights
from jssl.learner import ema_weights, fresh
from jssl.methods.masked.mae import mae
from jssl.models import heads, vit
from jssl.models.convnet import ConvNet
from jssl.models.norm import BatchNorm
from jssl.models.resnet import ResNet

KEY = jax.random.key(0)
NORM = ("scale", "bias", "mean", "var")
IMAGES = jax.random.uniform(KEY, (2, 8, 12, 3))


class Two(NamedTuple):
    student: object
    teacher: object


def test_of_two_networks_the_one_that_makes_h_is_found():
    net = nets.linen(heads.Classifier(ConvNet((4,)), 3))
    state = Two(
        *(fresh(optax.sgd(0.1), *net.init(k, IMAGES)) for k in jax.random.split(KEY))
    )

    def embed(state, batch):
        both = [net.apply(x.weights, x.stats, batch["image"])[0] for x in state]
        return {"h": both[1]["h"], "logits": both[0]["logits"]}

    used = weights.used(embed, state, {"image": IMAGES})
    assert isinstance(used.module, ConvNet)
    assert used.image == (8, 12)
    teacher = state.teacher.params["encoder"]
    jax.tree.map(np.testing.assert_array_equal, used.variables["params"], dict(teacher))
    names = weights.own_names(used.variables)
    assert set(names) == {"conv0.kernel", *(f"norm0.{x}" for x in NORM)}
    np.testing.assert_array_equal(names["conv0.kernel"], teacher["conv0"]["kernel"])


def test_h_of_several_networks_has_an_encoder_each_and_of_none_is_refused():
    module = ConvNet((4,))
    net = nets.linen(module)
    state = Two(*(net.init(k, IMAGES) for k in jax.random.split(KEY)))

    def sums(state, batch):
        return {"h": sum(net.apply(*x, batch["image"])[0] for x in state)}

    found = weights.encoders(sums, state, {"image": IMAGES})
    for own, each in zip(state, found, strict=True):
        assert isinstance(each.module, ConvNet) and each.preprocessing.std == (1.0,) * 3
        jax.tree.map(np.testing.assert_array_equal, each.variables["params"], dict(own[0]))
    with pytest.raises(ValueError, match="several networks.*: ConvNet, ConvNet"):
        weights.used(sums, state, {"image": IMAGES})
    with pytest.raises(ValueError, match="no Flax Linen module computes h"):
        weights.used(lambda state, batch: {"h": batch["image"]}, state, {"image": IMAGES})


def test_the_running_average_goes_out_and_its_features_come_back(tmp_path, embed):
    encoder = vit.Encoder(8, 2, 2, 4)
    net = nets.linen(vit.MaskedAutoencoder(encoder, width=8, depth=1, heads=2))
    method = mae(net, optax.chain(optax.sgd(0.5), ema_weights(0.5)), 4)
    batch = {"image": IMAGES}
    state = jax.jit(method.init)(KEY, batch)
    state = state._replace(params=jax.tree.map(jnp.zeros_like, state.params))
    used = weights.used(method.embed, state, batch)
    params = used.variables.pop("params")
    jax.tree.map(np.testing.assert_array_equal, params["encoder"], state.ema["encoder"])
    told = weights.described(used.module, used.image)
    assert (told["names"], told["grid"], told["heads"]) == ("timm", (2, 3), 2)
    arrays = weights.to_torch(used.module, params, grid=told["grid"])
    assert arrays["pos_embed"].shape == (1, 7, 8)
    assert not arrays["pos_embed"][0, 0].any()
    weights.write(tmp_path / "x.safetensors", arrays, {})
    loaded = weights.load(tmp_path / "x.safetensors", heads=2, grid=(2, 3))
    wanted = method.embed(state, batch)["h"]
    np.testing.assert_allclose(embed(loaded, IMAGES), wanted, rtol=0, atol=1e-6)


def test_a_fine_tuned_vit_takes_its_norm_and_head_along(tmp_path, embed):
    module = vit.Classifier(vit.Encoder(8, 1, 2, 4, final_norm=False), 3, head_std=1.0)
    net = nets.linen(module)
    state = net.init(KEY, IMAGES)

    def h(state, batch):
        return net.apply(*state, batch["image"])[0]

    used = weights.used(h, state, {"image": IMAGES})
    arrays = weights.to_torch(used.module, used.variables["params"], grid=(2, 3))
    assert {"fc_norm.weight", "head.weight"} <= set(arrays)
    assert "norm.weight" not in arrays
    weights.write(tmp_path / "x.safetensors", arrays, {})
    loaded = weights.load(tmp_path / "x.safetensors", heads=2, grid=(2, 3))
    wanted = h(state, {"image": IMAGES})["h"]
    np.testing.assert_allclose(embed(loaded, IMAGES), wanted, rtol=0, atol=1e-6)


def test_a_resnet_goes_out_with_its_statistics_alone_or_in_a_classifier():
    module = ResNet(10, "cifar", 4)
    shapes = jax.eval_shape(module.init, KEY, IMAGES)
    fill = iter(range(1000))
    variables = jax.tree.map(lambda x: np.full(x.shape, next(fill), np.float32), shapes)
    params, stats = variables["params"], {"batch_stats": variables["batch_stats"]}
    arrays = weights.to_torch(module, params, stats)
    assert arrays["conv1.weight"].shape == (4, 3, 3, 3)
    np.testing.assert_array_equal(
        arrays["layer2.0.downsample.1.running_var"],
        variables["batch_stats"]["stage1_0"]["shortcut_norm"]["var"],
    )
    nested = {"encoder": params, "head": {"kernel": np.ones((32, 5))}}
    inside = {"batch_stats": {"encoder": variables["batch_stats"]}}
    with_head = weights.to_torch(module, nested, inside)
    assert with_head.pop("fc.weight").shape == (5, 32)
    assert set(with_head) == set(arrays)


def test_fixed_positions_need_their_grid():
    module = vit.Encoder(8, 1, 2, 4)
    params = module.init(KEY, IMAGES)["params"]
    with pytest.raises(ValueError, match="needs grid="):
        weights.to_torch(module, params)


def test_learned_positions_leave_the_default_tree_alone():
    plain = vit.Encoder(8, 1, 2, 4)
    learned = plain.clone(grid=(2, 3))
    params = plain.init(KEY, IMAGES)["params"]
    assert "positions" not in params
    more = learned.init(KEY, IMAGES)["params"]
    assert more["positions"].shape == (1, 7, 8)
    assert set(more) - set(params) == {"positions"}
    places = weights.to_torch(plain, params, grid=(2, 3))["pos_embed"]
    same = dict(params) | {"positions": jnp.asarray(places)}
    keep = jnp.array([[4, 1], [0, 5]])
    for kept in (None, keep):
        wanted = plain.apply({"params": params}, IMAGES, kept)
        found = learned.apply({"params": same}, IMAGES, kept)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_kernel_answers_gray_alike_in_any_number_of_channels(channels):
    rng = np.random.default_rng(0)
    kernel, gray = rng.normal(size=(2, 3, 3, 5)), rng.normal(size=(2, 3, 1))
    adapted = weights.adapt_input(kernel, channels)
    assert adapted.shape == (2, 3, channels, 5)
    wanted = np.einsum("hwc,hwcd->d", np.repeat(gray, 3, axis=2), kernel)
    found = np.einsum("hwc,hwcd->d", np.repeat(gray, channels, axis=2), adapted)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_kernel_for_the_same_channels_is_the_same():
    kernel = np.random.default_rng(0).normal(size=(2, 3, 3, 5))
    assert weights.adapt_input(kernel, 3) is kernel
    with pytest.raises(ValueError, match="channels >= 1"):
        weights.adapt_input(kernel, 0)


def test_the_metadata_of_a_file_hold_no_initialization_and_no_dtype():
    encoder = vit.moco_v3("8x1x2/4", dtype=jnp.bfloat16, residual_dtype=jnp.float32)
    told = weights.described(encoder, (8, 12))
    plain = weights.described(vit.Encoder(8, 1, 2, 4), (8, 12))
    assert told == plain
    assert weights.described(ResNet(zero_last=False), (8, 8)) == weights.described(
        ResNet(), (8, 8)
    )


@pytest.mark.parametrize(
    ("more", "head"),
    [({}, True), ({"relu": True}, False), ({"logits_norm": BatchNorm()}, False)],
)
def test_only_a_head_that_is_linear_in_h_goes_out_with_its_encoder(more, head):
    module = heads.Classifier(ResNet(6, "cifar", 4), 3, **more)
    net = nets.linen(module)
    state = net.init(KEY, IMAGES)

    def h(state, batch):
        out = net.apply(*state, batch["image"])[0]
        return {"h": out["h"] + out["logits"].sum()}

    used = weights.used(h, state, {"image": IMAGES})
    assert set(used.variables["params"]) == {"encoder"} | ({"head"} if head else set())
