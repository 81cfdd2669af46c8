import importlib.util
import logging

import numpy as np
import pytest
from PIL import Image

from jssl.data import load, packages
from jssl.data.stamps import PACKAGE

REAL = PACKAGE.found()
PARTS = ("train", "val", "test")


def stamp(root, name, caption, value=0):
    path = root / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((6, 5, 4), value, np.uint8)
    picture[..., 3] = 255
    Image.fromarray(picture).save(path)
    if caption:
        path.with_suffix(".txt").write_text(f"{caption}\nde.utf8=Ein Ding.\n")


@pytest.fixture
def album(tmp_path):
    """Sixty stamps of two folders, on two of them the same caption; and four to drop."""
    for i in range(30):
        stamp(tmp_path, f"beasts/small/beast{i}", f"A beast with {i} legs.", i)
        stamp(tmp_path, f"tools/tool{i}", f"Tool number {i}.", 100 + i)
    stamp(tmp_path, "tools/again", "TOOL number 7.", 200)
    stamp(tmp_path, "tools/tool7_mirror", "Tool number 7.", 201)
    stamp(tmp_path, "tools/tool7_flip", "", 202)
    stamp(tmp_path, "tools/untold", "", 203)
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><rect width="4" '
    (tmp_path / "tools/drawn.svg").write_text(f'{svg} height="4" fill="#0000ff"/></svg>')
    (tmp_path / "tools/drawn.txt").write_text("A drawn tool.")
    return tmp_path


def test_stamps_have_captions_tokens_and_their_folder(album):
    train = load(f"stamps:{album}", 4, size=8, labeled=True)
    assert train.license == "GPL-2"
    assert train.fields["label"].names == ("beasts", "tools")
    parts = [train.split(part) for part in PARTS]
    captions = np.concatenate([part.column("caption") for part in parts])
    assert len(captions) == 61
    assert set(captions) == {
        *(f"A beast with {i} legs." for i in range(30)),
        *(f"Tool number {i}." for i in range(30)),
        "TOOL number 7.",
    }
    for part in parts:
        tool = np.array([x.lower().startswith("tool") for x in part.column("caption")])
        np.testing.assert_array_equal(part.labels(), tool)
        gray = part.column("image")[:, 4, 4, 0]
        np.testing.assert_array_equal(gray >= 100, tool)
    batch = next(train.stream())
    assert batch.keys() == {"image", "tokens", "mask", "label", "index"}
    words = train.fields["tokens"].vocabulary
    row = train.column("tokens")[0], train.column("mask")[0]
    spoken = " ".join(words[token] for token in row[0][row[1]])
    assert spoken == train.column("caption")[0].lower().rstrip(".")


def test_equal_captions_are_in_one_split(album):
    train = load(f"stamps:{album}", 4)
    seen = [{x.lower() for x in train.split(part).column("caption")} for part in PARTS]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    at = [part for part, x in zip(PARTS, seen, strict=True) if "tool number 7." in x]
    captions = list(train.split(at[0]).column("caption"))
    assert {"TOOL number 7.", "Tool number 7."} <= set(captions)


def test_one_stamp_more_moves_no_other_and_changes_the_digest(album):
    before = {part: load(f"stamps:{album}", 4).split(part) for part in PARTS}
    again = load(f"stamps:{album}", 4)
    assert [again.split(x).digest for x in PARTS] == [before[x].digest for x in PARTS]
    stamp(album, "beasts/new", "A new beast.")
    after = load(f"stamps:{album}", 4)
    more = 0
    for part in PARTS:
        was, now = (set(x.split(part).column("caption")) for x in (before[part], after))
        assert was <= now
        more += len(now - was)
        assert (now == was) == (after.split(part).size == before[part].size)
    assert more == 1
    stamp(album, "beasts/small/beast0", "A beast with 0 legs.", 77)
    changed = load(f"stamps:{album}", 4)
    assert any(changed.split(x).digest != after.split(x).digest for x in PARTS)


def test_drawings_are_left_out_and_counted_or_rendered(album, caplog):
    with caplog.at_level(logging.INFO):
        load(f"stamps:{album}", 4)
    assert "2 images excluded" in caplog.text  # the drawing, and one without caption
    if importlib.util.find_spec("cairosvg") is None:
        with pytest.raises(ValueError, match="needs cairosvg: `pip install 'cairosvg'`"):
            load(f"stamps:{album}", 4, svg=True)
        return
    train = load(f"stamps:{album}", 4, size=8, svg=True)
    images = [
        train.split(part).column("image")[train.split(part).column("caption") == x]
        for part in PARTS
        for x in ("A drawn tool.",)
    ]
    np.testing.assert_array_equal(np.concatenate(images)[0, 4, 4], [0, 0, 255])


def test_a_missing_package_or_folder_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path))
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    with pytest.raises(
        ValueError, match="apt-get download tuxpaint-stamps-default && dpkg"
    ):
        load("stamps", 4)
    with pytest.raises(ValueError, match="no such folder .*none"):
        load(f"stamps:{tmp_path}/none", 4)
    with pytest.raises(ValueError, match="contains no .png image with a .txt caption"):
        load(f"stamps:{tmp_path}", 4)


@pytest.mark.skipif(REAL is None, reason="tuxpaint-stamps-default is not there")
def test_the_real_stamps_are_785_in_16_folders():
    train = load(f"stamps:{REAL}", 8, size=32)
    parts = [train.split(part) for part in PARTS]
    assert [part.size for part in parts] == [630, 74, 81]
    assert train.classes == 16
    seen = [{x.lower() for x in part.column("caption")} for part in parts]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert train.fields["label"].names[0] == "animals"
    assert np.bincount(train.labels())[0] == 121
