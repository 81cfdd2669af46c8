import pytest

from jssl.data import packages
from jssl.data.packages import Package, require

DEB = Package("some-pictures", "usr/share/some")
NPM = Package("other-pictures", "package", "npm")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "ROOT", tmp_path / "root")
    return tmp_path


def test_an_unpacked_package_comes_before_an_installed_one(places):
    assert DEB.found() is None
    installed = places / "root/usr/share/some"
    installed.mkdir(parents=True)
    assert require("a source", DEB) == [installed]
    unpacked = places / "cache/packages/some-pictures/usr/share/some"
    unpacked.mkdir(parents=True)
    assert require("a source", DEB) == [unpacked]


def test_a_folder_that_packages_share_needs_the_file_of_this_one(places):
    one, other = (Package(x, "usr/share/both", file=f"{x}.jpg") for x in ("one", "other"))
    folder = places / "root/usr/share/both"
    folder.mkdir(parents=True)
    (folder / "other.jpg").touch()
    assert one.found() is None
    assert other.found() == folder
    with pytest.raises(ValueError, match="needs one, found in none of"):
        require("a source", one, other)


def test_packages_of_npm_are_looked_for_in_the_cache_alone(places):
    (places / "root/package").mkdir(parents=True)
    assert NPM.found() is None
    (places / "cache/packages/other-pictures/package").mkdir(parents=True)
    assert NPM.found() == places / "cache/packages/other-pictures/package"


def test_a_missing_package_is_an_error_with_the_commands(places):
    into = places / "cache/packages/some-pictures"
    with pytest.raises(ValueError) as error:
        require("a source", DEB)
    assert str(error.value).startswith("a source needs some-pictures, found in none of")
    assert str(error.value).endswith(
        f"`mkdir -p {into} && cd {into} && apt-get download some-pictures && "
        f"dpkg-deb -x some-pictures_*.deb .`"
    )
    assert "\n" not in str(error.value)


def test_all_missing_packages_are_named_at_once(places):
    (places / "root/usr/share/some").mkdir(parents=True)
    with pytest.raises(ValueError, match="needs other-pictures, .*npm pack other-pictures"):
        require("a source", DEB, NPM)
    (places / "root/usr/share/some").rmdir()
    with pytest.raises(ValueError, match="needs some-pictures and other-pictures"):
        require("a source", DEB, NPM)
