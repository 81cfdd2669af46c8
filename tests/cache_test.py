"""Atomic files: two processes may write the same one at the same time."""

import ast
import multiprocessing
import os
from pathlib import Path

import pytest

from jssl import cache
from jssl.cache import written
from jssl.log import write_json

ROOT = Path(__file__).parent.parent


def write_often(path, value):
    for _ in range(200):
        write_json(path, value)


@pytest.mark.slow
def test_processes_that_write_one_file_do_not_see_each_others_parts(tmp_path):
    path = tmp_path / "x.json"
    spawned = multiprocessing.get_context("spawn")
    both = [spawned.Process(target=write_often, args=(path, [i] * 50)) for i in (1, 2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert [x.name for x in tmp_path.iterdir()] == ["x.json"]


def test_writers_side_by_side_have_parts_of_their_own(tmp_path):
    path = tmp_path / "x.txt"
    with written(path) as first, written(path) as second:
        first.write_text("first")
        second.write_text("second")
        assert first != second
    assert path.read_text() == "first"  # the last to end
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="broken"), written(path) as part:
        part.write_text("half of the n")
        raise RuntimeError("broken")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_replaced_by_this_function_alone():
    users = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "jssl").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in ("os.replace", "os.rename", "shutil.move")
    ]
    assert set(users) == {"jssl/cache.py"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A function from environment variables to the cache folder, as in a new process."""
    (tmp_path / "file").write_text("a folder below this file cannot be made")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(cache.tempfile, "tempdir", str(tmp_path / "tmp"))

    def found(**variables):
        cache._writable.cache_clear()
        for name in ("JSSL_CACHE", "XDG_CACHE_HOME", "HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        return cache.cache_folder()

    yield found
    cache._writable.cache_clear()


def test_the_cache_is_that_of_the_first_variable(place, tmp_path):
    own, shared, home = (tmp_path / name for name in ("own", "shared", "home"))
    assert place(JSSL_CACHE=own, XDG_CACHE_HOME=shared, HOME=home) == own
    assert place(XDG_CACHE_HOME=shared, HOME=home) == shared / "jssl"
    assert place(HOME=home) == home / ".cache" / "jssl"


@pytest.mark.parametrize("variable", ["JSSL_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_a_cache_that_cannot_be_written_is_a_line_and_a_temporary_one(
    variable, place, tmp_path, capsys
):
    found = place(**{variable: tmp_path / "file"})
    assert found.parent == tmp_path / "tmp" and found.is_dir()
    assert cache.cache_folder() == found
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot write to the cache {'~' if variable == 'HOME' else tmp_path}/" in line
    assert "set JSSL_CACHE" in line


@pytest.mark.skipif(os.name != "posix", reason="home by number of the user")
def test_a_user_without_a_home_has_a_cache(place, tmp_path, monkeypatch, capsys):
    import pwd

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert place().parent == tmp_path / "tmp"
    assert "home directory" in capsys.readouterr().err
    assert place(JSSL_CACHE=tmp_path / "own") == tmp_path / "own"


@pytest.mark.skipif(os.name != "posix", reason="owners and modes of POSIX")
def test_a_temporary_cache_is_private(tmp_path, monkeypatch):
    """It contains compiled programs: a folder that others may write to is not used."""
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(cache.tempfile, "tempdir", str(tmp_path))
    first = cache._temporary()
    assert first.stat().st_mode & 0o777 == 0o700
    assert cache._temporary() == first
    first.chmod(0o777)
    assert cache._temporary() != first
    first.rmdir()
    (tmp_path / "elsewhere").mkdir()
    first.symlink_to(tmp_path / "elsewhere")
    assert cache._temporary() not in (first, tmp_path / "elsewhere")
