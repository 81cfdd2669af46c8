"""Plans a run on accelerators that need not be present: memory, traffic and roofline.

  python -m jssl.plan --config=experiments/mae.py:paper --topology=v5e:16x16
  python -m jssl.plan --config=experiments/simclr.py --topology=cpu:8

The actual training step of the config is compiled for these chips and analyzed. TPUs (v4,
v5e, v5p, v6e) need `pip install 'jssl[plan]'` but no TPU; compiling a large model takes
minutes, and the plan is cached. A data set that is not available is replaced by blank
images of the same size. If the step does not fit, knobs that save memory are tried.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jssl.command import new_parser, say
from jssl.plan.chips import CHIPS, Chip, devices_of, topology

GB = 1e9


def main(arguments: list[str] | None = None) -> int:
    """Runs the command `python -m jssl.plan` and returns its exit status.

    0: the step fits, or the memory of the chips is unknown. 2: it does not fit. 1: a user
    error, reported in one line.
    """
    options = parser().parse_args(arguments)
    return say(lambda: launch(options), options.debug)


def parser() -> argparse.ArgumentParser:
    parse = new_parser("plan", __doc__)
    add = parse.add_argument
    add("--config", required=True, metavar="FILE[:FUNCTION][,KNOB=VALUE ...]")
    add("--topology", required=True, metavar="KIND:SHAPE", help="v5e:16x16, cpu:8 ...")
    add("--stage", help="which stage of the config (default: the first that trains)")
    add("--memory", type=float, metavar="GB", help="memory of a chip (default: published)")
    add("--json", metavar="FILE", help="also write the plan to this file")
    add("--no-search", action="store_true", help="do not search for knobs that make it fit")
    return parse


def launch(options) -> int:
    from jssl.config import load
    from jssl.log import write_json

    kind, chips = topology(options.topology)
    chip = CHIPS[kind]
    if options.memory:
        chip = chip._replace(memory=options.memory * GB)
    devices = devices_of(kind, options.topology, chips)
    experiment = load(options.config)
    found = plan(experiment, options.stage, options.topology, devices, chip)
    show(found)
    if not found["fits"] and not options.no_search:
        found["would fit"] = None
        for knobs in savers(experiment, len(devices)):
            words = ",".join(f"{k}={v}" for k, v in knobs.items())
            print(f"trying {words} ...", flush=True)
            changed = dataclasses.replace(experiment, knobs={**experiment.knobs, **knobs})
            other = plan(changed, options.stage, options.topology, devices, chip)
            print(f"  {memory_line(other)}")
            if other["fits"]:
                found["would fit"] = other | {"change": knobs}
                print(f"{words} makes it fit:")
                show(other)
                break
        else:
            print("no knobs of this config make it fit")
    if options.json:
        write_json(Path(options.json), found)
    return 0 if found["fits"] else 2


def plan(experiment, name: str | None, slice_: str, devices: list, chip: Chip) -> dict:
    """The resources of a stage's training step on these devices; cached.

    Args:
      experiment: the experiment; an unavailable data set is replaced by blank images.
      name: stage name; None is the first stage that trains.
      slice_: name of the topology.
      devices: devices to compile for.
      chip: peak rates of one device.
    """
    from jssl.baselines import cache_folder
    from jssl.log import write_json

    experiment = with_blank_data(experiment)
    kept = cache_folder() / "plans" / f"{digest(experiment, name, slice_)}.json"
    if kept.exists():
        read = json.loads(kept.read_text())
    else:
        read = examine(choose(experiment, name), devices)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, read)
    knobs = {k: v for k, v in experiment.knobs.items() if k != "tiny"}
    given = {"config": experiment.name, "knobs": knobs, "topology": slice_}
    return given | read | judged(read, chip, len(devices))


def with_blank_data(experiment):
    """The experiment with blank images in place of a tfds data set.

    Random tokens are in place of a corpus that is not there.
    """
    source = str(experiment.knobs.get("source", ""))
    kind, _, name = source.partition(":")
    knobs = dict(experiment.knobs)
    if kind == "tfds":
        knobs["source"] = f"blank:{name}"
    elif kind == "text" and not Path(name).expanduser().exists():
        knobs["source"] = f"noise:1000000x{knobs.get('vocabulary') or 8192}"
    else:
        return experiment
    return dataclasses.replace(experiment, knobs=knobs)


def choose(experiment, name: str | None):
    stages = {stage.name: stage for stage in experiment.stages()}
    if name is None:
        return next(stage for stage in stages.values() if stage.steps)
    if name not in stages:
        raise ValueError(f"unknown stage {name!r}; known are {', '.join(stages)}")
    return stages[name]


def digest(experiment, name, slice_) -> str:
    """Cache key of a plan: a digest of code, knobs, topology and compiler versions."""
    code = hashlib.sha256(experiment.path.read_bytes())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        if path.name != "chips.py":  # peak rates are applied after the cache
            code.update(path.read_bytes())
    versions = []
    for package in ("jax", "jaxlib", "libtpu", "flax", "optax"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(importlib.metadata.version(package))
    words = (experiment.name, sorted(experiment.knobs.items()), name, slice_, versions)
    code.update(repr(words).encode())
    return code.hexdigest()[:24]


def examine(stage, devices: list) -> dict[str, Any]:
    """Compiles and analyzes a stage's step; one that does not fit has only "needs"."""
    from jssl.engine import Engine
    from jssl.plan.compiled import collectives, products

    engine = Engine(stage, devices)
    traced = engine.traced()
    read = {
        "stage": stage.name,
        "mesh": ";".join(f"{k}={n}" for k, n in engine.mesh.shape.items()),
        "batch": stage.data.batch,
        "products": products(traced.jaxpr) / len(devices),
    }
    start = time.perf_counter()
    try:
        program = traced.lower().compile()
    except Exception as error:
        needs = memory_of(str(error))
        if not needs:
            raise
        return read | {"memory": {"needs": needs}}
    memory, costs = program.memory_analysis(), program.cost_analysis()
    parts = ("argument", "output", "alias", "temp", "generated_code")
    sizes = {x: getattr(memory, f"{x}_size_in_bytes") for x in parts}
    held = sizes["argument"] + sizes["output"] - sizes["alias"]
    sizes["needs"] = held + sizes["temp"] + sizes["generated_code"]
    talk = collectives(program.as_text())
    return read | {
        "memory": sizes,
        "flops": costs.get("flops", 0.0),
        "moved": costs.get("bytes accessed", 0.0),
        "collectives": {kind: c._asdict() for kind, c in talk.items()},
        "compiled in": round(time.perf_counter() - start, 1),
    }


