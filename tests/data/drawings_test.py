import json

import numpy as np
import pytest
from PIL import Image

from jssl.cache import cache_folder
from jssl.data import drawings, load, packages
from jssl.data.drawings import EMOJI, PNG, SVG, emoji_group

CACHE = cache_folder()
PARTS = ("train", "val", "test")


def save(path, value, size=6):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((size, size, 4), value, np.uint8)
    picture[..., 3] = 255
    Image.fromarray(picture).save(path)


def columns(source, name):
    return np.concatenate([source.split(part).column(name) for part in PARTS])


@pytest.fixture
def faces(tmp_path):
    """Forty faces, each also of a woman and a man, twenty flags, and a skin tone."""
    listed = []

    def add(unified, name, category, subcategory):
        image = f"{unified.lower()}.png"
        save(tmp_path / "img/google/64" / image, len(listed))
        listed.append(
            {
                "unified": unified,
                "name": name,
                "image": image,
                "category": category,
                "subcategory": subcategory,
                "has_img_google": True,
            }
        )

    for i in range(40):
        point = f"1F{0x600 + i:03X}"
        add(point, f"FACE {i}", "Faces", f"kind-{i % 2}")
        add(f"{point}-200D-2640-FE0F", f"WOMAN FACE {i}", "Faces", f"kind-{i % 2}")
        add(f"{point}-200D-2642-FE0F", f"MAN FACE {i}", "Faces", f"kind-{i % 2}")
    for i in range(20):
        add(f"1F1E6-1F1{0xE6 + i:02X}", f"Flag {i}", "Flags", "flag")
    add("1F3FB", "SKIN TONE", "Component", "skin-tone")
    listed[0]["has_img_google"] = False
    (tmp_path / "emoji.json").write_text(json.dumps(listed))
    return tmp_path


def test_emoji_have_names_and_categories(faces):
    train = load(f"emoji:{faces}", 4, size=8, labeled=True)
    assert train.fields["label"].names == ("Faces", "Flags")
    assert "Apache-2.0" in train.license
    names = columns(train, "caption")
    assert len(names) == 139  # without the picture that is not there, and the skin tone
    assert "woman face 0" in names
    labels = np.concatenate([train.split(part).labels() for part in PARTS])
    np.testing.assert_array_equal(labels, [name.startswith("flag") for name in names])
    finer = load(f"emoji:{faces}", 4, label="subcategory")
    assert finer.fields["label"].names == ("flag", "kind-0", "kind-1")


def test_a_face_and_its_woman_and_man_are_in_one_split(faces):
    train = load(f"emoji:{faces}", 4)
    at = {name: part for part in PARTS for name in train.split(part).column("caption")}
    for i in range(1, 40):
        assert at[f"face {i}"] == at[f"woman face {i}"] == at[f"man face {i}"]
    assert set(at.values()) == set(PARTS)


@pytest.mark.parametrize(
    ("unified", "group"),
    [
        ("1F468-200D-2695-FE0F", "2695"),  # a man, doctor
        ("1F469-1F3FD-200D-2695-FE0F", "2695"),  # a woman of a skin tone, doctor
        ("1F6B6-200D-27A1-FE0F", "1F6B6"),  # walks to the right
        ("1F468-200D-1F9B0", "person"),  # red-haired
        ("1F1E6-1F1E8", "1F1E6-1F1E8"),  # a flag
        ("2640-FE0F", "2640-FE0F"),  # the sign
    ],
)
def test_groups_drop_sex_hair_tone_and_direction(unified, group):
    assert emoji_group(unified) == group


def test_what_is_wrong_with_emoji_is_an_error(faces, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="'category' or 'subcategory', got 'color'"):
        load(f"emoji:{faces}", 4, label="color")
    with pytest.raises(ValueError, match="none/emoji.json cannot be read"):
        load(f"emoji:{faces}/none", 4)
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="npm pack emoji-datasource-google && tar xzf"):
        load("emoji", 4)


SOURCE = """<svg><metadata>
<dc:title>{title}</dc:title><rdf:li>{tag}</rdf:li><rdf:li>hash</rdf:li><rdf:li></rdf:li>
<cc:license rdf:resource="http://web.resource.org/cc/{license}"/></metadata></svg>"""


def draw(root, name, title, tag="thing", license="PublicDomain", value=0):
    save(root / "png" / f"{name}.png", value)
    path = root / "svg" / f"{name}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SOURCE.format(title=title, tag=tag, license=license))


@pytest.fixture
def library(tmp_path):
    """Forty drawings with titles, fifteen cards of a collection, and five to drop."""
    for i in range(40):
        draw(tmp_path, f"food/x{i}", f"Dish &amp; cup {i}", tag="meal", value=i)
    for i in range(15):
        draw(tmp_path, f"games/red_card_{i}", "cards")
    draw(tmp_path, "food/later", "Dish &amp; cup 3")
    draw(tmp_path, "shapes/star_5", "gramastar")
    draw(tmp_path, "food/owned", "Owned", license="GPL")
    draw(tmp_path, "food/huge", "Huge")
    (tmp_path / "svg/food/link.svg").symlink_to(tmp_path / "svg/food/x1.svg")
    (tmp_path / "png/food/link.png").symlink_to(tmp_path / "png/food/x1.png")
    (tmp_path / "svg/food/unseen.svg").write_text(SOURCE)
    return tmp_path


def test_drawings_have_titles_tags_and_folders(library, monkeypatch):
    save(library / "png/food/huge.png", 0, size=50)
    monkeypatch.setattr(drawings, "LARGEST", 49 * 49)
    train = load(f"openclipart:{library}", 4, size=8, length=8)
    assert train.license == "public domain"
    assert train.fields["label"].names == ("food", "games")
    titles = columns(train, "caption")
    assert len(titles) == 56
    assert set(titles) == {*(f"Dish & cup {i}" for i in range(40)), "red card"}
    assert set(columns(train, "tags")) == {"meal", "thing"}
    assert "meal" in train.fields["tokens"].vocabulary


def test_drawings_of_one_title_are_in_one_split(library):
    train = load(f"openclipart:{library}", 4)
    at = [(train.split(x).column("caption") == "Dish & cup 3").sum() for x in PARTS]
    assert sorted(at) == [0, 0, 2]
    at = [(train.split(x).column("caption") == "red card").sum() for x in PARTS]
    assert sorted(at) == [0, 0, 15]


def test_what_is_wrong_with_drawings_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="contain no drawings"):
        load(f"openclipart:{tmp_path}", 4)
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    commands = "download openclipart-png .*download openclipart-svg"
    with pytest.raises(ValueError, match=commands):
        load("openclipart", 4)


@pytest.mark.skipif(EMOJI.found() is None, reason="emoji-datasource-google is not there")
def test_the_real_emoji_are_1906_in_9_categories(monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(CACHE))
    train = load("emoji", 8, size=16)
    assert [train.split(part).size for part in PARTS] == [1475, 215, 216]
    assert train.classes == 9
    assert load("emoji", 8, size=16, label="subcategory").classes == 98


@pytest.mark.slow  # five thousand drawings of a quarter of a megapixel
@pytest.mark.skipif(not (PNG.found() and SVG.found()), reason="openclipart is not there")
def test_the_real_drawings_are_5447_in_22_folders(monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(CACHE))
    train = load("openclipart", 8, size=16)
    assert [train.split(part).size for part in PARTS] == [4341, 573, 533]
    assert train.classes == 22
