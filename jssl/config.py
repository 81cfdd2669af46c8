"""Experiments: functions of knobs that return stages.

experiments/mae.py                          its function `laptop`, default knobs
experiments/mae.py:epochs=2,batch=64        other knobs
experiments/mae.py:paper,variant=L/16       another function

A parameter is a knob, or a group of knobs: a frozen dataclass whose fields are knobs of the
config (`jssl.knobs` and `jssl.papers` have the usual ones). The knobs of tests are declared
by `tiny`, the runs of the results page by `RUNS` (see `evidence`): a new experiment is one
file.
"""

import ast
import dataclasses
import difflib
import importlib.util
import inspect
import math
import re
import sys
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from jssl.data import Source
from jssl.method import Method


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of training.

    Periods are in steps; 0 means never. There is always a checkpoint, an evaluation and
    pictures at the end.

    Attributes:
      name: of the stage, and of its folder in the workdir.
      method: the method that is trained.
      data: the training `Source`.
      steps: number of calls of `method.step`.
      evals: by name, each (features, final) -> {metric: number or picture}.
      baselines: stages to compare with, by name, evaluated the same way; results are cached
        across runs.
      chance: value of a training metric for a model that has learned nothing, e.g. log K
        for K classes. The doctor warns when the metric stays there.
      rules: (path regex, PartitionSpec or (shape, mesh) -> PartitionSpec); the first match
        applies; leaves without match are sharded along "fsdp", if the mesh has it.
      mesh: axes of the device mesh, "data=8;fsdp=4"; "" puts all devices on "data".
      start: (state, done) -> state, with `done` the states of earlier stages by name.
      init: workdir of a run, or file of weights, whose encoder the stage starts from.
      refresh_every, save_every, eval_every, render_every: periods.
      dispatch: steps compiled into one `lax.scan`. Faster for small networks without
        convolutions; periods are rounded up to multiples of it.
      seed: of all randomness in this stage except the order of the data.
    """

    name: str
    method: Method
    data: Source
    steps: int
    evals: Mapping[str, Any] = field(default_factory=dict)
    baselines: Mapping[str, "Stage"] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
    rules: Sequence[tuple[str, Any]] = ()
    mesh: str = ""
    start: Callable[[Any, Mapping[str, Any]], Any] | None = None
    init: str = ""
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
        """The default knobs, with those of `tiny` if it is set."""
        preset = getattr(self.function, "tiny", {}) if self.knobs.get("tiny") else {}
        return schema(self.function) | preset

    def stages(self) -> list[Stage]:
        """The stages of the config, with defaults for knobs that are not set."""
        knobs, arguments = schema(self.function) | dict(self.knobs), {}
        for name, default in _parameters(self.function).items():
            if dataclasses.is_dataclass(default) and not isinstance(default, type):
                fields = {field: knobs[field] for field in vars(default)}
                arguments[name] = dataclasses.replace(default, **fields)
            else:
                arguments[name] = knobs[name]
        return self.function(**arguments)


def tiny(*presets: Mapping[str, Any], **knobs: Any) -> Callable[[Callable], Callable]:
    """Declares the knobs of a config with `tiny=True`, which is used by tests.

    Knobs set by the user take precedence.

    Args:
      *presets: knobs by name; later ones take precedence.
      **knobs: further knobs.

    Raises:
      ValueError: on loading the file, for unknown knobs or values of the wrong type.

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
    """{knob: default} of a config, including the fields of its groups.

    Raises:
      ValueError: a parameter without a default, or two knobs of the same name.
    """
    found: dict[str, Any] = {}
    for name, default in _parameters(function).items():
        knobs = vars(default) if dataclasses.is_dataclass(default) else {name: default}
        if inspect.Parameter.empty in knobs.values():
            raise ValueError(f"{function.__name__}: the knob {name!r} has no default")
        if both := sorted(set(found) & set(knobs)):
            raise ValueError(f"{function.__name__} has two knobs named {both[0]!r}")
        found |= knobs
    return found | ({"tiny": False} if hasattr(function, "tiny") else {})


