"""Losses timed side by side with lightly's on torch, and what `chunk` saves.

    python benchmarks/losses.py ours                    # needs jax
    python benchmarks/losses.py theirs                  # needs torch and lightly
    python benchmarks/losses.py compare --ours=PYTHON --theirs=PYTHON [--rounds=3]
    python benchmarks/losses.py memory [--theirs=PYTHON]

`compare` alternates the two, each in a fresh process with the interpreter given, so that
whatever else the machine does falls on both alike. `memory` measures NT-Xent plain,
with chunk=1024 and, given an interpreter, lightly's: each case in a process of its own,
whose peak is its largest resident set less that before the first call. All print a
markdown table and then the same as JSON. Value and gradient are meant throughout,
float32, on the CPU with `--threads` threads.

Measure on an idle machine. torch's threads wait for one another by spinning, and where
others want the cores its small operations take up to a hundred times as long (jax's
threads sleep): OMP_WAIT_POLICY=PASSIVE in the environment shows how much of a difference
is due to that.
"""

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOSSES = ("nt_xent", "barlow_twins", "vicreg", "dino", "swav")
COLUMNS = {"dino": 1024, "swav": 512}  # prototypes; the others have d = 128 features
D, CHUNK = 128, 1024


def arrays(name, n):
    """Two views, the second near the first; for SwAV scores between -1 and 1."""
    import numpy as np

    draw = np.random.default_rng(0)
    a = draw.standard_normal((n, COLUMNS.get(name, D)), np.float32)
    b = a + 0.5 * draw.standard_normal(a.shape, np.float32)
    if name == "swav":
        a, b = (np.tanh(x / 3) for x in (a, b))
    return a, b


def ours(name, n, chunk=None):
    """A function without arguments: value and gradients by jssl, once compiled."""
    sys.path.insert(0, ROOT)
    import jax
    import jax.numpy as jnp

    from jssl import losses

    def dino(a, b):  # lightly's moves its centre at each call; so does this
        views = jnp.stack([a, b], 1)  # [n, 2, k]
        center = jnp.zeros(views.shape[-1])
        loss = losses.dino(views, jax.lax.stop_gradient(views), center)
        return loss, losses.update_center(center, views)

    def swav(a, b):
        return losses.swav(jnp.stack([a, b], 1))

    functions = {
        "nt_xent": functools.partial(losses.nt_xent, temperature=0.1, chunk=chunk),
        "barlow_twins": losses.barlow_twins,
        "vicreg": losses.vicreg,
        "dino": dino,
        "swav": swav,
    }
    step = jax.value_and_grad(functions[name], argnums=(0, 1), has_aux=name == "dino")
    a, b = map(jnp.asarray, arrays(name, n))
    step = jax.jit(step).lower(a, b).compile()
    return lambda: float(jax.tree.leaves(jax.block_until_ready(step(a, b)))[0])


def theirs(name, n, chunk=None):
    """The same by lightly, without torch.compile, as its users run it."""
    import torch
    from lightly import loss

    if name == "nt_xent":
        function = loss.NTXentLoss(temperature=0.1)
    elif name == "barlow_twins":
        function = loss.BarlowTwinsLoss(lambda_param=0.005)
    elif name == "vicreg":
        function = loss.VICRegLoss()
    elif name == "dino":
        dino = loss.DINOLoss(output_dim=COLUMNS["dino"])

        def function(a, b):
            dino.center.zero_()  # it keeps its state; we pass ours in
            return dino([a.detach(), b.detach()], [a, b])

    else:
        swav = loss.SwaVLoss()

        def function(a, b):
            return swav([a, b], [])

    leaves = [torch.from_numpy(x).requires_grad_() for x in arrays(name, n)]

    def step():
        value = function(*leaves)
        torch.autograd.grad(value, leaves)
        return value.item()

    return step


SIDES = {"ours": ours, "theirs": theirs}


def timed(step, repetitions):
    """The value, and the median of warm repetitions in milliseconds."""
    value = step()
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return value, 1e3 * statistics.median(seconds)


def side(options):
    """One library, loss by loss."""
    rows = []
    for name in options.losses:
        step = SIDES[options.command](name, options.n)
        value, ms = timed(step, options.repetitions)
        rows.append({"loss": name, "n": options.n, "value": value, "ms": ms})
    return rows


