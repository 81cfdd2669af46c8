"""How a step's time and memory grow: python benchmarks/curves.py run | draw

`run` measures, every point in a process of its own and on this machine's CPU: the median
second of a step (batches fed, metrics awaited) and the bytes a device that the compiled
step wants, arguments, results and scratch. It keeps what it has in benchmarks/curves.json
and goes on from there; `draw` makes curves.png and the tables of CURVES.md, under what
CURVES.md says of them. The devices are of one CPU, whose cores they share.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
KEPT, PAGE, FIGURE = (HERE / name for name in ("curves.json", "CURVES.md", "curves.png"))
MARK = "<!-- what follows is written by curves.py -->"
DEVICES = (1, 2, 4, 8)


def stacked(width):
    return f"widths=({width},{2 * width},{4 * width})"


CURVES = {  # method: what grows: the knob of experiments/METHOD.py at each size
    "simclr": {
        "batch": {n: f"batch={n}" for n in (64, 128, 256, 512, 1024)},
        "width": {n: stacked(n) for n in (8, 16, 32, 64)},
        "depth": {n: f"widths=({'64,' * n})" for n in (1, 2, 3, 4)},
    },
    "moco": {
        "batch": {n: f"batch={n}" for n in (64, 128, 256, 512, 1024)},
        "width": {n: stacked(n) for n in (8, 16, 32, 64)},
        "queue": {n: f"queue={n}" for n in (1024, 4096, 16_384, 65_536)},
    },
    "mae": {
        "batch": {n: f"batch={n}" for n in (32, 64, 128, 256, 512)},
        "width": {n: f"width={n}" for n in (48, 96, 192, 384)},
        "depth": {n: f"depth={n}" for n in (2, 4, 8, 16)},
    },
    "rbm": {
        "batch": {n: f"batch={n}" for n in (25, 50, 100, 200, 400)},
        "width": {n: f"hidden={n}" for n in (125, 250, 500, 1000, 2000)},
        "depth": {n: f"k={n}" for n in (1, 2, 4, 8)},  # sweeps of the chain
    },
}


def point(method, words, devices, seconds):
    """{"seconds", "bytes"} of a step, measured in this process for some seconds."""
    from jssl import tuning

    tuning.tune()
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    from jssl import config
    from jssl.engine import Engine

    stage = config.load(f"{HERE.parent}/experiments/{method}.py:{words}").stages()[-1]
    stage = dataclasses.replace(stage, steps=10**9, evals={}, baselines={})
    engine = Engine(stage)
    state, batches, step, spent = engine.begin({}), engine.batches(0, None), 0, []
    begin = time.perf_counter()
    while len(spent) < 7 or time.perf_counter() - begin < seconds:
        batch, before = next(batches), time.perf_counter()
        state, metrics = engine.advance(state, step, batch)
        jax.block_until_ready((state, metrics))
        spent.append((time.perf_counter() - before) / stage.dispatch)
        step += stage.dispatch
    plan = engine.traced().lower().compile().memory_analysis()
    size = plan.argument_size_in_bytes + plan.temp_size_in_bytes
    size += plan.output_size_in_bytes - plan.alias_size_in_bytes
    return {"seconds": statistics.median(spent[2:]), "bytes": size}


def points():
    """(method, what grows, size, knob, devices) of every point."""
    for method, curves in CURVES.items():
        for axis, sizes in curves.items():
            for size, words in sizes.items():
                yield method, axis, size, words, 1
        for devices in DEVICES:
            yield method, "devices", devices, "batch=256", devices


def run():
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    where = os.environ | {"PYTHONPATH": str(HERE.parent), "JAX_PLATFORMS": "cpu"}
    for method, axis, size, words, devices in points():
        sizes = kept.setdefault(method, {}).setdefault(axis, {})
        if str(size) in sizes:
            continue
        command = [sys.executable, __file__, "point", method, words, str(devices)]
        done = subprocess.run(command, capture_output=True, text=True, env=where)
        if done.returncode:
            sys.exit(f"{method} {axis} {size}: {done.stderr.strip()[-300:]}")
        sizes[str(size)] = json.loads(done.stdout.splitlines()[-1])
        print(method, axis, size, sizes[str(size)], flush=True)
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")


def draw():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kept = json.loads(KEPT.read_text())
    axes = ("batch", "width", "depth", "queue", "devices")
    figure, grid = plt.subplots(2, len(axes), figsize=(15, 6), layout="constrained")
    for column, axis in enumerate(axes):
        for place, what in zip(grid[:, column], ("seconds", "bytes"), strict=True):
            reach = 1
            for color, (method, curves) in enumerate(kept.items()):
                if axis in curves:
                    sizes = [int(size) for size in curves[axis]]
                    values = [at[what] for at in curves[axis].values()]
                    x = [size / sizes[0] for size in sizes]
                    y = [value / values[0] for value in values]
                    place.loglog(x, y, "o-", label=method, color=f"C{color}", base=2)
                    reach = max(reach, *x)
            # The devices share one CPU and one batch: no sooner, but with less each.
            most = reach if axis != "devices" else 1 if what == "seconds" else 1 / reach
            line = dict(linestyle=":", color="gray", label="in proportion")
            place.loglog([1, reach], [1, most], base=2, **line)
            for side in (place.xaxis, place.yaxis):
                side.set_major_formatter("{x:g}")
            place.set_xlabel(f"{axis}, times the least")
            name = "seconds a step" if what == "seconds" else "bytes a device"
            place.set_ylabel(f"{name}, times the first")
            place.grid(alpha=0.3)
            place.legend(fontsize=8)
    figure.savefig(FIGURE, dpi=110)
    above = PAGE.read_text().partition(MARK)[0] if PAGE.exists() else ""
    PAGE.write_text("\n".join([above + MARK, *tables(kept)]) + "\n")


def tables(kept):
    """A markdown table a method, line by line; growth is against the size before."""
    for method, curves in kept.items():
        yield f"\n{method}\n\n| | size | ms a step | growth | MB a device | growth |"
        yield "|---|---|---|---|---|---|"
        for axis, sizes in curves.items():
            before = None
            for size, at in sizes.items():
                ms, mb = 1e3 * at["seconds"], at["bytes"] / 1e6
                grown = ("", "")
                if before:
                    grown = f"{ms / before[0]:.2f}", f"{mb / before[1]:.2f}"
                cells = axis, size, f"{ms:.3g}", grown[0], f"{mb:.3g}", grown[1]
                yield f"| {' | '.join(cells)} |"
                before = ms, mb


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run")
    commands.add_parser("draw")
    one = commands.add_parser("point")
    one.add_argument("method")
    one.add_argument("words")
    one.add_argument("devices", type=int)
    one.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    if options.command == "point":
        words, devices = options.words, options.devices
        print(json.dumps(point(options.method, words, devices, options.seconds)))
    else:
        {"run": run, "draw": draw}[options.command]()


if __name__ == "__main__":
    main()