@dataclass(frozen=True)
class Range:
    """Allowed values of a numeric knob, and of each number of a tuple.

    Attributes:
      low, high: bounds, included.
      above: True excludes `low`.
    """

    low: float = 0
    high: float = math.inf
    above: bool = False

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"from {self.low:g} to {self.high:g}"
        return f"above {self.low:g}" if self.above else f"at least {self.low:g}"

    def check(self, knob: str, value: Any) -> None:
        """Raises ValueError, with the range, for a value outside."""
        if isinstance(value, tuple):
            for x in value:
                self.check(knob, x)
        elif isinstance(value, (int, float)):
            above = value > self.low or (value == self.low and not self.above)
            if not (above and value <= self.high and value < math.inf):
                raise ValueError(f"{knob} must be {self}, got {value}")


Positive = Annotated[float, Range(above=True)]
Fraction = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(1)]
Counts = Annotated[tuple[int, ...], Range(1)]


def ranges(function: Callable) -> dict[str, Range]:
    """{knob: allowed values} of the numeric knobs of a config.

    The range is that of the annotation: `lr: Positive = 1e-3`. The default is at least 0.
    """
    hints, defaults = {}, _parameters(function)
    for name, hint in typing.get_type_hints(function, include_extras=True).items():
        if dataclasses.is_dataclass(defaults.get(name)):
            hints |= typing.get_type_hints(type(defaults[name]), include_extras=True)
        else:
            hints[name] = hint
    found = {}
    for knob, default in schema(function).items():
        if isinstance(default, (int, float, tuple)) and not isinstance(default, bool):
            marks = getattr(hints.get(knob), "__metadata__", ())
            found[knob] = next((x for x in marks if isinstance(x, Range)), Range())
    return found


def one_of(knob: str, value: Any, choices: Mapping[Any, Any]) -> Any:
    """choices[value].

    Raises:
      ValueError: the value is not a choice; the message has the knob and the choices.

    >>> one_of("version", 2, {1: "linear", 2: "deep"})
    'deep'
    """
    if value not in choices:
        known = ", ".join(map(repr, choices))
        raise ValueError(f"{knob} must be one of {known}, got {value!r}")
    return choices[value]


def find(name: str | Path) -> Path:
    """The file of a config: a path, or the name of an experiment of jssl.

    "mae" and "mae.py" are ./experiments/mae.py if it exists, else the file that is
    installed with jssl. A path that exists has precedence.
    """
    path = Path(name)
    if _is_file(path) or len(path.parts) > 1:
        return path
    file = path.with_suffix(".py").name
    places = [folder / file for folder in folders()]
    return next((place for place in places if _is_file(place)), path)