def compare(options):
    """Both, in turn; medians over rounds, and how many times longer theirs takes."""
    ms, values = {}, {}
    for _ in range(options.rounds):
        for which in SIDES:
            for row in run(options, getattr(options, which), which):
                ms.setdefault((which, row["loss"]), []).append(row["ms"])
                values[which, row["loss"]] = row["value"]
    rows = []
    for name in options.losses:
        a, b = (statistics.median(ms[which, name]) for which in SIDES)
        row = {"loss": name, "n": options.n, "ours ms": a, "theirs ms": b}
        row |= {"theirs / ours": b / a}
        row |= {f"{which} value": values[which, name] for which in SIDES}
        rows.append(row)
    return rows


def memory(options):
    """NT-Xent over sizes, each case in a process of its own."""
    cases = [(options.ours, "ours", None), (options.ours, "ours", options.chunk)]
    if options.theirs:
        cases.append((options.theirs, "theirs", None))
    rows = []
    for n in options.sizes:
        for python, which, chunk in cases:
            row = {"n": n, "library": which, "chunk": chunk}
            size = ["--size", str(n)] + (["--chunk", str(chunk)] if chunk else [])
            try:
                row |= run(options, python, "case", "--library", which, *size)[0]
            except subprocess.CalledProcessError as error:
                row["failed"] = reason(error)
            rows.append(row)
    return rows


def case(options):
    """The child of `memory`: one size, one library, in a process that did no more."""
    tiny = SIDES[options.library]("nt_xent", 2, None)
    tiny()  # the library is loaded and its threads started
    before = peak()
    step = SIDES[options.library]("nt_xent", options.size, options.chunk)
    value, ms = timed(step, options.repetitions)
    return [{"value": value, "ms": ms, "peak MiB": peak() - before}]


def peak():
    """The largest resident set so far in MiB; Linux counts in KiB, macOS in bytes."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def run(options, python, *arguments):
    """The rows of this script, run by another interpreter."""
    command = [python, os.path.abspath(__file__), *arguments]
    command += ["--repetitions", str(options.repetitions)]
    command += ["--threads", str(options.threads)]
    command += ["--n", str(options.n), "--losses", *options.losses]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def reason(error):
    """Why a child ended: its last line, or the signal (9: out of memory)."""
    lines = error.stderr.strip().splitlines()
    return lines[-1][:80] if lines else f"status {error.returncode}"


def restrict(threads):
    """Before a library is imported, which reads these once."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):  # XLA takes as many threads as it has cores
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > threads:
            os.sched_setaffinity(0, cores[:threads])


def show(rows):
    """A markdown table, and the rows as JSON on the last line."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        cells = [row.get(column, "") for column in columns]
        cells = [f"{x:.5g}" if isinstance(x, float) else str(x) for x in cells]
        print(f"| {' | '.join(cells)} |")
    print()
    print(json.dumps(rows))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = {"ours": side, "theirs": side, "compare": compare}
    commands |= {"memory": memory, "case": case}
    parser.add_argument("command", choices=commands)
    parser.add_argument("--n", type=int, default=4096, help="pairs of views")
    parser.add_argument("--losses", nargs="+", default=LOSSES, choices=LOSSES)
    parser.add_argument("--repetitions", type=int, default=5, help="warm ones")
    parser.add_argument("--rounds", type=int, default=3, help="of `compare`")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ours", default=sys.executable, help="python with jax")
    parser.add_argument("--theirs", help="python with torch and lightly")
    parser.add_argument("--sizes", nargs="+", type=int, default=[4096, 16384, 65536])
    parser.add_argument("--size", type=int, help="of `case`")
    parser.add_argument("--chunk", type=int, help=f"of `memory`: {CHUNK}")
    parser.add_argument("--library", choices=SIDES, help="of `case`")
    options = parser.parse_args()
    if options.command == "compare" and not options.theirs:
        parser.error("compare needs --theirs=PYTHON, one that has torch and lightly")
    if options.command == "memory":
        options.chunk = options.chunk or CHUNK
    load = os.getloadavg()[0]
    if options.command in ("compare", "memory") and load > 1:
        print(f"load average {load:.1f}: not an idle machine", file=sys.stderr)
    restrict(options.threads)
    show(commands[options.command](options))


if __name__ == "__main__":
    main()
