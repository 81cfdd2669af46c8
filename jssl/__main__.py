"""The console command `jssl`: a table of commands, each a module with a `main`."""

import importlib
import sys
from importlib.metadata import version
from typing import NoReturn

COMMANDS = {  # name: module, summary
    "train": ("jssl.main", "train an experiment, evaluate it, and write a report"),
    "evaluate": ("jssl.evaluate.__main__", "evaluate a run, or a file of weights"),
    "export": ("jssl.export", "export the encoder of a run under timm's names"),
    "embed": ("jssl.embed", "write the features of data to npz or parquet"),
    "sample": ("jssl.sample", "draw samples from a run of a generative method"),
    "finetune": ("jssl.finetune", "train a classifier from a run or a file of weights"),
    "data": ("jssl.data.__main__", "describe a data set, with a sheet of its pictures"),
    "plan": ("jssl.plan.__main__", "compute memory and speed without accelerators"),
    "rehearse": ("jssl.rehearse", "rehearse a run: all its parts, in a few steps"),
    "new": ("jssl.new", "write the triad of a new method, to start from"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs `jssl COMMAND ...` and returns its exit status.

    2: an unknown command. 1: a package of the extra `run` is missing, which all commands
    but `new` need, except for their --help. Otherwise the status of the command.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] == "--version":
        print(f"jssl {version('jssl')}")
        return 0
    if words[0] not in COMMANDS:
        print(f"jssl: unknown command {words[0]!r}; see jssl --help", file=sys.stderr)
        return 2
    from jssl.command import check_installed, explained

    try:
        command = importlib.import_module(COMMANDS[words[0]][0])
        if words[0] != "new" and not {"-h", "--help"} & set(words):
            check_installed()
    except ModuleNotFoundError as error:
        print(f"jssl: {explained(error)}", file=sys.stderr)
        return 1
    return command.main(words[1:])


def usage() -> str:
    """The text of `jssl --help`."""
    wide = max(map(len, COMMANDS))
    table = "\n".join(
        f"  {name.ljust(wide)}  {text}" for name, (_, text) in COMMANDS.items()
    )
    return (
        "usage: jssl COMMAND [options]\n\nSelf-supervised learning in JAX.\n\n"
        f"commands:\n{table}\n\njssl COMMAND --help describes the options of a command."
    )


def run() -> NoReturn:
    """Runs the console command, and exits with its status."""
    from jssl import cluster

    cluster.run(main)


if __name__ == "__main__":
    run()
