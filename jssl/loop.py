"""The training loop, the same for all methods.

The state is one pytree, created sharded, donated to each step and checkpointed as a whole.
Step i has the key fold_in(key, i) and the rows of step i in the order of the data, both
pure functions of the seed and i, so that a resumed run is identical to an uninterrupted
one.
"""

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jssl.checkpoint import Checkpoints
from jssl.cluster import Stopped
from jssl.config import Stage
from jssl.engine import Engine, row
from jssl.evals.doctor import Verdict, diagnose
from jssl.features import Features, evaluate, render
from jssl.learner import GRAD_NORM
from jssl.log import Log

ONLINE = 1024  # rows of a split in an evaluation during training


class NotFinite(ValueError):
    """A metric or a weight is NaN or infinite."""


class Finished(NamedTuple):
    """The result of a stage.

    Attributes:
      state: final state.
      metrics: of the last step, and of the evals on the test split.
      seconds: of training in this process.
      samples: number of samples trained on in this process.
      verdict: of the doctor.
      failed: errors of evals and pictures at the end, by name.
      split: evaluated by the final evals.
    """

    state: Any
    metrics: dict[str, float]
    seconds: float
    samples: int
    verdict: Verdict
    failed: dict[str, str]
    split: str


def run(
    stage: Stage | Engine,
    workdir: Path,
    done: Mapping[str, Any],
    log: Log,
    keep: int = 2,
) -> Finished:
    """Trains a stage, from its last checkpoint if it has one, and evaluates it.

    An eval or a picture that fails is reported in one line and omitted.

    Args:
      stage: the stage, or its engine.
      workdir: parent of the folder of the stage.
      done: states of earlier stages, by name.
      log: receives metrics and pictures.
      keep: number of newest checkpoints kept.

    Raises:
      NotFinite: a metric or the state is not finite; such states are never saved.
      Stopped: after SIGTERM or SIGINT, with the state saved.
    """
    engine = stage if isinstance(stage, Engine) else Engine(stage)
    stage = engine.stage
    with contextlib.ExitStack() as stack:
        with _checkpoints(stage, workdir, keep) as saved, _signals() as came:
            begin, state, order = saved.latest(engine.shapes) or (0, None, None)
            if state is None:
                state = engine.begin(done)
            stack.enter_context(log.stage(stage, begin))
            last: dict[str, float] = {}
            pending, clock, step = [], time.perf_counter(), begin
            batches = engine.batches(begin, order)
            history = log.history(stage.name)  # of an earlier process

            def drain():
                for at, metrics in pending:
                    last.update(_finite(stage, at, jax.device_get(metrics)))
                    log.metrics(at, last)
                if pending:
                    log.speed(at)
                pending.clear()

            while step < stage.steps:
                if engine.is_due(stage.refresh_every, step):
                    state, order = engine.refresh(state, step)
                    batches = engine.batches(step, order)
                state, metrics = engine.advance(state, step, next(batches))
                drain()  # earlier metrics only: the host does not wait for the newest
                count = len(next(iter(metrics.values())))
                pending += [(step + i + 1, row(metrics, i)) for i in range(count)]
                step += count
                stop = _stopping(came)
                if stop or engine.is_due(stage.save_every, step) or step == stage.steps:
                    drain()
                    _check_state(engine, state, step)
                    saved.save(step, state, order)
                if stop:
                    raise _stopped(came, step, stage.steps)
                if engine.is_due(stage.eval_every, step) and step < stage.steps:
                    drain()
                    _check_state(engine, state, step)
                    features = Features(engine, state, done, limit=ONLINE)
                    found = evaluate(features, final=False)
                    val = f"{stage.data.split_words('val')}/"
                    log.metrics(step, found.scores | prefixed(found.signs), val)
                    log.failures(found.failed | log.pictures(stage.steps, found.pictures))
                    history.append((step, last | found.signs))
                    log.print_verdict(diagnose(history, stage.chance))
                if engine.is_due(stage.render_every, step) and step < stage.steps:
                    pictures, failed = render(Features(engine, state, done))
                    log.failures(failed | log.pictures(step, pictures))
            seconds = time.perf_counter() - clock
            samples = (step - begin) * stage.data.batch
        features = Features(engine, state, done)
        made = partial(log.metrics, step, prefix="final/")
        found = evaluate(features, final=True, made=made)
        pictures, failed = render(features)
        failed = found.failed | failed | log.pictures(step, found.pictures | pictures)
        log.failures(failed)
        failed = log.counted(failed)
    last = last or log.last_metrics(stage.name)
    verdict = diagnose([*history, (step, last | found.signs)], stage.chance)
    metrics = last | found.scores | prefixed(found.signs)
    return Finished(state, metrics, seconds, samples, verdict, failed, found.split)


def prefixed(signs: Mapping[str, float]) -> dict[str, float]:
    """The doctor's numbers with the prefix "doctor/"."""
    return {f"doctor/{name}": value for name, value in signs.items()}


def _finite(stage, step, metrics):
    for name in sorted(metrics, key=lambda name: name.endswith(GRAD_NORM)):
        value = metrics[name]
        if not np.isfinite(value):
            raise NotFinite(
                f"{name} is {value} at step {step} of {stage.name}: the run stops, its "
                f"last checkpoint is kept; try a lower learning rate"
            )
    return {name: float(value) for name, value in metrics.items()}


def _stopped(came, step, steps):
    number = came[0] if came else signal.SIGTERM  # of another process
    name = signal.Signals(number).name
    return Stopped(f"stopped by {name} after step {step} of {steps}; saved", number)


def _check_state(engine, state, step):
    """Raises NotFinite, with the path of a leaf, unless the whole state is finite."""
    if not engine.is_finite(state):
        paths = jax.tree_util.tree_leaves_with_path(state)
        bad = (path for path, leaf in paths if not engine.is_finite(leaf))
        name = jax.tree_util.keystr(next(bad), simple=True, separator="/")
        raise NotFinite(
            f"{name} is not finite after step {step} of {engine.stage.name}: the run "
            f"stops, its last checkpoint is kept; try a lower learning rate"
        )


def _checkpoints(stage, workdir, keep):
    if not stage.steps:
        return _NoCheckpoints()
    return Checkpoints(Path(workdir) / stage.name, keep)


class _NoCheckpoints(contextlib.nullcontext):
    """Checkpoints of stages without steps."""

    def __enter__(self):
        return self

    def latest(self, shapes):
        return None


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that receives the number of a SIGTERM or SIGINT; a second SIGINT interrupts.

    With several processes JAX's preemption service notifies all of them of a SIGTERM;
    SIGINT is passed on as one.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    many = jax.process_count() > 1

    def stop(number, frame):
        if number == signal.SIGINT and came:
            signal.default_int_handler(number, frame)
        came.append(number)
        if many:
            os.kill(os.getpid(), signal.SIGTERM)

    numbers = (signal.SIGINT,) if many else (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopping(came) -> bool:
    """True to stop at this step; the same in all processes.

    JAX's service chooses a sync point above the largest number queried by any process.
    Queries are therefore numbered consecutively: step numbers repeat in the next stage, and
    with dispatch > 1 most would be skipped.
    """
    if jax.process_count() == 1:
        return bool(came)
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(next(_asked))


_asked = itertools.count(1)
