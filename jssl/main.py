"""Trains an experiment, evaluates it, and writes a report.

The config language:

  --config=mae                       an experiment of jssl: `laptop`, default knobs
  --config=experiments/mae.py        a file, likewise
  --config=mae:epochs=2,batch=64     other knobs
  --config=mae:paper,variant=L/16    another function of the file
  --config.epochs=2                  a further knob, whose value is taken as it stands

The first colon ends the file name; commas inside brackets or quotes do not separate.
`--knobs` lists the knobs of a config.

The whole run is checked before its first step. Interrupted runs (Ctrl-C, SIGTERM, kill -9)
are resumed by the same command. `--extend` trains a run for more epochs.
"""

import argparse
import ast
import contextlib
import logging
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from jssl import cluster, tuning
from jssl.cache import cache_folder
from jssl.config import Experiment, folders, listing, load


def main(arguments: list[str] | None = None) -> int:
    """Runs the command `jssl train` or `python -m jssl.main`, and returns its exit status.

    0: done. 1: a user error or a failed run, reported in one line. 130: stopped by Ctrl-C,
    143: by SIGTERM, after saving; the same command resumes.
    """
    options, rest = parser().parse_known_args(arguments)
    return say(lambda: launch(options, rest), options.debug)


def say(command: Callable[[], int], debug: bool) -> int:
    """Runs a command and returns its exit status; reports user errors in one line."""
    if debug:
        logging.basicConfig(level=logging.WARNING)
        logging.getLogger("jssl").setLevel(logging.DEBUG)
    try:
        return command()
    except KeyboardInterrupt as error:
        status = 143 if isinstance(error, Terminated) else 130
        name = "SIGTERM" if status == 143 else "Ctrl-C"
        print(f"jssl: stopped by {name}; the same command resumes", file=sys.stderr)
        return status
    except (ValueError, OSError, ImportError) as error:
        if debug:
            raise
        print(f"jssl: {explained(error)}", file=sys.stderr)
        return 1


class Terminated(KeyboardInterrupt):
    """SIGTERM outside of the training loop, which handles it by itself."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Raises Terminated at a SIGTERM, in a run of one process."""
    import jax

    if jax.process_count() > 1 or threading.current_thread() != threading.main_thread():
        yield  # JAX's preemption service has the signal
        return

    def stop(number, frame):
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


EXTRAS = {  # package: the extra of jssl that installs it
    "tensorflow": "tensorflow",
    "vizdoom": "doom",
    "cv2": "clips",
    "cairosvg": "svg",
    "pyarrow": "hf",
}


def explained(error: BaseException) -> str:
    """An error as one line of text; a missing package with the command to install it."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        extra = EXTRAS.get(package, "run")
        return f"this needs the package {package}: pip install 'jssl[{extra}]'"
    return cluster.reason(error)


def launch(options, rest) -> int:
    unknown = [word for word in rest if not word.startswith("--config.")]
    if unknown:
        knob = unknown[0].lstrip("-").partition("=")[0]
        raise ValueError(
            f"unknown argument {unknown[0]!r}; see --help. Knobs are part of the config: "
            f"--config=FILE:{knob}=VALUE or --config.{knob}=VALUE"
        )
    if not options.config:
        raise ValueError(
            "no experiment given: --config=NAME or FILE; see --help for a list"
        )
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
        with terminable():
            result, page = session.run(experiment, workdir, options.keep, options.extend)
    except loop.Stopped as stopped:
        print(f"jssl: {stopped}; the same command resumes from there", file=sys.stderr)
        return stopped.status
    if page:
        from jssl.report import print_table

        print_table(result)
        print(f"report: {page}")
    return 0


def parser() -> argparse.ArgumentParser:
    found = {p.stem: p for folder in reversed(folders()) for p in folder.glob("*.py")}
    about = "\n".join(f"  {name}  {_first_line(found[name])}" for name in sorted(found))
    parse = argparse.ArgumentParser(
        prog="jssl train",
        description=__doc__,
        epilog=f"experiments:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parse.add_argument
    add("--config", metavar="NAME|FILE[:FUNCTION][,KNOB=VALUE ...]")
    add("--knobs", action="store_true", help="list the knobs of the config and exit")
    add("--extend", action="store_true", help="train an existing run for more epochs")
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

    if not jax.config.values["jax_compilation_cache_dir"]:  # of $JAX_COMPILATION_CACHE_DIR
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
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
