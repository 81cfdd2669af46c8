"""Propagation of masks: perfect and useless features, the copied mask, and refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import Features, object_iou, propagated_masks, propagation

SIDE = 12


def moving(clips=4, frames=7):
    """Two squares of 4 x 4 that move in whole places, and a code of what is where."""
    objects = np.zeros((clips, frames, SIDE, SIDE), np.int32)
    code = np.zeros((clips, frames, SIDE, SIDE, 40), np.float32)
    grid = np.arange(SIDE)
    code[..., 0] = 1
    for i, t in np.ndindex(clips, frames):
        for number, (y, x) in enumerate([(t, i), (SIDE - 4 - t, SIDE - 5 - i)], 1):
            rows, columns = np.ix_(grid[y : y + 4], grid[x : x + 4])
            objects[i, t, rows, columns] = number
            code[i, t, rows, columns] = np.eye(40)[
                8 + 16 * (number - 1) + np.arange(16)
            ].reshape(4, 4, 40)
    return objects, code


class Clips(Features):
    """Clips, and `maps` of them: functions of the code of their places."""

    def __init__(self, of=lambda code: code, single=False):
        self.objects, self.code = moving()
        self.single, self.maps = single, of
        self.asked = []

    def rows(self, split, rows=None):
        return {"video": self.code.mean(-1, keepdims=True)[:rows]}

    def targets(self, split, name="label"):
        assert name == "objects"
        return self.objects

    def of(self, rows, name="h", reduce=None):
        assert name == "maps"
        self.asked += list(rows)
        count = len(next(iter(rows.values())))
        code = self.code.reshape(-1, *self.code.shape[2:]) if self.single else self.code
        return self.maps(code)[:count]


def test_features_that_name_what_is_where_track_it():
    objects, code = moving()
    found = propagated_masks(code, objects[:, 0], temperature=0.01)
    np.testing.assert_array_equal(found, objects)
    scores = propagation(steps=(2, 6, 60))(Clips(), True)
    assert scores["iou@6"] == scores["iou@6/grid"] == 1
    assert scores["iou@2/copy"] > scores["iou@6/copy"]
    assert "iou@60" not in scores
    clip = scores["propagated masks"]
    assert clip.frames.shape == (4, 2, 7, SIDE, SIDE, 3)
    np.testing.assert_array_equal(clip.frames[:, 0], clip.frames[:, 1])


def test_features_without_information_do_not_track():
    scores = propagation(steps=(6,))(Clips(lambda code: 0 * code + 1), False)
    assert scores["iou@6"] < 0.3


def test_frames_are_embedded_one_by_one_where_the_method_is_of_images():
    features = Clips(single=True)
    clips = lambda split: features.rows(split) | {"objects": features.objects}
    scores = propagation(clips, frames=True, steps=(3,))(features, True)
    assert scores["iou@3"] == 1
    assert set(features.asked) == {"image"}


def test_coarse_maps_are_bounded_by_their_grid():
    coarse = lambda code: code.reshape(4, 7, 3, 4, 3, 4, 40).mean((3, 5))
    scores = propagation(steps=(3,))(Clips(coarse), False)
    assert scores["iou@3/grid"] < 1
    # Of the mean over objects, that of loops.
    ious = []
    objects = moving()[0]
    for i in range(4):
        for number in (1, 2):
            one, two = objects[i, 0] == number, objects[i, 3] == number
            ious.append((one & two).sum() / (one | two).sum())
    assert scores["iou@3/copy"] == pytest.approx(np.mean(ious))


def test_objects_that_leave_or_enter_are_not_counted():
    known = np.array([[[1, 2, 0]]])
    truth = np.array([[[1, 0, 3]]])
    assert object_iou(truth, truth, known) == 1
    with pytest.raises(ValueError, match="no object is in the first frame and in this one"):
        object_iou(truth, truth, 0 * known)


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        propagation(temperatures=(0.0,))
    pooled = Clips(lambda code: jnp.asarray(code).mean((2, 3)))
    with pytest.raises(ValueError, match=r"must be finite \[n=4, t=7"):
        propagation()(pooled, False)