def _is_file(path):
    """True for a file; False also for a path that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a null character
        return False


def folders() -> list[Path]:
    """Folders of experiments: ./experiments, and those that come with jssl."""
    here = Path(__file__).parent
    places = [Path("experiments"), here / "experiments", here.parent / "experiments"]
    return [place for place in places if place.is_dir()]


def load(spec: str, overrides: Sequence[str] = ()) -> Experiment:
    """Reads "FILE[:FUNCTION][,KNOB=VALUE ...]".

    FILE is a path, or the name of an experiment of jssl ("mae"). Commas inside brackets or
    quotes do not separate. Values of knobs whose default is a string are taken literally,
    without quotes around the whole value; others are Python literals of the default's type.

    Args:
      spec: as above.
      overrides: further "KNOB=VALUE"s, which take precedence.

    Raises:
      ValueError: no such file, function or knob (with the nearest known one), or a value
        of the wrong type or out of range.
    """
    file, _, rest = spec.partition(":")
    words = _split(rest)
    name = words.pop(0) if words and "=" not in words[0] else "laptop"
    path = find(file)
    configs = functions(path)
    if name not in configs:
        raise ValueError(
            f"{path} has no function {name!r}; " + _known(name, configs, "functions")
        )
    function = configs[name]
    known, allowed, given = schema(function), ranges(function), {}
    for word in [*words, *overrides]:
        knob, equals, text = word.partition("=")
        knob = knob.strip()
        if not equals:
            before = next(reversed(given), "") if word in words else ""
            hint = f"; a value with a comma is given as --config.{before}=VALUE"
            raise ValueError(
                f"{word!r} is not of the form KNOB=VALUE{hint if before else ''}"
            )
        if knob not in known:
            raise ValueError(
                f"{path}:{name} has no knob {knob!r}; " + _known(knob, known, "knobs")
            )
        given[knob] = _value(knob, text.strip(), known[knob])
        if knob in allowed:
            allowed[knob].check(knob, given[knob])
    experiment = Experiment(path, function, given)
    return dataclasses.replace(experiment, knobs=experiment.defaults | given)


def listing(experiment: Experiment) -> list[tuple[str, str, str, str]]:
    """(knob, type and range, default, description) of every knob.

    Descriptions are those under "Args:" of the config, else under "Attributes:" of the
    group or of its base classes.
    """
    groups = [type(x) for x in _parameters(experiment.function).values()]
    sources = [parent for group in groups for parent in reversed(group.__mro__)]
    described = {"tiny": "Use the small sizes of tests."}
    for source in [*filter(dataclasses.is_dataclass, sources), experiment.function]:
        text = inspect.getdoc(source) or ""
        described |= re.findall(r"^  (\w+): (.*(?:\n    .*)*)", text, flags=re.MULTILINE)
    allowed = ranges(experiment.function)
    kind = lambda knob, x: f"{type(x).__name__} {allowed.get(knob, '')}".rstrip()
    return [
        (
            knob,
            kind(knob, default),
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
    """{knobs: number of seeds} of an experiment's runs on the results page.

    An experiment declares them as RUNS = {"": 5, "paper,epochs=2": 1}, where "" is
    `laptop` with its defaults; the default is {"": 1}.

    Raises:
      ValueError: unknown knobs or functions.
    """
    runs = getattr(_module(Path(path)), "RUNS", {"": 1})
    for knobs in runs:
        load(f"{path}:{knobs}")
    return dict(runs)


def _parameters(function) -> dict[str, Any]:
    """{name: default} of the signature."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
    }


def _module(path):
    """Executes a config file; its errors are ValueErrors with the line."""
    if not _is_file(path):
        places = [path.parent] if len(path.parts) > 1 else folders()
        places = [place for place in places if place.is_dir()] or folders()
        there = [str(p) for place in places[:1] for p in sorted(place.glob("*.py"))]
        shown = str(path) if len(str(path)) < 300 else f"{str(path)[:300]} ..."
        raise ValueError(f"no config file {shown}; " + _known(shown, there, "configs"))
    found = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    if found is None or found.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(found)
    sys.path.append(str(path.parent.absolute()))  # modules beside the config
    try:
        found.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from error
    except (ValueError, ImportError):
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((x.lineno for x in frames[::-1] if x.filename == str(path)), "?")
        kind = type(error).__name__
        raise ValueError(f"{path}, line {line}: {kind}: {error}") from error
    finally:
        sys.path.pop()
    return module


def _known(name, names, kind):
    near = difflib.get_close_matches(name, names, 1, 0.5)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{guess}Known {kind}: {', '.join(names) or 'none'}"


def _split(text):
    """Splits at commas outside brackets and quotes.

    Raises:
      ValueError: a bracket or a quote is not closed.
    """
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
    if quote or depth:
        knob = words[-1].partition("=")[0].strip()
        raise ValueError(
            f"{words[-1]!r} has an open {'quote' if quote else 'bracket'}: give this knob "
            f"as --config.{knob}=VALUE, whose value is taken as it stands"
        )
    return [word for word in words if word.strip()]


def _value(knob, text, default):
    if isinstance(default, str):
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        return text[1:-1] if quoted else text
    wanted = type(default).__name__
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
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
