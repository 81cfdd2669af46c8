"""Brings the knobs in kept results to those of today's experiments.

    python benchmarks/rekey.py

In docs/results, docs/plans and docs/doctor: renamed knobs and functions get their new
names, knobs that did not exist then get their defaults or those of `THEN`, and values stay.
A knob that no longer exists is an error. Results that were renamed must be rewritten as
pages: `table` of benchmarks/results.py, doctor.py and plans.py. Running it again changes
nothing.
"""

import json
import re
import sys
from pathlib import Path

from results import KEPT, ROOT, digest

from jssl import config

KNOBS = {"look": "recipe", "labelled_batch": "labeled_batch"}  # old: new
NUMBERS = {"images_per_second": "samples_per_second"}
DERIVED = {"recipe": "digits"}  # now the meaning of "" for gray images, as in all kept runs
THEN = {"whole": False}  # of runs before the knob, where today's default is another
FUNCTIONS = {("moco.py", "transformer"): "v3_vit"}  # (file, old): new


def rekeyed(file: str, function: str, knobs: dict) -> tuple[config.Experiment, dict]:
    """The experiment of today, and its knobs with the values that a run had.

    Raises:
      ValueError: for a knob that the experiment no longer has.
    """
    function = FUNCTIONS.get((file, function), function)
    experiment = config.load(f"{ROOT / 'experiments' / file}:{function}")
    known = json.loads(json.dumps(dict(experiment.knobs)))  # with lists for tuples
    given = {k if k in known else KNOBS.get(k, k): value for k, value in knobs.items()}
    if gone := sorted(set(given) - set(known)):
        raise ValueError(f"{file}:{function} no longer has the knob {gone[0]!r}")
    given |= {k: "" for k, x in DERIVED.items() if given.get(k) == x and known[k] == ""}
    return experiment, known | {k: x for k, x in THEN.items() if k in known} | given


def result(path: Path) -> dict:
    """A kept result, or plan, with today's knobs."""
    kept = json.loads(path.read_text())
    if "function" in kept["config"]:
        asked = kept["config"]
        experiment, knobs = rekeyed(asked["file"], asked["function"], asked["knobs"])
        new = {"title": experiment.name, "function": experiment.function.__name__}
        stages = {name: _metrics(stage) for name, stage in kept["stages"].items()}
        return kept | {"config": asked | new | {"knobs": knobs}, "stages": stages}
    stem, _, function = kept["config"].partition("-")
    experiment, knobs = rekeyed(f"{stem}.py", function or "laptop", kept["knobs"])
    knobs = {k: value for k, value in knobs.items() if k != "tiny"}
    return kept | {"config": experiment.name, "knobs": knobs}


def _metrics(stage: dict) -> dict:
    """A stage's numbers under their new names."""
    return {NUMBERS.get(name, name): value for name, value in stage.items()}


def renamed(words: str, names: dict[str, str]) -> str:
    """KNOB=VALUE pairs with the knobs under other names."""
    pattern = rf"\b({'|'.join(names)})="
    return re.sub(pattern, lambda found: names[found[1]] + "=", words)


def move() -> None:
    """Gives results the names that their runs' knobs now have."""
    old = {new: name for name, new in KNOBS.items()}
    for path in sorted((ROOT / "experiments").glob("*.py")):
        for knobs in filter(None, config.evidence(path)):
            was, now = (f"{path.stem}-{digest(k)}-" for k in (renamed(knobs, old), knobs))
            for kept in KEPT.glob(f"{was}*.json"):
                kept.rename(kept.with_name(kept.name.replace(was, now)))


def main() -> int:
    move()
    for folder in ("results", "plans"):
        for path in sorted((ROOT / "docs" / folder).glob("*.json")):
            path.write_text(json.dumps(result(path), indent=_indent(path)) + "\n")
    for path in sorted((ROOT / "docs" / "doctor").glob("*.json")):
        kept = json.loads(path.read_text())
        kept["config"] = renamed(kept["config"], KNOBS)
        path.write_text(json.dumps(kept) + "\n")
    return 0


def _indent(path):
    """The indentation that a JSON file has."""
    return len(re.match(r"\{\n( *)", path.read_text())[1])


if __name__ == "__main__":
    sys.exit(main())