def memory_of(message: str) -> float:
    """Bytes that a program needs, by the error of a compiler that refuses it; else 0.

    >>> memory_of("Ran out of memory in memory space hbm. Used 23.35G of 15G.") / 2**30
    23.35
    >>> memory_of("the total memory required for HLO temporaries (22.5G) exceeds") / 2**30
    22.5
    """
    needs = re.search(r"(?:Used |memory required .*\()([\d.]+)([KMG])", message)
    scale = {"K": 2**10, "M": 2**20, "G": 2**30}
    return float(needs[1]) * scale[needs[2]] if needs else 0.0


def judged(read: Mapping[str, Any], chip: Chip, count: int) -> dict[str, Any]:
    """Fit and roofline: seconds per step if each kind of work ran at its peak rate."""
    needs = read["memory"]["needs"]
    fits = bool("flops" in read and (chip.memory is None or needs <= chip.memory))
    found = {"chips": count, "memory of a chip": chip.memory, "fits": fits}
    if "flops" not in read or chip.flops is None:
        return found
    sent = sum(c["sent"] for c in read["collectives"].values())
    seconds = {
        "products": read["products"] / chip.flops,
        "memory": read["moved"] / chip.hbm,
        "network": sent / chip.ici,
    }
    bound = max(seconds, key=seconds.__getitem__)
    return found | {
        "seconds": seconds,
        "bound": bound,
        "images a second": read["batch"] / seconds[bound],
        "utilisation": seconds["products"] / seconds[bound],
    }


def savers(experiment, count: int) -> Iterator[dict[str, Any]]:
    """Knob settings of this config that save memory, the least slowdown first."""
    knobs = experiment.knobs
    remat = {"remat": True} if knobs.get("remat") is False else {}
    if remat:
        yield remat
    if knobs.get("chunk") == 0:
        yield {"chunk": 1024}
    meshes = []
    if "mesh" in knobs:
        parts = [n for n in (4, 16, 64, 256) if n <= count]
        meshes = [{"mesh": f"data={count // n};fsdp={n}"} for n in parts]
    for mesh in meshes:
        yield mesh
    for mesh in meshes if remat else ():
        yield remat | mesh
    if knobs.get("accumulate") == 1:
        for micro in (2, 4, 8):
            yield remat | {"accumulate": micro}


def show(found: Mapping[str, Any]) -> None:
    """Prints a plan as a table."""
    print(f"{found['config']}, {found['stage']}: batch {found['batch']}, ", end="")
    print(f"{found['topology']}, {found['chips']} chips, mesh {found['mesh']}")
    print(memory_line(found))
    if "flops" not in found:
        return
    sizes = found["memory"]
    for part in ("argument", "output", "alias", "temp"):
        print(f"  {part:<22} {sizes[part] / GB:10.3f} GB per chip")
    print(f"  {'products':<22} {found['products'] / 1e12:10.3f} TFLOP per chip, as traced")
    print(f"  {'all FLOPs':<22} {found['flops'] / 1e12:10.3f} TFLOP per chip, compiled")
    print(f"  {'memory traffic':<22} {found['moved'] / GB:10.3f} GB per chip")
    for kind, c in found["collectives"].items():
        print(
            f"  {kind:<22} {c['sent'] / 1e6:10.3f} MB sent per chip, {c['count']} calls, "
            f"results of {c['bytes'] / 1e6:.3f} MB"
        )
    if "seconds" not in found:
        return
    for part, seconds in found["seconds"].items():
        print(f"  {'at peak rate: ' + part:<22} {1e3 * seconds:10.3f} ms per step")
    print(
        f"roofline: {found['images a second']:.0f} samples/s, bound by {found['bound']}, "
        f"model-FLOP utilization {100 * found['utilisation']:.0f} %"
    )


def memory_line(found: Mapping[str, Any]) -> str:
    needs, has = found["memory"]["needs"] / GB, found["memory of a chip"]
    if has is None:
        return f"needs {needs:.3f} GB per chip; memory of a chip unknown: give --memory=GB"
    word = "fits" if found["fits"] else "does not fit"
    return f"{word}: needs {needs:.2f} GB per chip of {has / GB:.2f} GB"


if __name__ == "__main__":
    sys.exit(main())
