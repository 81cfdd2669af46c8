"""Several processes as one: do they learn the same, and what if one of them dies?

    python benchmarks/processes.py agree     losses of 2 and 4 processes, beside one's
    python benchmarks/processes.py resume    a run of 4, then of 1, then of 2 processes
    python benchmarks/processes.py faults    kill -9 and SIGTERM to one process of four

All on the loopback address, a CPU device each. The status is 1 when something differs.
"""

import argparse
import hashlib
import importlib
import itertools
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
METHODS = {  # knobs of the experiment: small, at its own learning rate
    "simclr": f"{CONV},projector=(8,4),epochs=2",
    "moco": f"{CONV},projector=(8,4),queue=32,groups=4,epochs=2",
    "mae": f"{MAE},epochs=2",
    "dcgan": f"{SMALL},noise=4,widths=(8,4),epochs=2",
    "dbn": f"{SMALL},hidden=(16,8,16),layer_epochs=1,epochs=1",
    "deepcluster": f"{CONV},clusters=5,components=4,epochs=2",
}
LAWS = {"float64": (5, 1e-8), "float32": (10, 1e-4)}  # steps, and how far losses may be
LONG = f"experiments/mae.py:{MAE},epochs=10,supervised_epochs=0.03,dispatch=1,save_every=20"
SHOWN = (0, 30, 100, 300, 600)  # steps whose batches are printed


def first_steps(stages, count):
    """Losses, digests of the batches, and of the states as this process has them."""
    import jax

    from jssl.engine import Engine

    done, losses, batches, states = {}, [], [], []
    for stage in stages:
        engine = Engine(replace(stage, steps=count, dispatch=1))
        state, stream = engine.begin(done), engine.batches(0, None)
        for step, batch in enumerate(stream):
            batches.append(digest(rows_of(engine, batch)))
            state, metrics = engine.advance(state, step, batch)
            losses += [
                float(value[0])
                for name, value in sorted(jax.device_get(metrics).items())
                if name.endswith(("loss", "reconstruction"))
            ]
        done[stage.name] = state
        states.append(digest(*jax.tree.leaves(jax.device_get(state))))
    return losses, batches, states


def rows_of(engine, batch):
    """The numbers of a global batch's rows, wherever they lie."""
    import jax

    return jax.jit(lambda x: x, out_shardings=engine.everywhere)(batch["index"])


def digest(*arrays) -> str:
    data = b"".join(np.asarray(x).tobytes() for x in arrays)
    return hashlib.sha256(data).hexdigest()[:8]


def float32(name):
    """The stages of the experiment."""
    from jssl.config import load

    return load(f"{ROOT}/experiments/{name}.py:{METHODS[name]}").stages()


def float64(name):
    """The contract tests' method on digits, under SGD."""
    import jax
    import jax.numpy as jnp
    import optax

    from jssl import Stage, data

    sys.path.insert(0, str(ROOT / "tests"))
    tests = importlib.import_module("contract_test").module(name)

    def double(tree):
        return jax.tree.map(
            lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree
        )

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
    return [Stage(name="tiny", method=method, data=source, steps=1)]


def settled(state, done):
    """DeepCluster's clusters, fixed: k-means may turn on rounding."""
    return state._replace(clusters=np.arange(len(state.clusters), dtype=np.int32) % 3)


def steps(out: str, *words: str) -> int:
    """One process's first steps of some methods, written down."""
    import jax

    from jssl import command, main

    options, cases = main.parser().parse_known_args(words)
    command.prepare_jax(
        options.debug,
        options.cpu_devices,
        options.coordinator,
        options.processes,
        options.process,
    )
    found = {}
    for case in cases:
        name, kind = case.split("/")
        with jax.enable_x64(kind == "float64"):
            stages = {"float32": float32, "float64": float64}[kind](name)
            if name == "deepcluster":
                stages = [replace(stages[0], start=settled)]
            found[case] = first_steps(stages, LAWS[kind][0])
    Path(f"{out}.{jax.process_index()}").write_text(json.dumps(found))
    return 0


def long(out: str, *words: str) -> int:
    """One process of a run of jssl.main, which also writes down its batches."""
    import jax

    from jssl import main
    from jssl.engine import Engine

    advance = Engine.advance

    def noted(self, state, step, batches):
        if self.stage.name == "pretrain":
            line = json.dumps([step, digest(rows_of(self, batches))])
            if jax.process_index() == 0:
                with open(out, "a") as lines:
                    lines.write(line + "\n")
        return advance(self, state, step, batches)

    Engine.advance = noted
    return main.main(words)


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
            command = [sys.executable, __file__, *words]
            command += [*told, f"--process={i}"] if count > 1 else []
            how = dict(cwd=ROOT, env=environment(folder), stderr=subprocess.STDOUT)
            with open(log, "w") as out:
                self.members.append(subprocess.Popen(command, stdout=out, **how))

    def ended(self, limit: float = 600) -> list[tuple[int | None, float]]:
        """(exit status, seconds from now) of each; what is left after `limit` is killed."""
        begin, found = time.monotonic(), {}
        while len(found) < len(self.members) and time.monotonic() - begin < limit:
            for i, process in enumerate(self.members):
                if i not in found and process.poll() is not None:
                    found[i] = process.returncode, time.monotonic() - begin
            time.sleep(0.05)
        for process in self.members:
            process.kill()
        return [found.get(i, (None, limit)) for i in range(len(self.members))]

    def succeeded(self) -> "Party":
        """Waits for all; stops with what they said if one failed."""
        if any(status for status, _ in self.ended()):
            raise SystemExit("\n".join(log.read_text() for log in self.logs))
        return self

    def last_words(self, i: int) -> str:
        """What process i said at the end; of an abort, why."""
        lines = [x for x in self.logs[i].read_text().splitlines() if x.strip()]
        told = [x for x in lines if x.startswith("jssl: ") or "Terminating process" in x]
        return (told or ["(nothing)"])[-1]


