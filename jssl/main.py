"""Trains an experiment, evaluates it, and writes a report.

The config language:

  --config=experiments/mae.py                     the function `laptop`, default knobs
  --config=experiments/mae.py:epochs=2,batch=64   other knobs
  --config=experiments/mae.py:paper,variant=L/16  another function of the file
  --config.epochs=2                               alternative syntax for a further knob

The first colon ends the file name; commas inside brackets or quotes do not separate.
`--knobs` lists the knobs of a config.
"""

import argparse
import ast
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from jssl import cluster, tuning
from jssl.config import Experiment, listing, load


def main(arguments: list[str] | None = None) -> int:
    """Runs the command `python -m jssl.main` and returns its exit status.

    0: done. 1: a user error or a failed run, reported in one line. 143: stopped by SIGTERM
    after saving; the same command resumes.
    """
    options, rest = parser().parse_known_args(arguments)
    return say(lambda: launch(options, rest), options.debug)


def say(command: Callable[[], int], debug: bool) -> int:
    """Runs a command and returns its exit status; reports user errors in one line."""
    try:
        return command()
    except (ValueError, OSError, ImportError) as error:
        if debug:
            raise
        print(f"jssl: {cluster.reason(error)}", file=sys.stderr)
        return 1


def launch(options, rest) -> int:
    unknown = [word for word in rest if not word.startswith("--config.")]
    if unknown:
        raise ValueError(f"unknown argument {unknown[0]!r}; see --help")
    if not options.config:
        raise ValueError("no experiment given: --config=FILE; see --help for a list")
    experiment = load(options.config, [word.removeprefix("--config.") for word in rest])
    if options.knobs:
        print_knobs(experiment)
        return 0
    prepare_jax(options)
    from jssl import loop, session

    if "://" in (options.workdir or ""):
        raise ValueError(
            f"a workdir must be a local folder, got {options.workdir}: mount the bucket "
            f"(gcsfuse) and give its folder"
        )
    workdir = Path(options.workdir or Path("runs") / folder_name(experiment))
    try:
        result, page = session.run(experiment, workdir, options.keep)
    except loop.Stopped as stopped:
        print(f"jssl: {stopped}; the same command resumes from there", file=sys.stderr)
        return 143
    if page:
        from jssl.report import print_table

        print_table(result)
        print(f"report: {page}")
    return 0


def parser() -> argparse.ArgumentParser:
    found = sorted(Path("experiments").glob("*.py"))
    about = (
        "\n".join(f"  {p}  {_first_line(p)}" for p in found) or "  (none in ./experiments)"
    )
    parse = argparse.ArgumentParser(
        prog="python -m jssl.main",
        description=__doc__,
        epilog=f"experiments here:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parse.add_argument
    add("--config", metavar="FILE[:FUNCTION][,KNOB=VALUE ...]")
    add("--knobs", action="store_true", help="list the knobs of the config and exit")
    add("--workdir", help="folder of all files of the run (default: runs/NAME)")
    add("--coordinator", metavar="HOST:PORT", help="address of process 0")
    add("--processes", type=int, metavar="N", help="number of processes; 1: only this one")
    add("--process", type=int, metavar="I", help="index of this process, from 0")
    add("--keep", type=int, default=2, metavar="N", help="newest checkpoints kept (2)")
    add("--cpu-devices", type=int, metavar="N", help="simulate N devices on one CPU")
    add("--debug", action="store_true", help="show tracebacks")
    return parse


def prepare_jax(options) -> None:
    """Sets up devices, processes and the compilation cache, before any computation."""
    if not options.debug:  # orbax logs hundreds of lines
        for name in ("absl", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("jssl").setLevel(logging.INFO)  # a line on the data that are read
    import jax

    from jssl.baselines import cache_folder

    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "xla"))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    if options.cpu_devices:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", options.cpu_devices)
    tuning.tune()
    cluster.join(options.coordinator, options.processes, options.process)


def folder_name(experiment: Experiment) -> str:
    """The experiment's name and its non-default knobs."""
    changed = [
        f"{knob}={experiment.knobs[knob]}"
        for knob, default in experiment.defaults.items()
        if experiment.knobs[knob] not in (default, "")
    ]
    return re.sub(r"[^\w=.,+-]+", "_", ",".join([experiment.name, *changed]))


def print_knobs(experiment: Experiment) -> None:
    rows = listing(experiment)
    wide = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=False)), row[3])


def _first_line(path):
    try:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
    except SyntaxError:
        return "(does not parse)"
    return text.partition("\n")[0]


if __name__ == "__main__":
    cluster.run(main)
