"""Tells from names and shapes whose network a state dict holds, and of what size.

A checkpoint of pre-training holds several: MoCo's query and key encoder, DINO's teacher
with its head. Each is known by its first convolution, and the one to evaluate by its
prefix. https://github.com/facebookresearch/moco, moco-v3, simsiam, mae and dino
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jssl.weights import resnet, vit

PREFIXES = {  # after "module.", the first that is there counts -> whose it is
    "": "",
    "encoder_q.": "MoCo",
    "base_encoder.": "MoCo v3",
    "encoder.": "SimSiam",
    "backbone.": "DINO",
    "vit.": "transformers",
    "momentum_encoder.": "MoCo v3",
    "encoder_k.": "MoCo",
}
BESIDE = (  # what stands beside an encoder with a prefix, to be left out
    r"(encoder_[qk]|base_encoder|momentum_encoder|predictor|projector|head|classifier|"
    r"pooler|decoder)\..+|queue(_ptr)?"
)


class Layout(NamedTuple):
    """What a state dict holds.

    Attributes:
      source: for people, "MoCo v3 ViT".
      prefix: of its names in the state dict.
      dialect: whose names they are: "resnet" (torchvision's and timm's), or a ViT's:
        "timm" (MAE's, MoCo v3's and DINO's too), "torchvision", "transformers".
      width, depth: of the network.
      channels: of its images.
      stem: a ResNet's, "imagenet" or "cifar".
      patch: a ViT's, in pixels.
      heads: the usual number for its width, for shapes do not tell; 0 if unknown.
      grid: rows and columns of its positions, where they make a square.
      pooled: whether its norm follows the mean of all patches.
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
    """The layout of a state dict.

    Args:
      arrays: by name.
      prefix: of the network's names, where there are several; the known ones have an
        order: MoCo's query before its key encoder, v3's base before its momentum encoder.

    Raises:
      ValueError: when it holds no ResNet or ViT, or several that have no known order.
    """
    anchors = {resnet.ANCHOR} | {vit.anchor(d) for d in vit.DIALECTS}
    begins = {n.removesuffix(a) for n in arrays for a in anchors if n.endswith(a)}
    begins = {begin for begin in begins if not begin or begin.endswith(".")}
    if not begins:
        shown = ", ".join(sorted(arrays)[:4])
        raise ValueError(f"no ResNet or ViT is known by these names: {shown} ...")
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
        heads = 12  # twice what others give that width
    return Layout(f"{owner or dialect} ViT", prefix, dialect, heads=heads, **sizes)


def parted(
    arrays: Mapping[str, np.ndarray], prefix: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays under a prefix, without it, and the names of the others."""
    own = {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}
    return own, [name for name in arrays if not name.startswith(prefix)]


def _chosen(begins):
    order = list(PREFIXES)
    known = [b for b in begins if b.removeprefix("module.") in order]
    if len(begins) == 1:
        return next(iter(begins))
    if not known:
        raise ValueError(f"several encoders: choose prefix= of {sorted(begins)}")
    return min(known, key=lambda b: order.index(b.removeprefix("module.")))
