"""Exports the encoder of a run to safetensors, with the names of timm.

    python -m jssl.export --workdir runs/mae --out mae.safetensors

ViTs and ResNets can be loaded by timm; other encoders keep the names of jssl. The metadata
of the file contain the config, the commit, the architecture, and the normalization of
images before the encoder, measured through the method, in the words of timm's
pretrained_cfg.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from jssl.command import add_run, new_parser, prepare_jax, say
from jssl.config import Stage


def main(arguments: list[str] | None = None) -> int:
    """Runs the command `python -m jssl.export` and returns its exit status.

    0: written. 1: a user error, reported in one line; nothing is written.
    """
    options, rest = parser().parse_known_args(arguments)
    return say(lambda: launch(options, rest), options.debug)


def launch(options, rest) -> int:
    if rest:
        raise ValueError(f"unknown argument {rest[0]!r}; see --help")
    if not options.workdir or not options.out:
        raise ValueError("give --workdir=FOLDER and --out=FILE.safetensors")
    out = Path(options.out)
    if out.suffix != ".safetensors":
        raise ValueError(f"--out must be FILE.safetensors, got {out.name}")
    if not out.parent.is_dir():
        raise ValueError(f"--out: no such folder {out.parent}")
    prepare_jax(options.debug)
    from jssl import runs

    workdir = Path(options.workdir)
    config = runs.read_config(workdir)
    stage, state = runs.restore(workdir, config, options.config, options.stage)
    arrays, layout, seen = encoder(stage, state)
    from jssl.weights import write

    told = {
        "format": "pt",
        "layout": json.dumps(layout),
        "config": json.dumps({k: v for k, v in config.items() if k != "provenance"}),
        "stage": stage.name,
        "commit": config.get("provenance", {}).get("commit", "unknown"),
    }
    if seen is not None:
        told["preprocessing"] = json.dumps(seen.written())
    write(out, arrays, told)
    count = sum(array.size for array in arrays.values())
    print(f"{out}: {layout['network']} of {count:,} numbers, {layout['names']}'s names")
    print(f"images: {'not normalized in each channel' if seen is None else seen.words}")
    return 0


def parser() -> argparse.ArgumentParser:
    parse = new_parser("export", __doc__)
    add_run(parse)
    parse.add_argument("--out", metavar="FILE.safetensors")
    return parse


def encoder(stage: Stage, state: Any) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Arrays of the encoder of a stage's method, its layout, and its `Preprocessing`."""
    import jax

    from jssl import weights

    data = stage.data
    context = jax.eval_shape(data.decoded_context)
    rows = jax.eval_shape(data.decode, data.row_shapes(), context)
    module, variables, image, pool, seen = weights.used(stage.method.embed, state, rows)
    layout = weights.described(module, image) | ({"pool": pool} if pool else {})
    if layout["names"] != "timm":
        return weights.own_names(variables), layout, seen
    params = variables.pop("params")
    grid = layout.get("grid")
    arrays = weights.to_torch(module, params, variables, grid)  # type: ignore[arg-type]
    return arrays, layout, seen


if __name__ == "__main__":
    sys.exit(main())
