"""The cost curves: what is told of them is what was kept."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1] / "benchmarks"
SPEC = importlib.util.spec_from_file_location("curves", HERE / "curves.py")
curves = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(curves)


def test_the_page_holds_the_tables_of_what_was_measured():
    page = (HERE / "CURVES.md").read_text().partition(curves.MARK)[2]
    kept = json.loads((HERE / "curves.json").read_text())
    assert page == "\n" + "\n".join(curves.tables(kept)) + "\n"


def test_every_point_was_measured():
    kept = json.loads((HERE / "curves.json").read_text())
    for method, axis, size, _, _ in curves.points():
        assert kept[method][axis][str(size)]["seconds"] > 0


def test_a_point_is_measured_on_as_many_devices_as_it_says():
    words = "batch=24,source=digits,hidden=8,tiny=True"
    command = [sys.executable, HERE / "curves.py", "point", "rbm", words]
    where = os.environ | {"PYTHONPATH": str(HERE.parent), "XLA_FLAGS": ""}
    bytes_of = {}
    for devices in (1, 4):
        done = subprocess.run(
            [*command, str(devices), "--seconds", "0"],
            capture_output=True,
            text=True,
            check=True,
            env=where,
        )
        found = json.loads(done.stdout)
        assert found["seconds"] > 0
        bytes_of[devices] = found["bytes"]
    assert 0 < bytes_of[4] != bytes_of[1]
