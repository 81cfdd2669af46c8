import importlib

import numpy as np
import pytest
from PIL import Image

from jssl.cache import cache_folder
from jssl.data import load, packages
from jssl.data.packages import Package
from jssl.data.photographs import COLLECTIONS, Collection, content, patched, shrunk

CACHE = cache_folder()
MODULE = importlib.import_module("jssl.data.photographs")  # not the function
PARTS = ("train", "val", "test")
FOUND = [name for name, x in COLLECTIONS.items() if x.package.found()]
NAMES = tuple(f"photo{i:02d}.png" for i in range(11))


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """No package is there."""
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "ROOT", tmp_path / "root")
    return tmp_path


@pytest.fixture
def album(places, monkeypatch):
    """Eleven photographs of one shade each, 60 by 40, in a package."""
    root = places / "root/usr/share/album"
    root.mkdir(parents=True)
    for i, name in enumerate(NAMES):
        Image.new("RGB", (60, 40), (i, 200, 100)).save(root / name)
    mine = Collection(
        Package("album", "usr/share/album"), NAMES, "CC0-1.0", content(root, NAMES)
    )
    monkeypatch.setattr(MODULE, "COLLECTIONS", {"album": mine})
    return root


def test_without_packages_they_are_the_two_of_scikit_learn():
    found = load("photographs", 8, size=32, stride=8)
    photos = load("photos", 8, size=32, stride=8)
    for part in PARTS:
        assert found.split(part).digest == photos.split(part).digest
    assert found.license == "CC BY 2.0"


def test_no_photograph_is_in_two_splits(album):
    train = load("photographs", 8, size=16, stride=8, side=32)
    assert train.classes == 0
    assert train.license == "album: CC0-1.0"
    shades = [set(train.split(x).column("image")[..., 0].ravel()) for x in PARTS]
    assert shades == [{0, 1, 2, 5, 6, 7, 10}, {3, 8}, {4, 9}]
    # 60 by 40 becomes 48 by 32: five columns and three rows of patches.
    assert train.column("image").shape == (7 * 15, 16, 16, 3)


def test_patches_follow_from_the_photographs(album):
    both = [load("photographs", 8, size=16) for _ in range(2)]
    assert both[0].digest == both[1].digest
    assert load("photographs:album", 8, size=16).digest == both[0].digest
    assert load("photographs:scikit-learn", 8, size=16).classes == 2
    assert load("photographs", 8, size=16, channels=1).shapes()["image"].shape[-1] == 1


def test_other_photographs_under_the_same_names_are_refused(album):
    Image.new("RGB", (60, 40), (0, 0, 0)).save(album / NAMES[5])
    with pytest.raises(ValueError, match="are not those of the fixed splits"):
        load("photographs", 8)
    (album / NAMES[5]).unlink()
    with pytest.raises(ValueError, match="lacks photo05.png, .*apt-get download album"):
        load("photographs", 8)


def test_what_is_wrong_is_an_error(album):
    with pytest.raises(ValueError, match="unknown package 'books'"):
        load("photographs:album+books", 8)
    for wrong in ({"size": 65, "side": 64}, {"stride": 0}):
        with pytest.raises(ValueError, match="size must be 1 to side, stride positive"):
            load("photographs", 8, **wrong)


def test_a_named_package_that_is_missing_is_an_error(places):
    with pytest.raises(ValueError, match="needs mate-backgrounds, .*apt-get download"):
        load("photographs:mate-backgrounds", 8)


def test_photographs_are_shrunk_and_never_enlarged(places):
    places.mkdir(exist_ok=True)
    Image.new("RGB", (90, 30)).save(places / "x.png")
    assert shrunk(places / "x.png", 10).shape == (10, 30, 3)
    assert shrunk(places / "x.png", 64).shape == (30, 90, 3)


def test_patches_are_windows_row_by_row():
    picture = np.arange(5 * 6 * 3).reshape(5, 6, 3)
    patches = patched(picture, 3, 2)
    assert len(patches) == 4
    np.testing.assert_array_equal(patches[1], picture[:3, 2:5])
    np.testing.assert_array_equal(patches[2], picture[2:5, :3])
    assert patched(picture, 6, 2).shape == (0, 6, 6, 3)


def test_the_fixed_lists_have_58_photographs_a_fifth_held_out_each():
    parts = [x.parts() for x in COLLECTIONS.values()]
    counts = [sum(len(x[part]) for x in parts) for part in PARTS]
    assert counts == [38, 11, 9]
    assert all(len(set(x.names)) == len(x.names) for x in COLLECTIONS.values())


def test_a_folder_of_another_package_is_not_that_of_the_collection(places):
    (places / "root/usr/share/backgrounds/mate").mkdir(parents=True)
    (places / "root/usr/share/wallpapers/other").mkdir(parents=True)
    assert load("photographs", 8, size=32, stride=8).license == "CC BY 2.0"
    for name in ("lomiri-wallpapers-16.04", "plasma-workspace-wallpapers"):
        with pytest.raises(ValueError, match=f"needs {name}, .*apt-get download"):
            load(f"photographs:{name}", 8)


@pytest.mark.parametrize("name", FOUND)
def test_the_real_photographs_are_those_of_the_fixed_splits(name, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("JSSL_CACHE", str(CACHE))
    train = load(f"photographs:{name}", 8, stride=64)
    assert all(train.split(part).size > 8 for part in PARTS)
