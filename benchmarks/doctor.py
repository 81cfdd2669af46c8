"""Generates docs/doctor.md: detections and false alarms of the doctor for planted failures.

    python benchmarks/doctor.py run [--jobs 2] [--only fixed]
    python benchmarks/doctor.py table > docs/doctor.md

`run` trains every case and stores its history in docs/doctor/; `table` diagnoses the stored
histories. The thresholds of `jssl.evals.doctor` were chosen on the runs named "fixed"; the
others were made afterwards.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "doctor"
SMALL = "epochs=8"  # of 54 steps
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
}
NARROW = "widths=(16, 32, 64)"
SETS = {  # further knobs, those of garments, of other widths, seed
    "fixed": ("", "", 0),
    "garments": ("source=fashion_mnist,limit=3500", "recipe=garments", 1),
    "narrow": ("", NARROW, 2),
    "fresh": ("", "", 3),
}
VIEWED = ("simsiam", "byol", "simclr", "vicreg", "moco", "deepcluster")
WIDE = (*VIEWED, "rotation")
EVERY = 50


def spec(case, kind):
    """The config of a case in a set, or None where it has no such knob."""
    name, knobs, _ = CASES[case]
    data, own, seed = SETS[kind]
    if name == "gan":
        data = data.replace(",limit=3500", "")
        own = "widths=(128, 256)" if own == NARROW else ""
        if "fashion" in data:  # 55,000 images: fewer passes over more
            epochs = float(knobs.partition("=")[2].partition(",")[0])
            knobs = knobs.replace(
                f"epochs={epochs:g}", f"epochs={epochs * 3500 / 55000:.3f}"
            )
    elif own.startswith("recipe") and name not in VIEWED:
        own = ""
    elif own == NARROW and name not in WIDE:
        own = "width=64" if name == "mae" else ""
    words = [*filter(None, [knobs, data, own]), f"seed={seed}"]
    return f"{ROOT}/experiments/{name}.py:{','.join(words)}"


def observe(case, kind, out):
    """Trains one case; keeps its history and, where it is logged, the step at which the
    projections of a batch had lost nine tenths of their spread."""
    from jssl import config, loop
    from jssl.log import Log, read_lines

    stage = config.load(spec(case, kind)).stages()[-1]
    every = EVERY if stage.dispatch == 1 else 10 * EVERY
    quiet = dict(evals={}, baselines={}, save_every=0, render_every=0)
    stage = replace(stage, eval_every=every, **quiet)
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder))
        done = loop.run(stage, Path(folder), {}, log)
        history = log.history(stage.name)
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

    every = [(case, kind) for kind in options.only or SETS for case in CASES]
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
    for kind, (data, own, seed) in SETS.items():
        mine = {r["case"]: r for r in runs if r["set"] == kind}
        if not mine:
            continue
        told = ", ".join(filter(None, [data, own, f"seed={seed}"]))
        lines += [f"\n## {kind}: {told}\n", f"| {' | '.join(COLUMNS)} |"]
        lines.append("|---" * len(COLUMNS) + "|")
        counts = dict.fromkeys(("hits", "misses", "false alarms", "quiet"), 0)
        for case, (_, _, planted) in CASES.items():
            if case not in mine:
                continue
            found = mine[case]
            verdict, alarms = spoken(found)
            first = str(alarms[0][0]) if alarms else ""
            if planted == "healthy":
                counts["false alarms" if alarms else "quiet"] += 1
            else:
                counts["hits" if verdict.kind == planted else "misses"] += 1
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
examined every 50 steps (GAN: 500). *Spread lost at* is the step at which the projections
of a training batch had lost nine tenths of their spread, if the method logs it: the ground
truth, which is not an input of the doctor. *First alarm* is the first examination with a
verdict of a fault, *since* the beginning according to the last verdict. A hit is
the expected verdict at the end of the run; a false alarm is any alarm in a healthy run."""


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
