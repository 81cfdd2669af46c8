"""Paths of objects: real videos pass, frames without an order fail."""

import numpy as np
import pytest

from jssl.data import load
from jssl.evals import Features, centers_of_mass, motion, path_error


class Videos(Features):
    """Moving digits, and `made` of them."""

    def __init__(self, made):
        source = load("bounce16", 32)
        self.splits = {x: source.split(x).table for x in ("train", "val", "test")}
        self.made = made

    def labels(self, split):
        return self.splits[split]["label"]

    def rows(self, split, rows=None):
        table = self.splits[split]
        return table | {"video": table["video"] / np.float32(255)}

    def generated(self, split, rows=None):
        return {"video": self.made(self.rows(split)["video"])}


def test_rows_themselves_pass_all_tests():
    found = motion()(Videos(lambda x: x), True)
    for name in ("path", "object", "class", "direction"):
        assert found[name] == found[f"{name}/real"]
    assert found["path"] < 0.01 and found["direction"] == 1 and found["frame_fid"] < 1e-6
    assert found["object"] > 0.95 and found["class"] > 0.9


def test_frames_without_an_order_fail_the_path_and_the_direction():
    order = np.random.default_rng(0).permuted(np.tile(np.arange(8), (360, 1)), axis=1)
    shuffled = lambda x: x[np.arange(len(x))[:, None], order[: len(x)]]
    found = motion()(Videos(shuffled), False)
    assert found["path"] > 1 and found["path/real"] < 0.01
    assert found["direction"] < 0.6 and found["object"] > 0.9
    assert found["frame_fid"] < 1e-6


def test_other_objects_and_directions_are_counted():
    turned = motion()(Videos(lambda x: x[:, :, ::-1]), True)
    assert turned["direction"] == 0 and turned["class"] < 0.6 and turned["path"] < 0.01
    changed = lambda x: np.concatenate([x[:, :-1], np.roll(x, 1, 0)[:, -1:]], 1)
    assert motion()(Videos(changed), True)["object"] < 0.4


def test_paths_are_those_of_the_center():
    video = np.zeros((1, 3, 5, 5, 1))
    for t, place in enumerate([(0, 0), (1, 2), (4, 4)]):
        video[0, t, place[0], place[1]] = 0.5
    centers = centers_of_mass(video)
    np.testing.assert_array_equal(centers[0], [[0, 0], [1, 2], [4, 4]])
    assert path_error(centers) == 1.0  # of 2 and 0
    video[0, 1] = 0
    assert np.isnan(centers_of_mass(video)[0, 1]).all()


def test_a_method_without_videos_is_refused():
    with pytest.raises(ValueError, match="must generate videos as 'video'"):
        motion()(Videos(lambda x: x[:, 0]), True)


def test_a_single_frame_has_no_direction():
    short = Videos(lambda x: x)
    for table in short.splits.values():
        ends = np.where(np.arange(len(table["label"])) % 3, 8, 1)
        video = table["video"] * (np.arange(8) < ends[:, None])[..., None, None, None]
        table |= {"video": video, "length": ends}
    found = motion()(short, True)
    assert found["direction"] == found["direction/real"] == 1
