"""Checks of a whole run before its first step: in shapes, without training.

A run that would fail at its end fails at once: every stage is traced from its start to its
pictures, the splits of its evals are opened, and the free space is compared with the
checkpoints to come.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jssl.cache import cache_folder
from jssl.checkpoint import difference, size_of
from jssl.config import Stage
from jssl.engine import Engine
from jssl.features import Features, final_split


def check(stages: Sequence[Stage], workdir: Path, keep: int) -> dict[str, Engine]:
    """Traces all stages in order; their engines, by name.

    Args:
      stages: of the run.
      workdir: existing folder of the run.
      keep: number of checkpoints kept per stage.

    Raises:
      ValueError: a stage, an eval, a picture or a baseline does not fit the data or the
        others; the message has the stage.
      OSError: the disk has no room for a checkpoint.
    """
    engines: dict[str, Engine] = {}
    done: dict[str, Any] = {}
    for stage in stages:
        if stage.name in engines:
            raise ValueError(f"two stages are named {stage.name!r}")
        engine = engines[stage.name] = traced(stage.name, partial(Engine, stage))
        if stage.steps:
            traced(stage.name, engine.traced)
            if not (workdir / stage.name / str(stage.steps)).exists():  # not finished
                room_for(engine.shapes, workdir, keep)
        if stage.start:
            begun = traced(
                stage.name, partial(jax.eval_shape, stage.start, engine.shapes, done)
            )
            if differs := difference(begun, engine.shapes):
                path, there, here = differs
                raise ValueError(
                    f"{stage.name}: its `start` gives another state: {path} is {there}, "
                    f"not {here}"
                )
        check_splits(stage)
        check_evals(engine)
        check_host_parts(engine)
        for name, baseline in stage.baselines.items():
            what = f"{stage.name}, baseline {name},"
            check_evals(traced(what, partial(Engine, baseline)))
        done[stage.name] = engine.shapes
    if jax.process_index() == 0:
        cache_folder()
        for line in dict.fromkeys(remark(stage) for stage in stages if stage.evals):
            if line:
                print(f"jssl: {line}", file=sys.stderr)
    return engines


def traced(name: str, trace: Callable[[], Any]) -> Any:
    """trace(); any failure is a ValueError in one line, with the name of the stage."""
    try:
        return trace()
    except (ValueError, OSError, MemoryError):
        raise
    except Exception as error:
        kind, text = type(error).__name__, " ".join(str(error).split())[:300]
        raise ValueError(
            f"{name} cannot be traced with these knobs: {kind}: {text} "
            f"(--debug shows where)"
        ) from error


def check_splits(stage: Stage) -> None:
    """Raises ValueError if a split that will be evaluated differs in shape from train."""
    wanted = stage.data.row_shapes()
    for split in ("val", "test"):
        try:
            rows = stage.data.split(split).row_shapes()
        except ValueError:
            continue  # no such split
        for name, column in wanted.items():
            same = name in rows and rows[name].shape[1:] == column.shape[1:]
            if not same and not stage.data.field_of(name).is_target:
                found = f"rows of {list(rows[name].shape[1:])}" if name in rows else "none"
                raise ValueError(
                    f"{stage.data.name}: {name} has rows of {list(column.shape[1:])} in "
                    f"train and {found} in {split}: give all splits one shape"
                )


def check_evals(engine: Engine) -> None:
    """Raises ValueError if `embed` lacks an output that an eval of the stage needs."""
    stage = engine.stage
    outputs = Features(engine, engine.shapes).names
    for name, judge in stage.evals.items():
        for output in getattr(judge, "outputs", ()):
            if output not in outputs:
                raise ValueError(
                    f"{stage.name}: the eval {name} needs the output {output!r}; the "
                    f"method has {', '.join(outputs)}"
                )


def check_host_parts(engine: Engine) -> None:
    """Raises ValueError if a method's `refresh` or `render` does not fit its data.

    Both are traced, with zeros for the outputs that they collect. Code that needs numbers
    on the host cannot be traced, and is not checked.
    """
    stage, keys = engine.stage, engine.keys

    def collect(fn, *args, split="train", rows=None):
        source = stage.data.split(split)
        size = source.size if rows is None else min(rows, source.size)
        shaped = jax.eval_shape(fn, *args, engine.rows)
        return jax.tree.map(lambda x: jnp.zeros((size, *x.shape[1:]), x.dtype), shaped)

    def arrays(found):
        return [x for x in jax.tree.leaves(found) if isinstance(x, jax.Array)]

    def render(state, rows):
        return arrays(stage.method.render(keys["render"], state, rows, collect))

    def refresh(state):
        return arrays(stage.method.refresh(keys["refresh"], state, collect))

    parts = {"pictures": partial(jax.eval_shape, render, engine.shapes, engine.rows)}
    if stage.refresh_every:
        parts["refresh"] = partial(jax.eval_shape, refresh, engine.shapes)
    for name, part in parts.items():
        try:
            traced(f"{stage.name}, {name},", part)
        except ValueError as error:
            if not isinstance(error.__cause__, jax.errors.JAXTypeError):
                raise


def room_for(shapes: Any, folder: Path, keep: int) -> None:
    """Compares the free space with the checkpoints of a state.

    Raises:
      OSError: there is no room for one.
    """
    one = size_of(shapes)
    free = shutil.disk_usage(folder).free
    if one > free:
        raise OSError(
            f"No space left on device: {folder} has {free / 1e6:.1f} MB free, a checkpoint "
            f"takes {one / 1e6:.1f} MB; free some space or give another --workdir"
        )
    if (keep + 1) * one > free and jax.process_index() == 0:
        print(
            f"jssl: {folder} has {free / 1e6:.1f} MB free, fewer than the {keep} kept "
            f"checkpoints and the next take ({(keep + 1) * one / 1e6:.1f} MB)",
            file=sys.stderr,
        )


def remark(stage: Stage) -> str:
    """A line on the split of the final evals, unless it is the test split."""
    data = stage.data.data_name
    if final_split(stage.data) == "test":
        return ""
    val = stage.data.split_words("val")
    return f"{data} has no labeled test split: the final evals are on {val}"
