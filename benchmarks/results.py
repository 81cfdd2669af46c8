"""Generates docs/results.md from the result.json of real runs.

    python benchmarks/results.py run [--only simclr byol] [--jobs 2]
    python benchmarks/results.py restamp [--only simclr byol] [--jobs 2]
    python benchmarks/results.py table > docs/results.md

`run` executes missing or stale runs, each in a process of its own, `--jobs` of them at a
time on separate cores; it can be interrupted and resumed. Results are stored in
docs/results/ with a fingerprint: a result is stale if its traced computation, data or
protocols differ from those of the code. `make results` does both. After a change that must
not move a number, `restamp` repeats the first seed of stale results: if all its numbers
are the kept ones to the last bit, the results of all seeds get the new fingerprint. The
runs of an experiment are declared in its file, as `RUNS`.
"""

import argparse
import hashlib
import json
import os
import queue
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from jssl import baselines, config
from jssl.evals.statistics import paired_t

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "results"
EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.py"))
PROBES = ("linear", "knn", "top1")


def specs(only=()):
    """(config, folder) of every run of the page."""
    for name in EXPERIMENTS:
        if only and name not in only:
            continue
        runs = config.evidence(ROOT / "experiments" / f"{name}.py")
        for knobs, seeds in runs.items():
            short = f"{name}-{digest(knobs)}" if knobs else name
            for seed in range(seeds):
                words = [*filter(None, [knobs]), f"seed={seed}"]
                yield f"experiments/{name}.py:{','.join(words)}", f"{short}/{seed}"


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run(options):
    """Executes the runs; returns True if all succeeded."""
    options.kept.mkdir(parents=True, exist_ok=True)
    return together(partial(one, options), specs(options.only), options.jobs)


def together(each, items, jobs):
    """Whether each(item) was true for all items; so many at a time, each of these on
    its share of the cores."""
    shares = queue.Queue()
    for share in np.array_split(sorted(os.sched_getaffinity(0)), jobs):
        shares.put(set(share.tolist()))
    # What a thread may run on, its child processes inherit.
    pinned = lambda: os.sched_setaffinity(0, shares.get())
    with ThreadPoolExecutor(jobs, initializer=pinned) as pool:
        return all(list(pool.map(each, items)))


def one(options, known, given=""):
    """Runs a config unless its result is kept; `given` identifies its further inputs."""
    spec, where = known
    kept = options.kept / f"{where.replace('/', '-')}.json"
    try:
        wanted = " ".join(filter(None, [fingerprint(spec), given]))
    except ValueError as error:
        print(f"{spec}: {error}", file=sys.stderr, flush=True)
        return False
    if kept.exists() and json.loads(kept.read_text())["fingerprint"] == wanted:
        return True
    folder = options.folder / where
    begun = folder / "fingerprint"
    if folder.exists() and (not begun.exists() or begun.read_text() != wanted):
        folder.rename(folder.with_name(f"{folder.name}-stale-{int(time.time())}"))
    folder.mkdir(parents=True, exist_ok=True)
    begun.write_text(wanted)
    command = [sys.executable, "-m", "jssl.main", f"--config={spec}"]
    print(f"{spec} -> {folder}", flush=True)
    ended = subprocess.run([*command, f"--workdir={folder}"], cwd=ROOT)
    if ended.returncode:
        print(f"{spec} ended with status {ended.returncode}", file=sys.stderr, flush=True)
        return False
    result = {"fingerprint": wanted} | json.loads((folder / "result.json").read_text())
    partial_file = kept.with_suffix(".partial")
    partial_file.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(partial_file, kept)
    return True


def restamp(options):
    """Repeats the first seeds of stale results; returns True if all were the same."""
    firsts = [(spec, where) for spec, where in specs(options.only) if where[-2:] == "/0"]
    return together(partial(same, options), firsts, options.jobs)


def same(options, known):
    """Repeats a run, and gives the kept results of all its seeds today's fingerprint."""
    spec, where = known
    kept = options.kept / f"{where.replace('/', '-')}.json"
    if not kept.exists():
        return True
    before = json.loads(kept.read_text())
    if before["fingerprint"] == fingerprint(spec):
        return True
    folder = options.folder / "again" / where
    command = [sys.executable, "-m", "jssl.main", f"--config={spec},baselines=False"]
    if subprocess.run([*command, f"--workdir={folder}"], cwd=ROOT).returncode:
        return False
    after = json.loads((folder / "result.json").read_text())
    moved = {
        f"{name}/{metric}": (value, after["stages"][name]["metrics"].get(metric))
        for name, stage in before["stages"].items()
        for metric, value in stage["metrics"].items()
        if after["stages"][name]["metrics"].get(metric) != value
    }
    if moved:
        told = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in moved.items())
        print(f"{spec} is another: {told}", file=sys.stderr, flush=True)
        return False
    commit = after["provenance"]["commit"]
    for path in options.kept.glob(f"{where[:-2].replace('/', '-')}-*.json"):
        seed = path.stem.rpartition("-")[2]
        if path.stem == f"{where[:-2]}-{seed}" and seed.isdigit():
            result = json.loads(path.read_text())
            new = fingerprint(spec.replace("seed=0", f"seed={seed}"))
            stamp = {"fingerprint": new, "same_numbers_at": commit}
            path.write_text(json.dumps(result | stamp, indent=1) + "\n")
    print(f"{spec} has the kept numbers at {commit}", flush=True)
    return True


def fingerprint(spec):
    return " ".join(map(baselines.fingerprint, config.load(spec).stages()))


