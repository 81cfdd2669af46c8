"""Rehearses a run: all of it, at its real sizes, in a few steps on a few rows.

  --config experiments/mae.py:paper,source=folder:PATH    on a few rows of your own data
  --config experiments/mae.py:paper --standin             on made pictures, in the layout
                                                          of the data set that it names

Every stage is trained for a few steps at its image size, network and batch-norm groups,
stopped and resumed in its middle, and evaluated; then come baselines, pictures, the report,
`jssl evaluate` and `jssl export`. The seconds and the peak memory of each part are printed,
and what was smaller than in the run itself. A failure is an exit status of 1.
"""

import argparse
import contextlib
import io
import math
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from jssl import cluster
from jssl.cluster import Stopped
from jssl.command import new_parser, prepare_jax, say, terminable
from jssl.config import Experiment, Stage, load
from jssl.evals import Eval

FEW = ("labels", "per_class", "few", "many")  # knobs that count labels of each class
WITHIN = ("clusters", "components")  # knobs with at most as many as there are rows
SAMPLING = "sampling_steps"  # of a diffusion model; 0 for all, which may be a thousand


def main(arguments: list[str] | None = None) -> int:
    """Runs the command `jssl rehearse` and returns its exit status.

    0: the whole run was rehearsed. 1: a part failed, reported in one line.
    """
    options = parser().parse_args(arguments)
    return say(lambda: launch(options), options.debug)


def parser() -> argparse.ArgumentParser:
    parse = new_parser("rehearse", __doc__)
    add = parse.add_argument
    add("--config", metavar="NAME|FILE[:FUNCTION][,KNOB=VALUE ...]")
    add("--standin", action="store_true", help="make a small data set of the same layout")
    add("--batch", type=int, help="largest batch (4, or 2 rows a batch-norm group)")
    add("--steps", type=int, default=4, help="steps of each stage (4)")
    add("--rows", type=int, default=128, help="rows of each split (128)")
    add("--workdir", help="folder of all files (default: a temporary one, removed)")
    return parse


def launch(options) -> int:
    if not options.config:
        raise ValueError("no experiment given: --config=NAME or FILE")
    if options.steps < 3:
        raise ValueError(f"--steps must be at least 3, got {options.steps}")
    asked = load(options.config)
    prepare_jax(options.debug)
    import jax

    with contextlib.ExitStack() as held:
        if options.workdir:
            folder = Path(options.workdir)
        else:
            folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        if (folder / "run").exists() or (folder / "data").exists():
            raise ValueError(f"--workdir: {folder} contains a rehearsal; give another")
        held.enter_context(terminable())
        changes = smaller(asked, options, folder)
        parts = list(rehearse(asked, changes, folder / "run", options.steps))
        chip = device_peak(jax.local_devices())
    seconds, most = sum(p.seconds for p in parts), max(p.gigabytes for p in parts)
    print(f"{seconds:7.1f} s {most:6.2f} GB  in all: {options.config} is rehearsed")
    if chip:
        print(f"{'':9} {chip:6.2f} GB  of a device, at most")
    print("smaller than in the run:")
    print(f"  steps of each stage: {options.steps}")
    for knob, value in changes.items():
        print(f"  {knob}={value or '(none)'} in place of {asked.knobs[knob] or '(none)'}")
    return 0


