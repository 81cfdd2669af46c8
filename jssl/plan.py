"""What a training step costs on a machine that need not be there: does it fit, what
does it move, what bounds it?

  python -m jssl.plan --config=experiments/mae.py:paper --topology=v5e:16x16
  python -m jssl.plan --config=experiments/simclr.py --topology=cpu:8

The real step of the config's stage is compiled for that many chips and read. TPUs (v4,
v5e, v5p, v6e) need `pip install 'jssl[plan]'`, and no TPU; a large model takes minutes
to compile, and the answer is kept. Data sets that are not here are stood in for by blank
images of their size. If the step does not fit, knobs that save memory are tried.
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

from jssl.chips import CHIPS, Chip, devices_of, topology
from jssl.main import say

GB = 1e9


def main(arguments: list[str] | None = None) -> int:
    """The command `python -m jssl.plan`; returns the exit status.

    0: it fits, or nothing is known of the memory. 2: it does not fit. 1: a mistake of
    the user's, said in one line.
    """
    options = parser().parse_args(arguments)
    return say(lambda: launch(options), options.debug)


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="python -m jssl.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parse.add_argument
    add("--config", required=True, metavar="FILE[:FUNCTION][,KNOB=VALUE ...]")
    add("--topology", required=True, metavar="KIND:SHAPE", help="v5e:16x16, cpu:8 ...")
    add("--stage", help="which stage of the config (default: the first that trains)")
    add("--memory", type=float, metavar="GB", help="of a chip, if not the published")
    add("--json", metavar="FILE", help="writes the plan there too")
    add("--no-search", action="store_true", help="do not try what would make it fit")
    add("--debug", action="store_true", help="show tracebacks")
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
        for knobs in savers(experiment, options.stage, len(devices)):
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
            print("nothing that this config can be told makes it fit")
    if options.json:
        write_json(Path(options.json), found)
    return 0 if found["fits"] else 2


def plan(experiment, name: str | None, slice_: str, devices: list, chip: Chip) -> dict:
    """What a stage's step needs on these devices, from the cache if it was asked before.

    Args:
      experiment: whose stage; a data set that is not here is replaced by a blank one.
      name: of the stage; None: the first that trains.
      slice_: the topology's name.
      devices: to compile for.
      chip: what one of them can do.
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
    told = {"config": experiment.name, "knobs": knobs, "topology": slice_}
    return told | read | judged(read, chip, len(devices))


def with_blank_data(experiment):
    """The same, with blank images where its data set would have to be prepared."""
    source = str(experiment.knobs.get("source", ""))
    kind, _, name = source.partition(":")
    if kind != "tfds":
        return experiment
    knobs = {**experiment.knobs, "source": f"blank:{name}"}
    return dataclasses.replace(experiment, knobs=knobs)


def choose(experiment, name: str | None):
    stages = {stage.name: stage for stage in experiment.stages()}
    if name is None:
        return next(stage for stage in stages.values() if stage.steps)
    if name not in stages:
        raise ValueError(f"no stage is called {name!r}; there are {', '.join(stages)}")
    return stages[name]


def digest(experiment, name, slice_) -> str:
    """Of all that decides a plan: the code, the knobs, the slice and the compiler."""
    code = hashlib.sha256(experiment.path.read_bytes())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        if path.name != "chips.py":  # whose rates are applied to what is kept
            code.update(path.read_bytes())
    versions = []
    for package in ("jax", "jaxlib", "libtpu", "flax", "optax"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(importlib.metadata.version(package))
    words = (experiment.name, sorted(experiment.knobs.items()), name, slice_, versions)
    code.update(repr(words).encode())
    return code.hexdigest()[:24]


def examine(stage, devices: list) -> dict[str, Any]:
    """Compiles the stage's step and reads it. What does not fit has only "needs"."""
    from jssl.compiled import collectives, products
    from jssl.engine import Engine

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
        needs = re.search(r"Used ([\d.]+)([KMG]) of", str(error))
        if not needs:
            raise
        scale = {"K": 2**10, "M": 2**20, "G": 2**30}[needs[2]]
        return read | {"memory": {"needs": float(needs[1]) * scale}}
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


def judged(read: Mapping[str, Any], chip: Chip, count: int) -> dict[str, Any]:
    """Whether it fits, and the roofline: seconds if each kind of work ran at its peak."""
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
    bound = max(seconds, key=seconds.get)
    return found | {
        "seconds": seconds,
        "bound": bound,
        "images a second": read["batch"] / seconds[bound],
        "utilisation": seconds["products"] / seconds[bound],
    }


def savers(experiment, name: str | None, count: int) -> Iterator[dict[str, Any]]:
    """Knobs of this config that save memory, the cheapest in time first."""
    knobs = experiment.knobs
    remat = {"remat": True} if knobs.get("remat") is False else {}
    if remat:
        yield remat
    if knobs.get("chunk") == 0:
        yield {"chunk": 1024}
    meshes = []
    if "mesh" in knobs and choose(with_blank_data(experiment), name).rules:
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
    """A plan as a table."""
    print(f"{found['config']}, {found['stage']}: batch {found['batch']}, ", end="")
    print(f"{found['topology']}, {found['chips']} chips, mesh {found['mesh']}")
    print(memory_line(found))
    if "flops" not in found:
        return
    sizes = found["memory"]
    for part in ("argument", "output", "alias", "temp"):
        print(f"  {part:<22} {sizes[part] / GB:10.3f} GB a chip")
    print(f"  {'products':<22} {found['products'] / 1e12:10.3f} TFLOP a chip, as written")
    print(f"  {'all arithmetic':<22} {found['flops'] / 1e12:10.3f} TFLOP a chip, compiled")
    print(f"  {'moved in memory':<22} {found['moved'] / GB:10.3f} GB a chip")
    for kind, c in found["collectives"].items():
        print(
            f"  {kind:<22} {c['sent'] / 1e6:10.3f} MB sent by a chip, {c['count']} of "
            f"them, results of {c['bytes'] / 1e6:.3f} MB"
        )
    if "seconds" not in found:
        return
    for part, seconds in found["seconds"].items():
        print(f"  {'at the peak: ' + part:<22} {1e3 * seconds:10.3f} ms a step")
    print(
        f"roofline: {found['images a second']:.0f} samples/s, bound by {found['bound']}, "
        f"model-FLOP utilisation {100 * found['utilisation']:.0f} %"
    )


def memory_line(found: Mapping[str, Any]) -> str:
    needs, has = found["memory"]["needs"] / GB, found["memory of a chip"]
    if has is None:
        return f"needs {needs:.3f} GB a chip; what it has is not known: --memory=GB"
    word = "fits" if found["fits"] else "does not fit"
    return f"{word}: needs {needs:.2f} GB a chip, which has {has / GB:.2f}"


if __name__ == "__main__":
    sys.exit(main())
