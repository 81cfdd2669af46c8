"""Others' weights: the same features, the same arrays back, nothing left out in silence."""

import re

import numpy as np
import pytest

from jssl import weights

RESNETS = ["torchvision resnet", "timm resnet", "small stem"]
VITS = ["timm vit", "timm vit mean", "torchvision vit", "mae"]
VITS += ["transformers vit", "transformers 5 vit"]


def encoder(loaded):
    return getattr(loaded.module, "encoder", loaded.module)


def renamed(arrays, *pairs):
    for old, new in pairs:
        arrays = {re.sub(old, new, name): x for name, x in arrays.items()}
    return arrays


@pytest.mark.parametrize("name", [*RESNETS, *VITS])
def test_features_are_those_of_the_library(name, case, embed):
    its = case(name)
    h = embed(weights.load(its.file, **its.known), its.images)
    np.testing.assert_allclose(h, its.h, rtol=0, atol=3e-5)


@pytest.mark.parametrize("name", [*RESNETS, *VITS])
def test_a_round_trip_gives_the_same_bits_and_says_what_it_left_out(name, case):
    its = case(name)
    loaded = weights.load(its.file, **its.known)
    dialect = loaded.info["dialect"]
    names = {} if dialect == "resnet" else {"dialect": dialect}
    back = weights.to_torch(encoder(loaded), loaded.params, loaded.stats, **names)
    back = {loaded.info["prefix"] + name: x for name, x in back.items()}
    for name, array in back.items():
        assert array.dtype == its.arrays[name].dtype
        np.testing.assert_array_equal(array, its.arrays[name])
    assert {*back, *loaded.info["left_out"]} == set(its.arrays)
    assert not set(back) & set(loaded.info["left_out"])


@pytest.mark.parametrize("name", VITS)
def test_every_vit_goes_out_under_the_names_of_timm(name, case, embed, tmp_path):
    its = case(name)
    loaded = weights.load(its.file, **its.known)
    out = weights.to_torch(encoder(loaded), loaded.params)
    assert "blocks.1.attn.qkv.weight" in out
    again = weights.load(its.saved(tmp_path / "x.safetensors", out), **its.known)
    np.testing.assert_array_equal(embed(again, its.images), embed(loaded, its.images))


def nonsense(arrays):
    """Another network of the same names and shapes."""
    return {name: np.ones_like(x) for name, x in arrays.items()}


def checkpoints():
    """What pre-training leaves: the network to judge, and what stands around it."""
    one = np.ones((2, 2), np.float32)
    heads = {"fc.0.weight": one, "fc.0.bias": one, "fc.2.weight": one}
    moco = {
        "encoder_q.": lambda x: x | heads,
        "encoder_k.": lambda x: nonsense(x) | heads,
        "": lambda x: {"queue": one, "queue_ptr": np.zeros(1, np.int64)},
    }
    version3 = {
        "base_encoder.": lambda x: x | heads,
        "momentum_encoder.": lambda x: nonsense(x) | heads,
        "predictor.": lambda x: {"0.weight": one, "1.running_mean": one},
    }
    version3_vit = {
        "base_encoder.": lambda x: x | {"head.0.weight": one, "head.1.bias": one},
        "momentum_encoder.": nonsense,
        "predictor.": lambda x: {"3.weight": one},
    }
    simsiam = {
        "encoder.": lambda x: x | heads | {"fc.1.running_mean": one},
        "predictor.": lambda x: {"0.weight": one},
    }
    dino = {
        "backbone.": lambda x: x,
        "head.": lambda x: {"mlp.0.weight": one, "last_layer.weight_g": one},
    }
    return {
        "MoCo ResNet-50": ("torchvision resnet", "module.", moco),
        "MoCo v3 ResNet-50": ("torchvision resnet", "module.", version3),
        "MoCo v3 ViT": ("timm vit", "module.", version3_vit),
        "SimSiam ResNet-50": ("torchvision resnet", "module.", simsiam),
        "DINO ViT": ("timm vit", "", dino),
        "DINO ResNet-18": ("timm resnet", "module.", dino),
    }


