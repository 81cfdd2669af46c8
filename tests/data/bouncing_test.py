"""Moving digits: reflection, mass, captions and lengths."""

import numpy as np
import pytest

from jssl.data import load
from jssl.data.bouncing import bounced

IMAGES = np.random.default_rng(0).integers(1, 256, (5, 4, 4, 1), np.uint8)
START = np.array([[0, 0], [3, 8], [12, 1], [5, 5], [12, 12]])
VELOCITY = np.array([[1, 2], [-2, 1], [1, -1], [2, -2], [-1, -2]])


def corner(video):
    """Row and column of the first bright pixel of each frame."""
    bright = video[..., 0] > 0
    return np.stack([bright.any(2).argmax(1), bright.any(1).argmax(1)], 1)


def test_an_image_moves_by_its_velocity_and_is_reflected():
    videos = bounced(IMAGES, START, VELOCITY, 30, 16)
    for video, place, speed in zip(videos, START, VELOCITY, strict=True):
        place, speed = place.copy(), speed.copy()
        for seen in corner(video):
            np.testing.assert_array_equal(seen, place)
            for axis in (0, 1):
                place[axis] += speed[axis]
                if place[axis] < 0 or place[axis] > 12:
                    speed[axis] *= -1
                    place[axis] = -place[axis] if place[axis] < 0 else 24 - place[axis]
                elif place[axis] in (0, 12):
                    speed[axis] *= -1


def test_brightness_is_kept_and_time_may_run_backwards():
    frames = 7
    videos = bounced(IMAGES, START, VELOCITY, frames, 16)
    mass = videos.sum((2, 3, 4), dtype=int)
    np.testing.assert_array_equal(mass, np.tile(mass[:, :1], (1, frames)))
    inside = np.clip(START, 5, 7)  # no bounce in two frames
    there = bounced(IMAGES, inside, VELOCITY, 3, 16)
    back = bounced(IMAGES, inside + 2 * VELOCITY, -VELOCITY, 3, 16)
    np.testing.assert_array_equal(there[:, ::-1], back)


def test_captions_name_the_digit_and_the_first_step():
    source = load("bounce16", 32)
    sizes = {part: source.split(part).size for part in ("train", "val", "test")}
    assert sizes == {"train": 8616, "val": 360, "test": 360}
    table = source.split("test").table
    assert table["video"].shape == (360, 8, 16, 16, 1)
    words = np.array(source.field_of("tokens").vocabulary)[table["tokens"]]
    assert (words[:, 0] == table["label"].astype(str)).all()
    rows = np.arange(16)
    mass = table["video"][..., 0].astype(float)
    centers = np.stack([(mass.sum(a) * rows).sum(2) for a in (3, 2)], 2)
    step = np.sign(np.diff(centers[:, :2], axis=1)[:, 0])
    names = np.array([["up-left", "up-right"], ["down-left", "down-right"]])
    wanted = names[(step[:, 0] > 0).astype(int), (step[:, 1] > 0).astype(int)]
    assert (words[:, 1] == wanted).all()
    again = load("bounce16", 8, seed=4).split("test").table
    np.testing.assert_array_equal(again["video"], table["video"])
    assert set(next(source.stream())) == {"video", "tokens", "index"}


def test_shorter_videos_are_black_after_their_end():
    table = load("bounce16", 32, shortest=1).split("val").table
    assert set(np.unique(table["length"])) == set(range(1, 9))
    bright = table["video"].max((2, 3, 4)) > 0
    np.testing.assert_array_equal(bright.sum(1), table["length"])
    with pytest.raises(ValueError, match="shortest 9 and frames 8"):
        load("bounce16", 32, shortest=9)


def test_val_and_test_move_differently():
    source = load("bounce16", 32)
    val, test = (source.split(part).table["tokens"][:, 1] for part in ("val", "test"))
    assert 0.15 < np.mean(val == test) < 0.35  # one of four directions, by chance
