"""Reads runs from their workdirs: the config, and a stage with its newest state."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from jssl.checkpoint import Checkpoints
from jssl.config import Stage, find, load
from jssl.data.logged import unlogged
from jssl.engine import Engine
from jssl.log import read_json


def read_config(workdir: Path) -> dict[str, Any]:
    """Reads the config.json of a run.

    Raises:
      ValueError: the file is missing or damaged.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise ValueError(f"{workdir} contains no run: {path} is missing")
    try:
        config = read_json(path)
        return {key: config[key] for key in ("title", "file", "function", "knobs")} | config
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a run's config: {error}") from error


def rebuilt(
    workdir: Path,
    config: dict[str, Any],
    file: str | None = None,
    name: str | None = None,
    quiet: bool = False,
) -> Stage:
    """A stage of a run, as its config makes it, for one device.

    The args and errors are those of `restore`, except for the checkpoint.
    """
    path = find(file or config["file"])
    experiment = load(f"{path}:{config['function']}")
    gone = sorted(set(config["knobs"]) - set(experiment.knobs))
    if gone:
        raise ValueError(f"{path} no longer has the knob {gone[0]!r} of the run {workdir}")
    then = {knob: _tuples(value) for knob, value in config["knobs"].items()}
    with unlogged() if quiet else contextlib.nullcontext():
        stages = {s.name: s for s in replace(experiment, knobs=then).stages()}
    name = name or list(stages)[-1]
    if name not in stages:
        raise ValueError(f"unknown stage {name!r}; known are {', '.join(stages)}")
    return replace(stages[name], mesh="", rules=())


def restore(
    workdir: Path,
    config: dict[str, Any],
    file: str | None = None,
    name: str | None = None,
    quiet: bool = False,
) -> tuple[Stage, Any]:
    """A stage of a run, and its newest state, replicated on every device.

    The mesh of the run is ignored, so that runs of many devices can be read on one.

    Args:
      workdir: of the run.
      config: from `read_config`.
      file: of the experiment; None: in ./experiments.
      name: of the stage; None: the last.
      quiet: True logs nothing on the data of the run, e.g. because others are used.

    Raises:
      ValueError: the experiment is missing or no longer has the run's knobs, or the run has
        no such stage or no checkpoint of it.
    """
    stage = rebuilt(workdir, config, file, name, quiet)
    folder = workdir / stage.name
    if not folder.is_dir():
        raise ValueError(
            f"the run has no checkpoint of its stage {stage.name}: no {folder}"
        )
    with Checkpoints(folder) as saved:
        found = saved.latest(Engine(stage).shapes)
    if found is None:
        raise ValueError(f"the run has no checkpoint of its stage {stage.name} in {folder}")
    return stage, found[1]


def _tuples(value):
    """The value of a knob from config.json: lists become tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
