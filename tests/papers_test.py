"""Rehearsals of published settings: every function but `laptop`, at its real sizes.

They take minutes each, and are left out of `make test`. `make test-papers` runs three,
PAPERS="byol:paper" others, `pytest tests/papers_test.py -m papers` all.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jssl import config

ROOT = Path(__file__).parent.parent
SETTINGS = [
    f"{path.stem}:{name}"
    for path in sorted((ROOT / "experiments").glob("*.py"))
    for name in config.functions(path)
    if name != "laptop"
]


@pytest.mark.papers
@pytest.mark.parametrize("name", SETTINGS)
def test_a_published_setting_reaches_its_end(name, tmp_path):
    file = f"experiments/{name.replace(':', '.py:')}"
    words = ["--config", file, "--standin", "--rows", "32", "--workdir", tmp_path]
    alone = {k: x for k, x in os.environ.items() if k != "XLA_FLAGS"}  # one, fast, device
    ran = subprocess.run(
        [sys.executable, "-m", "jssl.rehearse", *words],
        cwd=ROOT,
        env=alone,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert f"{file} is rehearsed" in ran.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    last = list(result["stages"].values())[-1]
    assert last["split"] == "test" and not last["failed"]
    assert (tmp_path / "run" / "evaluation.json").exists()
    assert list((tmp_path / "run").glob("encoder*.safetensors"))