def environment(folder: Path) -> dict[str, str]:
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
    level = {"XLA_FLAGS": "--xla_backend_optimization_level=1"}
    caches = {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla")} | dict(os.environ)
    return caches | one | level | {"JSSL_CACHE": str(folder / "cache")}


def agree(folder: Path, counts, names, kinds=tuple(LAWS)) -> bool:
    """Prints the table; whether all is as it should be."""
    found, cases = {}, [f"{name}/{kind}" for name in names for kind in kinds]
    for count in (1, *counts):
        out = folder / f"{count}.json"
        Party(count, ["steps", str(out), *cases], folder).succeeded()
        written = [json.loads(Path(f"{out}.{i}").read_text()) for i in range(count)]
        found |= {(case, count): [x[case] for x in written] for case in cases}
    heads = [f"{kind}, {n} processes" for kind in kinds for n in counts]
    heads += ["batches", "states in all processes"]
    print(f"| method | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    fine = True
    for name in names:
        cells, same = [], [True, True]
        for kind, count in itertools.product(kinds, counts):
            case = f"{name}/{kind}"
            [(losses, batches, _)], each = found[case, 1], found[case, count]
            gap = np.abs(np.subtract(each[0][0], losses)).max()
            cells.append(f"{gap:.1e}")
            same[0] &= each[0][1] == batches
            same[1] &= all(x[2] == each[0][2] for x in each)
            fine &= bool(gap <= LAWS[kind][1]) and all(same)
        cells += ["the same" if x else "OTHERS" for x in same]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    for kind in kinds:
        count, bound = LAWS[kind]
        print(f"{kind}: largest difference of a loss over {count} steps, wanted {bound:g}")
    return fine


class Run:
    """A workdir of the long run, and what is in it."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.workdir = folder, folder / name
        self.record, self.stage = folder / f"{name}.batches", self.workdir / "pretrain"

    def start(self, count: int) -> Party:
        words = ["long", str(self.record), f"--config={LONG}", f"--workdir={self.workdir}"]
        return Party(count, words, self.folder)

    def whole(self, count: int) -> str:
        """Runs to the end; what it said of where it went on from."""
        said = self.start(count).succeeded().logs[0].read_text()
        return "".join(re.findall(r"pretrain: (going on from .*)", said))

    def stopped(self, count: int, step: int, victim: int, kind: signal.Signals):
        """The party after one of it was sent a signal, and how each ended."""
        party = self.start(count)
        while len(self.losses()) < step or not self.saved()[0]:
            if any(process.poll() is not None for process in party.members):
                party.succeeded()
            time.sleep(0.02)
        party.members[victim].send_signal(kind)
        return party, party.ended(300)

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

    def saved(self) -> tuple[list[int], list[str]]:
        """Whole checkpoints, and what else lies beside them."""
        names = [p.name for p in self.stage.iterdir()] if self.stage.exists() else []
        whole = sorted(int(name) for name in names if name.isdigit())
        return whole, [name for name in names if not name.isdigit()]


def resume(folder: Path) -> bool:
    one, moved, fine = Run(folder, "one"), Run(folder, "moved"), True
    one.whole(1)
    for count, until, victim in ((4, 150, 2), (1, 400, 0)):
        party, ends = moved.stopped(count, until, victim, signal.SIGTERM)
        statuses = [status for status, _ in ends]
        fine &= set(statuses) == {143}
        print(f"{count} processes: SIGTERM to one; {statuses}: {party.last_words(0)}")
    print(f"2 processes: {moved.whole(2)}")
    mine, theirs = moved.batches(), one.batches()
    print("\n| step | batch, one process | 4, 1, 2 processes |\n|---|---|---|")
    for step in SHOWN:
        print(f"| {step} | {theirs[step]} | {mine[step]} |")
    gap = np.abs(np.subtract(moved.losses(), one.losses())).max()
    print(f"\nbatches the same at all {len(theirs)} steps: {mine == theirs}")
    print(f"largest difference of the loss over all steps: {gap:.1e}, wanted 1e-4")
    return fine and mine == theirs and bool(gap <= 1e-4)


def faults(folder: Path) -> bool:
    whole, fine = Run(folder, "whole"), True
    whole.whole(4)
    for kind, victim in ((signal.SIGKILL, 2), (signal.SIGTERM, 1)):
        run = Run(folder, kind.name)
        party, ends = run.stopped(4, 150, victim, kind)
        print(f"\n{kind.name} to process {victim} of 4, after step {len(run.losses())}\n")
        print("| process | exit status | after, s | last words |\n|---|---|---|---|")
        for i, (status, seconds) in enumerate(ends):
            print(f"| {i} | {status} | {seconds:.1f} | {party.last_words(i)} |")
            fine &= status == 143 if kind == signal.SIGTERM else status not in (0, None)
        checkpoints, rest = run.saved()
        done = (run.workdir / "result.json").exists()
        print(f"\non disk: checkpoints {checkpoints}, others {rest}, result.json: {done}")
        print(f"run again: {run.whole(4)}")
        same = run.losses() == whole.losses() and run.scores() == whole.scores()
        print(f"ends at the very numbers of the undisturbed run: {same}", flush=True)
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
    if sys.argv[1:2] in (["steps"], ["long"]):  # in a process of a party
        from jssl import cluster

        member = {"steps": steps, "long": long}[sys.argv[1]]
        cluster.run(lambda: member(*sys.argv[2:]))
    sys.exit(main())
