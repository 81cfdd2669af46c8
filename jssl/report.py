"""The report of a run: its final table, and report.html.

result.json     final metrics, baselines, and their provenance
report.html     all results and pictures on one self-contained page
"""

import base64
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jssl.cache import written
from jssl.data.splits import skipped_words, trained
from jssl.evals.statistics import difference_interval, wilson_interval
from jssl.log import EVALUATED, figure_name, read_lines

PREFERRED = ("linear", "knn", "top1")  # metrics of the verdict, in order
FIGURE_SPACE = "\u2007"  # as wide as a digit


def table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: final metrics of each stage, and of the baselines."""
    names = metrics_of(result)
    rows = [(f"{name} (this run)", stage["metrics"]) for name, stage in _stages(result)]
    rows += list(result["baselines"].items())
    forms = {m: _form([row[m] for _, row in rows if m in row]) for m in names}
    cells = [
        [name, *(forms[m](row[m]) if m in row else "" for m in names)] for name, row in rows
    ]
    return ["representation", *names], cells


def _form(values):
    """A function from a value of a column to its text: in percent if all are in [0, 1]."""
    if all(0 <= x <= 1 for x in values):
        return lambda x: f"{100 * x:.1f} %"
    return lambda x: f"{x:.4g}"


def metrics_of(result: Mapping[str, Any]) -> list[str]:
    """Metrics with a protocol; those of the baselines first."""
    known = list(result["protocols"])
    judged = [m for m in known if any(m in row for row in result["baselines"].values())]
    return judged + [m for m in known if m not in judged]


def comparisons(result: Mapping[str, Any]) -> list[str]:
    """A sentence on the last evaluated stage and each baseline, with 95 % intervals.

    The intervals contain the sampling of the evaluated rows, not the variance over seeds.
    """
    for name, stage in reversed(list(_stages(result))):
        rows = rows_of(result, stage)
        found = [m for m in PREFERRED if m in stage["metrics"]]
        found = [m for m in found if any(m in row for row in result["baselines"].values())]
        if not found or not rows:
            continue
        metric = found[0]
        mine = stage["metrics"][metric]
        low, high = wilson_interval(round(mine * rows), rows)[1:]
        sentences = [
            f"{name}: {metric} {100 * mine:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of "
            f"{rows:,} {_split_of(stage)} rows"
        ]
        for other, row in result["baselines"].items():
            if metric in row:
                sentences.append(compared(mine, row[metric], rows, other))
        return sentences
    return []


def compared(mine: float, other: float, rows: int, name: str) -> str:
    """A phrase that compares two accuracies on the same number of rows.

    >>> compared(0.931, 0.897, 1000, "untrained network")
    'above untrained network (89.7 %) by 3.4 points [0.9, 5.9]'
    >>> compared(0.931, 0.935, 1000, "supervised reference")
    'not distinguishable from supervised reference (93.5 %): -0.4 points [-2.6, 1.8]'
    """
    found = difference_interval(round(mine * rows), rows, round(other * rows), rows)
    points, low, high = (100 * x for x in found)
    between = f"[{low:.1f}, {high:.1f}]"
    if low > 0:
        return f"above {name} ({100 * other:.1f} %) by {points:.1f} points {between}"
    if high < 0:
        between = f"[{-high:.1f}, {-low:.1f}]"
        return f"below {name} ({100 * other:.1f} %) by {-points:.1f} points {between}"
    return (
        f"not distinguishable from {name} ({100 * other:.1f} %): {points:.1f} points "
        f"{between}"
    )


def rows_of(result: Mapping[str, Any], stage: Mapping[str, Any]) -> int:
    """Number of rows on which the final metrics of a stage were computed; 0: unknown."""
    return result.get("data", {}).get("rows", {}).get(stage.get("split", "test"), 0)


def _split_of(stage):
    """The split of the final metrics, and that it was trained on if it was."""
    split = stage.get("split", "test")
    return f"{split}{trained(split, stage.get('trained_on', ()))}"


def failures(result: Mapping[str, Any]) -> list[str]:
    """Evals, pictures and baselines that failed, a line each."""
    lines = [f"baseline {name}: {why}" for name, why in result.get("failed", {}).items()]
    for name, stage in _stages(result):
        lines += [f"{name}, {k}: {why}" for k, why in stage.get("failed", {}).items()]
    return lines


def left_out(result: Mapping[str, Any]) -> list[str]:
    """A line on the evals that need labels, for a run without labels."""
    data = result.get("data")
    if not data or data["classes"]:
        return []
    needed = ", ".join(PREFERRED)
    return [f"no labels: evals that need them ({needed}) and baselines are left out"]


def passed_over(result: Mapping[str, Any]) -> list[str]:
    """A line on the images of the data that could not be read."""
    lost = result.get("data", {}).get("skipped")
    return [skipped_words(lost["first"], lost["count"])] if lost else []


def print_table(result: Mapping[str, Any]) -> None:
    """Prints the final table, protocols, comparisons with baselines, and verdicts."""
    headings, rows = table(result)
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    for row in [headings, ["-" * w for w in widths], *rows]:
        first, *rest = (
            cell.ljust(w) if not i else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]))
    for name, protocol in result["protocols"].items():
        print(f"{name}: {protocol}")
    if lines := comparisons(result):
        print("; ".join(lines))
    for line in [*left_out(result), *passed_over(result)]:
        print(line)
    for name, stage in _stages(result):
        print(f"doctor, {name}: {stage['doctor']}")
    for line in failures(result):
        print(f"failed: {line}")


def curves(workdir: Path) -> None:
    """Plots the metrics of metrics.jsonl over steps: one figure per stage.

    Values on the validation split and at the end are drawn beside those of training.
    """
    from matplotlib.figure import Figure

    rows = read_lines(workdir)
    for stage in dict.fromkeys(row["stage"] for row in rows):
        panels = series([row for row in rows if row["stage"] == stage])
        if not panels:
            continue
        across, down = min(2, len(panels)), -(-len(panels) // 2)
        figure = Figure(figsize=(4.8 * across, 2.6 * down), dpi=110, layout="constrained")
        grid = np.ravel(figure.subplots(down, across, squeeze=False))
        for axes in grid[len(panels) :]:
            axes.remove()
        for axes, (metric, lines) in zip(grid, sorted(panels.items()), strict=False):
            for name, points in lines.items():
                mark = STYLES[name] + ("." if name == "train" and len(points) < 30 else "")
                axes.plot(*np.array(points).T, mark, lw=0.8, ms=4, label=name)
            axes.set_title(metric, fontsize=9)
            axes.set_xlabel("step", fontsize=8)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.3)
            if len(lines) > 1:
                axes.legend(fontsize=7)
        path = Path(workdir) / "figures" / figure_name(stage, "curves")
        figure.savefig(path.with_suffix(".png"))


STYLES = {"train": "-", "val": "o-", "val (trained on)": "o-", "final": "*"}
"""Of the lines of `curves`."""


def series(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list]]:
    """{metric: {line: [(step, value) ...]}} of lines of metrics.jsonl; see `STYLES`.

    The doctor's numbers are left out, as are metrics with a single value.

    >>> rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}]
    >>> rows += [{"step": 2, "val/knn": 0.5}, {"step": 2, "final/knn": 0.6}]
    >>> found = series([*rows, {"step": 2, "final/linear": 0.7}])
    >>> print(*found.values(), sep="\\n")
    {'train': [(1, 2.0), (2, 1.5)]}
    {'val': [(2, 0.5)], 'final': [(2, 0.6)]}
    """
    found: dict[str, dict[str, list]] = {}
    for row in rows:
        for key, value in row.items():
            if key in ("stage", "step") or "doctor/" in key:
                continue
            prefix = next((x for x in EVALUATED if key.startswith(x)), "")
            lines = found.setdefault(key.removeprefix(prefix), {})
            lines.setdefault(prefix[:-1] or "train", []).append((row["step"], value))
    return {k: lines for k, lines in found.items() if sum(map(len, lines.values())) > 1}


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme"
 content="light dark"><style>
:root {{ --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --card: #f6f8fa;
  --page: #ffffff; --good: #1a7f37; --bad: #cf222e }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e6edf3; --soft: #9198a1;
  --line: #3d444d; --card: #161b22; --page: #0d1117; --good: #3fb950; --bad: #f85149 }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto;
  padding: 1.5rem 1rem 4rem; color: var(--ink); background: var(--page) }}
h1 {{ margin: 0; font-size: 1.6rem }} h2 {{ margin: 2.2rem 0 .6rem; font-size: 1.15rem;
  border-bottom: 1px solid var(--line); padding-bottom: .2rem }}
p {{ margin: .4rem 0 }} .soft, figcaption small {{ color: var(--soft) }}
.verdict {{ background: var(--card); border-left: 4px solid var(--line);
  padding: .7rem 1rem; margin: 1rem 0; border-radius: 0 6px 6px 0 }}
.verdict p:first-child {{ font-weight: 600 }}
.above {{ color: var(--good) }} .below, .failed {{ color: var(--bad) }}
.wide {{ overflow-x: auto }} table {{ border-collapse: collapse; margin: .6rem 0 }}
td, th {{ padding: .3rem .9rem; border-bottom: 1px solid var(--line); text-align: right;
  font-variant-numeric: tabular-nums }} th {{ font-weight: 600; color: var(--soft) }}
td:first-child, th:first-child {{ text-align: left; padding-left: 0 }}
.words td {{ text-align: left }}
.figures {{ columns: 2 30rem; column-gap: 1rem }}
figure {{ break-inside: avoid; margin: 0 0 1rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; padding: .7rem }}
figcaption {{ font-weight: 600; margin-bottom: .5rem }}
img {{ max-width: 100%; height: auto; background: #fff; border-radius: 3px }}
audio {{ width: 100% }}
pre {{ background: var(--card); padding: .8rem; overflow: auto; margin: 0;
  font-size: 13px }}
summary {{ cursor: pointer; font-weight: 600 }} details {{ margin: 1rem 0 }}
</style><h1>{title}</h1>{body}</html>
"""


