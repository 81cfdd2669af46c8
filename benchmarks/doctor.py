"""Generates docs/doctor.md: detections and false alarms of the doctor for planted failures.

    python benchmarks/doctor.py run [--jobs 2] [--only fixed]
    python benchmarks/doctor.py table > docs/doctor.md

`run` trains every case and stores its history in docs/doctor/; `table` diagnoses the stored
histories. The thresholds of `jssl.evals.doctor` were chosen on the runs named "fixed",
"garments", "narrow" and "fresh"; the others were made afterwards.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "doctor"
SMALL = "epochs=8"  # of 54 steps, for 3,500 rows
LARGE = "epochs=32"  # of 13 steps
CASES = {  # planted failure: (config, knobs, expected verdict)
    "SimSiam without stop-gradient": (
        "simsiam",
        f"{SMALL},stop_gradient=False",
        "complete collapse",
    ),
    "BYOL without predictor": ("byol", f"{SMALL},predictor=False", "complete collapse"),
    "SimCLR, temperature 10": ("simclr", f"{LARGE},temperature=10.0", "no learning"),
    "VICReg without covariance": (
        "vicreg",
        f"{SMALL},covariance=0.0",
        "dimensional collapse",
    ),
    "GAN, lr 0.02": ("gan", "epochs=20,lr=0.02,dropout=0.0", "mode collapse"),
    "SimSiam": ("simsiam", SMALL, "healthy"),
    "BYOL": ("byol", SMALL, "healthy"),
    "SimCLR": ("simclr", LARGE, "healthy"),
    "VICReg": ("vicreg", SMALL, "healthy"),
    "MoCo": ("moco", LARGE, "healthy"),
    "MAE": ("mae", SMALL, "healthy"),
    "RotNet": ("rotation", LARGE, "healthy"),
    "DeepCluster": ("deepcluster", SMALL, "healthy"),
    "GAN": ("gan", "epochs=80", "healthy"),
    "VICReg without variance": ("vicreg", f"{SMALL},variance=0.0", "complete collapse"),
    "DINO without centering": ("dino", f"{SMALL},centering=False", "unused prototypes"),
    "DINO without sharpening": ("dino", f"{SMALL},sharpening=False", "complete collapse"),
    "SwAV without Sinkhorn": ("swav", f"{SMALL},iterations=0", "unused prototypes"),
    "LeJEPA without SIGReg": ("lejepa", f"{SMALL},lam=0.0", "complete collapse"),
    "Barlow Twins, diagonal only": (
        "barlow_twins",
        f"{SMALL},lam=0.0",
        "dimensional collapse",
    ),
    "DINO": ("dino", SMALL, "healthy"),
    "SwAV": ("swav", SMALL, "healthy"),
    "LeJEPA": ("lejepa", SMALL, "healthy"),
    "Barlow Twins": ("barlow_twins", SMALL, "healthy"),
}
NARROW = "widths=(16, 32, 64)"
VIEWED = ("simsiam", "byol", "simclr", "vicreg", "moco", "deepcluster", "barlow_twins")
CROPPED = ("dino", "swav", "lejepa")
WIDE = (*VIEWED, *CROPPED, "rotation")


@dataclass(frozen=True)
class Set:
    """Data and settings of the cases.

    Attributes:
      seed: of all.
      data: knobs of the data.
      rows: of its training split; the cases' epochs are of 3,500.
      recipe: views of images of which VIEWED methods have pairs; those of CROPPED have the
        recipe of this name with _multicrop.
      narrow: fewer channels.
      patched: knobs of MAE, which cuts images into patches.
      gan: knobs of the GAN's data; None leaves it out.
    """

    seed: int
    data: str = ""
    rows: int = 3500
    recipe: str = ""
    narrow: bool = False
    patched: str = ""
    gan: str | None = ""


SETS = {
    "fixed": Set(0),
    "garments": Set(
        1, "source=fashion_mnist,limit=3500", 3500, "garments", gan="source=fashion_mnist"
    ),
    "narrow": Set(2, narrow=True),
    "fresh": Set(3),
    "later": Set(4),
    "stamps": Set(5, "source=stamps,size=32", 630, patched="patch=8", gan=None),
}
EVERY = 25


def spec(case, kind):
    """The config of a case in a set, or None if the set leaves it out."""
    name, knobs, _ = CASES[case]
    chosen = SETS[kind]
    data, rows, own = chosen.data, chosen.rows, ""
    if name == "gan":
        if chosen.gan is None:
            return None
        data, own = chosen.gan, "widths=(128, 256)" if chosen.narrow else ""
        rows = 55_000 if data else rows
    elif chosen.recipe and name in (*VIEWED, *CROPPED):
        own = f"recipe={chosen.recipe}{'_multicrop' if name in CROPPED else ''}"
    elif chosen.narrow and name in WIDE:
        own = NARROW
    elif name == "mae":
        own = "width=64" if chosen.narrow else chosen.patched
    if rows != 3500:
        epochs = re.search(r"epochs=([0-9]+)", knobs)
        knobs = knobs.replace(epochs[0], f"epochs={float(epochs[1]) * 3500 / rows:.3f}")
    words = [*filter(None, [knobs, data, own]), f"seed={chosen.seed}"]
    return f"{ROOT}/experiments/{name}.py:{','.join(words)}"


def observe(case, kind, out):
    """Trains one case; keeps its history and, where it is logged, the step at which the
    projections of a batch had lost nine tenths of their spread."""
    from jssl import config, loop
    from jssl.engine import Engine
    from jssl.evals import doctor
    from jssl.features import Features
    from jssl.log import Log, read_lines

    stage = config.load(spec(case, kind)).stages()[-1]
    every = 10 * EVERY if case.startswith("GAN") else EVERY
    every = -(-every // stage.dispatch) * stage.dispatch
    quiet = dict(evals={}, baselines={}, save_every=0, render_every=0)
    engine = Engine(replace(stage, eval_every=every, **quiet))
    untrained = Features(engine, engine.begin({}), {}, limit=loop.ONLINE)
    first = (0, doctor.examine(untrained, "val"))
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder))
        done = loop.run(engine, Path(folder), {}, log)
        history = [first, *log.history(stage.name)]
        rows = read_lines(folder)
    spread = [(row["step"], row["z_spread"]) for row in rows if "z_spread" in row]
    fact = next((step for step, value in spread if value < 0.1), None)
    marked = {k.removeprefix("doctor/"): v for k, v in done.metrics.items()}
    history.append((stage.steps, marked))
    found = {
        "case": case,
        "set": kind,
        "config": spec(case, kind).removeprefix(f"{ROOT}/"),
        "chance": dict(stage.chance),
        "fact": fact,
        "seconds": round(done.seconds, 1),
        "history": history,
    }
    out.write_text(json.dumps(found) + "\n")


def run(options):
    from results import together

    KEPT.mkdir(parents=True, exist_ok=True)

    def one(known):
        case, kind = known
        out = KEPT / f"{kind}-{case.lower().replace(' ', '-').replace(',', '')}.json"
        if out.exists():
            return True
        print(spec(case, kind), flush=True)
        words = [sys.executable, __file__, "observe", case, kind, str(out)]
        return subprocess.run(words, cwd=ROOT).returncode == 0

    every = [
        (case, kind) for kind in options.only or SETS for case in CASES if spec(case, kind)
    ]
    return together(one, every, options.jobs)


def spoken(found):
    """(kind, since) of the last verdict, and the steps at which a fault was found."""
    from jssl.evals.doctor import diagnose

    history = [
        (step, {name: float(value) for name, value in seen.items()})
        for step, seen in found["history"]
    ]
    verdict = diagnose(history, found["chance"])
    alarms = [
        (history[i][0], kind)
        for i in range(len(history))
        if (kind := diagnose(history[: i + 1], found["chance"]).kind)
        not in ("healthy", "undecided")
    ]
    return verdict, alarms


def table():
    runs = [json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))]
    lines = [HEAD]
    for kind, chosen in SETS.items():
        mine = {r["case"]: r for r in runs if r["set"] == kind}
        if not mine:
            continue
        recipe = chosen.recipe and f"recipe={chosen.recipe}"
        own = NARROW if chosen.narrow else recipe
        told = ", ".join(filter(None, [chosen.data, own, f"seed={chosen.seed}"]))
        lines += [f"\n## {kind}: {told}\n", f"| {' | '.join(COLUMNS)} |"]
        lines.append("|---" * len(COLUMNS) + "|")
        counts = dict.fromkeys(
            ("hits", "told as another", "misses", "false alarms", "quiet"), 0
        )
        for case, (_, _, planted) in CASES.items():
            if case not in mine:
                continue
            found = mine[case]
            verdict, alarms = spoken(found)
            first = str(alarms[0][0]) if alarms else ""
            if planted == "healthy":
                counts["false alarms" if alarms else "quiet"] += 1
            else:
                silent = verdict.kind in ("healthy", "undecided")
                named = "hits" if verdict.kind == planted else "told as another"
                counts["misses" if silent else named] += 1
            last = found["history"][-1][1]
            name = "z" if "z/std" in last else "h"
            cells = [
                case,
                planted,
                verdict.kind,
                "" if found["fact"] is None else str(found["fact"]),
                first,
                str(verdict.since) if verdict.since else "",
                f"{name} {last[f'{name}/std']:.3f}",
                f"{last[f'{name}/rank']:.1f} of {last[f'{name}/width']:.0f}",
                f"{last['samples/coverage']:.3f}" if "samples/coverage" in last else "",
                ", ".join(f"{last[k]:.3g} of {v:.3g}" for k, v in found["chance"].items()),
                str(found["history"][-1][0]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("\n" + ", ".join(f"{k}: {v}" for k, v in counts.items()))
    return "\n".join(lines) + "\n"


COLUMNS = (
    "case",
    "planted",
    "verdict",
    "spread lost at",
    "first alarm",
    "since",
    "std",
    "rank",
    "coverage",
    "loss, of chance",
    "steps",
)
HEAD = """# Validation of the doctor

Generated by `python benchmarks/doctor.py table` from the runs in `docs/doctor/`. A run is
examined at its start and every 25 steps (GAN: 250); those of the first four sets, on which
the thresholds were chosen, were every 50 steps (GAN: 500). *Spread lost at* is the step at
which the projections of a training batch had lost nine tenths of their spread, if the
method logs it: the ground truth, which is not an input of the doctor. *First alarm* is the
first examination with a verdict of a fault, *since* the beginning according to the last
verdict. A hit is the expected verdict at the end of the run, and *told as another* that of
another fault; a false alarm is any alarm in a healthy run."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="command", required=True)
    running = kinds.add_parser("run")
    running.add_argument("--jobs", type=int, default=1)
    running.add_argument("--only", nargs="+", default=[], choices=SETS)
    kinds.add_parser("table")
    one = kinds.add_parser("observe")
    for name in ("case", "set", "out"):
        one.add_argument(name)
    options = parser.parse_args()
    if options.command == "table":
        print(table(), end="")
    elif options.command == "run":
        return 0 if run(options) else 1
    else:
        observe(options.case, options.set, Path(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
