"""One session: every pair, its sides by turns, each time in a fresh process.

    {pair: {"unit", "target", "at_most", "flops", "ours": side, "theirs": {name: side}}}

with, for each side, the seconds a unit of every round, in their order, what it noted last,
and the versions it used; {"failed": why} for one that cannot run.
"""

import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from peers.pair import measure

ROOT = Path(__file__).parents[2]
FAMILIES = (
    "ceiling", "views", "contrastive", "mae", "gan", "rbm", "words", "neighbors",
    "losses", "startup",
)  # fmt: skip
PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn", "torch",
    "torchvision", "timm", "lightly", "gensim", "faiss-cpu", "pillow",
)  # fmt: skip
MODULES = {"scikit-learn": "sklearn", "faiss-cpu": "faiss", "pillow": "PIL"}
SLOW = 3  # times the fastest: a way of theirs that far behind is measured once
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
TOLD = (*THREADS, "XLA_FLAGS", "OMP_WAIT_POLICY", "OPENBLAS_CORETYPE")


def families():
    """{family: its module}."""
    return {name: importlib.import_module(f"peers.{name}") for name in FAMILIES}


def pairs():
    """{name: Pair}, in the page's order."""
    known = {}
    for module in families().values():
        known |= module.PAIRS
    return known


def side(name, which, quick, seconds):
    """What the process of one side prints: its measurement."""
    pair = pairs()[name]
    if which == "ours":  # as the launcher does; jssl brings jax, which torch must not meet
        from jssl import tuning

        tuning.tune()
    make = pair.ours if which == "ours" else pair.theirs[which]
    work = make(quick)
    spent, calls = measure(work, seconds)
    if "jax" in sys.modules and "torch" in sys.modules:
        raise ValueError(f"{name}, {which}: jax and torch came into one process")
    used = [p for p in PACKAGES if MODULES.get(p, p) in sys.modules]
    return {
        "seconds": spent,
        "unit": pair.unit,
        "calls": calls,
        "notes": dict(work.notes()),
        "versions": {p: importlib.metadata.version(p) for p in used},
        "threads": len(os.sched_getaffinity(0)),
    }


def ask(name, which, options):
    """The measurement of one side, or {"failed": why}, from a process of its own."""
    command = [sys.executable, "-m", "peers", "side", name, which]
    command += ["--seconds", str(options.seconds), "--threads", str(options.threads)]
    command += ["--quick"] * options.quick
    caches = {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT)]),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "bench"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    threads = dict.fromkeys(THREADS, str(options.threads))
    environment = os.environ | caches | threads
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=options.limit,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {options.limit} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"failed": lines[-1][:200] if lines else f"status {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def compare(name, pair, options, ask=ask):
    """A pair's entry: ours and theirs by turns, as many rounds as asked."""
    sides = {"ours": {}, **{which: {} for which in pair.theirs}}
    for turn in range(options.rounds):
        for which, found in sides.items():
            if "failed" in found or behind(which, sides):
                continue
            measured = ask(name, which, options)
            told = measured.get("failed") or f"{measured['seconds']:.4g} s"
            print(f"{name}  round {turn + 1}  {which}: {told}", file=sys.stderr, flush=True)
            if "failed" in measured:
                found.clear()
                found.update(measured)
                continue
            found.setdefault("seconds", []).append(measured["seconds"])
            for key in ("notes", "versions", "threads"):
                found[key] = measured[key]
    told = {key: getattr(pair, key) for key in ("unit", "target", "at_most", "flops")}
    return told | {"ours": sides.pop("ours"), "theirs": sides}


def behind(which, sides):
    """Whether this way of theirs was SLOW times slower than another in the first round."""
    first = {name: s["seconds"][0] for name, s in sides.items() if "seconds" in s}
    others = [x for name, x in first.items() if name != "ours"]
    return which != "ours" and which in first and first[which] > SLOW * min(others)


def best(entry):
    """The name of the fastest of theirs, by the median; None if none ran."""
    ran = {name: s["seconds"] for name, s in entry["theirs"].items() if "seconds" in s}
    return min(ran, key=lambda name: statistics.median(ran[name]), default=None)


def verdict(entry):
    """(ratio, met): rates ours / theirs or, where the target is a most, times ours /
    theirs; (None, None) without both sides, and met None without a target."""
    name = best(entry)
    if name is None or "seconds" not in entry["ours"]:
        return None, None
    mine = statistics.median(entry["ours"]["seconds"])
    other = statistics.median(entry["theirs"][name]["seconds"])
    ratio = mine / other if entry["at_most"] else other / mine
    if entry["target"] is None:
        return ratio, None
    return ratio, ratio <= entry["target"] if entry["at_most"] else ratio >= entry["target"]


def session(options):
    """Where and with what this was measured."""
    known = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    found = [package for package in PACKAGES if package in known]
    from jssl import tuning

    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "python": platform.python_version(),
        "threads": options.threads,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "load": round(os.getloadavg()[0], 2),
        "environment": {name: os.environ[name] for name in TOLD if name in os.environ},
        "ours is told": " ".join(tuning.FLAGS),
        "versions": {package: importlib.metadata.version(package) for package in found},
    }


def processor():
    """The processor's name as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()
