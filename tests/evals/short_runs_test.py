"""No alarm on healthy runs that are too short to judge."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jssl.evals.doctor import NEEDS

ROOT = Path(__file__).parents[2]
RUNS = {
    "mae, 64 steps": "mae.py:source=digits,patch=2,batch=64,epochs=3",
    "mae, 6 steps": "mae.py:source=digits,patch=2,batch=64,epochs=0.3",
    "simclr": "simclr.py:source=digits,batch=64,epochs=0.5",
    "moco": "moco.py:source=digits,batch=64,epochs=0.5",
    "byol": "byol.py:source=digits,batch=64,epochs=0.5",
    "simsiam": "simsiam.py:source=digits,batch=64,epochs=0.5",
    "vicreg": "vicreg.py:source=digits,batch=64,epochs=0.5",
    "rotation": "rotation.py:source=digits,batch=64,epochs=0.5",
    "deepcluster": "deepcluster.py:source=digits,batch=64,epochs=0.5",
    "denoising": "denoising.py:source=digits,batch=64,epochs=0.5",
}


@pytest.mark.learning
@pytest.mark.parametrize("name", RUNS)
def test_a_short_healthy_run_raises_no_alarm(name, tmp_path):
    config = f"--config=experiments/{RUNS[name]},supervised_epochs=0.02"
    command = [sys.executable, "-m", "jssl.main", config, f"--workdir={tmp_path / 'run'}"]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    said = re.findall(r"^doctor, .*", ran.stdout + ran.stderr, re.MULTILINE)
    assert said
    alarms = [line for line in said for kind in NEEDS if kind in line.lower()]
    assert not alarms
