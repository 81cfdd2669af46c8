"""A run of an experiment: its stages in order, the baselines, the report."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jssl import baselines, course, initial, loop
from jssl.cache import written
from jssl.cluster import raise_everywhere, recorded
from jssl.config import Experiment
from jssl.log import Log, read_json, write_json
from jssl.ops.cores import cores
from jssl.report import write_report
from jssl.runs import read_config

PACKAGES = ("jssl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def run(
    experiment: Experiment, workdir: Path, keep: int = 2, extend: bool = False
) -> tuple[dict[str, Any], Path | None]:
    """Runs all stages, or resumes where an earlier process stopped.

    The whole run is checked in shapes before its first step (`jssl.course`). At its end
    evals, pictures and baselines that fail are reported and omitted; the same command then
    repeats these.

    Args:
      experiment: the experiment with its knobs.
      workdir: folder of all files of the run.
      keep: number of newest checkpoints kept per stage.
      extend: trains a run for more epochs than it was started with: the knobs of epochs may
        be larger. A longer stage continues from its last checkpoint, on the schedules of
        its new length, and later stages are trained anew.

    Returns:
      The content of result.json, and the path of the report (in the first process only).

    Raises:
      ValueError: the workdir contains a run with other knobs, or is in use.
    """
    config = describe(experiment)
    first = jax.process_index() == 0
    with claim(workdir, config, first, extend) as there:
        result = there / "result.json"
        if not extend and result.exists() and not _failures(read := read_json(result)):
            return read, workdir / "report.html" if first else None
        return _run(experiment, workdir, keep, config, first, extend)


def _run(experiment, workdir, keep, config, first, extend):
    """`run`, after claiming the workdir."""
    stages = [initial.started(stage) for stage in experiment.stages()]
    engines = course.check(stages, workdir, keep)
    raise_everywhere(partial(_record, workdir, config, first, extend, stages))
    done, scores, rows, protocols = {}, {}, {}, {}
    failed: dict[str, str] = {}
    for stage in stages:
        finished = loop.run(engines[stage.name], workdir, done, Log(workdir), keep)
        done[stage.name] = finished.state
        rate = finished.samples / max(finished.seconds, 1e-9)
        tokens = stage.data.row_tokens
        scores[stage.name] = {
            "metrics": finished.metrics,
            "steps": stage.steps,
            "batch": stage.data.batch,
            "seconds": round(finished.seconds, 1),
            "samples_per_second": round(rate),
            **({"tokens_per_second": round(rate * tokens)} if tokens else {}),
            "baselines": list(stage.baselines),
            "doctor": finished.verdict.words,
            "split": finished.split,
            "trained_on": sorted(stage.data.includes),
            "failed": finished.failed,
        }
        for name, baseline in stage.baselines.items():
            with recorded(failed, name):
                rows[name] = baselines.score(name, baseline, workdir, provenance)
        protocols |= {
            name: evaluate.protocol
            for name, evaluate in stage.evals.items()
            if name in finished.metrics
        }
    for name, why in failed.items() if first else ():
        print(f"jssl: baseline {name} failed and is omitted: {why}", file=sys.stderr)
    result = {
        "config": config,
        "stages": scores,
        "baselines": {name: row["metrics"] for name, row in rows.items()},
        "failed": failed,
        "protocols": protocols,
        "data": described(stages[0].data) | skipped([stage.data for stage in stages]),
        "provenance": provenance()
        | {"baselines": {n: r.get("provenance") for n, r in rows.items()}},
    }
    if not first:
        return result, None
    write_json(workdir / "result.json", result)
    return result, write_report(workdir, result)


def _failures(result):
    """True if an eval, a picture or a baseline of a finished run has failed."""
    stages = result["stages"].values()
    return bool(result.get("failed")) or any(stage.get("failed") for stage in stages)


def described(source: Any) -> dict[str, Any]:
    """Name, rows of each split, classes, their names, and license of a data set.

    Rows that were found to be unreadable do not count. "trained_on" are the splits whose
    rows are in train too.
    """
    rows = {}
    for split in ("train", "val", "test"):
        with contextlib.suppress(ValueError):
            rows[split] = source.split(split).readable
    return {
        "name": source.data_name,
        "rows": rows,
        "trained_on": sorted(source.includes),
        "classes": source.classes,
        "class_names": list(source.class_names),
        "license": source.license,
    }


def skipped(sources: Sequence[Any]) -> dict[str, Any]:
    """Number and first names of the images of some sources that could not be read."""
    names = list(dict.fromkeys(name for source in sources for name in source.unreadable))
    return {"skipped": {"count": len(names), "first": names[:5]}} if names else {}


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
def claim(
    workdir: Path, config: dict[str, Any], first: bool, extend: bool = False
) -> Iterator[Path]:
    """Locks the workdir, and verifies that a run in it has the same config.

    The first process locks workdir/lock; the operating system releases the lock however
    that process ends. All processes raise the same error. A config without a checkpoint or
    a result does not count; a workdir in which nothing was written is removed.

    Raises:
      ValueError: the workdir contains a run with other knobs, or is in use.
    """
    with contextlib.ExitStack() as held:
        raise_everywhere(partial(_claim, workdir, config, first, extend, held))
        yield workdir


def _claim(workdir, config, first, extend, held):
    _check(workdir, config, extend)  # does not modify a run with other knobs
    if first:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            _lock(workdir, held)
            held.callback(_leave, workdir)
            _check(workdir, config, extend)
        except OSError as error:
            raise OSError(
                f"cannot write to the workdir {workdir}: {error.strerror}"
            ) from error


def _check(workdir, config, extend):
    """Raises ValueError if the workdir contains a run with another config."""
    if extend and not (workdir / "config.json").exists():
        raise ValueError(f"--extend: {workdir} contains no run")
    finished = (workdir / "result.json").exists()
    if not finished and not any(workdir.glob("*/*/_CHECKPOINT_METADATA")):
        return  # nothing would be lost
    there = read_config(workdir)
    for key in ("file", "function"):
        if there[key] != config[key]:
            _refuse(workdir, key, there[key], config[key])
    for knob in sorted({*there["knobs"], *config["knobs"]}):
        old, new = there["knobs"].get(knob), config["knobs"].get(knob)
        longer = knob.endswith("epochs") and (new or 0) > (old or 0)
        if old != new and not (extend and longer):
            _refuse(workdir, knob, old, new, "--extend to continue it, or " * longer)


def _record(workdir, config, first, extend, stages):
    """Writes config.json, unless it is there; an extension moves what it replaces aside."""
    if not first:
        return
    path = workdir / "config.json"
    known = read_json(path) if path.exists() else {}
    if extend and known["knobs"] != config["knobs"]:
        before = known.get("extended", []) + [{"knobs": known["knobs"]}]
        _restart_later(workdir, stages, len(before))
        result = workdir / "result.json"  # without it the same command resumes
        if result.exists():
            result.rename(workdir / f"result.before-extension-{len(before)}.json")
        write_json(path, config | {"provenance": provenance(), "extended": before})
    else:
        record(workdir, config)
    for name, text in {n: x for s in stages for n, x in s.data.files.items()}.items():
        with written(workdir / name) as part:
            part.write_text(text)


def record(workdir: Path, config: dict[str, Any]) -> None:
    """Writes config.json to a claimed workdir, unless it is there."""
    path = workdir / "config.json"
    known = read_json(path) if path.exists() else {}
    if {key: known.get(key) for key in config} != config:
        write_json(path, config | {"provenance": provenance()})


def _restart_later(workdir, stages, number):
    """Reports the stages that continue, and moves those after them aside."""
    longer = False
    for stage in stages:
        folder = workdir / stage.name
        steps = [int(p.name) for p in folder.glob("*") if p.name.isdigit()]
        if longer and folder.exists():
            folder.rename(folder.with_name(f"{stage.name}.before-extension-{number}"))
            print(f"jssl: {stage.name} is trained anew, from the longer stage")
        elif steps and max(steps) < stage.steps:
            longer = True
            print(
                f"jssl: {stage.name} continues from step {max(steps)} to {stage.steps}, on "
                f"the schedules of {stage.steps} steps from there on: a rate that had "
                f"decayed rises again, so that the result differs from a run of that length"
            )


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


def _leave(workdir):
    """Removes a workdir in which nothing but the lock was written."""
    with contextlib.suppress(OSError):
        if {path.name for path in workdir.iterdir()} <= {"lock"}:
            (workdir / "lock").unlink(missing_ok=True)
            workdir.rmdir()


def _refuse(workdir, what, old, new, way=""):
    raise ValueError(
        f"{workdir} contains a run with {what}={old}, not {new}: "
        f"give {way}another --workdir, or remove it"
    )


def provenance() -> dict[str, Any]:
    """Date, commit or version, packages, devices and machine of this process."""
    devices = jax.devices()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "processes": jax.process_count(),
        "machine": f"{platform.system()} {platform.machine()}, {cores()} cores",
    }


def version(package: str) -> str:
    """The version of a package, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """The commit of this checkout, followed by "+" if its code is modified.

    Of an installed package, the version: "jssl 0.1.0". It may lie in a folder of another
    repository, whose commit says nothing about it.
    """
    here = Path(__file__).resolve().parent
    code = "--", ":/jssl", ":/experiments"

    def git(*words):
        ran = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True)
        return ran.stdout.strip() if ran.returncode == 0 else None

    try:
        root = git("rev-parse", "--show-toplevel")
        if root and Path(root).resolve() == here.parent:
            head = git("rev-parse", "--short=12", "HEAD")
            if head:
                return head + ("+" if git("status", "--porcelain", *code) else "")
    except FileNotFoundError:
        pass
    return f"jssl {version('jssl')}"
