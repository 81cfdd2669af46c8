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
    assert users == ["jssl/cache.py"]


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
