"""Exports the encoder of a run to safetensors, with the names of timm.

    python -m jssl.export --workdir runs/mae --out mae.safetensors

ViTs and ResNets can be loaded by timm; other encoders keep the names of jssl. The metadata
of the file contain the config, the commit, the architecture, and the normalization of
images before the encoder, measured through the method, in the words of timm's
pretrained_cfg.
Methods with several encoders, such as split-brain autoencoders, have a file for each, in
the order in which they are called:
split_brain-0.safetensors, split_brain-1.safetensors.

    python -m jssl.export --workdir runs/gpt --out gpt/

A GPT, BERT, BART or PEGASUS is exported to a folder, with its config and tokenizer, as
transformers reads it.
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
    whole = options.out.endswith("/")  # a language model
    if out.suffix != ".safetensors" and not whole:
        raise ValueError(
            f"--out must be FILE.safetensors, or FOLDER/ of a language model, got "
            f"{out.name}"
        )
    if not out.parent.is_dir():
        raise ValueError(f"--out: no such folder {out.parent}")
    prepare_jax(options.debug)
    from jssl import runs

    workdir = Path(options.workdir)
    config = runs.read_config(workdir)
    stage, state = runs.restore(workdir, config, options.config, options.stage)
    if whole:
        return language(stage, state, out)
    from jssl.weights import write

    origin = {
        "format": "pt",
        "config": json.dumps({k: v for k, v in config.items() if k != "provenance"}),
        "stage": stage.name,
        "commit": config.get("provenance", {}).get("commit", "unknown"),
    }
    found = encoders(stage, state)
    for i, (arrays, layout, seen) in enumerate(found):
        file = out.with_stem(f"{out.stem}-{i}") if len(found) > 1 else out
        told = origin | {"layout": json.dumps(layout)}
        if len(found) > 1:
            told["part"] = f"{i + 1} of {len(found)}, in the order of their calls"
        if seen is not None:
            told["preprocessing"] = json.dumps(seen.written())
        write(file, arrays, told)
        count = sum(array.size for array in arrays.values())
        print(
            f"{file}: {layout['network']} of {count:,} numbers, {layout['names']}'s names"
        )
        print(f"images: {'not normalized in each channel' if seen is None else seen.words}")
    return 0


def language(stage: Stage, state: Any, out: Path) -> int:
    """Writes the language model of a stage to a folder of transformers.

    Its tokenizer is written if the package tokenizers knows it: BPE and WordPiece.
    """
    import jax

    from jssl import weights
    from jssl.data.tokenizing import FILE, parsed

    data = stage.data
    context = jax.eval_shape(data.decoded_context)
    rows = jax.eval_shape(data.decode, data.row_shapes(), context)
    module = weights.network(stage.method.embed, state, rows)
    if module is None:
        raise ValueError(
            f"--out: {stage.name} has no language model: give FILE.safetensors"
        )
    tokenizer, tokens = data.files.get(FILE, "{}"), {}
    if FILE in data.files:
        tokens = {x: parsed(tokenizer).number(f"[{x.upper()}]") for x in ("bos", "eos")}
    tokenizer = tokenizer if "model" in json.loads(tokenizer) else ""
    params = jax.device_get(state.weights)
    weights.save_language(out, module, params, tokenizer, tokens)
    count = sum(x.size for x in jax.tree.leaves(params))
    print(f"{out}: {type(module).__name__} of {count:,} numbers, transformers' names")
    return 0


def parser() -> argparse.ArgumentParser:
    parse = new_parser("export", __doc__)
    add_run(parse)
    parse.add_argument("--out", metavar="FILE.safetensors|FOLDER/")
    return parse


def encoders(stage: Stage, state: Any) -> list[tuple[dict[str, Any], dict[str, Any], Any]]:
    """(arrays, layout, `Preprocessing`) of each encoder of a stage's method."""
    import jax

    from jssl import weights

    data = stage.data
    context = jax.eval_shape(data.decoded_context)
    rows = jax.eval_shape(data.decode, data.row_shapes(), context)
    return [named(each) for each in weights.encoders(stage.method.embed, state, rows)]


def named(used: Any) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Arrays of an encoder by their names in a file, its layout, and its preprocessing."""
    from jssl import weights

    module, variables, image, pool, seen = used
    layout = weights.described(module, image) | ({"pool": pool} if pool else {})
    if layout["names"] != "timm":
        return weights.own_names(variables), layout, seen
    params = variables.pop("params")
    grid = layout.get("grid")
    arrays = weights.to_torch(module, params, variables, grid)
    return arrays, layout, seen


if __name__ == "__main__":
    sys.exit(main())