def collected(kept):
    """{(title, knobs' hash): {seed: result}} of what is kept."""
    found = defaultdict(dict)
    for path in sorted(Path(kept).glob("*.json")):
        result = json.loads(path.read_text())
        knobs = dict(result["config"]["knobs"])
        seed = knobs.pop("seed", 0)
        kind = result["config"]["title"], digest(json.dumps(knobs, sort_keys=True))
        found[kind][seed] = result
    return found


def changed(asked):
    """The knobs of a run that differ from the defaults, without source and seed."""
    try:
        defaults = config.load(f"{ROOT}/experiments/{asked['file']}:{asked['function']}")
    except (KeyError, ValueError):  # an experiment that no longer exists
        return digest(json.dumps(asked["knobs"], sort_keys=True))
    usual = json.loads(json.dumps(dict(defaults.knobs)))  # with lists for tuples
    return " ".join(
        f"{knob}={value}"
        for knob, value in asked["knobs"].items()
        if knob not in ("source", "seed") and usual.get(knob) != value
    )


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


class Setting:
    """The finished seeds of one experiment with the same knobs."""

    def __init__(self, title, runs):
        self.runs = [runs[seed] for seed in sorted(runs)]
        self.stages = self.runs[0]["stages"]
        asked = self.runs[0]["config"]
        self.name = [title, asked["knobs"].get("source", ""), changed(asked)]

    def scores(self, stage, metric):
        return [run["stages"][stage]["metrics"][metric] for run in self.runs]

    def beside(self, baseline, metric):
        """What a baseline scores at every seed, or nothing."""
        rows = [run["baselines"].get(baseline, {}) for run in self.runs]
        return [row[metric] for row in rows] if all(metric in row for row in rows) else []

    def representations(self):
        for stage, found in self.stages.items():
            if "linear" not in found["metrics"]:
                continue
            cells = [*self.name, stage, str(len(self.runs))]
            for metric in ("linear", "knn"):
                if metric not in found["metrics"]:
                    cells += [""] * (1 + len(BESIDE))
                    continue
                ours = self.scores(stage, metric)
                cells += [spread(ours), "", ""]
                if untrained := self.beside("untrained network", metric):
                    cells[-2:] = [spread(untrained), gain(ours, untrained)]
                for baseline in ("raw pixels", "supervised reference"):
                    theirs = self.beside(baseline, metric)
                    cells.append(spread(theirs) if theirs else "")
            yield cells

    def classifiers(self):
        for stage, found in self.stages.items():
            for baseline in found.get("baselines", ()):
                theirs = self.beside(baseline, "top1")
                if theirs and "top1" in found["metrics"]:
                    ours = self.scores(stage, "top1")
                    cells = [*self.name, stage, str(len(self.runs)), spread(ours), baseline]
                    yield [*cells, spread(theirs), gain(ours, theirs)]

    def provenance(self):
        stages = [run["stages"].values() for run in self.runs]
        seconds = np.median([sum(stage["seconds"] for stage in each) for each in stages])
        given = [run["provenance"] for run in self.runs]
        commits = ", ".join(sorted({g["commit"] for g in given}))
        last = list(self.stages)[-1]
        own = ", ".join(
            f"{metric} {np.mean(self.scores(last, metric)):.4g}"
            for metric in self.stages[last]["metrics"]
            if metric not in PROBES and not metric.startswith("doctor/")
        )
        place = f"{given[0]['machine']}, {given[0]['devices']}"
        count = str(len(self.runs))
        yield [*self.name, count, f"{seconds:.0f}", own, place, commits]


NAME = ["method", "data", "knobs"]
BESIDE = ["untrained", "gain", "raw pixels", "supervised"]
SECTIONS = {
    "Representations": (
        "Linear probe and kNN of h, compared with the same network untrained, raw pixels, "
        "and the same network trained with all labels, all evaluated by the same probes.",
        [*NAME, "stage", "seeds", "linear", *BESIDE, "kNN", *BESIDE],
        Setting.representations,
    ),
    "Classifiers": (
        "Top-1 accuracy of methods trained with some labels, compared with the baseline in "
        "the column *beside*.",
        [*NAME, "stage", "seeds", "top-1", "beside", "its top-1", "gain"],
        Setting.classifiers,
    ),
    "Runs": (
        "Seconds of training (median), other metrics of the last stage (mean over seeds), "
        "machine and commit.",
        [*NAME, "seeds", "seconds", "its own metrics", "machine", "commit"],
        Setting.provenance,
    ),
}


def table(kept):
    """The page, as markdown."""
    settings = [Setting(kind[0], runs) for kind, runs in sorted(collected(kept).items())]
    lines = [
        "# Results",
        "",
        "Generated by `python benchmarks/results.py table` from real runs, stored in",
        "`docs/results/`; `make results` executes missing and stale runs. Accuracy on the",
        "test split in %, mean and standard deviation over seeds; a gain is the paired",
        "difference in points, with its 95 % interval if there are enough seeds. Knobs are",
        "those that differ from the defaults.",
    ]
    for title, (told, head, rows) in SECTIONS.items():
        lines += ["", f"## {title}", "", told, "", f"| {' | '.join(head)} |"]
        lines.append("|---" * len(head) + "|")
        for setting in settings:
            lines += [f"| {' | '.join(cells)} |" for cells in rows(setting)]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "restamp", "table"))
    add = parser.add_argument
    add("--folder", type=Path, default=ROOT / "runs" / "results", help="of the runs")
    add("--kept", type=Path, default=KEPT, help="of what they ended with")
    add("--only", nargs="+", default=[], choices=EXPERIMENTS)
    add("--jobs", type=int, default=1, help="runs at a time, each on its share of cores")
    options = parser.parse_args()
    if options.command == "table":
        print(table(options.kept), end="")
        return 0
    return 0 if {"run": run, "restamp": restamp}[options.command](options) else 1


if __name__ == "__main__":
    sys.exit(main())
