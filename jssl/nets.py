"""Networks as pairs of pure functions, made from Flax Linen or Flax NNX modules."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.errors import InvalidRngError


class Net(NamedTuple):
    """A network as two pure functions.

    Attributes:
      init: (key, *inputs) -> (params, stats). Must run every submodule once.
      apply: (params, stats, *inputs, train=False, keys={}, capture=(), method=None)
        -> (out, stats). With `train`, noise is drawn and running statistics are updated;
        otherwise the statistics are returned unchanged. `keys` holds a random key for each
        kind of noise ("dropout", "drop_path"). `method` names another function of the
        network ("encode"). With `capture`, names of submodules, the output is
        (out, {name: output of the submodule}). Outside training, if the output is a dict,
        intermediate values sown by the modules are added to it: "layers", the feature maps
        [n, h, w, c] of each layer, first to last, and "attention", the attention
        probabilities [n, heads, 1 + l, 1 + l] of a ViT. XLA removes those that are unused.
    """

    init: Callable[..., tuple[Any, Any]]
    apply: Callable[..., tuple[Any, Any]]


SOWN = ("layers", "attention")


def linen(module) -> Net:
    """A network from a Flax Linen module whose functions take (*inputs, train).

    Raises:
      ValueError: in `apply`, if the module draws from a stream that is not in `keys`.
    """

    def init(key, *inputs):
        variables = dict(module.init(key, *inputs, train=False))
        return variables.pop("params"), variables

    def apply(params, stats, *inputs, train=False, keys={}, capture=(), method=None):
        kept = [*(stats if train else SOWN), *(["intermediates"] if capture else ())]
        watched = lambda m, name: name == "__call__" and m.name in capture
        try:
            out, moved = module.apply(
                {"params": params, **stats},
                *inputs,
                train=train,
                rngs=dict(keys),
                method=method,
                mutable=kept,
                capture_intermediates=watched,
            )
        except InvalidRngError as error:
            reason = str(error).split(" (http")[0]
            raise ValueError(
                f"the network draws noise without a key: pass keys={{NAME: key}}: {reason}"
            ) from error
        moved = dict(moved)
        seen = moved.pop("intermediates", {})
        if isinstance(out, dict) and not train:
            out = out | {kind: _in_order(moved[kind]) for kind in SOWN if moved.get(kind)}
        if capture:
            out = out, _by_name(seen, capture)
        return out, moved if train else stats

    return Net(init, apply)


def nnx(make: Callable[[Any], Any]) -> Net:
    """A network from a Flax NNX module built by make(rngs), with functions of (*inputs).

    `nnx.Param`s become params, and all other variables except random streams become
    {"batch_stats": ...}; both are nested dicts. `module.train()` or `module.eval()` sets
    the mode of each call, and each entry of `keys` reseeds the random stream of its name.

    Raises:
      ValueError: in `apply`, if the module draws from a stream that is not in `keys`.

    >>> from flax import nnx as flax
    >>> net = nnx(lambda rngs: flax.Linear(3, 2, rngs=rngs))
    >>> params, stats = net.init(jax.random.key(0))
    >>> net.apply(params, stats, jax.numpy.ones((5, 3)))[0].shape
    (5, 2)
    """
    from flax import nnx as flax
    from flax.traverse_util import flatten_dict

    def build(key):
        return make(flax.Rngs(key, dropout=key, drop_path=key))

    def split(module):
        graph, *states = flax.split(module, flax.Param, flax.RngState, ...)
        params, streams, stats = map(flax.to_pure_dict, states)
        return graph, params, streams, {"batch_stats": stats} if stats else {}

    graph, _, streams, _ = split(flax.eval_shape(build, jax.random.key(0)))

    def init(key, *_):
        _, params, _, stats = split(build(key))
        return params, stats

    def apply(params, stats, *inputs, train=False, keys={}, capture=(), method=None):
        absent = jax.tree.map(lambda x: _NoKey(x.shape), streams)
        module = flax.merge(graph, params, absent, stats.get("batch_stats", {}))
        flax.reseed(module, **keys)
        module.train() if train else module.eval()
        outputs = flax.Intermediate if capture else None
        call = getattr(module, method or "__call__")
        call = flax.capture(call, flax.Intermediate, method_outputs=outputs)
        out, seen = call(*inputs)
        seen = flax.to_pure_dict(seen)
        if isinstance(out, dict) and not train:
            for kind in SOWN:
                sown = {str(p): x for p, x in flatten_dict(seen).items() if p[-1] == kind}
                out = out | ({kind: _in_order(sown)} if sown else {})
        if capture:
            out = out, _by_name(seen, capture)
        return out, split(module)[3] if train else stats

    return Net(init, apply)


def by_size(
    net: Net, params: Any, stats: Any, groups: Any, head: str, **how: Any
) -> tuple[dict[str, jax.Array], Any]:
    """Outputs of multi-crop views in training: one pass per size, then one of the head.

    The encoder has the batch statistics of the views of one size, the head those of all.

    Args:
      net: with functions `encode`, x -> {"h": [n, d]}, and `head`, h -> {name: [n, ...]}.
      params, stats: of the network.
      groups: views of one size each, ([n, v, ...], [n, w, ...]), or leaves of such.
      head: name of the function that begins at h.
      how: further arguments of `net.apply`, such as keys.

    Returns:
      The outputs of the head by name, [n, v + w, ...], and the new statistics.
    """
    each = []
    for views in groups:
        n, count = jax.tree.leaves(views)[0].shape[:2]
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), views)
        out, stats = net.apply(params, stats, rows, train=True, method="encode", **how)
        each.append(out["h"].reshape(n, count, -1))
    h = jnp.concatenate(each, 1)
    rows = h.reshape(-1, h.shape[-1])
    out, stats = net.apply(params, stats, rows, train=True, method=head, **how)
    return {k: x.reshape(*h.shape[:2], *x.shape[1:]) for k, x in out.items()}, stats


class _NoKey:
    """Placeholder for the state of a random stream without a key."""

    def __init__(self, shape):
        self.shape = shape

    def __getitem__(self, _):
        raise ValueError(
            "the network draws noise from a stream without a key: pass keys={NAME: key}"
        )


def _in_order(sown):
    """Sown values ordered by module name, numbers by value: block2 before block10."""
    parts = jax.tree_util.tree_flatten_with_path(sown)[0]
    numbered = [
        (re.split(r"(\d+)", jax.tree_util.keystr(path)), leaf) for path, leaf in parts
    ]
    by_number = [
        ([int(x) if x.isdigit() else x for x in words], leaf) for words, leaf in numbered
    ]
    return tuple(leaf for _, leaf in sorted(by_number, key=lambda item: item[0]))


def _by_name(tree, names):
    """{name: captured output} from Flax's nested dict of one-tuples."""
    found = {}
    for name, child in tree.items():
        if not isinstance(child, dict):
            continue
        if name in names and "__call__" in child:
            found[name] = child["__call__"][0]
        found |= _by_name(child, names)
    return found
