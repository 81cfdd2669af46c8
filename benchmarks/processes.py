"""Several processes as one: do they learn the same, and what if one of them dies?

    python benchmarks/processes.py agree     losses of 2 and 4 processes, beside one's
    python benchmarks/processes.py resume    a run of 4, then of 1, then of 2 processes
    python benchmarks/processes.py faults    kill -9 and SIGTERM to one process of four

All on the loopback address, a CPU device each. The status is 1 when something differs.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
SMALL = "source=digits,batch=16"
CONV = f"{SMALL},widths=(4,8)"
MAE = f"{SMALL},patch=2,width=16,depth=1,heads=2,decoder=(8,1)"
METHODS = {  # family, and knobs of the experiment: small, at its own learning rate
    "simclr": ("contrastive", f"{CONV},projector=(8,4),epochs=2"),
    "moco": ("contrastive", f"{CONV},projector=(8,4),queue=32,groups=4,epochs=2"),
    "mae": ("masked", f"{MAE},epochs=2"),
    "dcgan": ("generative", f"{SMALL},noise=4,widths=(8,4),epochs=2"),
    "dbn": ("energy", f"{SMALL},hidden=(16,8,16),layer_epochs=1,epochs=1"),
    "deepcluster": ("clustering", f"{CONV},clusters=5,components=4,epochs=2"),
}
LAWS = {"float64": (5, 1e-8), "float32": (10, 1e-4)}  # steps, and how far losses may be
LONG = f"experiments/mae.py:{MAE},epochs=10,supervised_epochs=0.03,dispatch=1,save_every=20"
SHOWN = (0, 30, 100, 300, 600)  # steps whose batches are printed


# What a process does.


def steps(names, out):
    """Writes what `first_steps` finds of each method, both ways."""
    import jax

    found = []
    for name in names:
        with jax.enable_x64(True):
            double = first_steps(by_sgd(name), LAWS["float64"][0])
        single = first_steps(own_optimiser(name), LAWS["float32"][0])
        found += [[name, "float64", *double], [name, "float32", *single]]
    Path(f"{out}.{jax.process_index()}").write_text(json.dumps(found))


def first_steps(stages, count):
    """Losses, digests of the batches, and of the states as they are in this process."""
    import jax

    from jssl.engine import Engine

    done, losses, batches_seen, states = {}, [], [], []
    for stage in stages:
        engine = Engine(replace(stage, steps=count, dispatch=1))
        state, batches = engine.begin(done), engine.batches(0, None)
        for step in range(count):
            batch = next(batches)
            batches_seen.append(digest(rows_of(engine, batch)))
            state, metrics = engine.advance(state, step, batch)
            losses += [
                float(value[0])
                for name, value in sorted(jax.device_get(metrics).items())
                if name.endswith(("loss", "reconstruction"))
            ]
        done[stage.name] = state
        states.append(digest(*jax.tree.leaves(jax.device_get(state))))
    return losses, batches_seen, states


def rows_of(engine, batch):
    """The numbers of a global batch's rows, wherever they lie."""
    import jax

    return jax.jit(lambda x: x, out_shardings=engine.everywhere)(batch["index"])


def digest(*arrays) -> str:
    data = b"".join(np.asarray(x).tobytes() for x in arrays)
    return hashlib.sha256(data).hexdigest()[:8]


def own_optimiser(name):
    """The stages of the experiment."""
    from jssl.config import load

    return settled(name, load(f"{ROOT}/experiments/{name}.py:{METHODS[name][1]}").stages())


def by_sgd(name):
    """The contract tests' method on digits, in float64 under SGD."""
    import jax
    import jax.numpy as jnp
    import optax

    from jssl import Stage, data

    def double(tree):
        return jax.tree.map(
            lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree
        )

    sys.path.insert(0, str(ROOT / "tests"))  # its tests import from there
    path = ROOT / "tests" / "methods" / METHODS[name][0] / f"{name}_test.py"
    spec = importlib.util.spec_from_file_location(f"tiny_{name}", path)
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    single, _ = tests.tiny(optax.sgd(0.1))
    method = single._replace(
        init=lambda key, batch: double(single.init(key, batch)),
        step=lambda key, state, batch: single.step(key, state, double(batch)),
    )
    source = data.load("digits", 8)
    if name == "deepcluster":
        source = data.subset(source, np.arange(tests.SIZE))
    if hasattr(tests, "batch_axis"):
        source = data.minibatches(source, 1)
    return settled(name, [Stage(name="tiny", method=method, data=source, steps=1)])


