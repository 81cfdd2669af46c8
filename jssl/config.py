"""Experiments: functions of knobs that return stages.

experiments/mae.py                          its function `laptop`, default knobs
experiments/mae.py:epochs=2,batch=64        other knobs
experiments/mae.py:paper,variant=L/16       another function

A parameter is a knob, or a group of knobs: a frozen dataclass, whose fields are then knobs
of the config like all others (`jssl.knobs` has the usual ones). What tests change is
declared by `tiny`, and what the results page runs by `RUNS` (see `evidence`): a new
experiment is one file.
"""

import ast
import dataclasses
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

    @property
    def defaults(self) -> dict[str, Any]:
        """The knobs that hold unless others are given."""
        preset = getattr(self.function, "tiny", {}) if self.knobs.get("tiny") else {}
        return schema(self.function) | preset

    def stages(self) -> list[Stage]:
        """The config's stages. Knobs that are not given have their defaults."""
        knobs, arguments = schema(self.function) | self.knobs, {}
        for name, default in _parameters(self.function).items():
            if dataclasses.is_dataclass(default):
                fields = {field: knobs[field] for field in vars(default)}
                arguments[name] = dataclasses.replace(default, **fields)
            else:
                arguments[name] = knobs[name]
        return self.function(**arguments)


def tiny(*presets: Mapping[str, Any], **knobs: Any) -> Callable[[Callable], Callable]:
    """Declares the knobs that a config has with `tiny=True`, as tests run it.

    Knobs given by the user win over them.

    Args:
      *presets: knobs by name; later ones win.
      **knobs: further ones.

    Raises:
      ValueError: when the file loads, for knobs that the config does not have or values
        of another type than the knob's.

    >>> @tiny(dict(epochs=0.1), width=2)
    ... def laptop(epochs: float = 30.0, width: int = 64) -> list[Stage]:
    ...     return []
    >>> laptop.tiny
    {'epochs': 0.1, 'width': 2}
    """
    preset = {name: x for each in (*presets, knobs) for name, x in each.items()}

    def declare(function):
        known = schema(function)
        for knob, value in preset.items():
            if knob not in known:
                raise ValueError(
                    f"tiny: {function.__name__} has no knob {knob!r}; "
                    + _known(knob, known, "knobs")
                )
            if type(value) is not type(known[knob]):
                raise ValueError(
                    f"tiny: {knob} of {function.__name__} must be of type "
                    f"{type(known[knob]).__name__}, got {value!r}"
                )
        function.tiny = preset
        return function

    return declare


def schema(function: Callable) -> dict[str, Any]:
    """{knob: default} of a config, its groups' fields among them.

    Raises:
      ValueError: for a parameter without a default, or two knobs of one name.
    """
    found: dict[str, Any] = {}
    for name, default in _parameters(function).items():
        knobs = vars(default) if dataclasses.is_dataclass(default) else {name: default}
        if inspect.Parameter.empty in knobs.values():
            raise ValueError(f"{function.__name__}: the knob {name!r} has no default")
        if both := sorted(set(found) & set(knobs)):
            raise ValueError(f"{function.__name__} has two knobs called {both[0]!r}")
        found |= knobs
    return found | ({"tiny": False} if hasattr(function, "tiny") else {})


def one_of(knob: str, value: Any, choices: Mapping[Any, Any]) -> Any:
    """choices[value].

    Raises:
      ValueError: for a value that is no choice; it names the knob and the choices.

    >>> one_of("version", 2, {1: "linear", 2: "deep"})
    'deep'
    """
    if value not in choices:
        known = ", ".join(map(repr, choices))
        raise ValueError(f"{knob} must be one of {known}, got {value!r}")
    return choices[value]


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
    configs = functions(path)
    if name not in configs:
        raise ValueError(
            f"{path} has no function {name!r}; " + _known(name, configs, "functions")
        )
    function = configs[name]
    known, given = schema(function), {}
    for word in [*words, *overrides]:
        knob, equals, text = word.partition("=")
        knob = knob.strip()
        if not equals:
            raise ValueError(f"{word!r} is not of the form KNOB=VALUE")
        if knob not in known:
            raise ValueError(
                f"{path}:{name} has no knob {knob!r}; " + _known(knob, known, "knobs")
            )
        given[knob] = _value(knob, text.strip(), known[knob])
    experiment = Experiment(path, function, given)
    return dataclasses.replace(experiment, knobs=experiment.defaults | given)


def listing(experiment: Experiment) -> list[tuple[str, str, str, str]]:
    """(knob, type, default, description) of every knob.

    Descriptions are those under "Args:" of the config, else under "Attributes:" of the
    group or of what it inherits from.
    """
    groups = [type(x) for x in _parameters(experiment.function).values()]
    sources = [parent for group in groups for parent in reversed(group.__mro__)]
    described = {"tiny": "Use the sizes that tests run."}
    for source in [*filter(dataclasses.is_dataclass, sources), experiment.function]:
        text = inspect.getdoc(source) or ""
        described |= re.findall(r"^  (\w+): (.*(?:\n    .*)*)", text, flags=re.MULTILINE)
    return [
        (
            knob,
            type(default).__name__,
            str(default) if default != "" else '""',
            re.sub(r"\s+", " ", described.get(knob, "")),
        )
        for knob, default in experiment.defaults.items()
    ]


def functions(path: Path) -> dict[str, Callable]:
    """{name: config} of a file: its functions that return list[Stage].

    Raises:
      ValueError: no such file, or one that does not parse.
    """
    module = _module(Path(path))
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and inspect.signature(value).return_annotation == list[Stage]
    }


def evidence(path: Path) -> dict[str, int]:
    """{knobs: seeds} of the runs that the results page has of an experiment.

    An experiment declares them as RUNS = {"": 5, "paper,epochs=2": 1}, where "" is
    `laptop` with its defaults; without, it is {"": 1}.

    Raises:
      ValueError: for knobs or functions that the experiment does not have.
    """
    runs = getattr(_module(Path(path)), "RUNS", {"": 1})
    for knobs in runs:
        load(f"{path}:{knobs}")
    return dict(runs)


def _parameters(function):
    """{name: default} of the signature."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
    }


def _module(path):
    """The file, executed."""
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
    return module


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