def write_report(workdir: Path, result: Mapping[str, Any]) -> Path:
    """Writes metrics, figures, knobs and provenance to one self-contained page."""
    workdir = Path(workdir)
    curves(workdir)
    made = result["provenance"]
    body = [
        f'<p class="soft">{_text(_line_of(made))}</p>',
        *_verdict(result),
        "<h2>Results</h2>",
        _html_table(*_table_with_intervals(result)),
        *(
            f'<p><b>{_text(name)}</b>: <span class="soft">{_text(words)}</span></p>'
            for name, words in result["protocols"].items()
        ),
        "<h2>Figures</h2>",
        f'<div class="figures">{"".join(map(_figure, figures(workdir)))}</div>',
        *_training(result),
        *_data(result),
        *_doctor_panel(result),
        "<h2>Reproduction</h2>",
        _folded("Knobs", _html_table(["knob", "value"], result["config"]["knobs"].items())),
        _folded("Provenance", f"<pre>{_text(json.dumps(made, indent=2))}</pre>"),
    ]
    title = _text(result["config"]["title"])
    path = workdir / "report.html"
    with written(path) as part:
        part.write_text(PAGE.format(title=title, body="\n".join(body)))
    return path


def figures(workdir: Path) -> list[Path]:
    """Files of the figures: curves first, then in order of their names."""
    found = sorted((Path(workdir) / "figures").iterdir())
    return sorted(found, key=lambda path: not path.stem.endswith("--curves"))


