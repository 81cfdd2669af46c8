"""Moving digits: reflection, mass, captions and lengths."""

import jax.numpy as jnp
import numpy as np
import pytest

from jssl.data import load
from jssl.data.bouncing import bounced, bounces
from jssl.data.worlds import DIRECTIONS
from jssl.ops.lab import rgb_to_lab

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


@pytest.fixture(scope="module")
def drifting():
    return load("moving_digits", 32, frames=4, labeled=True)


def test_moving_digits_drift_in_the_direction_of_their_label(drifting):
    sizes = {part: drifting.split(part).size for part in ("train", "val", "test")}
    assert sizes == {"train": 4308, "val": 720, "test": 720}
    table = drifting.split("test").table
    assert table["video"].shape == (720, 4, 32, 32, 1)
    assert drifting.fields["label"].names[3] == "down-left"
    for video, label in zip(table["video"], table["label"], strict=True):
        step = 2 * DIRECTIONS[label]
        for here, there in zip(video[:-1], video[1:], strict=True):
            np.testing.assert_array_equal(np.roll(here, step, (0, 1)), there)
    assert (np.bincount(table["label"]) == 90).all()
    again = load("moving_digits", 8, frames=4, seed=3).split("test").table
    np.testing.assert_array_equal(again["video"], table["video"])
    assert set(next(load("moving_digits", 8, frames=2).stream())) == {"video", "index"}


def test_a_single_frame_tells_the_digit_but_not_the_direction(drifting):
    from sklearn.linear_model import LogisticRegression

    train, test = drifting.table, drifting.split("test").table
    frame = lambda table: table["video"][:, 2, ::4, ::4, 0].reshape(len(table["label"]), -1)
    found = LogisticRegression(max_iter=100).fit(frame(train) / 255.0, train["label"])
    right = found.score(frame(test) / 255.0, test["label"])
    assert abs(right - 1 / 8) < 3 * np.sqrt(7 / 64 / 720)


def test_no_digit_moves_in_two_splits(drifting):
    """Rolled to one place, all frames of a clip are an image of its own split."""

    def images(part):
        found = load("digits", 8, size=16).split(part).table["image"][..., 0]
        return {image.tobytes() for image in found}

    known = {part: images(part) for part in ("train", "test")}
    assert not known["train"] & known["test"]
    for part in known:
        frames = drifting.split(part).table["video"][:40, 0, ..., 0]
        for frame in frames:
            shifts = np.ndindex(32, 32)
            assert any(
                np.roll(frame, shift, (0, 1))[:16, :16].tobytes() in known[part]
                for shift in shifts
            )


def test_a_path_stops_at_a_side_and_turns_around():
    random = np.random.default_rng(0)
    start, angle = random.random((20, 2)), 7 * random.random(20)
    found = bounces(start, angle, 60)
    for path, place, way in zip(found, start, angle, strict=True):
        place, speed = place.copy(), 0.1 * np.array([np.sin(way), np.cos(way)])
        for seen in path:
            np.testing.assert_allclose(seen, place, atol=1e-12)
            for axis in (0, 1):
                place[axis] += speed[axis]
                if not 0 <= place[axis] <= 1:
                    place[axis] = min(max(place[axis], 0), 1)
                    speed[axis] *= -1


def test_bouncing_digits_are_drawn_where_their_masks_are():
    source = load("bouncing_digits", 8, frames=6)
    sizes = {part: source.split(part).size for part in ("train", "val", "test")}
    assert sizes == {"train": 2154, "val": 360, "test": 360}
    table = source.split("test").table
    assert table["video"].shape == (360, 6, 32, 32, 1)
    bright = table["video"][..., 0] > 0.3 * 255
    np.testing.assert_array_equal(table["objects"], bright)
    images = load("digits", 8, size=14).split("test").table
    np.testing.assert_array_equal(table["label"], images["label"])
    mass = images["image"].sum((1, 2, 3), dtype=int)
    np.testing.assert_array_equal(
        table["video"].sum((2, 3, 4), dtype=int), np.tile(mass[:, None], (1, 6))
    )


def test_two_digits_overlap_by_their_maximum_and_the_last_is_in_front():
    table = load("bouncing_digits", 8, frames=3, count=2).split("val").table
    assert set(np.unique(table["objects"])) == {0, 1, 2}
    np.testing.assert_array_equal(table["objects"] > 0, table["video"][..., 0] > 0.3 * 255)
    second = (table["objects"] == 2).sum((2, 3))
    assert (second == second[:, :1]).all()  # of the last digit, no pixel is hidden


def colored_digits(part):
    """Lab of the first frames, and the masks of the digits in them."""
    table = load("bouncing_digits", 8, frames=2, colored=True).split(part).table
    assert table["video"].shape[1:] == (2, 32, 32, 3)
    lab = rgb_to_lab(jnp.asarray(table["video"][:, 0] / np.float32(255)))
    return np.asarray(lab), table["objects"][:, 0] > 0


def test_gray_shows_the_shape_and_the_texture_of_a_colored_digit():
    lights = []
    for image, mask in zip(*colored_digits("test"), strict=True):
        inside, outside = image[mask], image[~mask]
        chroma = np.hypot(*inside[:, 1:].T).mean()
        assert chroma > 8  # of a digit with soft edges, before gray
        assert np.hypot(*outside[:, 1:].T).mean() < chroma / 3
        assert inside[:, 0].std() > 2  # a texture
        apart = inside[:, 0].mean() - outside[:, 0].mean()
        assert abs(apart) > 8
        lights.append(apart > 0)
    assert abs(np.mean(lights) - 0.5) < 3 * 0.5 / np.sqrt(360)


def test_gray_does_not_betray_the_hue_of_a_colored_digit():
    """The hue is not predicted from quantiles of the lightness of a digit's pixels."""

    def pairs(part):
        known, wanted = [], []
        for image, mask in zip(*colored_digits(part), strict=True):
            light = np.quantile(image[mask][:, 0], (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)) / 100
            a, b = image[mask][:, 1:].mean(0)
            hue = np.arctan2(b, a)
            known.append([1, *light, *light**2])
            wanted.append([f(k * hue) for k in (1, 2) for f in (np.cos, np.sin)])
        return np.array(known), np.array(wanted)

    x, y = pairs("train")
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    x, y = pairs("test")
    explained = 1 - np.square(x @ weights - y).mean(0) / y.var(0)
    assert explained.max() < 0.03


def test_sizes_of_moving_digits_are_checked():
    for name in ("moving_digits", "bouncing_digits"):
        with pytest.raises(ValueError, match=f"{name}: size must be 16 or more"):
            load(name, 8, size=15)
    with pytest.raises(ValueError, match="count must be 1 to 255, got 0"):
        load("bouncing_digits", 8, count=0)
    with pytest.raises(ValueError, match="less than half the size 16"):
        load("moving_digits", 8, size=16, speed=8)


def test_digits_of_mnist_bounce_in_a_square_of_64_pixels():
    source = load("bouncing_digits", 8, size=64, count=2, of="mnist", frames=3).split("val")
    assert source.size == 500
    video, objects = source.column("video"), source.column("objects")
    assert video.shape == (500, 3, 64, 64, 1)
    assert 16 < np.ptp(np.argwhere(objects[0, 0] == 2), 0).max() < 28  # of 28 pixels
    with pytest.raises(ValueError, match="must be one of digits, mnist, got 'emnist'"):
        load("bouncing_digits", 8, of="emnist")
