"""Methods by their test files, and which of them changed since their devices agreed."""

import importlib.util
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
METHODS = {
    path.stem.removesuffix("_test"): path
    for path in sorted((TESTS / "methods").glob("*/*_test.py"))
}


@cache
def loaded(name):
    """A method's test file, as a module."""
    found = importlib.util.spec_from_file_location(f"tiny_{name}", METHODS[name])
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
