"""What the loop costs beside the compiled step: python benchmarks/overhead.py [CONFIG ...]

In turn, several times: the same steps through `loop.run` (batches read and placed, metrics
fetched, metrics.jsonl and TensorBoard written), and bare (one batch, placed before, fed
again and again). Printed, for a step: medians of the seconds either way, and the processor
time that the loop's own thread took, of which what the bare loop takes is the dispatch.
"""

import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax

from jssl import config, loop
from jssl.engine import Engine
from jssl.log import Log

CONFIGS = ("experiments/mae.py", "experiments/simclr.py")
STEPS, FIRST, TURNS = 60, 12, 5  # the first are compilation


class Timed(Log):
    """Notes when metrics come."""

    def __init__(self, workdir):
        super().__init__(workdir)
        self.times = {}

    def metrics(self, step, metrics, prefix=""):
        self.times[step] = clocks()
        super().metrics(step, metrics, prefix)


def clocks():
    return time.perf_counter(), time.thread_time()


def looped(stage):
    with tempfile.TemporaryDirectory() as folder:
        log = Timed(Path(folder))
        loop.run(stage, Path(folder), {}, log)
    return a_step(log.times)


def bare(stage):
    engine, times = Engine(stage), {}
    state, batch = engine.begin({}), next(engine.batches(0, None))
    for step in range(0, stage.steps, stage.dispatch):
        state, metrics = engine.advance(state, step, batch)
        jax.block_until_ready(metrics)
        times[step + stage.dispatch] = clocks()
    return a_step(times)


def a_step(times):
    """(seconds, processor seconds of this thread) a step, past the first."""
    late = sorted(step for step in times if step >= FIRST)
    both = zip(times[late[0]], times[late[-1]], strict=True)
    return [(end - begin) / (late[-1] - late[0]) for begin, end in both]


def main():
    for spec in sys.argv[1:] or CONFIGS:
        stage = config.load(spec).stages()[-1]
        quiet = dict(evals={}, baselines={}, save_every=0, eval_every=0, render_every=0)
        stage = dataclasses.replace(stage, steps=STEPS, **quiet)
        runs = [(looped(stage), bare(stage)) for _ in range(TURNS)]
        (loop_s, loop_cpu), (bare_s, bare_cpu) = (
            [statistics.median(run[i][j] for run in runs) for j in (0, 1)] for i in (0, 1)
        )
        print(
            f"{spec}: {1e3 * loop_s:.2f} ms a step looped, {1e3 * bare_s:.2f} bare, ratio "
            f"{loop_s / bare_s:.3f}; the loop's thread {1e3 * loop_cpu:.2f} ms, of which "
            f"{1e3 * (loop_cpu - bare_cpu):.2f} are not dispatch",
            flush=True,
        )


if __name__ == "__main__":
    main()
