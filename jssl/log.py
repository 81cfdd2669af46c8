"""The log of a run: metrics.jsonl, TensorBoard events, pictures, and the progress line.

metrics.jsonl   {"stage", "step", metric: value ...}, one line per step; metrics of evals
                have the prefix "val/", or "val (trained on)/" if val is part of train,
                at the end of a stage "final/"
tensorboard/    the same for TensorBoard, and the speed, "samples/s"
figures/        pictures
"""

import contextlib
import itertools
import json
import os
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from jssl.cache import written
from jssl.cluster import recorded
from jssl.evals.doctor import Verdict
from jssl.pictures import Picture, draw

VAL = ("val/", "val (trained on)/")  # the latter where val is part of train
EVALUATED = (*VAL, "final/")  # prefixes of metrics that are not of a training step


class Log:
    """Writes the log of a run, in the first process only.

    Args:
      workdir: of the run.
      title: of the progress line; empty: the name of the stage.
    """

    def __init__(self, workdir: Path, title: str = ""):
        self.workdir, self.title = Path(workdir), title
        self.name, self.steps, self.printed = "", 0, "healthy"
        self.events: Events | None = None  # once there are metrics
        self.timed: Any = None  # (step, seconds) of the last record of the speed
        self.failed: Counter[str] = Counter()  # times that an eval or a picture failed
        self.active = jax.process_index() == 0
        if self.active:
            (self.workdir / "figures").mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def stage(self, stage: Any, step: int) -> Iterator[None]:
        """Opens a stage at `step`, deleting lines of later steps."""
        self.name, self.steps, self.timed = stage.name, stage.steps, None
        self.failed.clear()
        if not self.active:
            yield
            return
        self._cut_back(step)
        data = stage.data
        self.progress = Progress(
            self.title or stage.name, stage.steps, step, data.batch, data.row_tokens
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
        """Records scalars after `step` steps."""
        if not self.active or not metrics:
            return
        named = {prefix + name: value for name, value in metrics.items()}
        self.lines.write(json.dumps({"stage": self.name, "step": step} | named) + "\n")
        self._tensorboard(step, named)
        if prefix != "final/":
            shown = {k: x for k, x in named.items() if "doctor/" not in k}
            self.progress.show(step, shown)

    def speed(self, step: int) -> None:
        """Records samples, and tokens, per second for TensorBoard: each second, at the end.

        Args:
          step: the last one that has been computed.
        """
        now = time.perf_counter()
        before, since = self.timed = self.timed or (step, now)  # after compilation
        if self.active and step > before and (now - since >= 1 or step == self.steps):
            rate = (step - before) * self.progress.batch / (now - since)
            tokens = self.progress.tokens
            of_text = {"tokens/s": rate * tokens} if tokens else {}
            self._tensorboard(step, {"samples/s": rate} | of_text)
            self.timed = step, now

    def pictures(self, step: int, pictures: Mapping[str, Picture]) -> dict[str, str]:
        """Draws pictures into figures/, with the step in the name before the end.

        Returns:
          The errors of pictures that could not be drawn, by name.
        """
        failed: dict[str, str] = {}
        if not self.active:
            return failed
        moment = f" after {step:06} steps" if step < self.steps else ""
        for name, picture in pictures.items():
            with recorded(failed, name):
                file = figure_name(self.name, name + moment)
                draw(picture, name, self.workdir / "figures" / file)
        return failed

    def failures(self, failed: Mapping[str, str]) -> None:
        """Prints evals and pictures that fail for the first time; counts the others."""
        for name, why in failed.items():
            self.failed[name] += 1
            if self.failed[name] == 1:
                self._print(f"{name} failed and is omitted: {why}")

    def counted(self, failed: Mapping[str, str]) -> dict[str, str]:
        """The failures at the end of a stage, with the number of times of each.

        Evals that failed repeatedly, but not at the end, are printed.
        """
        times = {name: n for name, n in self.failed.items() if n > 1}
        for name in times.keys() - failed.keys():
            self._print(f"{name} failed {times[name]} times, and not at the end")
        return {
            name: f"{why} ({times[name]} times)" if name in times else why
            for name, why in failed.items()
        }

    def _print(self, words):
        if self.active:
            print(f"jssl: {self.title or self.name}: {words}", file=sys.stderr)

    def print_verdict(self, verdict: Verdict) -> None:
        """Prints the doctor's diagnosis, unless there is none or it has been printed."""
        if self.active and verdict.kind not in ("healthy", "undecided", self.printed):
            print(f"\ndoctor: {verdict.words}", file=sys.stderr)
        self.printed = verdict.kind

    def history(self, stage: str) -> list[tuple[int, dict[str, float]]]:
        """(step, metrics and the doctor's numbers) of each examination of a stage."""
        steps, marks = {}, tuple(f"{prefix}doctor/" for prefix in VAL)

        def plain(name):
            return name.partition("doctor/")[2] if name.startswith(marks) else name

        for row in read_lines(self.workdir):
            if row["stage"] == stage:
                steps.setdefault(row["step"], {}).update(row)
        return [
            (
                step,
                {plain(name): x for name, x in row.items() if isinstance(x, float)},
            )
            for step, row in steps.items()
            if any(name.startswith(marks) for name in row)
        ]

    def last_metrics(self, stage: str) -> dict[str, float]:
        """The metrics of the last step of a stage, possibly of an earlier process."""
        rows = [row for row in read_lines(self.workdir) if row["stage"] == stage]
        trained = [row for row in rows if not any(k.startswith(EVALUATED) for k in row)]
        last = {} if not trained else trained[-1]
        return {k: v for k, v in last.items() if k not in ("stage", "step")}

    def _cut_back(self, step):
        """Deletes lines of a stage after the restored step, and its final metrics."""
        path = self.workdir / "metrics.jsonl"
        kept = [
            row
            for row in read_lines(self.workdir)
            if row["stage"] != self.name
            or (row["step"] <= step and not any(k.startswith("final/") for k in row))
        ]
        with written(path) as part:
            part.write_text("".join(json.dumps(row) + "\n" for row in kept))

    def _tensorboard(self, step, metrics):
        from tensorboard.compat.proto import event_pb2, summary_pb2

        if self.events is None:
            self.events = Events(self.workdir / "tensorboard" / self.name)
            restart = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self.events.add(step=step, session_log=restart)
        values = [
            summary_pb2.Summary.Value(tag=name, simple_value=float(value))
            for name, value in metrics.items()
        ]
        summary = summary_pb2.Summary(value=values)
        self.events.add(step=step, summary=summary)


class Events:
    """A file of TensorBoard events.

    TensorBoard's own writer has a thread, in which a full disk is a traceback.

    Args:
      folder: of the file, which gets a name of its own.
    """

    def __init__(self, folder: Path):
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns() // 10**9}.{socket.gethostname()}.{os.getpid()}"
        self.file = (folder / f"events.out.tfevents.{name}.{next(_files)}").open("wb")
        self.records = RecordWriter(self.file)
        self.add(file_version="brain.Event:2")

    def add(self, **fields: Any) -> None:
        """Writes an event of this moment."""
        from tensorboard.compat.proto import event_pb2

        event = event_pb2.Event(wall_time=time.time(), **fields)
        try:
            self.records.write(event.SerializeToString())
            self.file.flush()
        except OSError:
            with contextlib.suppress(OSError):  # of what is still in its buffer
                self.file.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self.file.close()


_files = itertools.count()  # files of one second are sorted by it


class Progress:
    """The progress line: step, samples (and tokens) per second, remaining time, metrics.

    If the output is not a terminal, a new line every 15 seconds.
    """

    EVERY = {True: 0.2, False: 15.0}  # seconds; True: terminal

    def __init__(self, title: str, steps: int, begin: int, batch: int, tokens: int = 0):
        self.title, self.steps, self.begin, self.batch = title, steps, begin, batch
        self.tokens = tokens  # of a row
        self.live = sys.stderr.isatty()
        self.clock: Any = None
        self.shown: Any = None
        if 0 < begin < steps:
            print(f"{title}: resuming at step {begin} of {steps}", file=sys.stderr)

    def show(self, step: int, metrics: Mapping[str, float]) -> None:
        """Updates the line if it is due."""
        now = time.perf_counter()
        if self.clock is None:  # the first step includes compilation
            self.clock, self.start = now, step
        due = self.shown is None or now - self.shown >= self.EVERY[self.live]
        if not due and step < self.steps:
            return
        self.shown = now
        rate = (step - self.start) / max(now - self.clock, 1e-9)
        left = f"{_clock((self.steps - step) / rate)} left" if rate else "compiled"
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        speed = f"{rate * self.batch:.0f} samples/s"
        if self.tokens:
            speed += f"  {rate * self.batch * self.tokens:.0f} tokens/s"
        line = f"{self.title}  step {step}/{self.steps}  {speed}  {left}  {numbers}"
        end = "" if self.live else "\n"
        print(
            ("\r\x1b[K" if self.live else "") + line, end=end, file=sys.stderr, flush=True
        )

    def close(self) -> None:
        """Ends the line."""
        if self.live and self.shown:
            print(file=sys.stderr)


def read_lines(workdir: Path) -> list[dict[str, Any]]:
    """The complete lines of metrics.jsonl, without a truncated last line."""
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
    """Writes a JSON file atomically."""
    with written(path) as part:
        part.write_text(json.dumps(value, indent=2, default=str) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text())


def figure_name(stage: str, name: str) -> str:
    """File name of a picture, without suffix: "pretrain--nearest-neighbors"."""
    return re.sub(r"[^a-z0-9.-]+", "-", f"{stage}--{name}".lower())


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
