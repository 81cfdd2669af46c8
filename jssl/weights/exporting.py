"""Export of trained encoders, found in a method's state, under the names of timm."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.extend.core import Literal

from jssl.models import heads, vit
from jssl.models.resnet import ResNet
from jssl.models.videomae import VideoEncoder
from jssl.ops.positions import sincos_2d
from jssl.weights import resnet
from jssl.weights import vit as vit_names
from jssl.weights.names import exported
from jssl.weights.preprocessing import Preprocessing, measured

KINDS = ("params", "batch_stats")
UNWRITTEN = {  # attributes of a network that do not change what its weights compute
    *("parent", "name", "remat", "drop_path", "dtype", "groups"),
    *("residual_dtype", "joint_qkv_init", "sincos_init", "token_std", "zero_last"),
}


class Used(NamedTuple):
    """The encoder that computes a method's h.

    Attributes:
      module: the `vit.Encoder` or `ResNet`, else the module named "encoder", else the
        outermost module.
      variables: {"params": ..., "batch_stats": ...} of the module, as used by `embed`
        (the running average, if the method keeps one). For a ViT or ResNet they are
        nested under "encoder", with its "norm" and "head", if any, beside.
      image: height and width of the input; () if the input is not an image.
      pool: pooling of a ViT's tokens into h; "" if there is none around it.
      preprocessing: normalization of the batch's images before the encoder, as measured;
        None if they are not its input, or not normalized in each channel.
    """

    module: nn.Module
    variables: dict[str, Any]
    image: tuple[int, ...]
    pool: str = ""
    preprocessing: Preprocessing | None = None


def used(embed: Callable, state: Any, rows: Any) -> Used:
    """The one encoder of `encoders`.

    Raises:
      ValueError: if h is computed by no Flax Linen module, or by several.
    """
    found = encoders(embed, state, rows)
    if len(found) > 1:
        kinds = ", ".join(type(each.module).__name__ for each in found)
        raise ValueError(f"h comes from several networks, one is needed: {kinds}")
    return found[0]


def encoders(embed: Callable, state: Any, rows: Any) -> list[Used]:
    """Finds the encoders that compute h, and their weights, by tracing embed(state, rows).

    Args:
      embed: the `embed` of a `Method`.
      state: state of the method.
      rows: arrays or ShapeDtypeStructs of a batch; only their shapes matter.

    Raises:
      ValueError: if h is computed by no Flax Linen module.
    """

    def zeros(count):
        return jax.tree.map(lambda x: jnp.zeros((count, *x.shape[1:]), x.dtype), rows)

    needed = _needed(lambda state: embed(state, zeros(1))["h"], state)
    found: list[dict[str, Any]] = []

    def called(state, batch):
        """The modules called for h, bound to the state, their inputs, and the depth of
        each call."""
        calls, leaves, depth = [], jax.tree.leaves(state), 0
        idle = {id(x) for x, live in zip(leaves, needed, strict=True) if not live}

        def watch(call, args, kwargs, context):
            nonlocal depth
            if context.method_name != "setup" and args and hasattr(args[0], "shape"):
                own = jax.tree.leaves(_variables(context.module))
                if any(id(leaf) not in idle for leaf in own):
                    calls.append((context.module, args[0], depth))
            depth += 1
            try:
                return call(*args, **kwargs)
            finally:
                depth -= 1

        with nn.intercept_methods(watch):
            embed(state, batch)
        return calls

    def weights(state):
        calls = called(state, zeros(1))  # modules refer weakly to those around them
        trees = []
        for module, x in _outer(calls):
            variables = _variables(module)
            pool = getattr(module.parent, "pool", "")
            found.append(
                dict(
                    module=module.clone(parent=None), image=tuple(x.shape[1:-1]), pool=pool
                )
            )
            if isinstance(module, (vit.Encoder, ResNet)):
                variables = {kind: {"encoder": tree} for kind, tree in variables.items()}
                variables["params"] |= _beside(module)
            trees.append(variables)
        return trees

    trees = jax.device_get(jax.jit(weights)(state))
    seen = _measured(called, state, zeros) or [None] * len(trees)
    return [
        Used(variables=variables, preprocessing=each, **about)
        for variables, each, about in zip(trees, seen, found, strict=True)
    ]


def _measured(called, state, zeros):
    """Normalizations of column "image" before each encoder, from three images."""
    batch = zeros(3)
    image = batch.get("image") if isinstance(batch, Mapping) else None
    if image is None or image.ndim != 4 or not jnp.issubdtype(image.dtype, jnp.floating):
        return []
    noise = jax.random.uniform(jax.random.key(0), image.shape[1:], image.dtype)
    images = jnp.stack([image[0], jnp.ones_like(image[0]), noise])

    @jax.jit
    def see(state, images):
        return [x for _, x in _outer(called(state, {**batch, "image": images}))]

    return [measured(images, x) for x in see(state, images)]


def to_torch(
    encoder: vit.Encoder | ResNet,
    params: Mapping[str, Any],
    stats: Mapping[str, Any] = {},
    grid: tuple[int, int] | None = None,
    dialect: str = "timm",
) -> dict[str, np.ndarray]:
    """Converts the weights of an encoder to a torch state dict that timm can load.

    Args:
      encoder: the network.
      params: {"encoder": params of the encoder}, with "norm" and "head" if present, as in
        `Loaded`, `Used` and both `Classifier`s; or the params of the encoder alone.
      stats: {"batch_stats": ...} likewise.
      grid: rows and columns of patches of a ViT with fixed positions, which are written
        out, with zeros for the class token.
      dialect: naming scheme of a ViT, a key of `weights.vit.DIALECTS`.

    Raises:
      ValueError: if the grid of a ViT with fixed positions is missing.
    """
    nested = "encoder" in params
    variables = {"params": params, **stats}
    if not nested:
        variables = {kind: {"encoder": tree} for kind, tree in variables.items()}
    leaves = dict(flatten_dict(variables))
    if isinstance(encoder, ResNet):
        return exported(leaves, resnet.place)
    if encoder.grid is None:
        if not grid:
            raise ValueError(
                "to_torch: a ViT with fixed positions needs grid=(rows, columns)"
            )
        places = sincos_2d(encoder.width, *grid).astype(np.float32)
        fixed = np.concatenate([np.zeros((1, encoder.width), np.float32), places])
        leaves["params", "encoder", "positions"] = fixed[None]
    return exported(leaves, vit_names.place(dialect, encoder.patch))


def own_names(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Names the leaves by their paths in the Flax tree: "conv0.kernel", "norm0.mean".

    >>> sorted(own_names({"params": {"conv0": {"kernel": np.zeros(3)}}}))
    ['conv0.kernel']
    """
    leaves = flatten_dict(dict(variables))
    short = {".".join(path[1:]): np.asarray(leaf) for path, leaf in leaves.items()}
    if len(short) == len(leaves):
        return short
    return {".".join(path): np.asarray(leaf) for path, leaf in leaves.items()}