@pytest.mark.parametrize("source", checkpoints())
def test_of_a_checkpoint_the_encoder_to_judge_is_taken(source, case, embed, tmp_path):
    name, module, parts = checkpoints()[source]
    its = case(name)
    own = {n: x for n, x in its.arrays.items() if not n.startswith(("fc.", "head."))}
    whole = {
        f"{module}{prefix}{n}": x
        for prefix, part in parts.items()
        for n, x in part(own).items()
    }
    loaded = weights.load(its.saved(tmp_path / "x.safetensors", whole), **its.known)
    assert loaded.info["source"] == source
    np.testing.assert_allclose(embed(loaded, its.images), its.h, rtol=0, atol=3e-5)
    kept = {n for n in own if not n.endswith("num_batches_tracked")}
    assert len(loaded.info["left_out"]) == len(whole) - len(kept)


def test_the_names_of_torchvision_before_its_mlp_was_renamed(case, embed, tmp_path):
    its = case("torchvision vit")
    old = renamed(its.arrays, ("mlp.0", "mlp.linear_1"), ("mlp.3", "mlp.linear_2"))
    loaded = weights.load(its.saved(tmp_path / "x.safetensors", old), **its.known)
    assert loaded.info["dialect"] == "torchvision 2021"
    np.testing.assert_allclose(embed(loaded, its.images), its.h, rtol=0, atol=3e-5)


@pytest.mark.parametrize(
    "name", ["blocks.1.attn.proj.weight", "blocks.0.attn.qkv.weight", "pos_embed"]
)
def test_a_square_kernel_the_wrong_way_round_shows(name, case, embed, tmp_path):
    its = case("timm vit")
    wrong = np.split(its.arrays[name], 3) if "qkv" in name else [its.arrays[name]]
    wrong = [x[:, ::-1] if x.ndim == 3 else x.T for x in wrong]
    arrays = its.arrays | {name: np.concatenate(wrong)}
    loaded = weights.load(its.saved(tmp_path / "x.safetensors", arrays), **its.known)
    assert np.abs(embed(loaded, its.images) - its.h).max() > 1e-2


def test_both_kinds_of_norm_use_their_epsilon(case, embed):
    its = case("transformers vit")
    usual = weights.load(its.file, **(its.known | {"eps": None}))
    assert usual.info["eps"] == 1e-12
    assert np.abs(embed(usual, its.images) - its.h).max() > 1e-4


@pytest.mark.parametrize("name", ["timm vit", "small stem"])
@pytest.mark.parametrize("channels", [1, 2])
def test_gray_images_say_the_same_in_any_number_of_channels(name, channels, case, embed):
    its = case(name)
    gray = its.images[..., :1]
    wanted = embed(weights.load(its.file, **its.known), np.repeat(gray, 3, axis=-1))
    loaded = weights.load(its.file, **its.known, channels=channels)
    h = embed(loaded, np.repeat(gray, channels, axis=-1))
    np.testing.assert_allclose(h, wanted, rtol=0, atol=3e-5)


def test_positions_are_resized_for_other_images(case, embed, golden):
    its = case("timm vit")
    same = weights.load(its.file, **its.known, image=(40, 24))
    np.testing.assert_array_equal(
        same.params["encoder"]["positions"], its.arrays["pos_embed"]
    )
    larger = weights.load(its.file, **its.known, image=(56, 32))
    assert larger.params["encoder"]["positions"].shape == (1, 1 + 28, 12)
    assert embed(larger, np.ones((2, 56, 32, 3), np.float32)).shape == (2, 12)
    with pytest.raises(ValueError, match="5x3 patches .* image has 7x4"):
        embed(same, np.ones((2, 56, 32, 3), np.float32))


