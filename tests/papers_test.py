"""Rehearsals of published settings: every function but `laptop`, at its real sizes.

`make test` runs three of them; `pytest tests/papers_test.py -m papers` the others, which
take minutes each.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jssl import config

ROOT = Path(__file__).parent.parent
FIRST = ("mae:paper", "moco:paper", "simclr:cifar")
ALL = [
    f"{path.stem}:{name}"
    for path in sorted((ROOT / "experiments").glob("*.py"))
    for name in config.functions(path)
    if name != "laptop"
]


CASES = [
    pytest.param(name, marks=() if name in FIRST else pytest.mark.papers) for name in ALL
]


def test_the_three_are_there():
    assert set(FIRST) <= set(ALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_published_setting_reaches_its_end(name, tmp_path):
    command = [sys.executable, "-m", "jssl.rehearse", "--standin", "--workdir", tmp_path]
    config = ["--config", f"experiments/{name.replace(':', '.py:')}"]
    ran = subprocess.run(
        [*command, *config], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert f"{config[1]} is rehearsed" in ran.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    last = list(result["stages"].values())[-1]
    assert last["split"] == "test" and not last["failed"]
    assert (tmp_path / "run" / "evaluation.json").exists()
    assert (tmp_path / "run" / "encoder.safetensors").exists()