def _line_of(made):
    """Date, devices, commit or version of jssl, and version of jax in one line."""
    jax = made.get("versions", {}).get("jax", "")
    words = [made.get(k, "") for k in ("date", "devices", "machine")]
    code = made.get("commit", "")
    code = code if code.startswith("jssl ") else f"commit {code}"
    return " · ".join(filter(None, [*words, code, f"jax {jax}"]))


def _verdict(result):
    """The header: comparisons with baselines, evals left out, the doctor, and failures."""
    lines = comparisons(result)
    kind = "above" if any(x.startswith("above untrained") for x in lines) else ""
    kind = "below" if any(x.startswith("below untrained") for x in lines) else kind
    rest = "; ".join(lines[1:])
    body = [f"<p>{_text(lines[0])}</p>"] if lines else []
    body += [f'<p class="{kind}">{_text(rest[:1].upper() + rest[1:])}.</p>'] if rest else []
    body += [f"<p>{_text(line.capitalize())}.</p>" for line in left_out(result)]
    body += [
        f"<p>Doctor, {_text(name)}: {_text(stage['doctor'])}</p>"
        for name, stage in _stages(result)
    ]
    body += [f'<p class="failed">Failed: {_text(line)}</p>' for line in failures(result)]
    if lines:
        note = "Intervals: 95 %, for the sampling of the evaluated rows, not over seeds."
        body.append(f'<p class="soft">{note}</p>')
    return [f'<div class="verdict">{"".join(body)}</div>'] if body else []


