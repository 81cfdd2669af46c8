"""Identification of the network in a state dict, and its size, from names and shapes.

A pre-training checkpoint holds several networks: MoCo's query and key encoder, DINO's
teacher with its head. Each is identified by its first convolution, and the one to evaluate
by its prefix. https://github.com/facebookresearch/moco, moco-v3, simsiam, mae and dino
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jssl.weights import resnet, vit

PREFIXES = {  # prefix after "module.": origin; the first one present is used
    "": "",
    "encoder_q.": "MoCo",
    "base_encoder.": "MoCo v3",
    "encoder.": "SimSiam",
    "backbone.": "DINO",
    "vit.": "transformers",
    "momentum_encoder.": "MoCo v3",
    "encoder_k.": "MoCo",
}
BESIDE = (  # arrays beside a prefixed encoder, to be left out
    r"(encoder_[qk]|base_encoder|momentum_encoder|predictor|projector|head|classifier|"
    r"pooler|decoder)\..+|queue(_ptr)?"
)


class Layout(NamedTuple):
    """The encoder in a state dict.

    Attributes:
      source: origin for display, e.g. "MoCo v3 ViT".
      prefix: prefix of its names in the state dict.
      dialect: naming scheme: "resnet" (torchvision, timm), or for a ViT "timm" (also MAE,
        MoCo v3 and DINO), "torchvision", "transformers".
      width, depth: size of the network.
      channels: channels of the images.
      stem: stem of a ResNet, "imagenet" or "cifar".
      patch: patch size of a ViT in pixels.
      heads: usual number of heads for the width, since shapes do not determine it; 0 if
        unknown.
      grid: rows and columns of a ViT's positions if they form a square, else None.
      pooled: whether the norm follows average pooling of the patches.
    """

    source: str
    prefix: str
    dialect: str
    width: int
    depth: int
    channels: int
    stem: str = ""
    patch: int = 0
    heads: int = 0
    grid: tuple[int, int] | None = None
    pooled: bool = False


def recognize(arrays: Mapping[str, np.ndarray], prefix: str | None = None) -> Layout:
    """Identifies the layout of a state dict.

    Args:
      arrays: {name: array}.
      prefix: prefix of the network's names if there are several. By default known ones
        are preferred in order: MoCo's query before its key encoder, v3's base before its
        momentum encoder.

    Raises:
      ValueError: if there is no ResNet or ViT, or several with unknown prefixes.
    """
    anchors = {resnet.ANCHOR} | {vit.anchor(d) for d in vit.DIALECTS}
    begins = {n.removesuffix(a) for n in arrays for a in anchors if n.endswith(a)}
    begins = {begin for begin in begins if not begin or begin.endswith(".")}
    if not begins:
        shown = ", ".join(sorted(arrays)[:4])
        raise ValueError(f"no ResNet or ViT with known names, got {shown} ...")
    prefix = _chosen(begins) if prefix is None else prefix
    if prefix not in begins:
        raise ValueError(f"no encoder is called {prefix!r}; there are {sorted(begins)}")
    own, _ = parted(arrays, prefix)
    owner = PREFIXES.get(prefix.removeprefix("module."), "")
    if resnet.ANCHOR in own:
        sizes = resnet.sizes(own)
        source = f"{owner or 'torchvision or timm'} ResNet-{sizes['depth']}"
        return Layout(source, prefix, "resnet", **sizes)
    dialect = vit.dialect_of(own)
    if any(re.search(r"(^|\.)decoder_embed\.", name) for name in arrays):
        owner = "MAE" if dialect == "timm" else f"MAE, {dialect}"
    sizes = vit.sizes(own, dialect)
    heads = vit.HEADS.get(sizes["width"], 0)
    if owner == "MoCo v3" and sizes["width"] == 384:
        heads = 12  # twice the usual number for that width
    return Layout(f"{owner or dialect} ViT", prefix, dialect, heads=heads, **sizes)


def parted(
    arrays: Mapping[str, np.ndarray], prefix: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays under a prefix, with it removed, and the names of the others."""
    own = {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}
    return own, [name for name in arrays if not name.startswith(prefix)]


def _chosen(begins):
    order = list(PREFIXES)
    known = [b for b in begins if b.removeprefix("module.") in order]
    if len(begins) == 1:
        return next(iter(begins))
    if not known:
        raise ValueError(f"several encoders: choose prefix= from {sorted(begins)}")
    return min(known, key=lambda b: order.index(b.removeprefix("module.")))
