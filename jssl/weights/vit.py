"""Vision transformers under the names of timm, torchvision and transformers.

The official MAE, MoCo v3 and DINO use timm's names. torchvision renamed its MLP in 2022,
and transformers most of its layers in version 5; files with either names exist.
Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jssl.weights.names import LEAVES, Path, Place

TIMM = {
    "cls": "cls_token",
    "positions": "pos_embed",
    "embedding": "patch_embed.proj",
    "norm": "norm",
    "pooled": "fc_norm",
    "head": "head",
    "block": "blocks.{}.",
    "norm1": "norm1",
    "query": "attn.qkv",
    "key": "attn.qkv",
    "value": "attn.qkv",
    "out": "attn.proj",
    "norm2": "norm2",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
TORCHVISION = {
    "cls": "class_token",
    "positions": "encoder.pos_embedding",
    "embedding": "conv_proj",
    "norm": "encoder.ln",
    "head": "heads.head",
    "block": "encoder.layers.encoder_layer_{}.",
    "norm1": "ln_1",
    "query": "self_attention.in_proj_",
    "key": "self_attention.in_proj_",
    "value": "self_attention.in_proj_",
    "out": "self_attention.out_proj",
    "norm2": "ln_2",
    "fc1": "mlp.0",
    "fc2": "mlp.3",
}
TRANSFORMERS = {
    "cls": "embeddings.cls_token",
    "positions": "embeddings.position_embeddings",
    "embedding": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
    "head": "classifier",
    "block": "encoder.layer.{}.",
    "norm1": "layernorm_before",
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "out": "attention.output.dense",
    "norm2": "layernorm_after",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}
TRANSFORMERS_5 = TRANSFORMERS | {
    "block": "layers.{}.",
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "out": "attention.o_proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
DIALECTS = {
    "timm": TIMM,
    "torchvision": TORCHVISION,
    "torchvision 2021": TORCHVISION | {"fc1": "mlp.linear_1", "fc2": "mlp.linear_2"},
    "transformers": TRANSFORMERS,
    "transformers 5": TRANSFORMERS_5,
}
DROPPED = {  # heads, decoders and mask tokens
    "timm": r"(head|pre_logits|decoder_\w+)\..+|mask_token|decoder_pos_embed",
    "torchvision": r"heads\..+",
    "transformers": r"(pooler|classifier|decoder)\..+|embeddings\.mask_token",
}
REGISTERS = r"(^|\.)(reg_token|register_tokens?)$"
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}  # published, by width


def anchor(dialect: str) -> str:
    """The name that identifies a dialect: that of the first convolution."""
    return DIALECTS[dialect]["embedding"] + ".weight"


def dropped(dialect: str) -> str:
    return DROPPED[dialect.split()[0]]


def place(dialect: str, patch: int) -> Callable[[Path], Place]:
    """A function from each leaf of `Pooled` or `Classifier` to its place in a state dict.

    >>> place("timm", 16)(("params", "encoder", "block3", "key", "bias"))
    Place(name='blocks.3.attn.qkv.bias', third=1, patch=0, plain=False)
    """
    names = DIALECTS[dialect]

    def find(path):
        *modules, leaf = path[1:]
        if leaf in ("cls", "positions"):
            return Place(names[leaf])
        part = "pooled" if modules == ["norm"] else modules[-1]
        if part not in names:
            raise ValueError(f"{dialect} has no name for {'/'.join(path[1:])}")
        block = next((m[5:] for m in modules if m.startswith("block")), None)
        stem = ("" if block is None else names["block"].format(block)) + names[part]
        joint = part in ("query", "key", "value") and names["query"] == names["key"]
        name = stem + ("" if stem.endswith("_") else ".") + LEAVES[leaf]
        third = ("query", "key", "value").index(part) if joint else None
        flat = part == "embedding" and leaf == "kernel"
        return Place(name, third, patch if flat else 0)

    return find


def dialect_of(arrays: Mapping[str, np.ndarray]) -> str:
    """The dialect of a state dict, by the first convolution and the first MLP."""
    found = [d for d in DIALECTS if anchor(d) in arrays]

    def matches(dialect):
        names = DIALECTS[dialect]
        return any(n.startswith(names["block"].format(0) + names["fc1"]) for n in arrays)

    return next((dialect for dialect in found if matches(dialect)), found[0])


def sizes(arrays: Mapping[str, np.ndarray], dialect: str) -> dict[str, Any]:
    """Width, depth, patch, channels and grid, inferred from names and shapes.

    Raises:
      ValueError: if the patches are not square, or if there are register tokens.
    """
    names = DIALECTS[dialect]
    if registers := [name for name in arrays if re.search(REGISTERS, name)]:
        raise ValueError(
            f"this ViT has register tokens ({registers[0]}), which are not supported: use "
            f"the weights without registers"
        )
    kernel, positions = arrays[anchor(dialect)], arrays.get(names["positions"])
    if kernel.ndim != 4 or kernel.shape[2] != kernel.shape[3] or not kernel.size:
        raise ValueError(f"a ViT's patches must be square, got {[*kernel.shape[2:]]}")
    if positions is not None and positions.ndim != 3:
        raise ValueError(
            f"a ViT's positions must be [1, l, d], got {names['positions']} "
            f"{[*positions.shape]}"
        )
    block = re.escape(names["block"]).replace(r"\{\}", r"(\d+)")
    found = {m[1] for m in (re.match(block, name) for name in arrays) if m}
    length = 0 if positions is None else positions.shape[1] - 1
    side = math.isqrt(max(length, 0))
    return {
        "width": kernel.shape[0],
        "depth": len(found),
        "patch": kernel.shape[2],
        "channels": kernel.shape[1],
        "grid": (side, side) if side * side == length > 0 else None,
        "pooled": names.get("pooled", "") + ".weight" in arrays,
    }
