"""Generates docs/pretexts.md: pretext tasks compared, and their most important knobs.

    python benchmarks/pretexts.py run [--only layers jigsaw] [--seeds 3]
    python benchmarks/pretexts.py write

`run` trains the runs of each table, one after the other, and stores numbers in
docs/pretexts/; what is there for the same configuration is skipped, so that it can be
interrupted and resumed. `write` makes the page.
"""

import argparse
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "pretexts"
PROBES = {"linear": ("linear", ".1f"), "kNN": ("knn", ".1f")}


class Table(NamedTuple):
    """A table of the page.

    Attributes:
      title: heading.
      about: text below the heading.
      common: knobs of all runs.
      rows: configs by name, EXPERIMENT or EXPERIMENT:KNOBS; a name with "@" before it is a
        baseline of that config: "@untrained network" is its network without training.
      columns: metric and format of each column, by heading.
    """

    title: str
    about: str
    common: str
    rows: dict[str, str]
    columns: dict[str, tuple[str, str]] = PROBES


LAYERS = {f"conv{i}": (f"layer {i}", ".1f") for i in range(1, 6)}
TABLES = {
    "layers": Table(
        "Probes of every layer",
        "Accuracy, in percent, of an exact linear probe on each of five convolutions of "
        "16, 32, 64, 64 and 64 channels, whose maps are averaged to at most 600 numbers, "
        "on the 630 training and 78 test images of `stamps` (16 topics). All have the same "
        "network, 60 epochs of batches of 64, and the other knobs of their `laptop`. "
        "*Random, rescaled* has statistics of batch norm that are measured on the data, "
        "after Krähenbühl et al. 2016.",
        "source=stamps,size=32,epochs=60,batch=64,widths=(16,32,64,64,64),"
        "strides=(2,1,2,1,1),supervised_epochs=60",
        {
            "random": "rotation@untrained network",
            "random, rescaled": "rotation:lr=1e-9",
            "supervised": "rotation@supervised reference",
            "rotation": "rotation",
            "jigsaw": "jigsaw:tile=9",
        },
        LAYERS | {"h": ("linear", ".1f")},
    ),
    "jigsaw": Table(
        "Jigsaw: the set of permutations",
        "Number of permutations, and the rule they are chosen by: of large, middle or "
        "small Hamming distance. Digits, 20 epochs. *Puzzles* is the accuracy in the "
        "pretext task on the last batch of training.",
        "source=mnist,epochs=20",
        {
            f"{count}, {choice}": f"jigsaw:count={count},choice={choice}"
            for count, choice in (
                (4, "max"),
                (24, "max"),
                (96, "max"),
                (24, "middle"),
                (24, "min"),
            )
        },
        {"puzzles": ("jigsaw_accuracy", ".2f")} | PROBES,
    ),
}


def runs(only, seeds):
    """(table, name, config, baseline or "", seed) of every run."""
    for seed in range(seeds):
        for key in only or TABLES:
            table = TABLES[key]
            for name, given in table.rows.items():
                experiment, _, baseline = given.partition("@")
                experiment, _, knobs = experiment.partition(":")
                words = ",".join(filter(None, [table.common, knobs, f"seed={seed}"]))
                yield key, name, f"experiments/{experiment}.py:{words}", baseline, seed


def run(options):
    from jssl.command import prepare_jax

    prepare_jax(False)  # before any computation
    from jssl import config, evals, loop, session
    from jssl.engine import Engine
    from jssl.features import Features
    from jssl.log import Log, write_json

    KEPT.mkdir(parents=True, exist_ok=True)
    for key, name, spec, baseline, seed in runs(options.only, options.seeds):
        slug = re.sub(r"\W+", "-", f"{key}-{name}-{seed}")
        out, known = KEPT / f"{slug}.json", {"config": spec, "baseline": baseline}
        if out.exists() and json.loads(out.read_text())["known"] == known:
            continue
        print(f"{key}: {name}, seed {seed}", flush=True)
        bound = config.load(f"{ROOT}/{spec}")
        stage = bound.stages()[-1]
        stage = stage.baselines[baseline] if baseline else stage
        stage = replace(stage, baselines={}, eval_every=0, save_every=0, render_every=0)
        folder = options.folder / slug
        folder.mkdir(parents=True, exist_ok=True)
        engine = Engine(stage)
        done = loop.run(engine, folder, {}, Log(folder))
        numbers = dict(done.metrics)
        if any(metric.startswith("layer ") for metric, _ in TABLES[key].columns.values()):
            numbers |= evals.layer_probes()(Features(engine, done.state), True)
        facts = {"seconds": done.seconds, "provenance": session.provenance()}
        write_json(out, {"table": key, "row": name, "seed": seed, "known": known,
                         "numbers": numbers} | facts)  # fmt: skip


def cell(values, form):
    """Mean and standard error over the seeds; fractions as percentages where ".1f"."""
    scale = 100 if form == ".1f" else 1
    values = scale * np.asarray(values, float)
    if not len(values):
        return ""
    mean = format(values.mean(), form)
    if len(values) == 1:
        return mean
    return f"{mean} ± {format(values.std(ddof=1) / np.sqrt(len(values)), form)}"


def shown(key, found):
    """A section of the page: title, text and table."""
    table = TABLES[key]
    lines = [
        f"| | seeds | {' | '.join(table.columns)} |",
        "|---" * (len(table.columns) + 2) + "|",
    ]
    for name in table.rows:
        each = [known for known in found if known["row"] == name]
        cells = [
            cell([x["numbers"][m] for x in each if m in x["numbers"]], form)
            for m, form in table.columns.values()
        ]
        if each:
            lines.append(f"| {name} | {len(each)} | {' | '.join(cells)} |")
    return f"## {table.title}\n\n{table.about}\n\n" + "\n".join(lines) + "\n"


def page(kept=KEPT):
    """The page, as markdown.

    Raises:
      ValueError: no results.
    """
    every = [json.loads(path.read_text()) for path in sorted(kept.glob("*.json"))]
    if not every:
        raise ValueError(f"{kept} has no results: run `python {sys.argv[0]} run` first")
    sections = []
    for key in TABLES:
        found = [known for known in every if known["table"] == key]
        if found:
            sections.append(shown(key, found))
    given = [known["provenance"] for known in every]
    several = lambda values: ", ".join(sorted(set(values)))
    return PAGE.format(
        folder=kept.name,
        sections="\n".join(sections),
        machine=several(f"{g['machine']}, {g['devices']}" for g in given),
        jax=several(g["versions"]["jax"] for g in given),
        commits=several(g["commit"] for g in given),
    )


PAGE = """# Pretext tasks

    python benchmarks/pretexts.py run
    python benchmarks/pretexts.py write

Generated by these commands; numbers are stored in `docs/{folder}/`. Probes are in percent
of the test split. Cells are the mean over the seeds, ± its standard error where there are
several; with one seed, differences of a few points are noise.

{sections}
## Runs

Machine: {machine}. JAX {jax}. Commits: {commits}.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="command", required=True)
    running = kinds.add_parser("run")
    add = running.add_argument
    add("--only", nargs="+", default=[], choices=TABLES, help="tables")
    add("--seeds", type=int, default=1)
    add("--folder", type=Path, default=ROOT / "runs" / "pretexts", help="of the runs")
    kinds.add_parser("write")
    options = parser.parse_args()
    if options.command == "run":
        run(options)
    else:
        KEPT.with_suffix(".md").write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