def settled(name, stages):
    """DeepCluster's clusters are fixed: k-means may turn on rounding."""
    import jax.numpy as jnp

    def start(state, done):
        return state._replace(clusters=jnp.arange(len(state.clusters), dtype=jnp.int32) % 3)

    return [replace(s, start=start) if name == "deepcluster" else s for s in stages]


def member(what: str, out: str, *words: str) -> int:
    """What each process of a `Party` does."""
    from jssl import main
    from jssl.engine import Engine

    options, names = main.parser().parse_known_args(words)
    if what == "steps":
        main.prepare_jax(options)
        steps(names, out)
        return 0
    advance = Engine.advance

    def noted(self, state, step, batches):
        if self.stage.name == "pretrain":
            line = json.dumps([step, digest(rows_of(self, batches))])
            if not options.process:  # the first, or the only one
                with open(out, "a") as lines:
                    lines.write(line + "\n")
        return advance(self, state, step, batches)

    Engine.advance = noted
    return main.main(words)


# Many of them.


class Party:
    """Processes on the loopback address that make one run."""

    def __init__(self, count: int, words: list[str], folder: Path):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        self.logs = [folder / f"{time.monotonic_ns()}.{i}.log" for i in range(count)]
        self.members = []
        for i, log in enumerate(self.logs):
            told = [f"--coordinator=localhost:{port}", f"--processes={count}"]
            told = [*told, f"--process={i}"] if count > 1 else []
            command = [sys.executable, __file__, *words, *told]
            with open(log, "w") as out:
                self.members.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env=environment(folder), stdout=out, stderr=out
                    )
                )

    def ended(self, limit: float = 600) -> list[tuple[int, float]]:
        """(exit status, seconds from now) of each; what is left after `limit` is killed."""
        begin, found = time.monotonic(), {}
        while len(found) < len(self.members) and time.monotonic() - begin < limit:
            for i, member in enumerate(self.members):
                if i not in found and member.poll() is not None:
                    found[i] = member.returncode, time.monotonic() - begin
            time.sleep(0.05)
        for member in self.members:
            member.kill()
        return [found.get(i, (None, limit)) for i in range(len(self.members))]

    def last_line(self, i: int) -> str:
        """What process i said at the end; of an abort, why."""
        lines = [x for x in self.logs[i].read_text().splitlines() if x.strip()]
        told = [x for x in lines if x.startswith("jssl: ") or "Terminating process" in x]
        return (told or lines or [""])[-1]


