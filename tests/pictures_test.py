"""Pictures: every kind becomes a file that a browser shows."""

import wave

import numpy as np
import pytest
from PIL import Image

from jssl import pictures
from jssl.pictures import Clip, Graph, Grid, Lines, Scatter, Sound, draw

RNG = np.random.default_rng(0)
KINDS = {
    "grid": (Grid(RNG.random((2, 3, 8, 8, 1)), ("a", "b", "c")), {".png"}),
    "colors": (Grid(RNG.random((1, 2, 8, 8, 3))), {".png"}),
    "edges": (Grid(RNG.random((1, 2, 8, 8, 2))), {".png"}),
    "clip": (Clip(RNG.random((2, 2, 5, 8, 8, 3)), ("a", "b"), fps=4), {".gif"}),
    "sound": (Sound(RNG.uniform(-1, 1, (2, 3, 900)), rate=8000), {".png", ".wav"}),
    "graph": (Graph(RNG.random((2, 2, 5, 5)) > 0.6, ("a", "b")), {".png"}),
    "named scatter": (
        Scatter(RNG.random((9, 2)), np.arange(9) % 2, "title", ("cat", "dog")),
        {".png"},
    ),
    "scatter": (Scatter(RNG.random((9, 2)), np.arange(9) % 2, "title"), {".png"}),
    "lines": (Lines({"y": np.arange(1.0, 5)}, "title", "x", log=True), {".png"}),
    "text": ("a b c", {".txt"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_becomes_files_named_after_the_path_dots_included(kind, tmp_path):
    picture, suffixes = KINDS[kind]
    draw(picture, kind, tmp_path / "lr-0.5")
    files = list(tmp_path.iterdir())
    assert {file.suffix for file in files} == suffixes
    assert all(file.name.startswith("lr-0.5") for file in files)
    for file in files:
        if file.suffix in (".png", ".gif"):
            with Image.open(file) as found:
                assert found.width > 20


def test_a_clip_moves_at_its_rate(tmp_path):
    draw(KINDS["clip"][0], "clip", tmp_path / "clip")
    with Image.open(tmp_path / "clip.gif") as found:
        assert found.n_frames == 5
        assert found.info["duration"] == 250


def test_a_row_of_sounds_is_played_column_after_column(tmp_path):
    draw(KINDS["sound"][0], "sound", tmp_path / "sound")
    with wave.open(str(tmp_path / "sound--row2.wav")) as file:
        assert file.getframerate() == 8000
        assert file.getnframes() == 3 * 900 + 2 * 1600  # a fifth of a second between two
        read = np.frombuffer(file.readframes(900), np.int16)
    np.testing.assert_allclose(read / 32767, KINDS["sound"][0].waves[1, 0], atol=1e-4)


def test_what_is_no_picture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="filters: a picture is a Grid, .* got .*list"):
        draw([1, 2], "filters", tmp_path / "x")


def test_normalized_images_are_brought_into_range_and_others_stay():
    plain = RNG.random((2, 4, 4, 1))
    np.testing.assert_array_equal(pictures.in_range(plain), plain)
    shown = pictures.in_range(4 * plain - 2)
    assert shown.min() == 0 and shown.max() == 1
