"""docs/results.md, made from the result.json of real runs and never by hand.

    python benchmarks/results.py run [--only simclr byol] [--folder runs/results]
    python benchmarks/results.py table > docs/results.md

`run` does what is missing or stale, one run after another, each in a process of its own;
stopped anywhere, it goes on from there. A run is stale when its traced computation, data or
protocols are no longer those of the code: its folder is then moved aside. `make results`
does both.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from jssl import baselines, config
from jssl.evals.statistics import paired_t

ROOT = Path(__file__).parent.parent
RUNS = {  # knobs -> seeds, by experiment
    "mae": {"": 5},
    "simclr": {"": 5},
    "moco": {"": 5},
    "byol": {"": 5},
    "deepcluster": {"": 5},
    "rotation": {"": 5},
    "simsiam": {"": 1},
    "rbm": {"": 1, "chains=50,lr=0.01": 1},
}
OWN = ("loss", "reconstruction", "rotation_accuracy", "nmi", "z_spread", "free_energy_gap")


def specs(only=()):
    """(config, folder) of every run that the table is made of."""
    for name, settings in RUNS.items():
        if only and name not in only:
            continue
        for knobs, seeds in settings.items():
            short = f"{name}-{digest(knobs)}" if knobs else name
            for seed in range(seeds):
                words = [*filter(None, [knobs]), f"seed={seed}"]
                yield f"experiments/{name}.py:{','.join(words)}", f"{short}/{seed}"


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run(options):
    for spec, where in specs(options.only):
        folder = options.folder / where
        stages = config.load(spec).stages()
        wanted = " ".join(baselines.fingerprint(stage) for stage in stages)
        known = folder / "fingerprint"
        if folder.exists() and (not known.exists() or known.read_text() != wanted):
            folder.rename(folder.with_name(f"{folder.name}-stale-{int(time.time())}"))
        if (folder / "result.json").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        known.write_text(wanted)
        print(f"{spec} -> {folder}", flush=True)
        command = [sys.executable, "-m", "jssl.main", f"--config={spec}"]
        subprocess.run([*command, f"--workdir={folder}"], check=True, cwd=ROOT)


def collected(folder):
    """{(title, knobs' hash): {seed: result}} of what is finished and not stale."""
    found = defaultdict(dict)
    for path in sorted(Path(folder).glob("*/*/result.json")):
        if "-stale-" in path.parent.name:
            continue
        result = json.loads(path.read_text())
        knobs = dict(result["config"]["knobs"])
        seed = knobs.pop("seed")
        kind = result["config"]["title"], digest(json.dumps(knobs, sort_keys=True))
        found[kind][seed] = result
    return found


def spread(values):
    """Mean and standard deviation of shares, in %."""
    values = 100 * np.asarray(values, float)
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"


def gain(ours, theirs):
    """The paired difference in points with its 95 % interval, from two seeds up."""
    if len(ours) < 2:
        return f"{100 * (ours[0] - theirs[0]):+.1f}"
    found = paired_t(ours, theirs)
    estimate, low, high = (100 * x for x in found[:3])
    return f"{estimate:+.1f} [{low:.1f}, {high:.1f}]"


def table(folder):
    """The page, as markdown."""
    lines = [
        "# Results",
        "",
        "Made by `python benchmarks/results.py table` from the `result.json` of real runs.",
        "Accuracy on the test split in %, mean ± standard deviation over seeds; the gain",
        "is the paired difference from the same network untrained, with its 95 % interval.",
        "",
    ]
    head = (
        "method", "data", "seeds", "linear", "untrained", "gain", "raw pixels",
        "supervised", "kNN", "untrained", "gain", "raw pixels", "own metric", "seconds",
        "machine", "commit", "knobs",
    )  # fmt: skip
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for (title, knobs), runs in sorted(collected(folder).items()):
        lines.append(f"| {' | '.join(row(title, knobs, runs))} |")
    return "\n".join(lines) + "\n"


def row(title, knobs, runs):
    runs = [runs[seed] for seed in sorted(runs)]
    last = [list(r["stages"].values())[-1] for r in runs]

    def scores(metric, baseline=None):
        if baseline is None:
            return [stage["metrics"][metric] for stage in last]
        return [r["baselines"][baseline][metric] for r in runs]

    cells = [title, runs[0]["config"]["knobs"]["source"], str(len(runs))]
    for metric in ("linear", "knn"):
        ours, untrained = scores(metric), scores(metric, "untrained network")
        cells += [spread(ours), spread(untrained), gain(ours, untrained)]
        cells.append(spread(scores(metric, "raw pixels")[:1]))
        if metric == "linear":
            cells.append(spread(scores(metric, "supervised reference")))
    own = [name for name in OWN if name in last[0]["metrics"]]
    cells.append(", ".join(f"{n} {np.mean(scores(n)):.3g}" for n in own))
    seconds = [sum(stage["seconds"] for stage in r["stages"].values()) for r in runs]
    first = runs[0]["provenance"]
    commits = sorted({r["provenance"]["commit"] for r in runs})
    cells += [f"{np.median(seconds):.0f}", first["machine"], ", ".join(commits), knobs]
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "results")
    parser.add_argument("--only", nargs="+", default=[], choices=RUNS)
    options = parser.parse_args()
    if options.command == "run":
        run(options)
    else:
        print(table(options.folder), end="")


if __name__ == "__main__":
    main()
