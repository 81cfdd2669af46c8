"""A pair: the same work done by jssl and by another library, each in its own process."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Work(NamedTuple):
    """What one side does over and over.

    Attributes:
      call: does it once, and has it done when it returns (a training step may return
        while it runs, if the next waits for it).
      units: how much one call does: so many images, pairs, clusterings.
      warm: calls before the clock runs: compilation, first allocations, full queues.
      calls: timed ones, at least.
      notes: () -> what should be known of the result, asked after the clock stopped.
    """

    call: Callable[[], Any]
    units: float = 1.0
    warm: int = 2
    calls: int = 3
    notes: Callable[[], Mapping[str, Any]] = dict


class Pair(NamedTuple):
    """Two sides, and how far apart they should be.

    Attributes:
      unit: of the work: "image".
      ours: (quick) -> Work, with jax imported inside.
      theirs: by name, the ways that the other side has, with torch or others imported
        inside; the fastest counts.
      target: how many times our rate should be theirs; None where nothing is claimed.
      at_most: the target is, instead, how many times as long as theirs ours may take.
      flops: of the matrix products behind a unit, to be held against the ceiling.
    """

    unit: str
    ours: Callable[[bool], Work]
    theirs: Mapping[str, Callable[[bool], Work]]
    target: float | None
    at_most: bool = False
    flops: float = 0.0


def measure(work: Work, seconds: float) -> tuple[float, int]:
    """(seconds a unit, timed calls), over calls that last `seconds` together or more."""
    for _ in range(work.warm):
        work.call()
    calls, begin = 0, time.perf_counter()
    while True:
        work.call()
        calls += 1
        spent = time.perf_counter() - begin
        if spent >= seconds and calls >= work.calls:
            return spent / (calls * work.units), calls


def noise(n: int, size: int, channels: int):
    """Images uint8 [n, size, size, channels], the same for both sides."""
    import numpy as np

    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (n, size, size, channels), np.uint8)


def training(stage, units: float) -> Work:
    """Steps of a stage as `jssl.loop` takes them: rows are drawn and placed, the step is
    dispatched, and the metrics of the step before are fetched."""
    import jax

    from jssl.engine import Engine

    engine = Engine(stage)
    batches, state = engine.batches(0, None), engine.begin({})
    step, pending = 0, {}

    def call():
        nonlocal state, step, pending
        state, metrics = engine.advance(state, step, next(batches))
        jax.device_get(pending)
        pending, step = metrics, step + stage.dispatch

    last = lambda: {k: float(v[-1]) for k, v in jax.device_get(pending).items()}
    return Work(call, units, notes=last)


def without_end(loader):
    """Batches of one epoch after the other."""
    while True:
        yield from loader