def test_what_it_took_is_told(case):
    its = case("torchvision vit")
    told = weights.load(its.file, heads=3).info
    assert (told["width"], told["depth"], told["patch"], told["grid"]) == (12, 2, 8, (3, 3))
    assert (told["heads"], told["heads_are"], told["pool"]) == (3, "given", "cls")
    assert told["left_out"] == ["heads.head.bias", "heads.head.weight"]


MISTAKES = {
    "a weight lacks": ("timm vit", ("norm.bias", "nrom.bias"), "missing norm.bias; .*nrom"),
    "layers besides": ("timm vit", ("head.bias", "blocks.0.ls1.gamma"), "unexpected bl"),
    "a deep stem": ("timm resnet", ("^conv1", "conv1.0"), "no conv1.weight"),
    "other blocks": ("timm resnet", ("layer4.1.", "layer4.2."), "missing layer4.1"),
    "unknown": ("timm vit", ("patch_embed", "embed_patch"), "ViT with known names"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_does_not_fit_is_said(mistake, case, tmp_path):
    name, pair, told = MISTAKES[mistake]
    its = case(name)
    file = its.saved(tmp_path / "x.safetensors", renamed(its.arrays, pair))
    with pytest.raises(ValueError, match=told):
        weights.load(file, **its.known)


@pytest.mark.parametrize(
    ("name", "changed", "told"),
    [
        ("blocks.0.mlp.fc1.weight", lambda x: x[:40], r"fc1.weight is \[40, 12\]"),
        ("blocks.0.attn.qkv.bias", lambda x: x[:35], r"qkv.bias is \[35\]"),
        ("norm.bias", lambda x: np.nan * x, "norm.bias has non-finite"),
        ("pos_embed", lambda x: x[:, :-1], r"pos_embed is \[1, 15, 12\]"),
    ],
)
def test_an_array_that_cannot_be_used_is_named(name, changed, told, case, tmp_path):
    its = case("timm vit")
    arrays = its.arrays | {name: changed(its.arrays[name])}
    with pytest.raises(ValueError, match=told):
        weights.load(its.saved(tmp_path / "x.safetensors", arrays), **its.known)


def test_what_shapes_do_not_tell_is_asked_for(case, tmp_path):
    its = case("timm vit")
    with pytest.raises(ValueError, match="unknown number of heads"):
        weights.load(its.file, grid=(5, 3))
    with pytest.raises(ValueError, match="5 heads do not divide"):
        weights.load(its.file, heads=5, grid=(5, 3))
    with pytest.raises(ValueError, match="form no square: give grid"):
        weights.load(its.file, heads=3)
    with pytest.raises(ValueError, match="small stem.* a ResNet has no heads"):
        weights.load(case("small stem").file, heads=3)


def test_networks_of_unknown_names_are_asked_for(case, embed, tmp_path):
    its = case("timm vit")
    both = {f"one.{n}": x for n, x in its.arrays.items()}
    both |= {f"two.{n}": x for n, x in nonsense(its.arrays).items()}
    file = its.saved(tmp_path / "x.safetensors", both)
    with pytest.raises(ValueError, match=r"choose prefix= from \['one.', 'two.'\]"):
        weights.load(file, **its.known)
    with pytest.raises(ValueError, match="no encoder is called 'three.'"):
        weights.load(file, **its.known, prefix="three.")
    with pytest.raises(ValueError, match="unknown arrays beside .one..: two.blocks"):
        weights.load(file, **its.known, prefix="one.")


def test_heads_are_those_of_the_papers():
    def heads(width, prefix=""):
        arrays = {"patch_embed.proj.weight": np.zeros((width, 3, 16, 16))}
        return weights.recognize({prefix + n: x for n, x in arrays.items()}).heads

    assert [heads(d) for d in (192, 384, 768, 1024, 1280, 100)] == [3, 6, 12, 16, 16, 0]
    assert heads(384, "module.base_encoder.") == 12
