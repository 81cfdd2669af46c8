"""What a run leaves for people: one live line, metrics, figures, and report.html.

metrics.jsonl   {"stage", "step", metric: value ...}, a line a step
tensorboard/    the same for TensorBoard
figures/        PNGs
lock            who is at work here, while somebody is
result.json     the final numbers, the baselines, and where they come from
report.html     all of it on one page, with no other file needed
"""

import base64
import contextlib
import html
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jssl.evals import Lines, Scatter
from jssl.evals.doctor import Verdict
from jssl.method import Grid


class Log:
    """Writes as the run goes; only the first process does."""

    def __init__(self, workdir: Path, title: str = ""):
        self.workdir, self.title = Path(workdir), title
        self.name, self.steps, self.events, self.said = "", 0, None, "healthy"
        self.active = jax.process_index() == 0
        if self.active:
            (self.workdir / "figures").mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def stage(self, stage: Any, step: int) -> Iterator[None]:
        """Opens a stage at `step`; lines of later steps, if any, are cut off."""
        self.name, self.steps = stage.name, stage.steps
        if not self.active:
            yield
            return
        self._cut_back(step)
        self.progress = Progress(
            self.title or stage.name, stage.steps, step, stage.data.batch
        )
        with open(self.workdir / "metrics.jsonl", "a", buffering=1) as self.lines:
            try:
                yield
            finally:
                self.progress.close()
                if self.events:
                    self.events.close()
                    self.events = None

    def metrics(self, step: int, metrics: Mapping[str, float], prefix: str = "") -> None:
        """Records scalars reached after `step` steps."""
        if not self.active or not metrics:
            return
        named = {prefix + name: value for name, value in metrics.items()}
        self.lines.write(json.dumps({"stage": self.name, "step": step} | named) + "\n")
        self._tensorboard(step, named)
        self.progress.show(step, named)

    def pictures(self, step: int, pictures: Mapping[str, Any]) -> None:
        """Draws each Grid, Scatter and Lines into figures/, writes each text.

        Those of the stage's end have no step in their names; those before it do, and stay.
        """
        if not self.active:
            return
        moment = f" after {step:06} steps" if step < self.steps else ""
        for name, picture in pictures.items():
            file = _file(self.name, name + moment)
            draw(picture, name, self.workdir / "figures" / file)

    def say(self, verdict: Verdict) -> None:
        """The doctor's word, where there is something to say and it was not said."""
        if self.active and verdict.kind not in ("healthy", self.said):
            print(f"\ndoctor: {verdict.words}", file=sys.stderr)
        self.said = verdict.kind

    def examined(self, stage: str) -> list[tuple[int, dict[str, float]]]:
        """(step, metrics and the doctor's numbers) of each examination so far."""
        steps, mark = {}, "val/doctor/"
        for row in read_lines(self.workdir):
            if row["stage"] == stage:
                steps.setdefault(row["step"], {}).update(row)
        return [
            (
                step,
                {k.removeprefix(mark): x for k, x in row.items() if isinstance(x, float)},
            )
            for step, row in steps.items()
            if any(name.startswith(mark) for name in row)
        ]

    def recall(self, stage: str) -> dict[str, float]:
        """The last step's metrics, of a stage that ended in an earlier process."""
        rows = [row for row in read_lines(self.workdir) if row["stage"] == stage]
        last = {} if not rows else rows[-1]
        return {k: v for k, v in last.items() if k not in ("stage", "step")}

    def _cut_back(self, step):
        """Lines past the restored step are of a future that did not happen."""
        path = self.workdir / "metrics.jsonl"
        kept = [
            row
            for row in read_lines(self.workdir)
            if row["stage"] != self.name or row["step"] <= step
        ]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
        os.replace(partial, path)

    def _tensorboard(self, step, metrics):
        from tensorboard.compat.proto import event_pb2, summary_pb2

        if self.events is None:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter

            self.events = EventFileWriter(str(self.workdir / "tensorboard" / self.name))
            restart = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self.events.add_event(event_pb2.Event(step=step, session_log=restart))
        values = [
            summary_pb2.Summary.Value(tag=name, simple_value=float(value))
            for name, value in metrics.items()
        ]
        summary = summary_pb2.Summary(value=values)
        self.events.add_event(
            event_pb2.Event(step=step, wall_time=time.time(), summary=summary)
        )


