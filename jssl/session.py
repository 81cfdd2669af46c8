"""A run of an experiment: its stages in order, the baselines, the report."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jssl import baselines, loop
from jssl.checkpoint import Checkpoints
from jssl.cluster import raise_everywhere
from jssl.config import Experiment, Stage, load
from jssl.engine import Engine
from jssl.log import Log, write_json
from jssl.ops.cores import cores
from jssl.report import write_report

PACKAGES = ("jssl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def run(
    experiment: Experiment, workdir: Path, keep: int = 2
) -> tuple[dict[str, Any], Path | None]:
    """Runs all stages, or resumes where an earlier process stopped.

    Args:
      experiment: the experiment with its knobs.
      workdir: folder of all files of the run.
      keep: number of newest checkpoints kept per stage.

    Returns:
      The content of result.json, and the path of the report (in the first process only).

    Raises:
      ValueError: the workdir contains a run with other knobs, or is in use.
    """
    config = describe(experiment)
    first = jax.process_index() == 0
    with claim(workdir, config, first):
        return _run(experiment, workdir, keep, config, first)


def _run(experiment, workdir, keep, config, first):
    """`run`, after claiming the workdir."""
    known = workdir / "result.json"
    if known.exists():
        return json.loads(known.read_text()), workdir / "report.html" if first else None
    stages = experiment.stages()
    done, scores, rows, protocols = {}, {}, {}, {}
    for stage in stages:
        finished = loop.run(stage, workdir, done, Log(workdir), keep)
        done[stage.name] = finished.state
        scores[stage.name] = {
            "metrics": finished.metrics,
            "steps": stage.steps,
            "seconds": round(finished.seconds, 1),
            "samples_per_second": round(finished.samples / max(finished.seconds, 1e-9)),
            "baselines": list(stage.baselines),
            "doctor": finished.verdict.words,
        }
        for name, baseline in stage.baselines.items():
            rows[name] = baselines.score(name, baseline, workdir, provenance)
        protocols |= {
            name: evaluate.protocol
            for name, evaluate in stage.evals.items()
            if name in finished.metrics
        }
    result = {
        "config": config,
        "stages": scores,
        "baselines": {name: row["metrics"] for name, row in rows.items()},
        "protocols": protocols,
        "provenance": provenance()
        | {"baselines": {n: r.get("provenance") for n, r in rows.items()}},
    }
    if not first:
        return result, None
    page = write_report(workdir, result)
    write_json(known, result)
    return result, page


def describe(experiment: Experiment) -> dict[str, Any]:
    """The content of config.json: title, file, function and knobs."""
    knobs = json.loads(json.dumps(dict(experiment.knobs)))  # tuples become lists
    return {
        "title": experiment.name,
        "file": experiment.path.name,
        "function": experiment.function.__name__,
        "knobs": knobs,
    }


@contextlib.contextmanager
def claim(workdir: Path, config: dict[str, Any], first: bool) -> Iterator[None]:
    """Claims the workdir: writes config.json, or verifies that the existing one is equal.

    The first process locks workdir/lock; the operating system releases the lock however
    that process ends. All processes raise the same error.

    Raises:
      ValueError: the workdir contains a run with other knobs, or is in use.
    """
    with contextlib.ExitStack() as held:
        raise_everywhere(partial(_claim, workdir, config, first, held))
        yield


def _claim(workdir, config, first, held):
    path = workdir / "config.json"
    _check(path, config)  # does not modify a run with other knobs
    if first:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            _lock(workdir, held)
            _check(path, config)
            if not path.exists():
                write_json(path, config | {"provenance": provenance()})
        except OSError as error:
            raise OSError(
                f"cannot write to the workdir {workdir}: {error.strerror}"
            ) from error


def _check(path, config):
    """Raises ValueError if config.json exists and differs."""
    if not path.exists():
        return
    there = json.loads(path.read_text())
    for key in ("file", "function"):
        if there[key] != config[key]:
            _refuse(path.parent, key, there[key], config[key])
    for knob in sorted({*there["knobs"], *config["knobs"]}):
        old, new = there["knobs"].get(knob), config["knobs"].get(knob)
        if old != new:
            _refuse(path.parent, knob, old, new)


def _lock(workdir, held):
    """Locks workdir/lock while `held` is open, if the file system supports it."""
    try:
        import fcntl

        file = os.open(workdir / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    except (ImportError, OSError):  # Windows; a read-only workdir
        return
    held.callback(os.close, file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(file, 1000, 0).decode() or "another process"
        raise ValueError(
            f"{workdir} is in use by {holder}; wait for it, stop it or name another "
            f"--workdir"
        ) from error
    except OSError:  # a network file system without locks
        return
    os.truncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on host {socket.gethostname()}".encode(), 0)


def read_config(workdir: Path) -> dict[str, Any]:
    """Reads the config.json of a run.

    Raises:
      ValueError: the file is missing or damaged.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise ValueError(f"{workdir} contains no run: {path} is missing")
    try:
        config = json.loads(path.read_text())
        return {key: config[key] for key in ("title", "file", "function", "knobs")} | config
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a run's config: {error}") from error


def restore(
    workdir: Path, config: dict[str, Any], file: str | None = None, name: str | None = None
) -> tuple[Stage, Any]:
    """A stage of a run, and its newest state, replicated on every device.

    The mesh of the run is ignored, so that runs of many devices can be read on one.

    Args:
      workdir: of the run.
      config: from `read_config`.
      file: of the experiment; None: in ./experiments.
      name: of the stage; None: the last.

    Raises:
      ValueError: the experiment is missing or no longer has the run's knobs, or the run has
        no such stage or no checkpoint of it.
    """
    path = Path(file or Path("experiments") / config["file"])
    experiment = load(f"{path}:{config['function']}")
    gone = sorted(set(config["knobs"]) - set(experiment.knobs))
    if gone:
        raise ValueError(f"{path} no longer has the knob {gone[0]!r} of the run {workdir}")
    then = {knob: _tuples(value) for knob, value in config["knobs"].items()}
    stages = {s.name: s for s in replace(experiment, knobs=then).stages()}
    name = name or list(stages)[-1]
    if name not in stages:
        raise ValueError(f"unknown stage {name!r}; known are {', '.join(stages)}")
    folder = workdir / name
    if not folder.is_dir():
        raise ValueError(f"the run has no checkpoint of its stage {name}: no {folder}")
    stage = replace(stages[name], mesh="", rules=())
    with Checkpoints(folder) as saved:
        found = saved.latest(Engine(stage).shapes)
    if found is None:
        raise ValueError(f"the run has no checkpoint of its stage {name} in {folder}")
    return stage, found[1]


def _tuples(value):
    """The value of a knob from config.json: lists become tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _refuse(workdir, what, old, new):
    raise ValueError(
        f"{workdir} contains a run with {what}={old}, not {new}: "
        f"give another --workdir, or remove it"
    )


def provenance() -> dict[str, Any]:
    """Date, commit, versions, devices and machine of this process."""
    devices = jax.devices()
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        "versions": versions,
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "processes": jax.process_count(),
        "machine": f"{platform.system()} {platform.machine()}, {cores()} cores",
    }


def commit() -> str:
    """The commit of this copy of jssl, followed by "+" if its code is modified."""

    code = "--", ":/jssl", ":/experiments"

    def git(*words):
        here = Path(__file__).parent
        ran = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True)
        return ran.stdout.strip() if ran.returncode == 0 else None

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", *code)
        return "unknown" if not head else head + ("+" if changed else "")
    except FileNotFoundError:
        return "unknown"
