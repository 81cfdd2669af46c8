"""Experiments: functions of knobs that return stages.

experiments/mae.py                          its function `laptop`, default knobs
experiments/mae.py:epochs=2,batch=64        other knobs
experiments/mae.py:paper,variant=L/16       another function
"""

import ast
import difflib
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jssl.method import Method


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stretch of training: what the loop needs to know.

    Periods are in steps; 0 means never. A checkpoint, an evaluation and the pictures
    come at the end in any case.

    Attributes:
      name: of its folder in the workdir.
      method: what learns.
      data: the training `Source`.
      steps: calls of `method.step`.
      evals: by name, each (features, final) -> {metric: number or picture}.
      baselines: by name, stages judged by the same evals, computed once and cached.
      chance: what training metrics are where nothing is learned: log K of K classes.
      rules: (path regex, PartitionSpec or (shape, mesh) -> PartitionSpec), first match
        counts; what matches none is replicated.
      mesh: axes of the device mesh, "data=8;fsdp=4"; "" puts all devices on "data".
      start: (state, done) -> state, with `done` the states of earlier stages by name.
      refresh_every, save_every, eval_every, render_every: periods.
      dispatch: steps compiled into one `lax.scan`. Pays for small networks without
        convolutions; periods are rounded up to multiples of it.
      seed: of everything in this stage that is random, but for the order of the data.
    """

    name: str
    method: Method
    data: Any
    steps: int
    evals: Mapping[str, Callable] = field(default_factory=dict)
    baselines: Mapping[str, "Stage"] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
    rules: Sequence[tuple[str, Any]] = ()
    mesh: str = ""
    start: Callable[[Any, Mapping[str, Any]], Any] | None = None
    refresh_every: int = 0
    save_every: int = 0
    eval_every: int = 0
    render_every: int = 0
    dispatch: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Experiment:
    """A config with its knobs bound."""

    path: Path
    function: Callable
    knobs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The file and function: "mae" or "mae-paper"."""
        function = self.function.__name__
        return self.path.stem + ("" if function == "laptop" else f"-{function}")

    def stages(self) -> list[Stage]:
        return self.function(**self.knobs)


def load(spec: str, overrides: Sequence[str] = ()) -> Experiment:
    """Reads "FILE[:FUNCTION][,KNOB=VALUE ...]".

    Commas inside brackets or quotes do not separate. A knob whose default is a string is
    taken as it stands; others are Python literals, checked against the default's type.

    Args:
      spec: as above.
      overrides: further "KNOB=VALUE"s, which win.

    Raises:
      ValueError: no such file, function or knob (with the nearest known one), or a value
        of the wrong type.
    """
    file, _, rest = spec.partition(":")
    words = _split(rest)
    name = words.pop(0) if words and "=" not in words[0] else "laptop"
    path = Path(file)
    functions = _functions(path)
    if name not in functions:
        raise ValueError(
            f"{path} has no function {name!r}; " + _known(name, functions, "functions")
        )
    function = functions[name]
    schema = inspect.signature(function).parameters
    knobs = {knob: parameter.default for knob, parameter in schema.items()}
    for word in [*words, *overrides]:
        knob, equals, text = word.partition("=")
        knob = knob.strip()
        if not equals:
            raise ValueError(f"{word!r} is not of the form KNOB=VALUE")
        if knob not in schema:
            raise ValueError(
                f"{path}:{name} has no knob {knob!r}; " + _known(knob, schema, "knobs")
            )
        knobs[knob] = _value(knob, text.strip(), schema[knob].default)
    return Experiment(path, function, knobs)


def listing(experiment: Experiment) -> list[tuple[str, str, str, str]]:
    """(knob, type, default, description) of every knob; described under "Args:"."""
    text = inspect.getdoc(experiment.function) or ""
    told = dict(re.findall(r"^  (\w+): (.*(?:\n    .*)*)", text, flags=re.MULTILINE))
    return [
        (
            knob,
            type(parameter.default).__name__,
            str(parameter.default) if parameter.default != "" else '""',
            re.sub(r"\s+", " ", told.get(knob, "")),
        )
        for knob, parameter in inspect.signature(experiment.function).parameters.items()
    ]


def _functions(path):
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path("experiments")
        there = [str(p) for p in sorted(folder.glob("*.py"))]
        raise ValueError(f"no config file {path}; " + _known(str(path), there, "configs"))
    found = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    if found is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from error
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and inspect.signature(value).return_annotation == list[Stage]
    }


def _known(name, names, kind):
    near = difflib.get_close_matches(name, names, 1, 0.5)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{guess}Known {kind}: {', '.join(names) or 'none'}"


def _split(text):
    """Cuts at the commas that stand outside brackets and quotes."""
    words, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "([{") - (letter in ")]}")
            if letter == "," and depth == 0:
                words.append("")
                continue
        words[-1] += letter
    return [word for word in words if word.strip()]


def _value(knob, text, default):
    if isinstance(default, str):
        return text
    wanted = type(default).__name__
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise ValueError(
            f"{knob} must be of type {wanted}, such as {default}; got {text!r}"
        ) from None
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if default is not None and type(value) is not type(default):
        raise ValueError(
            f"{knob} must be of type {wanted}, such as {default}; got {text!r}, "
            f"of type {type(value).__name__}"
        )
    return value
