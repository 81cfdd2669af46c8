"""The training loop, the same for all methods.

The state is one pytree, created sharded, donated to each step and checkpointed as a whole.
Step i has the key fold_in(key, i) and the rows of step i in the order of the data, both
pure functions of the seed and i, so that a resumed run is identical to an uninterrupted
one.
"""

import contextlib
import itertools
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jssl.checkpoint import Checkpoints
from jssl.config import Stage
from jssl.engine import Engine, row
from jssl.evals.doctor import Verdict, diagnose
from jssl.features import Features, evaluate, render
from jssl.log import Log


class Stopped(Exception):
    """The run was stopped by SIGTERM, after saving a checkpoint."""


class NotFinite(ValueError):
    """A metric is NaN or infinite."""


class Finished(NamedTuple):
    """The result of a stage.

    Attributes:
      state: final state.
      metrics: of the last step, and of the evals on the test split.
      seconds: of training in this process.
      samples: number of samples trained on in this process.
      verdict: of the doctor.
    """

    state: Any
    metrics: dict[str, float]
    seconds: float
    samples: int
    verdict: Verdict


def run(
    stage: Stage, workdir: Path, done: Mapping[str, Any], log: Log, keep: int = 2
) -> Finished:
    """Trains a stage, from its last checkpoint if it has one, and evaluates it.

    Args:
      stage: the stage.
      workdir: parent of the folder of the stage.
      done: states of earlier stages, by name.
      log: receives metrics and pictures.
      keep: number of newest checkpoints kept.

    Raises:
      NotFinite: a metric is not finite; such states are never saved.
      Stopped: after SIGTERM, with the state saved.
    """
    engine = Engine(stage)
    with contextlib.ExitStack() as stack:
        came = stack.enter_context(_sigterm())
        saved = stack.enter_context(_checkpoints(stage, workdir, keep))
        begin, state, order = saved.latest(engine.shapes) or (0, None, None)
        if state is None:
            state = engine.begin(done)
        stack.enter_context(log.stage(stage, begin))
        pending, last, clock, step = [], {}, time.perf_counter(), begin
        batches = engine.batches(begin, order)
        history = log.history(stage.name)  # of an earlier process

        def drain():
            for at, metrics in pending:
                last.update(_finite(stage, at, jax.device_get(metrics)))
                log.metrics(at, last)
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
                saved.save(step, state, order)
            if stop:
                raise Stopped(
                    f"stopped by SIGTERM after step {step} of {stage.steps}; saved"
                )
            if engine.is_due(stage.eval_every, step) and step < stage.steps:
                drain()
                features = Features(engine, state, done)
                scores, signs, pictures = evaluate(features, final=False)
                log.metrics(step, scores | prefixed(signs), "val/")
                log.pictures(stage.steps, pictures)
                history.append((step, last | signs))
                log.print_verdict(diagnose(history, stage.chance))
            if engine.is_due(stage.render_every, step) and step < stage.steps:
                log.pictures(step, render(Features(engine, state, done)))
        seconds = time.perf_counter() - clock
        samples = (step - begin) * stage.data.batch
    features = Features(engine, state, done)
    scores, signs, pictures = evaluate(features, final=True)
    log.pictures(step, pictures | render(features))
    metrics = last or log.last_metrics(stage.name)
    verdict = diagnose([*history, (step, metrics | signs)], stage.chance)
    return Finished(state, metrics | scores | prefixed(signs), seconds, samples, verdict)


def prefixed(signs: Mapping[str, float]) -> dict[str, float]:
    """The doctor's numbers with the prefix "doctor/"."""
    return {f"doctor/{name}": value for name, value in signs.items()}


def _finite(stage, step, metrics):
    for name, value in metrics.items():
        if not np.isfinite(value):
            raise NotFinite(
                f"{name} is {value} at step {step} of {stage.name}: the run stops, its "
                f"last checkpoint is kept; try a lower learning rate"
            )
    return {name: float(value) for name, value in metrics.items()}


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
def _sigterm():
    """A list that becomes nonempty when this process receives SIGTERM."""
    came = []
    if jax.process_count() > 1:  # JAX's preemption service notifies all processes
        yield came
        return
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(True))
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


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
