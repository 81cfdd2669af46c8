"""Import of pretrained weights into `ResNet` and `Pooled` ViT encoders."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.errors import FlaxError
from flax.traverse_util import flatten_dict, unflatten_dict

from jssl.models.resnet import ResNet
from jssl.models.vit import Encoder, Pooled
from jssl.ops.positions import resize_positions
from jssl.weights import resnet, vit
from jssl.weights.channels import adapt_input
from jssl.weights.files import metadata, read
from jssl.weights.layout import BESIDE, Layout, parted, recognize
from jssl.weights.names import imported

KINDS = ("params", "batch_stats")
WRITTEN = ("heads", "eps", "grid", "pool")  # in the metadata of a file exported by jssl


class Loaded(NamedTuple):
    """An encoder with weights: module.apply({"params": params, **stats}, images) -> h.

    Attributes:
      module: a `ResNet`, or a ViT as `Pooled`; images [n, h, w, c] -> [n, d].
      params: weights.
      stats: {"batch_stats": ...}, or {} if there are none.
      info: for display: source, file, sizes, heads and their origin, names left out.
    """

    module: nn.Module
    params: Any
    stats: dict[str, Any]
    info: dict[str, Any]


def load(
    path: str | Path,
    heads: int | None = None,
    *,
    prefix: str | None = None,
    pool: str | None = None,
    eps: float | None = None,
    grid: tuple[int, int] | None = None,
    image: tuple[int, int] | None = None,
    channels: int | None = None,
) -> Loaded:
    """Loads a file of pretrained weights into a matching encoder.

    Args:
      path: a file in one of the formats of `read`.
      heads: attention heads of a ViT; None is the usual number for its width.
      prefix: prefix of the network's names, if the file holds several networks.
      pool: pooling of a ViT's tokens; None is that written in the file, else "mean" if a
        norm follows it, else "cls".
      eps: epsilon of a ViT's norms; None is 1e-12 for transformers' layouts, else 1e-6.
      grid: rows and columns of a ViT's positions, if not square.
      image: height and width of the images, to which a ViT's positions are resized.
      channels: channels of the images, if other than in training.

    Raises:
      FileNotFoundError, ValueError: naming the file; see `read`, `recognize` and
        `imported`.
    """
    arrays = read(path)
    given = dict(heads=heads, pool=pool, eps=eps, grid=grid)
    given = {name: value for name, value in given.items() if value is not None}
    try:
        return _loaded(path, arrays, prefix, given, image, channels)
    except ValueError as error:
        known = str(path) in str(error)
        raise ValueError(str(error) if known else f"{path}: {error}") from error
    except (ArithmeticError, LookupError, TypeError, FlaxError) as error:
        reason = " ".join(str(error).split())[:200]  # of shapes that fit no network
        raise ValueError(
            f"{path} fits no network: {type(error).__name__}: {reason}"
        ) from error


def _loaded(path, arrays, prefix, given, image, channels) -> Loaded:
    """`load`, of arrays that were read."""
    layout = recognize(arrays, prefix)
    build = _resnet if layout.dialect == "resnet" else _vit
    module, place, dropped, whence = build(layout, _written(path), given)
    own, others = parted(arrays, layout.prefix)
    spare = [n for n in others if not re.fullmatch(BESIDE, n.removeprefix("module."))]
    if spare:
        names = f"{', '.join(spare[:4])}{' ...' if spare[4:] else ''}"
        raise ValueError(f"{path}: unknown arrays beside {layout.prefix!r}: {names}")
    size = (*_image(module), layout.channels)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *size)))
    shapes = {k: v.shape for k, v in flatten_dict(dict(shapes)).items() if k[0] in KINDS}
    leaves = imported(shapes, place, own, dropped, str(path))
    module, leaves = _fitted(module, leaves, image, channels or layout.channels, size)
    variables = unflatten_dict(leaves)
    info = layout._asdict() | whence | {"file": str(path)}
    info["left_out"] = sorted([*others, *(n for n in own if re.fullmatch(dropped, n))])
    return Loaded(module, variables.pop("params"), variables, info)


def _written(path):
    """The ViT settings in the metadata of a file exported by jssl."""
    layout = json.loads(metadata(path).get("layout", "{}"))
    if not isinstance(layout, dict):
        raise ValueError(f"the layout in its metadata is damaged: {layout!r:.80}")
    return {name: layout[name] for name in WRITTEN if layout.get(name)}


def _resnet(layout: Layout, written, given):
    if given:
        raise ValueError(f"a ResNet has no {', '.join(given)}: omit it")
    module = ResNet(layout.depth, layout.stem, layout.width)
    return module, resnet.place, resnet.DROPPED, {}


def _vit(layout: Layout, written, given):
    usual = {
        "heads": layout.heads,
        "grid": layout.grid,
        "eps": 1e-12 if layout.dialect.startswith("transformers") else 1e-6,
        "pool": "mean" if layout.pooled else "cls",
    }
    info = usual | written | given
    if not info["heads"]:
        raise ValueError(
            f"unknown number of heads: shapes do not determine it, and no published ViT "
            f"is {layout.width} wide: give heads="
        )
    if info["grid"] is None:
        raise ValueError("this ViT's positions form no square: give grid=(rows, columns)")
    info["grid"] = tuple(info["grid"])
    encoder = Encoder(
        layout.width,
        layout.depth,
        info["heads"],
        layout.patch,
        final_norm=not layout.pooled,
        eps=info["eps"],
        grid=info["grid"],
    )
    sources = {"given": given, "written in the file": written}
    whence = [name for name, known in sources.items() if "heads" in known]
    info["heads_are"] = (whence or ["usual for this width"])[0]
    place, dropped = vit.place(layout.dialect, layout.patch), vit.dropped(layout.dialect)
    return Pooled(encoder, info["pool"]), place, dropped, info


def _image(module):
    """Height and width of an image that fits a module."""
    if isinstance(module, ResNet):
        return 64, 64
    rows, columns = module.encoder.grid
    return rows * module.encoder.patch, columns * module.encoder.patch


def _fitted(module, leaves, image, channels, size):
    """Adapts the module and its weights to the image size and channels."""
    conv, flat = ("params", "conv", "kernel"), ("params", "encoder", "embedding", "kernel")
    if isinstance(module, ResNet):
        return module, leaves | {conv: adapt_input(leaves[conv], channels)}
    encoder = module.encoder
    patch = encoder.patch
    kernel = leaves[flat].reshape(patch, patch, size[2], -1)
    kernel = adapt_input(kernel, channels).reshape(-1, kernel.shape[-1])
    image = image or size[:2]
    if image[0] % patch or image[1] % patch:
        raise ValueError(f"a patch of {patch} does not divide an image of {image}")
    grid = image[0] // patch, image[1] // patch
    at = ("params", "encoder", "positions")
    moved = np.asarray(resize_positions(leaves[at], grid, encoder.grid))
    module = module.clone(encoder=encoder.clone(grid=grid))
    return module, leaves | {flat: kernel, at: moved}
