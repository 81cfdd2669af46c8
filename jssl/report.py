"""The report of a run: its final table, and report.html.

result.json     final metrics, baselines, and their provenance
report.html     all results and pictures on one self-contained page
"""

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jssl.cache import written
from jssl.log import figure_name, read_lines


def curves(workdir: Path) -> None:
    """Plots all metrics of metrics.jsonl over steps, one figure per stage."""
    from matplotlib.figure import Figure

    rows = read_lines(workdir)
    for stage in dict.fromkeys(row["stage"] for row in rows):
        mine = [row for row in rows if row["stage"] == stage]
        names = sorted({k for row in mine for k in row} - {"stage", "step"})
        figure = Figure(figsize=(6.4, 2.6 * len(names)), dpi=110, layout="constrained")
        for axes, name in zip(np.ravel(figure.subplots(len(names))), names, strict=True):
            points = np.array([(row["step"], row[name]) for row in mine if name in row])
            axes.plot(*points.T, lw=0.8, marker="." if len(points) < 30 else "")
            axes.set_ylabel(name)
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
        figure.savefig(
            (Path(workdir) / "figures" / figure_name(stage, "curves")).with_suffix(".png")
        )


def table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: final metrics of each stage, and of the baselines."""
    stages, baselines = result["stages"], result["baselines"]
    judged = [m for m in result["protocols"] if any(m in r for r in baselines.values())]
    judged += [m for m in result["protocols"] if m not in judged]
    rows = [(f"{name} (this run)", stage["metrics"]) for name, stage in stages.items()]
    rows += list(baselines.items())
    cells = [
        [name, *(f"{100 * row[m]:.1f} %" if m in row else "" for m in judged)]
        for name, row in rows
    ]
    return ["representation", *judged], cells


def print_table(result: Mapping[str, Any]) -> None:
    """Prints the final table, protocols and verdicts."""
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
    for name, stage in result["stages"].items():
        print(f"doctor, {name}: {stage['doctor']}")


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
td, th {{ padding: .25rem .9rem; border-bottom: 1px solid #ddd; text-align: right }}
td:first-child, th:first-child {{ text-align: left }}
img {{ max-width: 100%; height: auto }} figure {{ margin: 2rem 0 }}
figcaption {{ font-weight: 600 }}
pre {{ background: #f6f6f6; padding: .8rem; overflow: auto }}
</style><h1>{title}</h1>{body}</html>
"""


def write_report(workdir: Path, result: Mapping[str, Any]) -> Path:
    """Writes metrics, figures, knobs and provenance to one self-contained page."""
    workdir = Path(workdir)
    curves(workdir)
    body = [_html_table(*table(result)), *_speeds(result), *_doctor_panel(result)]
    body += [
        f"<p><b>{_text(name)}</b>: {_text(protocol)}</p>"
        for name, protocol in result["protocols"].items()
    ]
    for path in sorted((workdir / "figures").iterdir()):
        caption = _text(path.stem.replace("--", ": ").replace("-", " "))
        body.append(f"<figure><figcaption>{caption}</figcaption>{_embedded(path)}</figure>")
    body.append("<h2>Knobs</h2>")
    body.append(_html_table(["knob", "value"], list(result["config"]["knobs"].items())))
    body.append("<h2>Provenance</h2><pre>")
    body.append(_text(json.dumps(result["provenance"], indent=2)) + "</pre>")
    path = workdir / "report.html"
    title = _text(result["config"]["title"])
    with written(path) as part:
        part.write_text(PAGE.format(title=title, body="\n".join(body)))
    return path


def _speeds(result):
    """Duration and speed of the training of each stage."""
    return [
        f"<p><b>{_text(name)}</b>: {stage['steps']} steps, {stage['seconds']} s, "
        f"{stage['samples_per_second']} samples/s</p>"
        for name, stage in result["stages"].items()
        if stage["steps"]
    ]


def _doctor_panel(result):
    """The doctor's verdict on each stage, and its numbers."""
    body = ["<h2>Doctor</h2>"]
    for name, stage in result["stages"].items():
        body.append(f"<p><b>{_text(name)}</b>: {_text(stage['doctor'])}</p>")
        signs = {k: v for k, v in stage["metrics"].items() if k.startswith("doctor/")}
        if signs:
            values = [f"{value:.4g}" for value in signs.values()]
            heads = [k.removeprefix("doctor/") for k in signs]
            body.append(_html_table(["number", "value"], zip(heads, values, strict=True)))
    return body


def _embedded(path):
    """A figure as inline HTML."""
    if path.suffix == ".txt":
        return f"<pre>{_text(path.read_text())}</pre>"
    data = base64.b64encode(path.read_bytes()).decode()
    if path.suffix == ".wav":
        return f'<audio controls src="data:audio/wav;base64,{data}"></audio>'
    kind = path.suffix.removeprefix(".")
    return f'<img alt="{_text(path.stem)}" src="data:image/{kind};base64,{data}">'


def _html_table(headings, rows):
    def row(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{_text(c)}</{tag}>" for c in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table>{row(headings, 'th')}{body}</table>"


def _text(value):
    return html.escape(str(value))
