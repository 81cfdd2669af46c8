"""A network as two pure functions, whoever drew it."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Net(NamedTuple):
    """What a method knows of its network.

    Attributes:
      init: (key, *inputs) -> (params, stats). Must run every submodule once.
      apply: (params, stats, *inputs, train=False, keys={}, capture=(), method=None)
        -> (out, stats). `train` says whether running statistics move and noise is drawn;
        `keys` holds a key for each kind of noise ("dropout", "drop_path"); `method` names
        another function of the network ("encode"). With `capture`, names of submodules,
        out is (out, {name: what the submodule returned}). Unless `train`, the statistics
        come back as they went in.
    """

    init: Callable[..., tuple[Any, Any]]
    apply: Callable[..., tuple[Any, Any]]


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
            mutable=[*(stats if train else ()), *(["intermediates"] if capture else ())],
            capture_intermediates=lambda m, name: name == "__call__" and m.name in capture,
        )
        moved = dict(moved)
        seen = moved.pop("intermediates", {})
        if capture:
            out = out, _by_name(seen, capture)
        return out, moved if train else stats

    return Net(init, apply)


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