def environment(folder: Path) -> dict[str, str]:
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
    level = {"XLA_FLAGS": "--xla_backend_optimization_level=1"}
    caches = {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla")} | dict(os.environ)
    return caches | one | level | {"JSSL_CACHE": str(folder / "cache")}


def agree(folder: Path, counts: list[int], names: list[str]) -> bool:
    """Prints the table; whether all is as it should be."""
    found = {}
    for count in (1, *counts):
        out = folder / f"{count}.json"
        party = Party(count, ["steps", str(out), *names], folder)
        if any(status for status, _ in party.ended()):
            print(*(log.read_text() for log in party.logs), sep="\n")
            return False
        for i in range(count):
            for name, kind, *lists in json.loads(Path(f"{out}.{i}").read_text()):
                found[name, kind, count, i] = lists
    heads = [f"{kind}, {n} processes" for kind in LAWS for n in counts]
    heads += ["batches", "states in all processes"]
    print(f"| method | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    fine = True
    for name in names:
        cells, batches_same, states_same = [], True, True
        for kind, (_, bound) in LAWS.items():
            losses, batches, _ = found[name, kind, 1, 0]
            for count in counts:
                each = [found[name, kind, count, i] for i in range(count)]
                gap = np.abs(np.subtract(each[0][0], losses)).max()
                cells.append(f"{gap:.1e}")
                batches_same &= each[0][1] == batches
                states_same &= all(x[2] == each[0][2] for x in each)
                fine &= bool(gap <= bound)
        cells += ["the same" if x else "OTHERS" for x in (batches_same, states_same)]
        fine &= batches_same and states_same
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    for kind, (count, bound) in LAWS.items():
        print(f"{kind}: largest difference of a loss over {count} steps, wanted {bound:g}")
    return fine


class Run:
    """A workdir of the long run, and what is in it."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.workdir = folder, folder / name
        self.record = folder / f"{name}.batches"

    def start(self, count: int) -> Party:
        words = ["long", str(self.record), f"--config={LONG}"]
        return Party(count, [*words, f"--workdir={self.workdir}"], self.folder)

    def whole(self, count: int) -> "Run":
        """Runs to the end."""
        party = self.start(count)
        if any(status for status, _ in party.ended()):
            raise SystemExit("\n".join(log.read_text() for log in party.logs))
        for log in party.logs[:1]:
            self.again = re.findall(r"pretrain: going on from .*", log.read_text())
        return self

    def reached(self, step: int, party: Party) -> None:
        """Waits until so many steps are done, and one checkpoint is."""
        while len(self.losses()) < step or not self.saved():
            if any(member.poll() is not None for member in party.members):
                raise SystemExit("\n".join(log.read_text() for log in party.logs))
            time.sleep(0.02)

    def losses(self) -> list[float]:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            lines = (self.workdir / "metrics.jsonl").read_text().splitlines()
            rows = [row for row in map(json.loads, lines) if row["stage"] == "pretrain"]
            return [row["loss"] for row in rows if "loss" in row]
        return []

    def scores(self) -> dict[str, float]:
        result = json.loads((self.workdir / "result.json").read_text())
        return result["stages"]["pretrain"]["metrics"]

    def batches(self) -> dict[int, str]:
        """Digest by step; a step done twice must have had the same batch."""
        found = {}
        for step, told in map(json.loads, self.record.read_text().splitlines()):
            if found.setdefault(step, told) != told:
                raise SystemExit(f"step {step} had two batches: {found[step]}, {told}")
        return found

    def saved(self) -> list[int]:
        folder = self.workdir / "pretrain"
        there = folder.iterdir() if folder.exists() else []
        return sorted(int(p.name) for p in there if p.name.isdigit())


def resume(folder: Path) -> bool:
    one, moved = Run(folder, "one").whole(1), Run(folder, "moved")
    fine = True
    for count, until, victim in ((4, 150, 2), (1, 400, 0)):
        party = moved.start(count)
        moved.reached(until, party)
        party.members[victim].send_signal(signal.SIGTERM)
        statuses = [status for status, _ in party.ended()]
        fine &= set(statuses) == {143}
        print(f"{count} processes: SIGTERM to one; exit {statuses}: {party.last_line(0)}")
    print(f"2 processes: {moved.whole(2).again[0]}")
    mine, theirs = moved.batches(), one.batches()
    print("\n| step | batch, one process | 4, 1, 2 processes |\n|---|---|---|")
    for step in SHOWN:
        print(f"| {step} | {theirs[step]} | {mine[step]} |")
    gaps = np.abs(np.subtract(moved.losses(), one.losses()))
    print(f"\nbatches the same at all {len(theirs)} steps: {mine == theirs}")
    print(f"largest difference of the loss: {gaps[:50].max():.1e} in the first 50 steps, ")
    print(f"{gaps.max():.1e} in all {len(gaps)}")
    return fine and mine == theirs and bool(gaps[:50].max() < 1e-4)


def faults(folder: Path) -> bool:
    whole = Run(folder, "whole").whole(4)
    fine = True
    for kind, victim, wanted in ((signal.SIGKILL, 2, None), (signal.SIGTERM, 1, 143)):
        run = Run(folder, kind.name)
        party = run.start(4)
        run.reached(150, party)
        party.members[victim].send_signal(kind)
        ends = party.ended(300)
        print(f"\n{kind.name} to process {victim} of 4, after step {len(run.losses())}\n")
        print("| process | exit status | after, s | last words |\n|---|---|---|---|")
        for i, (status, seconds) in enumerate(ends):
            print(f"| {i} | {status} | {seconds:.1f} | {party.last_line(i)} |")
            fine &= status == wanted if wanted else status not in (0, None)
        there = sorted(p.name for p in (run.workdir / "pretrain").iterdir())
        print(f"\non disk: checkpoints {', '.join(there)}; ", end="")
        print(f"result.json: {(run.workdir / 'result.json').exists()}")
        print(f"run again: {run.whole(4).again[0]}")
        same = run.losses() == whole.losses() and run.scores() == whole.scores()
        print(f"ends at the very numbers of the undisturbed run: {same}")
        fine &= same and run.batches() == whole.batches()
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("agree", "resume", "faults"))
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=METHODS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "agree":
            return not agree(Path(folder), options.processes, options.only)
        return not {"resume": resume, "faults": faults}[options.what](Path(folder))


if __name__ == "__main__":
    if sys.argv[1:2] in (["steps"], ["long"]):
        from jssl import cluster

        cluster.run(lambda: member(*sys.argv[1:]))
    sys.exit(main())
