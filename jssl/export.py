"""Writes a run's encoder for other programs: safetensors, under timm's names.

    python -m jssl.export --workdir runs/mae --out mae.safetensors

ViTs and ResNets load into timm; other encoders keep jssl's own names. The file says in
its metadata which config and commit it came from and how the network is built.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from jssl.config import Stage
from jssl.main import prepare_jax, say


def main(arguments: list[str] | None = None) -> int:
    """The command `python -m jssl.export`; returns the exit status.

    0: written. 1: a mistake of the user's, said in one line; nothing is written then.
    """
    options, rest = parser().parse_known_args(arguments)
    return say(lambda: launch(options, rest), options.debug)


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
    from jssl import session

    workdir = Path(options.workdir)
    config = session.read_config(workdir)
    stage, state = session.restore(workdir, config, options.config, options.stage)
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


def encoder(stage: Stage, state: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of the encoder that the stage's method embeds with, and its layout."""
    import jax

    from jssl import weights

    data = stage.data
    context = jax.eval_shape(data.decoded_context)
    rows = jax.eval_shape(data.decode, data.row_shapes(), context)
    module, variables, image = weights.used(stage.method.embed, state, rows)
    layout = weights.described(module, image)
    if layout["names"] != "timm":
        return weights.own_names(variables), layout
    params = variables.pop("params")
    grid = layout.get("grid")
    arrays = weights.to_torch(module, params, variables, grid)  # type: ignore[arg-type]
    return arrays, layout


if __name__ == "__main__":
    sys.exit(main())