def described(encoder: nn.Module, image: tuple[int, ...]) -> dict[str, Any]:
    """Metadata for a file of weights, sufficient to rebuild the network."""
    info = _hyperparameters(encoder)
    of_images = not isinstance(encoder, VideoEncoder)
    if isinstance(encoder, vit.Encoder) and of_images and not encoder.grid:
        info["grid"] = tuple(side // encoder.patch for side in image)
    timm = isinstance(encoder, (vit.Encoder, ResNet)) and of_images
    named = "timm" if timm else "jssl"
    network = "ViT" if isinstance(encoder, vit.Encoder) else type(encoder).__name__
    return {"names": named, "network": network, "image": image} | info


def _hyperparameters(module):
    """Fields of a module that JSON can hold; modules among them as dicts with theirs."""

    def written(value):
        if isinstance(value, nn.Module):
            return {"network": type(value).__name__} | _hyperparameters(value)
        if isinstance(value, (tuple, list)):
            return tuple(written(each) for each in value)
        return value

    names = (field.name for field in fields(module) if field.name not in UNWRITTEN)
    found = {name: written(getattr(module, name)) for name in names}
    return {name: value for name, value in found.items() if _is_json(value)}


def _is_json(value):
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _needed(function, state):
    """A bool for each leaf of the state: True if function(state) depends on it."""
    traced = jax.make_jaxpr(function)(state).jaxpr
    live = {v for v in traced.outvars if not isinstance(v, Literal)}
    for equation in reversed(traced.eqns):
        if live.intersection(equation.outvars):
            live |= {v for v in equation.invars if not isinstance(v, Literal)}
    return [v in live for v in traced.invars]


def _outer(calls):
    """The recorded (module, input) of each encoder to export, in the order of the calls."""
    if not calls:
        raise ValueError("no Flax Linen module computes h: there is no encoder to export")
    known = [c for c in calls if isinstance(c[0], (vit.Encoder, ResNet))]
    named = [c for c in calls if c[0].name == "encoder"]
    outermost = [c for c in calls if c[2] == 0]
    first = {}
    for module, x, _ in known or named or outermost:
        first.setdefault(id(jax.tree.leaves(_variables(module))[0]), (module, x))
    return list(first.values())


def _variables(module):
    return {kind: tree for kind, tree in module.variables.items() if kind in KINDS}


def _beside(encoder):
    """Params of the norm and linear head on an encoder, if there are any."""
    around = encoder.parent
    if not isinstance(around, (vit.Classifier, vit.Pooled, heads.Classifier)):
        return {}
    between = ("projector", "relu", "logits_norm")  # timm's heads are linear in h
    if any(getattr(around, name, None) for name in between):
        return {}
    params = around.variables["params"]
    return {name: params[name] for name in ("norm", "head") if name in params}