def _table_with_intervals(result):
    """`table`, with Wilson's intervals of accuracies."""
    headings, cells = table(result)
    names = headings[1:]
    stages = list(_stages(result))
    rows = [(stage["metrics"], rows_of(result, stage)) for _, stage in stages]
    size = max((n for _, n in rows), default=0)
    rows += [(row, size) for row in result["baselines"].values()]
    for line, (row, n) in zip(cells, rows, strict=True):
        for i, name in enumerate(names, 1):
            if n and name in PREFERRED and 0 <= row.get(name, -1) <= 1:
                low, high = map(_points, wilson_interval(round(row[name] * n), n)[1:])
                line[i] += f" [{low}, {high}]"
    return headings, cells


def _points(share):
    """A share in percent, as wide as 99.9, so that the numbers of a column are aligned."""
    return f"{100 * share:.1f}".rjust(4, FIGURE_SPACE)


def _training(result):
    """Steps, duration and speed of each stage."""
    trained = [(name, stage) for name, stage in _stages(result) if stage["steps"]]
    if not trained:
        return []
    speeds = {"samples_per_second": "samples/s", "tokens_per_second": "tokens/s"}
    speeds = {k: x for k, x in speeds.items() if any(k in stage for _, stage in trained)}
    rows = [
        (
            name,
            f"{stage['steps']:,}",
            f"{stage['batch']:,}" if "batch" in stage else "",
            f"{stage['seconds']:,}",
            *(f"{stage[k]:,}" if k in stage else "" for k in speeds),
            _split_of(stage),
        )
        for name, stage in trained
    ]
    heads = ["stage", "steps", "batch", "seconds", *speeds.values(), "evaluated on"]
    return ["<h2>Training</h2>", _html_table(heads, rows)]


def _data(result):
    """Splits, classes and license of the data."""
    data = result.get("data")
    if not data:
        return []
    splits = ", ".join(
        f"{name} {rows:,}{trained(name, data.get('trained_on', ()))}"
        for name, rows in data["rows"].items()
    )
    classes = data["classes"] or "none (unlabeled)"
    named = ", ".join(data["class_names"][:100]) if data["classes"] else ""
    rows = [("name", data["name"]), ("rows", splits), ("classes", classes)]
    rows += [("class names", named)] if named else []
    for line in passed_over(result):
        name, _, words = line.partition(": ")
        rows.append((name, words))
    rows += [("license", data["license"])] if data["license"] else []
    return ["<h2>Data</h2>", _html_table(["", ""], rows, "words")]


def _doctor_panel(result):
    """The doctor's numbers, a column for each stage."""
    signs = {
        name: {k: x for k, x in stage["metrics"].items() if k.startswith("doctor/")}
        for name, stage in _stages(result)
    }
    signs = {name: found for name, found in signs.items() if found}
    rows = [
        [k.removeprefix("doctor/"), *(_number(found.get(k)) for found in signs.values())]
        for k in dict.fromkeys(k for found in signs.values() for k in found)
    ]
    numbers = _html_table(["number", *signs], rows)
    return [_folded("Doctor's numbers", numbers)] if signs else []


def _number(value):
    return "" if value is None else f"{value:.4g}"


def _stages(result) -> Iterable[tuple[str, Mapping[str, Any]]]:
    return result["stages"].items()


def _folded(title, content):
    return f"<details><summary>{_text(title)}</summary>{content}</details>"


def _figure(path):
    """A figure with its caption as inline HTML."""
    caption = _text(path.stem.replace("--", ": ").replace("-", " "))
    return f"<figure><figcaption>{caption}</figcaption>{_embedded(path)}</figure>"


def _embedded(path):
    if path.suffix == ".txt":
        return f"<pre>{_text(path.read_text())}</pre>"
    data = base64.b64encode(path.read_bytes()).decode()
    if path.suffix == ".wav":
        return f'<audio controls src="data:audio/wav;base64,{data}"></audio>'
    kind = path.suffix.removeprefix(".")
    return f'<img alt="{_text(path.stem)}" src="data:image/{kind};base64,{data}">'


def _html_table(headings: Sequence[str], rows: Iterable[Any], kind: str = "") -> str:
    def row(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{_text(c)}</{tag}>" for c in cells) + "</tr>"

    head = row(headings, "th") if any(headings) else ""
    body = "".join(row(cells, "td") for cells in rows)
    return f'<div class="wide"><table class="{kind}">{head}{body}</table></div>'


def _text(value):
    return html.escape(str(value))
