"""Reconstructions beside principal components: scikit-learn says the same."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from jssl.evals import Features, reconstruction


class Outputs(Features):
    """What a method embeds, by split and name, and a diary of what was asked for."""

    def __init__(self, width=2, sizes=(40, 20, 30)):
        random = np.random.default_rng(0)
        mix = random.normal(size=(5, 5))
        self.arrays, self.asked = {}, []
        for split, n in zip(("train", "val", "test"), sizes, strict=True):
            x = (random.normal(size=(n, 5)) @ mix + 1).astype(np.float32)
            self.arrays[split, "input"] = x
            self.arrays[split, "reconstruction"] = x + 0.1
            self.arrays[split, "h"] = np.zeros((n, width), np.float32)

    def __call__(self, split, name="h"):
        self.asked.append(split)
        return self.arrays[split, name]


def by_hand(fit, x, components):
    theirs = PCA(components).fit(fit.astype(np.float64))
    seen = theirs.inverse_transform(theirs.transform(x.astype(np.float64)))
    return np.square(x - seen).sum() / len(x)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_components_are_those_of_scikit_learn(width):
    features = Outputs(width)
    x = {split: features.arrays[split, "input"] for split in ("train", "val", "test")}
    found = reconstruction()(features, False)["pca_sse_per_image"]
    np.testing.assert_allclose(found, by_hand(x["train"], x["val"], width), atol=1e-10)
    found = reconstruction()(features, True)["pca_sse_per_image"]
    both = np.concatenate([x["train"], x["val"]])
    np.testing.assert_allclose(found, by_hand(both, x["test"], width), atol=1e-10)
    assert (found < 1e-10) == (width == 5)


def test_the_methods_own_error_is_summed_over_pixels_and_averaged_over_images():
    features = Outputs()
    found = reconstruction()(features, True)["sse_per_image"]
    np.testing.assert_allclose(found, 5 * 0.1**2, rtol=1e-5)
    features.arrays["test", "reconstruction"] = features.arrays["test", "input"]
    assert reconstruction()(features, True)["sse_per_image"] == 0


def test_a_code_wider_than_the_images_is_held_against_all_components():
    found = reconstruction()(Outputs(width=9), True)["pca_sse_per_image"]
    np.testing.assert_allclose(found, 0, atol=1e-10)
    few = Outputs(width=9, sizes=(3, 2, 4))  # of five images: a mean and four directions
    both = np.concatenate([few.arrays[split, "input"] for split in ("train", "val")])
    found = reconstruction()(few, True)["pca_sse_per_image"]
    np.testing.assert_allclose(found, by_hand(both, few.arrays["test", "input"], 4))
    assert found > 0.01


def test_nothing_asks_for_the_test_split_while_training():
    features = Outputs()
    reconstruction()(features, False)
    assert set(features.asked) == {"train", "val"}


def test_another_output_may_be_judged():
    features = Outputs()
    x = features.arrays["test", "input"]
    features.arrays["test", "denoised"] = x + 1
    found = reconstruction("denoised")(features, True)["sse_per_image"]
    np.testing.assert_allclose(found, 5, rtol=1e-5)
    assert reconstruction("denoised").protocol != reconstruction().protocol


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("reconstruction", None, "the test split is missing or empty"),
        ("input", np.zeros((0, 5)), "the test split is missing or empty"),
        ("reconstruction", np.zeros((30, 6)), r"one shape, got \[30, 5\] and \[30, 6\]"),
        ("input", np.zeros((30, 5, 1)), r"must be finite rows \[N, v\], got \[30, 5, 1\]"),
        ("reconstruction", np.full((30, 5), np.nan), "must be finite rows"),
    ],
)
def test_what_cannot_be_compared_is_refused(name, value, message):
    features = Outputs()
    features.arrays["test", name] = value
    with pytest.raises(ValueError, match=message):
        reconstruction()(features, True)


def test_an_output_that_the_method_lacks_is_named():
    features = Outputs()
    del features.arrays["test", "reconstruction"]
    with pytest.raises(ValueError, match="the test split has no 'reconstruction'"):
        reconstruction()(features, True)
