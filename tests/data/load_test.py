import subprocess
import sys

import pytest

from jssl.data import load


def test_an_unknown_name_gets_the_nearest_known_one():
    with pytest.raises(
        ValueError, match="unknown data set 'minst'; the nearest is 'mnist'"
    ):
        load("minst", 4)
    with pytest.raises(ValueError, match="'fodler:x'; the nearest is 'folder'"):
        load("fodler:x", 4)


def test_an_unknown_knob_gets_the_known_ones():
    with pytest.raises(ValueError, match="keyword .*'sizes'; it takes size: int"):
        load("digits", 4, sizes=8)
    with pytest.raises(ValueError, match=r"load\('digits'\): .*'corrupt'"):
        load("digits", 4, corrupt="skip")


def test_a_path_too_few_or_too_many_is_refused():
    with pytest.raises(ValueError, match="missing a required argument: 'path'"):
        load("npz", 4)
    with pytest.raises(ValueError, match=r"load\('digits:x'\): too many positional"):
        load("digits:x", 4)


def test_a_limit_takes_the_first_rows_and_leaves_the_other_splits():
    source = load("digits", 4, limit=20)
    assert source.size == 20
    assert source.split("train") is source
    assert source.split("test").size == 360
    with pytest.raises(ValueError, match="digits/train: rows must be 0 to 1076"):
        load("digits", 4, limit=2_000)


def test_importing_the_package_imports_nothing_heavy():
    heavy = "sklearn", "PIL", "grain", "tensorflow_datasets", "mlxtend", "scipy"
    code = f"import sys, jssl.data; print([x for x in {heavy} if x in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
