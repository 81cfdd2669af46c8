"""A network as two pure functions, whoever drew it."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Net(NamedTuple):
    """What a method knows of its network.

    Attributes:
      init: (key, *inputs) -> (params, stats). Must run every submodule once.
      apply: (params, stats, *inputs, train=False, keys={}, capture=(), method=None)
        -> (out, stats). `train` says whether running statistics move and noise is drawn;
        `keys` holds a key for each kind of noise ("dropout", "drop_path"); `method` names
        another function of the network ("encode"). With `capture`, names of submodules,
        out is (out, {name: what the submodule returned}). Unless `train`, the statistics
        come back as they went in, and an out that is a dict has also what the modules
        sow: "layers", the maps [n, h, w, c] of each layer from the first on, and
        "attention", a ViT's probabilities [n, heads, 1 + l, 1 + l]. XLA drops what nobody
        asks for.
    """

    init: Callable[..., tuple[Any, Any]]
    apply: Callable[..., tuple[Any, Any]]


SOWN = ("layers", "attention")


def linen(module) -> Net:
    """A Flax Linen module whose functions take (*inputs, train)."""

    def init(key, *inputs):
        variables = dict(module.init(key, *inputs, train=False))
        return variables.pop("params"), variables

    def apply(params, stats, *inputs, train=False, keys={}, capture=(), method=None):
        out, moved = module.apply(
            {"params": params, **stats},
            *inputs,
            train=train,
            rngs=dict(keys),
            method=method,
            mutable=[*(stats if train else SOWN), *(["intermediates"] if capture else ())],
            capture_intermediates=lambda m, name: name == "__call__" and m.name in capture,
        )
        moved = dict(moved)
        seen = moved.pop("intermediates", {})
        if isinstance(out, dict) and not train:
            out = out | {kind: _in_order(moved[kind]) for kind in SOWN if moved.get(kind)}
        if capture:
            out = out, _by_name(seen, capture)
        return out, moved if train else stats

    return Net(init, apply)


def _in_order(sown):
    """What was sown, by the modules' names: block2 before block10."""
    parts = jax.tree_util.tree_flatten_with_path(sown)[0]
    numbered = [
        (re.split(r"(\d+)", jax.tree_util.keystr(path)), leaf) for path, leaf in parts
    ]
    by_number = [
        ([int(x) if x.isdigit() else x for x in words], leaf) for words, leaf in numbered
    ]
    return tuple(leaf for _, leaf in sorted(by_number, key=lambda item: item[0]))


def _by_name(tree, names):
    """Finds each captured output in Flax's nested dict of one-tuples."""
    found = {}
    for name, child in tree.items():
        if not isinstance(child, dict):
            continue
        if name in names and "__call__" in child:
            found[name] = child["__call__"][0]
        found |= _by_name(child, names)
    return found
