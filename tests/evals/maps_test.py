"""Maps: IoU, errors and orders of depth, counted by hand."""

import numpy as np
import pytest

from jssl.evals import Features, depth_maps, iou, mask_iou, ordinal_accuracy
from jssl.evals.maps import APART, PAIRS, resized

DRAW = np.random.default_rng(0)
DEPTH = DRAW.uniform(1, 9, (6, 8, 8)).astype(np.float32)


class Seen(Features):
    """Outputs and rows of one split that stands for all, and of other rows."""

    names = ()

    def __init__(self, outputs, rows={}, others={}):
        self.outputs, self.held, self.others = outputs, rows, others

    def __call__(self, split, name="h"):
        return self.outputs[name]

    def rows(self, split, rows=None):
        return self.held

    def of(self, rows, name="h"):
        return self.others[name][rows["index"]]


def test_masks_are_compared_over_the_whole_set_in_the_cells_of_the_prediction():
    truth = DRAW.random((5, 8, 8)) < 0.5
    found = DRAW.random((5, 4, 4)).astype(np.float32)
    judge = mask_iou(lambda rows: rows["moving"], {"all": lambda rows: rows["one"]})
    rows = {"moving": truth.astype(np.uint8), "one": np.ones((5, 8, 8), np.uint8)}
    seen = judge(Seen({"mask": found}, rows), final=False)
    both = either = wanted = 0
    for n, i, j in np.ndindex(5, 4, 4):
        t = truth[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() > 0.5
        p = found[n, i, j] > 0.5
        both, either, wanted = both + (t and p), either + (t or p), wanted + t
    assert seen == {
        "iou": pytest.approx(both / either),
        "iou/all": pytest.approx(wanted / 80),
    }


def test_the_iou_of_a_mask_with_itself_is_one():
    mask = DRAW.random((3, 4)) < 0.5
    assert iou(mask, mask) == 1 and iou(mask, ~mask) == 0
    assert iou(mask & False, mask & False) == 1


def test_the_order_of_depths_does_not_depend_on_their_scale():
    assert ordinal_accuracy(DEPTH**3 - 7, DEPTH) == 1
    assert ordinal_accuracy(-DEPTH, DEPTH) == 0
    assert ordinal_accuracy(0 * DEPTH, DEPTH) == 0.5
    noise = DRAW.normal(size=DEPTH.shape)
    assert abs(ordinal_accuracy(noise, DEPTH, pairs=2000) - 0.5) < 0.03


def test_the_order_of_depths_agrees_with_a_loop_over_pairs():
    pred = DEPTH + DRAW.normal(0, 2, DEPTH.shape)
    at = np.random.default_rng(0).integers(0, 64, (2, 6, PAIRS))
    right = []
    for n, k in np.ndindex(6, PAIRS):
        (a, c), (b, d) = ((pred[n].flat[i], DEPTH[n].flat[i]) for i in at[:, n, k])
        if abs(c - d) > APART * min(c, d):
            right.append((a > b) == (c > d) if a != b else 0.5)
    np.testing.assert_allclose(ordinal_accuracy(pred, DEPTH), np.mean(right))


def test_the_baselines_of_depth_are_means_of_the_training_split():
    judge = depth_maps(lambda rows: rows["depth"])
    seen = judge(Seen({"depth": DEPTH + 0.5}, {"depth": DEPTH}), final=True)
    assert seen["depth_mae"] == pytest.approx(0.5) and seen["ordinal"] == 1
    mean = np.abs(DEPTH - DEPTH.mean()).mean()
    assert seen["depth_mae/mean"] == pytest.approx(mean, rel=1e-5)
    by_row = np.abs(DEPTH - DEPTH.mean((0, 2))[:, None]).mean()
    assert seen["depth_mae/row"] == pytest.approx(by_row, rel=1e-5)


def test_depths_of_other_rows_have_names_of_their_own():
    rows = {"index": np.arange(2), "depth": DEPTH[:2]}
    judge = depth_maps(lambda rows: rows["depth"], other=lambda split: rows, of="/other")
    seen = judge(Seen({}, others={"depth": DEPTH - 1}), final=False)
    assert seen["depth_mae/other"] == pytest.approx(1) and seen["ordinal/other"] == 1


def test_maps_are_averaged_over_cells_or_interpolated():
    np.testing.assert_allclose(
        resized(DEPTH, 4, 2), DEPTH.reshape(6, 4, 2, 2, 4).mean((2, 4)), rtol=1e-6
    )
    assert resized(DEPTH, 16, 16).shape == (6, 16, 16)


def test_outputs_that_are_no_maps_are_refused():
    judge = depth_maps(lambda rows: rows["depth"])
    with pytest.raises(ValueError, match=r"must be finite maps \[n, h, w\]"):
        judge(Seen({"depth": DEPTH[:, 0]}, {"depth": DEPTH}), final=False)
    with pytest.raises(ValueError, match="has no 'depth'"):
        judge(Seen({}), final=False)
    with pytest.raises(ValueError, match="no pair of pixels"):
        ordinal_accuracy(DEPTH, 0 * DEPTH + 1)
