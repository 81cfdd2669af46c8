"""Writes a run's encoder for other programs: safetensors, under timm's names.

    python -m jssl.export --workdir runs/mae --out mae.safetensors

ViTs and ResNets load into timm; other encoders keep jssl's own names. The file says in
its metadata which config and commit it came from and how the network is built.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from jssl.config import Stage, load
from jssl.main import prepare_jax


def main(arguments: list[str] | None = None) -> int:
    """The command `python -m jssl.export`; returns the exit status.

    0: written. 1: a mistake of the user's, said in one line; nothing is written then.
    """
    options, rest = parser().parse_known_args(arguments)
    try:
        return launch(options, rest)
    except (ValueError, OSError, ImportError) as error:
        if options.debug:
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"jssl: {text}", file=sys.stderr)
        return 1


def launch(options, rest) -> int:
    if rest:
        raise ValueError(f"unknown argument {rest[0]!r}; see --help")
    if not options.workdir or not options.out:
        raise ValueError("which run, and where to? --workdir=FOLDER --out=FILE.safetensors")
    out = Path(options.out)
    if out.suffix != ".safetensors":
        raise ValueError(f"weights are written as FILE.safetensors, not as {out.name}")
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent} to write to")
    prepare_jax(options)
    config = asked(Path(options.workdir))
    stage, state = restored(Path(options.workdir), config, options.config, options.stage)
    arrays, layout = encoder(stage, state)
    from jssl.weights import write

    told = {
        "format": "pt",
        "layout": json.dumps(layout),
        "config": json.dumps({k: v for k, v in config.items() if k != "provenance"}),
        "stage": stage.name,
        "commit": config.get("provenance", {}).get("commit", "unknown"),
    }
    write(out, arrays, told)
    count = sum(array.size for array in arrays.values())
    print(f"{out}: {layout['network']} of {count:,} numbers, {layout['names']}'s names")
    return 0


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="python -m jssl.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parse.add_argument
    add("--workdir", help="of a run of jssl.main")
    add("--out", metavar="FILE.safetensors")
    add("--stage", help="whose encoder (default: the last stage's)")
    add("--config", metavar="FILE", help="the experiment, if not in ./experiments")
    add("--debug", action="store_true", help="show tracebacks")
    parse.set_defaults(cpu_devices=None, coordinator=None, processes=None, process=None)
    return parse


def asked(workdir: Path) -> dict[str, Any]:
    """The config.json of a run.

    Raises:
      ValueError: when there is none, or a damaged one.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise ValueError(f"{workdir} holds no run: there is no {path}")
    try:
        config = json.loads(path.read_text())
        return {key: config[key] for key in ("title", "file", "function", "knobs")} | config
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a run's config: {error}") from error


def restored(
    workdir: Path, config: dict[str, Any], file: str | None = None, name: str | None = None
) -> tuple[Stage, Any]:
    """A stage of a run, and its newest state, whole on one device.

    The run's mesh plays no part: what many devices trained, one can read.

    Raises:
      ValueError: when the experiment is not found or no longer has the run's knobs, or
        the run has no such stage or no checkpoint of it.
    """
    import jax

    from jssl.checkpoint import Checkpoints
    from jssl.loop import decode

    path = Path(file or Path("experiments") / config["file"])
    experiment = load(f"{path}:{config['function']}")
    gone = sorted(set(config["knobs"]) - set(experiment.knobs))
    if gone:
        raise ValueError(f"{path} no longer has the knob {gone[0]!r} of the run {workdir}")
    then = {k: tuple(v) if isinstance(v, list) else v for k, v in config["knobs"].items()}
    stages = {s.name: s for s in replace(experiment, knobs=then).stages()}
    name = name or list(stages)[-1]
    if name not in stages:
        raise ValueError(f"no stage is called {name!r}; there are {', '.join(stages)}")
    folder = workdir / name
    if not folder.is_dir():
        raise ValueError(f"the run has no checkpoint of its stage {name}: no {folder}")
    stage = stages[name]
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    batch = jax.eval_shape(decode, stage.data.shapes())
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here),
        jax.eval_shape(stage.method.init, jax.random.key(0), batch),
    )
    with Checkpoints(folder) as saved:
        found = saved.latest(shapes)
    if found is None:
        raise ValueError(f"the run has no checkpoint of its stage {name} in {folder}")
    return stage, found[1]


def encoder(stage: Stage, state: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of the encoder that the stage's method embeds with, and its layout."""
    import jax

    from jssl import weights
    from jssl.loop import decode

    rows = jax.eval_shape(decode, stage.data.row_shapes())
    module, variables, image = weights.used(stage.method.embed, state, rows)
    layout = weights.described(module, image)
    if layout["names"] != "timm":
        return weights.own_names(variables), layout
    params = variables.pop("params")
    return weights.to_torch(module, params, variables, layout.get("grid")), layout


if __name__ == "__main__":
    sys.exit(main())
