"""Tables of stored results, for the pages that benchmarks write."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from results import KEPT as RESULTS
from results import digest

from jssl.evals.statistics import paired_t

Column = tuple[str | Callable, str]  # metric or function of the metrics; format


class Table(NamedTuple):
    """A table of results of experiments.

    Attributes:
      title: heading.
      about: text below the heading.
      rows: "EXPERIMENT" or "EXPERIMENT:KNOBS", as in its RUNS, by the name of the row.
      columns: heading: metric, format as in `cell`.
    """

    title: str
    about: str
    rows: dict[str, str]
    columns: dict[str, Column]


PROBES = {"linear": ("linear", ".1%"), "kNN": ("knn", ".1%")}


def cell(values, form):
    """Mean and standard error over the seeds; forms of percent omit the sign.

    >>> cell([0.25, 0.75], ".1%")
    '50.0 ± 25.0'
    """
    if not values:
        return ""
    text = lambda value: format(value, form).rstrip("%")
    mean = text(np.mean(values))
    if len(set(values)) == 1:
        return mean
    return f"{mean} ± {text(np.std(values, ddof=1) / np.sqrt(len(values)))}"


def paired(differences):
    """Mean difference in points, with its 95 % interval from three seeds up.

    >>> paired([0.01, 0.02, 0.03])
    '+2.0 [-0.5, 4.5]'
    """
    if not len(differences):
        return ""
    if len(differences) < 3:
        return f"{100 * np.mean(differences):+.1f}"
    mean, low, high = paired_t(differences, np.zeros(len(differences)))[:3]
    return f"{100 * mean:+.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def markdown(columns, rows):
    """A table of rows {name: [{metric: number} of each seed]}; no seed: missing.

    A column of the format "paired" has differences within seeds.
    """
    lines = [
        f"| | seeds | {' | '.join(columns)} |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name, each in rows.items():
        cells = []
        for metric, form in columns.values():
            read = metric if callable(metric) else lambda x, metric=metric: x[metric]
            values = [read(x) for x in each if callable(metric) or metric in x]
            values = [x for x in values if not np.isnan(x)]
            cells.append(paired(values) if form == "paired" else cell(values, form))
        lines.append(f"| {name} | {len(each) or 'missing'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def results_of(spec, kept=RESULTS):
    """Metrics of the last stage for each seed of "EXPERIMENT:KNOBS".

    Those of baselines are named "BASELINE/METRIC".
    """
    experiment, _, knobs = spec.partition(":")
    stem = f"{experiment}-{digest(knobs)}" if knobs else experiment
    paths = [p for p in kept.glob(f"{stem}-*.json") if p.stem[len(stem) + 1 :].isdigit()]
    return [_metrics(json.loads(path.read_text())) for path in sorted(paths)]


def _metrics(result):
    found = dict(list(result["stages"].values())[-1]["metrics"])
    for baseline, numbers in result.get("baselines", {}).items():
        found |= {f"{baseline}/{metric}": number for metric, number in numbers.items()}
    return found


def section(table, kept=RESULTS):
    """A table with its heading, as markdown."""
    rows = {name: results_of(spec, kept) for name, spec in table.rows.items()}
    return f"## {table.title}\n\n{table.about}\n\n{markdown(table.columns, rows)}\n"


def provenance(every):
    """Machines, versions of JAX and commits of stored results, each as one string."""
    given = [known["provenance"] for known in every]
    several = lambda values: ", ".join(sorted(set(values)))
    return {
        "machine": several(f"{g['machine']}, {g['devices']}" for g in given),
        "jax": several(g["versions"]["jax"] for g in given),
        "commits": several(g["commit"] for g in given),
    }


def command(about, run, page, out: Path, only, seeds, folder=None, arguments=()):
    """The command line of a page: `run` the missing results, `write` the page.

    Args:
      about: docstring of the script; its first line is the description.
      run: function of the options, executes missing results.
      page: function without arguments, the page as markdown.
      out: file of the page.
      only: names of the rows that can be chosen.
      seeds: default number of seeds.
      folder: of the runs; None: there is none.
      arguments: (flag, keywords) of further arguments of `run`.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    kinds = parser.add_subparsers(dest="command", required=True)
    add = kinds.add_parser("run").add_argument
    add("--only", nargs="+", default=[], choices=list(only))
    add("--seeds", type=int, default=seeds)
    if folder:
        add("--folder", type=Path, default=folder, help="of the runs")
    for flag, keywords in arguments:
        add(flag, **keywords)
    kinds.add_parser("write")
    options = parser.parse_args()
    if options.command == "run":
        run(options)
    else:
        out.write_text(page())
    sys.exit(0)
