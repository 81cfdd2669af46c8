import importlib.util
import logging
import sys

import numpy as np
import pytest
from PIL import Image

from jssl.data import load

PARTS = ("train", "val", "test")


def sequence(folder, shades):
    """A video as a folder of pictures, each of one shade."""
    folder.mkdir(parents=True)
    for i, shade in enumerate(shades):
        Image.new("L", (6, 4), int(shade)).save(folder / f"{i:03d}.png")


@pytest.fixture
def sports(tmp_path):
    """Ten videos of runs, dark, and ten of jumps, bright, twelve frames each."""
    for i in range(10):
        sequence(tmp_path / "run" / f"v{i}", 5 * i + np.arange(12) % 5)
        sequence(tmp_path / "jump" / f"v{i}", 150 + 5 * i + np.arange(12) % 5)
    return tmp_path


def test_clips_have_the_frames_stride_and_label_asked_for(sports):
    train = load(f"clips:{sports}", 4, frames=3, every=2, stride=4, size=4, labeled=True)
    assert train.license == "not stated"
    assert train.fields["label"].names == ("jump", "run")
    assert train.fields["video"].fps == 4
    assert next(train.stream())["video"].shape == (4, 3, 4, 4, 3)
    parts = [train.split(part) for part in PARTS]
    assert [part.size for part in parts] == [16 * 2, 2 * 2, 2 * 2]  # clips from 0 and 4
    for part in parts:
        video, file = part.column("video"), part.column("file")
        np.testing.assert_array_equal(
            part.labels(), [name.startswith("run") for name in file]
        )
        base = np.where(part.labels() == 1, 0, 150)
        base = base + 5 * np.array([int(name[-1]) for name in file])
        start = np.tile([0, 4], len(file) // 2)
        for j in range(3):
            np.testing.assert_array_equal(video[:, j, 2, 2, 0], base + (start + 2 * j) % 5)


def test_no_video_is_in_two_splits(sports):
    train = load(f"clips:{sports}", 4, frames=4)
    files = [set(train.split(part).column("file")) for part in PARTS]
    assert [len(x) for x in files] == [16, 2, 2]
    assert len(set.union(*files)) == 20
    assert train.digest == load(f"clips:{sports}", 4, frames=4).digest
    assert train.digest != load(f"clips:{sports}", 4, frames=5).digest


def test_one_video_is_split_by_time_with_a_gap(tmp_path):
    sequence(tmp_path / "only", np.arange(100))
    train = load(f"clips:{tmp_path}", 1, frames=3, stride=1, size=4)
    assert train.classes == 0
    seen = [set(train.split(x).column("video")[..., 0].ravel()) for x in PARTS]
    assert seen == [set(range(80)), set(range(83, 90)), set(range(93, 100))]


def test_pictures_beside_a_video_are_no_video(tmp_path):
    for i in range(3):
        sequence(tmp_path / f"v{i}", range(8))
    (tmp_path / "v0" / "film.avi").write_bytes(b"")
    (tmp_path / "v1" / ".hidden.avi").write_bytes(b"")
    (tmp_path / "v1" / "Megamind.avi").write_bytes(b"")
    from jssl.data.clips import _listed

    assert _listed(tmp_path) == ["v0/film.avi", "v2"]


def test_megamind_is_left_out_by_name(sports, caplog):
    (sports / "run" / "v0" / "Megamind_bugy.avi").write_bytes(b"")
    with caplog.at_level(logging.INFO):
        train = load(f"clips:{sports}", 4, frames=4)
    assert "1 videos excluded" in caplog.text
    files = set.union(*(set(train.split(part).column("file")) for part in PARTS))
    assert not any("mega" in name.lower() for name in files)


def test_what_is_wrong_is_an_error(sports, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no such folder"):
        load(f"clips:{tmp_path}/none", 4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="contains no videos"):
        load(f"clips:{tmp_path}/empty", 4)
    with pytest.raises(ValueError, match="no video of train in .* has 13 frames"):
        load(f"clips:{sports}", 4, frames=13)
    with pytest.raises(ValueError, match="must be positive, got 4, 0, 8"):
        load(f"clips:{sports}", 4, frames=4, every=0)
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "x.avi").write_bytes(b"not a video")
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "imageio.v3", None)
    with pytest.raises(ValueError, match="`pip install opencv-python-headless`"):
        load(f"clips:{tmp_path}/film", 4)


@pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="needs OpenCV")
def test_video_files_are_decoded_in_their_colors(tmp_path):
    import cv2

    code = cv2.VideoWriter_fourcc(*"MJPG")
    video = cv2.VideoWriter(str(tmp_path / "x.avi"), code, 12.0, (32, 16))
    for i in range(50):
        frame = np.zeros((16, 32, 3), np.uint8)
        frame[..., 2] = 4 * i  # red
        video.write(frame)
    video.release()
    train = load(f"clips:{tmp_path}", 1, frames=2, stride=2, size=8)
    assert train.fields["video"].fps == 12
    colors = train.column("video")[:, :, 4, 4].astype(int)
    assert np.abs(colors[..., 0].ravel() - 4 * np.arange(40)).max() < 6
    assert colors[..., 1:].max() < 6  # JPEG is inexact
    (tmp_path / "x.avi").write_bytes(b"not a video")
    with pytest.raises(ValueError, match="x.avi cannot be read as a video"):
        load(f"clips:{tmp_path}", 1)


def test_hidden_and_linked_folders_are_no_videos(sports):
    for name in ("__MACOSX", ".cache"):
        sequence(sports / name / "v0", np.arange(12))
    (sports / "run" / "again").symlink_to(sports)
    train = load(f"clips:{sports}", 4, frames=3, every=2, stride=4, size=4)
    assert train.class_names == ("jump", "run")
    assert sum(len(train.split(part)) for part in PARTS) == 20 * 2
