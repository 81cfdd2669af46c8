"""The cost curves: what is told of them is what was kept."""

import importlib.util
import json
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("devices", [1])
def test_a_point_can_be_measured_anew(devices, monkeypatch):
    monkeypatch.setattr("jax.config.update", lambda *_: None)  # devices are set by now
    found = curves.point("rbm", "batch=25,source=digits,hidden=8,tiny=True", devices)
    assert found["seconds"] > 0
    assert found["bytes"] > 4 * 64 * 8