def smaller(asked: Experiment, options, folder: Path) -> dict[str, Any]:
    """Knobs of the rehearsal that differ from those asked for.

    On CPUs networks compute in float32; `rehearse` traces the run in its own precision.
    Knobs that the user has set stay, except the source of a stand-in.
    """
    import jax

    untouched = {k: x for k, x in asked.knobs.items() if x == asked.defaults[k]}
    changes: dict[str, Any] = {}
    devices = jax.device_count()
    least = max(4, 2 * asked.knobs.get("groups", 1))
    batch = options.batch or math.ceil(least / devices) * devices
    for knob, value in untouched.items():
        if knob == "batch" or knob.endswith("_batch"):
            changes[knob] = min(value, batch)
        if knob in FEW:
            changes[knob] = min(value, 2)
        if knob in WITHIN:
            changes[knob] = min(value, options.rows // 4)
        if knob == SAMPLING:
            changes[knob] = min(value or options.steps, options.steps)
        if knob == "workers":
            changes[knob] = min(value, 2)
        if knob == "dtype" and jax.default_backend() == "cpu":
            changes[knob] = ""  # a step in bfloat16 takes minutes there
    if "source" not in asked.knobs:
        return changes
    reading = [f"each={options.rows}"]
    if options.standin:
        changes["source"], more = standin(asked.knobs["source"], folder / "data")
        reading = more
    if asked.knobs.get("reading"):
        reading.insert(0, asked.knobs["reading"])
    return {k: x for k, x in changes.items() if x != asked.knobs[k]} | {
        "reading": ";".join(reading)
    }


def standin(source: str, folder: Path) -> tuple[str, list[str]]:
    """Makes a small data set like a source: its name, and arguments of its loader.

    Raises:
      ValueError: no stand-in for this source.
    """
    from jssl.data import COMPUTED, TEXTS, standins

    kind, _, name = source.partition(":")
    if kind in COMPUTED:
        return source, []
    if kind in TEXTS:
        standins.texts(folder)
        return f"text:{folder}", []
    if kind == "folder":
        standins.folders(folder)
        return f"folder:{folder}", []
    if kind == "clips":
        standins.videos(folder)
        return f"clips:{folder}", []
    if kind == "npz":
        return f"npz:{standins.latents(folder)}", []
    name = (name if kind == "tfds" else source).partition(":")[0]
    standins.prepare(name, folder)
    return f"tfds:{name}", [f"data_dir={folder}"]


@dataclass(frozen=True)
class Part:
    """A part of a rehearsal.

    Attributes:
      name: of the part.
      seconds: of the part.
      gigabytes: largest resident memory of this process during the part, or since its
        start where the system does not reset it.
    """

    name: str
    seconds: float
    gigabytes: float


@dataclass(frozen=True)
class Rehearsal(Experiment):
    """An experiment with few steps.

    Attributes:
      steps: of every stage and baseline, in dispatches.
      halted: stage that is stopped in its middle, as by SIGTERM.
    """

    steps: int = 4
    halted: str = ""

    def stages(self) -> list[Stage]:
        return [self.short(stage) for stage in super().stages()]

    def short(self, stage: Stage) -> Stage:
        """A stage of few steps, with its baselines."""
        steps = min(stage.steps, self.steps * stage.dispatch)
        new = replace(
            stage,
            steps=steps,
            baselines={name: self.short(x) for name, x in stage.baselines.items()},
            eval_every=self.steps // 2 * stage.dispatch,
        )
        if stage.name != self.halted or not steps:
            return new
        evals = dict(stage.evals) | {"restart": Eval("none", halt, (), online=True)}
        return replace(new, evals=evals)


def halt(features: Any, final: bool) -> dict[str, float]:
    """An eval that stops the run, as the end of a reservation does."""
    if not final:
        os.kill(os.getpid(), signal.SIGTERM)
    return {}


def rehearse(
    asked: Experiment, changes: Mapping[str, Any], workdir: Path, steps: int
) -> Iterator[Part]:
    """Rehearses all parts of a run, and prints a line for each.

    Args:
      asked: the experiment.
      changes: knobs with other values than in the run.
      workdir: of the rehearsal; must not contain a run.
      steps: of each stage.

    Raises:
      ValueError: a part failed.
    """
    from jssl import course, export, session
    from jssl.evaluate import __main__ as evaluate

    run = Rehearsal(asked.path, asked.function, {**asked.knobs, **changes}, steps)
    if "dtype" in changes:
        exact = replace(run, knobs={**run.knobs, "dtype": asked.knobs["dtype"]})
        with part(f"traced in {asked.knobs['dtype']}") as made:
            workdir.mkdir(parents=True, exist_ok=True)
            course.check(exact.stages(), workdir, keep=2)
        yield from made
    before = "start"
    for stage in run.stages():
        name = f"{before} to a stop within {stage.name}"
        with part(name) as made, contextlib.suppress(Stopped):
            session.run(replace(run, halted=stage.name), workdir)
            raise ValueError(f"{stage.name} was not stopped: it has too few steps")
        yield from made
        before = f"{stage.name}, resumed,"
    with part(f"{before} to the report") as made:
        result, page = session.run(run, workdir)
        whole(result, page)
    yield from made
    where = ["--workdir", str(workdir), "--config", str(asked.path)]
    commands = {
        "evaluate": partial(evaluate.main, where),
        "export": partial(export.main, [*where, "--out", f"{workdir}/encoder.safetensors"]),
    }
    for name, command in commands.items():
        with part(f"jssl {name}") as made, contextlib.redirect_stdout(io.StringIO()):
            status = command()
        if status:
            raise ValueError(f"jssl {name} failed with status {status}")
        yield from made


def whole(result: Mapping[str, Any], page: Path | None) -> None:
    """Raises ValueError if an eval, a picture or a baseline of a run has failed."""
    failed = dict(result["failed"])
    for name, stage in result["stages"].items():
        failed |= {f"{name}: {what}": why for what, why in stage["failed"].items()}
    if failed or page is None:
        raise ValueError("; ".join(f"{what} failed: {why}" for what, why in failed.items()))


@contextlib.contextmanager
def part(name: str) -> Iterator[list[Part]]:
    """Measures a part of a rehearsal, and prints its line: a list that receives it."""
    made: list[Part] = []
    print(f"jssl: rehearsing: {name}", file=sys.stderr)
    reset_peak()
    begin = time.perf_counter()
    yield made
    made.append(Part(name, time.perf_counter() - begin, peak()))
    print(f"{made[0].seconds:7.1f} s {made[0].gigabytes:6.2f} GB  {name}", flush=True)


def reset_peak() -> None:
    """Resets the largest resident memory of this process, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """The largest resident memory of this process in GB."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def device_peak(devices: Iterable[Any]) -> float:
    """The largest memory of these devices in use since the start, in GB; 0 if unknown."""
    known = [device.memory_stats() or {} for device in devices]  # None on CPUs
    return max((x.get("peak_bytes_in_use", 0) for x in known), default=0) / 1e9


if __name__ == "__main__":
    cluster.run(main)
