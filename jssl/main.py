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
import re
from pathlib import Path

from jssl import cluster
from jssl.command import new_parser, prepare_jax, say, terminable
from jssl.config import Experiment, folders, listing, load


def main(arguments: list[str] | None = None) -> int:
    """Runs the command `jssl train` or `python -m jssl.main`, and returns its exit status.

    0: done. 1: a user error or a failed run, reported in one line. 130: stopped by Ctrl-C,
    143: by SIGTERM, after saving; the same command resumes.
    """
    options, rest = parser().parse_known_args(arguments)
    return say(lambda: launch(options, rest), options.debug, resumes=True)


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
    prepare_jax(
        options.debug,
        options.cpu_devices,
        options.coordinator,
        options.processes,
        options.process,
    )
    from jssl import session

    if "://" in (options.workdir or ""):
        raise ValueError(
            f"a workdir must be a local folder, got {options.workdir}: mount the bucket "
            f"(gcsfuse) and give its folder"
        )
    workdir = Path(options.workdir or Path("runs") / folder_name(experiment))
    with terminable(resumes=True):
        result, page = session.run(experiment, workdir, options.keep, options.extend)
    if page:
        from jssl.report import print_table

        print_table(result)
        print(f"report: {page}")
    return 0


def parser() -> argparse.ArgumentParser:
    found = {p.stem: p for folder in reversed(folders()) for p in folder.glob("*.py")}
    about = "\n".join(f"  {name}  {_first_line(found[name])}" for name in sorted(found))
    parse = new_parser("train", __doc__, epilog=f"experiments:\n{about}")
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
    return parse


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
