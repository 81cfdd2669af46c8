"""The house itself: what may import what, and the triads."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RANKS = {  # a module imports what ranks below it, or its own room
    "ops": 0,
    "pictures": 0,
    "cache": 0,
    "losses": 1,
    "models": 2,
    "views": 2,
    "data": 2,
    "evals": 2,
    "optim": 2,
    "nets": 2,
    "learner": 2,
    "method": 3,
    "methods": 4,
    "cluster": 4,
    "sharding": 5,
    "checkpoint": 5,
    "config": 5,
    "weights": 5,
    "exhibits": 5,
    "log": 5,
    "tuning": 5,
    "knobs": 6,
    "papers": 7,
    "report": 6,
    "pretrained": 6,
    "engine": 7,
    "features": 8,
    "loop": 9,
    "runs": 9,
    "baselines": 10,
    "course": 10,
    "initial": 10,
    "session": 11,
    "command": 6,
    "main": 12,
    "evaluate": 13,
    "export": 13,
    "embed": 13,
    "sample": 13,
    "finetune": 14,
    "rehearse": 14,
    "plan": 13,
    "new": 13,
    "__main__": 14,
}
COMMANDS = {"data": "evaluate"}  # rank of the command of a package that ranks low
LEAVES = {"models", "views", "data", "evals"}
MODULES = sorted((ROOT / "jssl").rglob("*.py"))


def room(module: str) -> str:
    return module.split(".")[1]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "jssl":
            found |= {f"jssl.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name for name in found if name.startswith("jssl.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_what_ranks_below_it(path):
    parts = path.relative_to(ROOT / "jssl").with_suffix("").parts
    here = parts[0]
    if here == "__init__":
        return
    if parts[-1] == "__main__":  # a command: nothing imports it
        here = COMMANDS.get(here, here)
    for name in imports(path):
        there = room(name)
        if there in (here, parts[0]):
            continue
        assert RANKS[there] < RANKS[here], f"{here} may not import {there}"
        if here == "methods":
            assert there not in LEAVES, f"methods are given their {there}"
        if here in LEAVES:
            assert RANKS[there] < 2, f"{here} may not import {there}"


def methods():
    folders = (ROOT / "jssl" / "methods").glob("*/*.py")
    return sorted(p for p in folders if p.stem != "__init__")


@pytest.mark.parametrize("path", methods(), ids=lambda p: p.stem)
def test_a_method_stands_as_a_triad(path):
    family, name = path.parent.name, path.stem
    assert (ROOT / "experiments" / f"{name}.py").exists()
    assert (ROOT / "tests" / "methods" / family / f"{name}_test.py").exists()


def test_every_experiment_has_its_method():
    names = {p.stem for p in methods()}
    assert {p.stem for p in (ROOT / "experiments").glob("*.py")} <= names
