"""Methods by their test files, and those whose files changed since their tests passed.

`make test-all` writes tests/full-tier.json: for each method whose tests passed, those of
the agreement of devices among them, a hash of its module, its test file, its experiment and
all that these import of the parts below. Where a hash differs, `make test` runs the
agreement of devices, a whole run of the laptop and two steps of the published settings; the
first two also for one method of each shape.
"""

import ast
import hashlib
import importlib.util
import json
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
RECORD = TESTS / "full-tier.json"
METHODS = {
    path.stem.removesuffix("_test"): path
    for path in sorted((TESTS / "methods").glob("*/*_test.py"))
}
ONE_A_SHAPE = {  # the fast lane's methods, one for each shape of a step
    "rotation",  # one loss
    "byol",  # a slow target
    "gan",  # two players
    "rbm",  # a gradient given
    "stacked_denoising",  # a greedy stack
    "deepcluster",  # phases of an epoch
    "mixmatch",  # two streams
    "supervised",  # the reference
}
PARTS = {"losses", "ops", "models", "learner", "sharding", "methods", "method", "nets"}


@cache
def module(name):
    """A method's test file, as a module."""
    found = importlib.util.spec_from_file_location(f"tiny_{name}", METHODS[name])
    loaded = importlib.util.module_from_spec(found)
    found.loader.exec_module(loaded)
    return loaded


@cache
def imported(path: Path) -> frozenset[Path]:
    """The files of PARTS that a file imports by name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "jssl" and PARTS & {*parts[1:2]}:
                place = ROOT.joinpath(*parts)
                found |= {place.with_suffix(".py"), place / "__init__.py"}
    return frozenset(file for file in found if file.exists())


def files(name: str) -> set[Path]:
    """A method's module, test file and experiment, and what they import of PARTS."""
    test = METHODS[name]
    module = ROOT / "jssl/methods" / test.parent.name / f"{name}.py"
    found, new = set(), {test, module, ROOT / "experiments" / f"{name}.py"}
    while new:
        found |= new
        new = set().union(*map(imported, new)) - found
    return found


@cache
def digest(name: str) -> str:
    """A hash of a method's files and their names."""
    text = hashlib.sha256()
    for path in sorted(files(name)):
        text.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return text.hexdigest()[:16]


def recorded() -> dict[str, str]:
    """The hashes with which devices agreed."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def unchanged() -> set[str]:
    """The methods none of whose files changed since."""
    known = recorded()
    return {n for n in METHODS if known.get(n) == digest(n)}


def settled() -> set[str]:
    """Those of them beyond one a shape."""
    return unchanged() - ONE_A_SHAPE


def settle(names: set[str]) -> None:
    """Records the hashes of these methods; those of methods that are gone go."""
    known = recorded() | {name: digest(name) for name in names}
    kept = {name: known[name] for name in sorted(METHODS.keys() & known)}
    RECORD.write_text(json.dumps(kept, indent=1) + "\n")
