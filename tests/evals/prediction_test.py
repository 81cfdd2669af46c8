"""Errors of predicted frames: sums over pixels, halves, the copied frame, and refusals."""

import numpy as np
import pytest

from jssl.evals import Features, frame_errors, frame_prediction, psnr, ssim


class Videos(Features):
    """Random clips of 12 x 12 pixels, and `made` of them."""

    def __init__(self, made, side=12):
        self.video = np.random.default_rng(0).random((6, 5, side, side, 1))
        self.made = made

    def rows(self, split, rows=None):
        return {"video": self.video}

    def generated(self, split, rows=None):
        return {"video": self.made(self.video)}


def test_a_perfect_prediction_has_no_error_and_the_copy_has_that_of_the_last_frame():
    features = Videos(lambda x: x)
    found = frame_prediction(2)(features, True)
    assert found["mse"] == 0 and found["ssim"] == pytest.approx(1)
    last, rest = features.video[:, 1], features.video[:, 2:]
    wanted = [np.square(last - rest[:, t]).sum((1, 2, 3)).mean() for t in range(3)]
    assert found["mse/copy"] == pytest.approx(np.mean(wanted))
    assert found["mse/1-2/copy"] == pytest.approx(np.mean(wanted[:2]))
    assert found["mse/3-3/copy"] == pytest.approx(wanted[2])
    np.testing.assert_allclose(
        found["mse by frame"].ys["last observed frame"], wanted, rtol=1e-12
    )


def test_errors_of_frames_are_those_of_images():
    x, y = np.random.default_rng(1).random((2, 3, 4, 12, 12, 1))
    found = frame_errors(x, y)
    for t in range(4):
        assert found["psnr"][t] == pytest.approx(psnr(x[:, t], y[:, t]).mean())
        assert found["ssim"][t] == pytest.approx(ssim(x[:, t], y[:, t]).mean())


def test_zeros_cost_the_energy_of_the_frames_and_small_ones_have_no_ssim():
    features = Videos(lambda x: 0 * x, side=8)
    found = frame_prediction(1)(features, False)
    energy = np.square(features.video[:, 1:]).sum((2, 3, 4)).mean()
    assert found["mse"] == pytest.approx(energy)
    assert not any(name.startswith("ssim") for name in found)


def test_methods_and_clips_without_predictions_are_refused():
    features = Videos(lambda x: x)
    with pytest.raises(ValueError, match="longer than the 5 observed frames"):
        frame_prediction(5)(features, True)
    with pytest.raises(ValueError, match="must generate 'image'"):
        frame_prediction(2, "image")(features, True)
    with pytest.raises(ValueError, match="observed must be positive"):
        frame_prediction(0)
