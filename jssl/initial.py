"""Starts a stage from the encoder of another run, or from a file of weights."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jssl import weights
from jssl.config import Stage
from jssl.engine import Engine
from jssl.models.transformer import Transformer
from jssl.runs import read_config, rebuilt, restore


class Encoder(NamedTuple):
    """A pretrained encoder: {path: array} of its params and of its statistics."""

    params: Mapping[tuple[str, ...], Any]
    stats: Mapping[tuple[str, ...], Any]


def started(stage: Stage) -> Stage:
    """The stage with a `start` that loads the encoder named by `stage.init`, if any.

    Raises:
      ValueError: no such run or file, or a stage that starts from an earlier one.
    """
    if not stage.init:
        return stage
    if stage.start:
        raise ValueError(f"init={stage.init}: {stage.name} starts from an earlier stage")
    begin = partial(adopt, encoder=read(stage.init), where=stage.init)
    return replace(stage, start=lambda state, done: begin(state))


def read(where: str) -> Encoder:
    """The encoder of a run (its workdir), of a file of weights, or of a language model.

    A language model is in a folder of transformers, with config.json.

    Raises:
      ValueError, FileNotFoundError: see `restore`, `weights.used`, `weights.load` and
        `weights.load_language`.
    """
    if weights.is_language(where):
        variables = {"params": weights.load_language(where).params}
    elif Path(where).is_dir():
        stage, state = restore(Path(where), read_config(Path(where)))
        context = jax.eval_shape(stage.data.decoded_context)
        rows = jax.eval_shape(stage.data.decode, stage.data.row_shapes(), context)
        variables = weights.used(stage.method.embed, state, rows).variables
    elif '"names": "jssl"' in weights.metadata(where).get("layout", ""):
        arrays = weights.read(where)  # by the paths of the Flax tree
        flat = {tuple(name.split(".")): x for name, x in arrays.items()}
        if not any(path[0] == "params" for path in flat):  # names are unique without kind
            return Encoder(flat, flat)
        variables = unflatten_dict(flat)
    else:
        loaded = weights.load(where)
        variables = {"params": loaded.params, **loaded.stats}
    params, stats = (variables.get(kind, {}) for kind in ("params", "batch_stats"))
    return Encoder(*(flatten_dict(dict(x.get("encoder", x))) for x in (params, stats)))


def text_encoder(where: str) -> Transformer:
    """The architecture of the text encoder of a run, or of a folder of transformers.

    It is called with (tokens [n, l], segments [n, l], train); its weights are `read`.

    Raises:
      ValueError: no such run or folder, or one of another kind of network.
    """
    if weights.is_language(where):
        return weights.load_language(where).module.encoder
    if not Path(where).is_dir():
        raise ValueError(
            f"init={where}: an encoder of text is in a run or a folder of transformers"
        )
    stage = rebuilt(Path(where), read_config(Path(where)), quiet=True)
    engine = Engine(stage)
    found = weights.text_encoder(stage.method.embed, engine.shapes, engine.rows)
    if found is None:
        raise ValueError(f"init={where}: the network of the run is no encoder of text")
    return found


def adopt(state: Any, encoder: Encoder, where: str) -> Any:
    """A state with the weights of a pretrained encoder, also in its target networks.

    Every leaf below a key "encoder" is replaced, in weights, statistics and running
    averages, but not in the moments of the optimizer.

    Args:
      state: of a method.
      encoder: to copy; leaves that the state lacks are ignored.
      where: its origin, for messages.

    Raises:
      ValueError: the state has no encoder, or one of another architecture.
    """
    found = []

    def leaf(path, x):
        names = [str(getattr(k, "key", getattr(k, "name", ""))) for k in path]
        moment = "opt" in names and "average" not in names
        if "encoder" not in names or moment:
            return x
        below = tuple(names[len(names) - names[::-1].index("encoder") :])
        known = encoder.stats if "batch_stats" in names else encoder.params
        there = np.shape(known[below]) if below in known else "missing"
        if there != x.shape:
            raise ValueError(
                f"init={where}: {'/'.join(below)} of its encoder is {there}, not "
                f"{x.shape}: give the network the knobs that it has there"
            )
        found.append(below)
        return jax.numpy.asarray(known[below], x.dtype)

    new = jax.tree_util.tree_map_with_path(leaf, state)
    if not found:
        raise ValueError(f"init={where}: the method has no part named encoder to start")
    return new