class Progress:
    """One live line: step, images a second, time left, metrics.

    Where the output is not a terminal, a line now and then.
    """

    EVERY = {True: 0.2, False: 15.0}  # seconds, by whether it is a terminal

    def __init__(self, title: str, steps: int, begin: int, batch: int):
        self.title, self.steps, self.begin, self.batch = title, steps, begin, batch
        self.live = sys.stderr.isatty()
        self.clock = self.shown = None
        if 0 < begin < steps:
            print(f"{title}: going on from step {begin} of {steps}", file=sys.stderr)

    def show(self, step: int, metrics: Mapping[str, float]) -> None:
        now = time.perf_counter()
        if self.clock is None:  # the first step is compilation
            self.clock, self.start = now, step
        due = self.shown is None or now - self.shown >= self.EVERY[self.live]
        if not due and step < self.steps:
            return
        self.shown = now
        rate = (step - self.start) / max(now - self.clock, 1e-9)
        left = f"{_clock((self.steps - step) / rate)} left" if rate else "compiled"
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        line = (
            f"{self.title}  step {step}/{self.steps}  {rate * self.batch:.0f} images/s  "
            f"{left}  {numbers}"
        )
        end = "" if self.live else "\n"
        print(
            ("\r\x1b[K" if self.live else "") + line, end=end, file=sys.stderr, flush=True
        )

    def close(self) -> None:
        if self.live and self.shown:
            print(file=sys.stderr)


def read_lines(workdir: Path) -> list[dict[str, Any]]:
    """The whole lines of metrics.jsonl; a last half-written one is left out."""
    path = Path(workdir) / "metrics.jsonl"
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def write_json(path: Path, value: Any) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2, default=str) + "\n")
    os.replace(partial, path)


def draw(picture: Any, name: str, path: Path) -> None:
    """One Grid, Scatter, Lines or text as a file beside `path` (.png or .txt)."""
    if isinstance(picture, str):
        path.with_suffix(".txt").write_text(picture)
        return
    from matplotlib.figure import Figure

    figure = Figure(dpi=110, layout="constrained")
    if isinstance(picture, Grid):
        _grid(figure, picture)
    elif isinstance(picture, Scatter):
        _scatter(figure, picture)
    elif isinstance(picture, Lines):
        _lines(figure, picture)
    else:
        raise ValueError(
            f"{name}: a picture is a Grid, Scatter, Lines or text, got {type(picture)}"
        )
    figure.savefig(path.with_suffix(".png"))


def _grid(figure, grid):
    images = np.clip(np.asarray(grid.images, np.float32), 0, 1)
    rows, columns, h, w, c = images.shape
    gap = 1 if max(h, w) < 64 else 2
    canvas = np.ones((rows * (h + gap), columns * (w + gap), c), np.float32)
    for i in range(rows):
        for j in range(columns):
            top, left = i * (h + gap), j * (w + gap)
            canvas[top : top + h, left : left + w] = images[i, j]
    inches = (1.3 if grid.columns else 0.5) * max(1, min(3, max(h, w) / 64))
    figure.set_size_inches(inches * columns + 0.2, inches * rows * h / w + 0.4)
    axes = figure.subplots()
    axes.imshow(canvas.squeeze(-1) if c == 1 else canvas, cmap="gray", vmin=0, vmax=1)
    centers = (np.arange(columns) + 0.5) * (w + gap)
    axes.set_xticks(centers if grid.columns else [], grid.columns)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9)
    axes.set_yticks([])
    axes.set_frame_on(False)


def _scatter(figure, scatter):
    figure.set_size_inches(6.4, 5.6)
    axes = figure.subplots()
    labels = np.asarray(scatter.labels)
    for label in np.unique(labels):
        x, y = np.asarray(scatter.xy)[labels == label].T
        axes.scatter(x, y, s=7, color=f"C{int(label) % 10}", label=str(label))
    axes.legend(markerscale=2, fontsize=8, ncols=2, framealpha=0.6)
    axes.set_title(scatter.title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


def _lines(figure, lines):
    figure.set_size_inches(6.4, 3.6)
    axes = figure.subplots()
    for name, y in lines.ys.items():
        axes.plot(np.arange(1, len(y) + 1), y, label=name, marker=lines.marker)
    axes.set_yscale("log" if lines.log else "linear")
    axes.set_xlabel(lines.x)
    axes.set_title(lines.title, fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def curves(workdir: Path) -> None:
    """Draws every metric of metrics.jsonl against the step, one figure a stage."""
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
            (Path(workdir) / "figures" / _file(stage, "curves")).with_suffix(".png")
        )


def table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each stage's final metrics, and the baselines beside them."""
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
    """The final table, on the terminal."""
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
    """Puts numbers, figures, knobs and provenance on one self-contained page."""
    workdir = Path(workdir)
    curves(workdir)
    body = [_html_table(*table(result)), *_doctor_panel(result)]
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
    partial = path.with_suffix(".partial")
    partial.write_text(
        PAGE.format(title=_text(result["config"]["title"]), body="\n".join(body))
    )
    os.replace(partial, path)
    return path


def _doctor_panel(result):
    """What the doctor says of each stage, and the numbers it says it by."""
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
    if path.suffix == ".txt":
        return f"<pre>{_text(path.read_text())}</pre>"
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{_text(path.stem)}" src="data:image/png;base64,{data}">'


def _html_table(headings, rows):
    def row(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{_text(c)}</{tag}>" for c in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table>{row(headings, 'th')}{body}</table>"


def _text(value):
    return html.escape(str(value))


def _file(stage, name):
    return re.sub(r"[^a-z0-9.-]+", "-", f"{stage}--{name}".lower())


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
