"""The normalization of images before an encoder: measured, written, read, and told."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import nets, views, weights
from jssl.models.resnet import ResNet
from jssl.weights.preprocessing import Preprocessing, measured

NOISE = np.random.default_rng(0).uniform(size=(12, 16, 3)).astype(np.float32)
PROBES = np.stack([np.zeros_like(NOISE), np.ones_like(NOISE), NOISE])
IMAGENET = views.IMAGENET
KNOWN = {
    "none": (lambda x: x, (0, 0, 0), (1, 1, 1), 1.0),
    "center": (lambda x: 2 * x - 1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1.0),
    "imagenet": (lambda x: views.normalize(x, *IMAGENET), *IMAGENET, 1.0),
    "crop": (lambda x: 2 * x[:, 3:9, 5:11] - 1, (0.5,) * 3, (0.5,) * 3, 0.5),
    "smaller": (
        lambda x: jax.image.resize(x, (3, 6, 8, 3), "linear"),
        (0, 0, 0),
        (1, 1, 1),
        0.5,
    ),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_a_normalization_is_measured(kind):
    prepare, mean, std, crop = KNOWN[kind]
    found = measured(PROBES, prepare(jnp.asarray(PROBES)))
    np.testing.assert_allclose(found.mean, mean, atol=2e-6)
    np.testing.assert_allclose(found.std, std, atol=2e-6)
    assert found.crop == crop
    assert found.size == prepare(jnp.asarray(PROBES)).shape[1:3]


OTHERS = {
    "squared": lambda x: x**2,
    "whitened": lambda x: x - x.mean((1, 2), keepdims=True),
    "gradient": lambda x: x * np.linspace(0, 1, 16)[:, None],
    "mixed channels": lambda x: x @ np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1.0]]),
    "negative": lambda x: 1 - x,
    "gray": lambda x: x.mean(-1, keepdims=True),
    "patches": lambda x: x.reshape(3, -1, 3),
    "constant": lambda x: 0 * x,
    "tiles": lambda x: x.reshape(6, 6, 16, 3),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_normalization_is_none(kind):
    assert measured(PROBES, OTHERS[kind](PROBES)) is None


def _saved(path, channels=3, **info):
    module = ResNet(10, "cifar", 4)
    made = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
    stats = {"batch_stats": made["batch_stats"]}
    weights.write(path, weights.to_torch(module, made["params"], stats), info)
    return path


def test_files_of_others_have_the_statistics_of_imagenet(tmp_path):
    path = _saved(tmp_path / "x.safetensors")
    found = weights.preprocessing(path, 3)
    assert (found.mean, found.std) == (IMAGENET.mean, IMAGENET.std)
    assert "the default" in found.words and "--mean and --std set others" in found.words
    gray = weights.preprocessing(path, 1)
    assert (gray.mean, gray.std) == ((0.0,), (1.0,))
    assert "unknown for 1 channels; --mean and --std" in gray.words


def test_what_is_given_precedes_what_is_written(tmp_path):
    told = Preprocessing((0.1,) * 3, (0.2,) * 3, (8, 9), 0.875)
    written = json.dumps(told.written())
    path = _saved(tmp_path / "x.safetensors", preprocessing=written, layout="{}")
    found = weights.preprocessing(path, 3)
    assert found == told._replace(origin="written in the file")
    half = weights.preprocessing(path, 3, std=[0.5])
    assert (half.mean, half.std, half.origin) == (told.mean, (0.5,) * 3, "std given")
    both = weights.preprocessing(path, 3, mean=[0], std=[1, 2, 3])
    assert both.words == "mean 0 0 0, std 1 2 3 (given)"
    np.testing.assert_allclose(both(PROBES)[1, 0, 0], [1, 1 / 2, 1 / 3])
    older = _saved(tmp_path / "y.safetensors", layout="{}")
    assert weights.preprocessing(older, 3).mean == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("mean", "std", "told"),
    [
        ([0.5, 0.5], None, "mean must be 3 finite numbers, or one, got"),
        (None, [0.0], "std must be 3 finite positive numbers"),
        ([float("nan")], None, "mean must be 3 finite"),
    ],
)
def test_numbers_that_normalize_nothing_are_refused(mean, std, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        weights.preprocessing(_saved(tmp_path / "x.safetensors"), 3, mean, std)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"mean": [0], "std": ["x"]}', "null"])
def test_damaged_metadata_name_their_file(text, tmp_path):
    path = _saved(tmp_path / "x.safetensors", preprocessing=text)
    with pytest.raises(ValueError, match="x.safetensors: the preprocessing .* damaged"):
        weights.preprocessing(path, 3)


def test_the_encoder_inside_a_method_tells_its_normalization():
    module = ResNet(10, "cifar", 4)
    net = nets.linen(module)
    state = net.init(jax.random.key(0), NOISE[None])

    def embed(state, batch):
        return {"h": net.apply(*state, views.normalize(batch["image"], *IMAGENET))[0]}

    used = weights.used(
        embed, state, {"image": NOISE[None], "index": np.zeros(1, np.int32)}
    )
    np.testing.assert_allclose(used.preprocessing.mean, IMAGENET.mean, atol=2e-6)
    np.testing.assert_allclose(used.preprocessing.std, IMAGENET.std, atol=2e-6)
    assert used.preprocessing.size == (12, 16)
