"""PSNR and SSIM: the numbers of scikit-image, see tests/golden/make_ssim.py."""

import sys
from pathlib import Path

import numpy as np
import pytest

from jssl.evals import Features, image_quality, psnr, ssim

FOUND = np.load(Path(__file__).parents[1] / "golden" / "ssim.npz")


def pair(kind):
    return FOUND[f"{kind}/x"].astype(np.float64), FOUND[f"{kind}/y"].astype(np.float64)


@pytest.mark.parametrize("kind", ["gray", "color"])
def test_numbers_are_those_of_scikit_image(kind):
    np.testing.assert_allclose(psnr(*pair(kind)), FOUND[f"{kind}/psnr"], rtol=1e-12)
    np.testing.assert_allclose(ssim(*pair(kind)), FOUND[f"{kind}/ssim"], rtol=1e-10)


def test_equal_images_have_the_largest_numbers():
    x, _ = pair("color")
    np.testing.assert_allclose(ssim(x, x), 1)
    np.testing.assert_allclose(psnr(x, x), 120)


class Reconstructions(Features):
    def __init__(self, x, y):
        self.outputs, self.asked = {"input": x, "reconstruction": y}, []

    def __call__(self, split, name="h"):
        self.asked.append(split)
        return self.outputs[name]


@pytest.mark.parametrize("final", [False, True])
def test_an_eval_has_the_means_over_the_images(final):
    features = Reconstructions(*pair("color"))
    found = image_quality()(features, final)
    assert set(features.asked) == {"test" if final else "val"}
    for name in ("psnr", "ssim"):
        np.testing.assert_allclose(found[name], FOUND[f"color/{name}"].mean(), rtol=1e-6)


def test_other_reconstructions_are_beside_the_first():
    x, y = pair("gray")
    features = Reconstructions(x, y)
    features.outputs["bicubic"] = x
    found = image_quality(("reconstruction", "bicubic"))(features, True)
    assert found["ssim/bicubic"] == pytest.approx(1) and found["psnr/bicubic"] == 120
    np.testing.assert_allclose(found["psnr"], FOUND["gray/psnr"].mean(), rtol=1e-6)


def test_borders_are_left_out_and_colors_are_weighted():
    x, y = pair("color")
    frame = y.copy()
    frame[:, 2:-2, 2:-2] = x[:, 2:-2, 2:-2]
    features = Reconstructions(x, frame)
    assert image_quality()(features, True)["ssim"] < 0.999
    assert image_quality(border=2)(features, True)["ssim"] == pytest.approx(1)
    found = image_quality(luma=True)(Reconstructions(x, y), True)
    weight = np.array([65.481, 128.553, 24.966]) / 255
    error = np.square((x - y) @ weight).mean((1, 2))
    np.testing.assert_allclose(found["psnr"], (-10 * np.log10(error)).mean(), rtol=1e-12)


def test_other_arrays_are_refused(unhooked):
    x, y = pair("gray")
    with pytest.raises(ValueError, match=r"got \[4, 28, 24, 1\] and \[4, 27, 24, 1\]"):
        psnr(x, y[:, 1:])
    with pytest.raises(ValueError, match="11 x 11 pixels or more"):
        ssim(x[:, :10], y[:, :10])
    with pytest.raises(ValueError, match="has no 'other'"):
        image_quality(["other"])(Reconstructions(x, y), True)


def test_images_smaller_than_the_window_have_no_structural_similarity():
    x, y = (a[:, :12, :12] for a in pair("gray"))
    assert set(image_quality(border=1)(Reconstructions(x, y), True)) == {"psnr"}
    found = image_quality()(Reconstructions(x, y), True)
    np.testing.assert_allclose(found["ssim"], ssim(x, y).mean(), rtol=1e-12)


def test_parts_of_the_rows_have_the_mean_of_all(monkeypatch):
    x, y = pair("color")
    whole = image_quality(luma=True)(Reconstructions(x, y), True)
    monkeypatch.setattr(sys.modules["jssl.evals.image_quality"], "ROWS", 3)
    parts = image_quality(luma=True)(Reconstructions(x, y), True)
    for name in ("psnr", "ssim"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-12)
