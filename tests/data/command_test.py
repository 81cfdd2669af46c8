"""The command `python -m jssl.data`."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from jssl.data.__main__ import main
from jssl.data.duplicates import near_duplicates


@pytest.fixture
def photographs(tmp_path):
    """Patches of two photographs; one of train is a smaller JPEG in test, too."""
    whole = [Image.fromarray(x) for x in load_sample_images().images]
    for part, n in (("train", 30), ("val", 6), ("test", 6)):
        for i in range(n):
            x, y = 90 * (i % 6), 80 * (i // 6 % 4)
            y += {"train": 0, "val": 40, "test": 20}[part]
            path = tmp_path / "x" / part / ("temple", "flower")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            whole[i % 2].crop((x, y, x + 80 + i, y + 80)).save(path)
    twin = Image.open(tmp_path / "x" / "train" / "flower" / "7.png").resize((60, 55))
    twin.save(tmp_path / "x" / "test" / "flower" / "twin.jpg", quality=80)
    save_flat(tmp_path / "x")
    (tmp_path / "x" / "train" / "flower" / "broken.png").write_bytes(b"")
    (tmp_path / "x" / "train" / ".DS_Store").write_bytes(b"")
    return tmp_path / "x"


def save_flat(root):
    """Black images, all alike, which are not told as duplicates."""
    for part in ("train", "test"):
        Image.new("RGB", (70, 70)).save(root / part / "temple" / "black.png")


def test_a_folder_is_described_with_its_twins_and_a_sheet(photographs, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert main([f"folder:{photographs}", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "46 images of" in told
    assert "cut to 32x32 centers; 32 train, 6 val, 8 test; 2 classes" in told
    assert "passed over: 1 hidden or system" in told
    assert "  train: 31 images of 32x32x3: flower 15, temple 16" in told
    assert "  test: 8 images of 32x32x3: flower 4, temple 4" in told
    lost = photographs / "train" / "flower" / "broken.png"
    assert f"passed over: 1 image that cannot be read: {lost}" in told.splitlines()
    lines = [line for line in told.splitlines() if "near-duplicates" in line]
    assert len(lines) == 1
    assert "train/flower/7.png (train)" in lines[0]
    assert "test/flower/twin.jpg (test)" in lines[0]
    page = np.asarray(Image.open(out))
    assert page.shape == (2 * 68, 5 * 68, 3)
    assert all(page[r : r + 64, c : c + 64].std() > 5 for r in (0, 68) for c in (68, 136))


@pytest.mark.parametrize("name", ["digits", "photos", "blank:100x3"])
def test_other_sources_are_described(name, tmp_path, capsys):
    assert main([name, "--out", str(tmp_path / "x.png"), "--limit", "50"]) == 0
    assert f"{name}: images of" in capsys.readouterr().out
    assert (tmp_path / "x.png").is_file()


def test_a_users_mistake_is_one_line(tmp_path, capsys):
    assert main([f"folder:{tmp_path}/nowhere"]) == 1
    assert main(["ring8", "--out", str(tmp_path / "x.png")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("jssl: no such folder")
    assert told[1].startswith("jssl: ring8 has no images to show")


def test_a_turned_picture_or_another_part_is_no_duplicate():
    china = load_sample_images().images[0]
    parts = {"train": [china[:200, :200]], "test": [china[200:400, 200:400]]}
    assert near_duplicates(parts) == []
    assert near_duplicates({"a": [china], "b": [np.rot90(china)]}) == []
    assert len(near_duplicates({"a": [china], "b": [china[2:-2, 2:-2]]})) == 1
    assert near_duplicates({"a": [china, china]}) == []  # within one split
