"""Writes the features of a run, or of imported weights, for the rows of a data set.

  --workdir runs/mae --out h.npz                          of the run's own data
  --workdir runs/mae --source folder:PATH --out h.npz     of other data
  --weights resnet50.safetensors --source folder:PATH --size 224 --out h.parquet

Columns: h (float32 [n, d]), index (row number within the split), split, and label and
class if there are classes. In an npz file the array `metadata` is JSON text; a parquet file
(pip install pyarrow) has it in its schema, under "jssl".
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from jssl import cluster
from jssl.cache import written
from jssl.command import (
    add_encoder,
    check_encoder,
    new_parser,
    prepare_jax,
    say,
    terminable,
)

KINDS = (".npz", ".parquet")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0: written. 1: a user error, reported in one line; 130, 143: stopped by Ctrl-C or
    SIGTERM; nothing is written.
    """
    options = parser().parse_args(arguments)
    return say(lambda: launch(options), options.debug)


def parser() -> argparse.ArgumentParser:
    parse = new_parser("embed", __doc__)
    add_encoder(parse)
    add = parse.add_argument
    add("--source", help="data (default: those of the run)")
    add("--split", default="all", help="train, val, test, several with commas, or all")
    add("--name", default="h", help="output of the method (default: h)")
    add("--batch", type=int, default=64, help="images per batch (64)")
    add("--out", metavar="FILE.npz|FILE.parquet")
    return parse


def launch(options) -> int:
    check_encoder(options)
    if options.weights and not options.source:
        raise ValueError("give --source=DATA for --weights, such as folder:PATH")
    out = Path(options.out or "")
    if out.suffix not in KINDS:
        raise ValueError(f"--out must be FILE.npz or FILE.parquet, got {out.name!r}")
    if not out.parent.is_dir():
        raise ValueError(f"--out: no such folder {out.parent}")
    if out.suffix == ".parquet":
        _pyarrow()
    prepare_jax(options.debug)
    with terminable():
        stage, state, whence = of_weights(options) if options.weights else of_run(options)
        columns, told = embedded(stage, state, options.split, options.name)
        write(out, columns, whence | told)
    print(f"{out}: {options.name} {list(columns[options.name].shape)} of {told['data']}")
    return 0


def of_run(options) -> tuple[Any, Any, dict[str, Any]]:
    """A stage of a run, perhaps with other data, its state, and its provenance."""
    from jssl import runs
    from jssl.pretrained import elsewhere

    workdir = Path(options.workdir)
    config = runs.read_config(workdir)
    other = bool(options.source)
    stage, state = runs.restore(workdir, config, options.config, options.stage, quiet=other)
    if options.source:
        stage = elsewhere(stage, state, options)
    told = {k: v for k, v in config.items() if k != "provenance"}
    return stage, state, {"run": str(workdir), "stage": stage.name, "config": told}


def of_weights(options) -> tuple[Any, Any, dict[str, Any]]:
    """A stage of imported weights, its state, and its provenance."""
    from jssl.pretrained import of_options

    found = of_options(options, labeled=False)
    print(f"images normalized by {found.preprocessing.words}")
    seen = found.preprocessing.written() | {"origin": found.preprocessing.origin}
    whence = {"weights": str(options.weights), "preprocessing": seen}
    return found.stage(), found.state, whence


def embedded(stage, state, splits: str, name: str = "h") -> tuple[dict[str, Any], dict]:
    """Columns of features of some splits of a stage's data, and their provenance.

    Rows of train that are in val too are rows of val alone.

    Args:
      stage: the stage.
      state: of its method.
      splits: names with commas, or "all".
      name: output of the method.

    Raises:
      ValueError: no such split or output.
    """
    from jssl import session
    from jssl.data import apart
    from jssl.engine import Engine
    from jssl.features import Features

    source = stage.data
    wanted = [*source.siblings] if splits == "all" else splits.split(",")
    parts = {split: apart(source.split(split)) for split in wanted}
    features = Features(Engine(stage), state)
    if name not in features.names:
        known = ", ".join(features.names)
        raise ValueError(f"the method has no output {name!r}; it has {known}")
    sizes = {split: part.size for split, part in parts.items()}
    columns = {
        name: np.concatenate([np.asarray(features(split, name)) for split in parts]),
        "index": np.concatenate([np.arange(n, dtype=np.int32) for n in sizes.values()]),
        "split": np.repeat([*sizes], [*sizes.values()]),
    }
    told: dict[str, Any] = {"data": source.data_name, "splits": sizes}
    if source.classes:
        labels = np.concatenate([part.labels() for part in parts.values()])
        names = np.array([*source.class_names, ""])  # the last for no label, -1
        columns |= {"label": labels, "class": names[labels]}
        told["classes"] = [*source.class_names]
    return columns, told | {"output": name, "provenance": session.provenance()}


def write(out: Path, columns: dict[str, Any], told: dict[str, Any]) -> None:
    """Writes columns of equal length to an npz or parquet file, atomically.

    Raises:
      ValueError: features that are no rows [n, d], for parquet, or a missing package.
      OSError: the file cannot be written.
    """
    text = json.dumps(told, default=str)
    with written(out) as part:
        if out.suffix == ".npz":
            with part.open("wb") as file:
                np.savez(file, **columns, metadata=np.array(text))
        else:
            _parquet(part, columns, text)


def _parquet(path, columns, text):
    pa, parquet = _pyarrow()
    arrays = {}
    for name, x in columns.items():
        if x.ndim > 2:
            raise ValueError(
                f"a parquet file holds rows [n, d], {name} is {list(x.shape)}: use npz"
            )
        flat = pa.array(x.ravel())
        arrays[name] = (
            flat if x.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, x.shape[1])
        )
    table = pa.table(arrays).replace_schema_metadata({"jssl": text})
    parquet.write_table(table, path)


def _pyarrow():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ValueError(
            "a parquet file needs pyarrow: pip install pyarrow, or use FILE.npz"
        ) from None
    return pyarrow, pyarrow.parquet


if __name__ == "__main__":
    cluster.run(main)
