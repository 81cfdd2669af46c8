"""From the command to the line of the first step: SimCLR on 5,000 digits, batch 256.

Ours: `python -m jssl.main --config=experiments/simclr.py`, cold with an empty compilation
cache, warm with that of an earlier start. Theirs: peers/first_step.py, an ordinary script
of torch and lightly with the same network, optimiser, data and batch, without workers;
torch has no such cache, and both targets are against the same start.
Different: ours also sets up checkpoints, TensorBoard and the evaluators, and says its
first line when the second step is under way. Both are stopped after that line.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from peers.pair import Pair, Work

ROOT = Path(__file__).parents[2]
QUICK = ":source=digits,batch=16,widths=(4, 8),projector=(8, 4)"


def first_line(command, mark, environment):
    """Starts a command, waits until it writes a line with the mark, and ends it."""
    started = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    try:
        for line in started.stdout:
            said.append(line)
            if mark in line:
                return
    finally:
        started.kill()
        started.wait()
        started.stdout.close()
    raise ValueError(f"{command} ended without {mark!r}: {''.join(said)[-2000:]}")


def ours(warm, quick):
    keep = tempfile.TemporaryDirectory()
    config = f"--config=experiments/simclr.py{QUICK if quick else ''}"

    def call():
        with tempfile.TemporaryDirectory() as folder:
            cache = keep.name if warm else folder
            caches = {"JAX_COMPILATION_CACHE_DIR": f"{cache}/xla", "JSSL_CACHE": cache}
            command = [sys.executable, "-m", "jssl.main", config, f"--workdir={folder}/run"]
            first_line(command, "step 1/", os.environ | caches)

    return Work(call, warm=1 if warm else 0, calls=1, notes=lambda: {"kept": keep.name})


def theirs(quick):
    script = Path(__file__).with_name("first_step.py")
    command = [sys.executable, str(script), *(["--quick"] if quick else [])]
    return Work(lambda: first_line(command, "step 1", None), warm=1, calls=1)


PAIRS = {
    f"start-{name}": Pair(
        "start", partial(ours, warm), {"torch + lightly": theirs}, target, at_most=True
    )
    for name, warm, target in (("cold", False, 2), ("warm", True, 1))
}
