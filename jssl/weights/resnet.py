"""ResNets under the names of torchvision and timm, which are the same.

MoCo, SimSiam and DINO use torchvision's ResNet-50. He et al. 2016,
https://arxiv.org/abs/1512.03385
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jssl.models.resnet import DEPTHS
from jssl.weights.names import LEAVES, Path, Place

ANCHOR = "layer1.0.conv1.weight"  # identifies a ResNet
DROPPED = r"fc\..+|.*\.num_batches_tracked"
STEMS = {7: "imagenet", 3: "cifar"}


def place(path: Path) -> Place:
    """The place of a Flax leaf in a state dict.

    >>> place(("batch_stats", "stage0_1", "norm2", "mean")).name
    'layer1.1.bn3.running_mean'
    """
    *modules, leaf = (name for name in path[1:] if name != "encoder")
    return Place(f"{'.'.join(map(_module, modules))}.{LEAVES[leaf]}")


def _module(name):
    fixed = {
        "conv": "conv1",
        "norm": "bn1",
        "head": "fc",
        "shortcut": "downsample.0",
        "shortcut_norm": "downsample.1",
    }
    if name in fixed:
        return fixed[name]
    match = re.fullmatch(r"([a-z]+)(\d+)(?:_(\d+))?", name)
    kind, *numbers = match.groups()  # type: ignore[union-attr]
    if kind == "stage":
        return f"layer{int(numbers[0]) + 1}.{numbers[1]}"
    return f"{'bn' if kind == 'norm' else kind}{int(numbers[0]) + 1}"


def sizes(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Depth, width, stem and input channels, inferred from names and shapes.

    Raises:
      ValueError: if it is none of the supported ResNets.
    """
    found = [re.match(r"layer(\d)\.(\d+)\.", name) for name in arrays]
    blocks = {(int(m[1]), int(m[2])) for m in found if m}
    counts = tuple(sum(stage == s for s, _ in blocks) for stage in (1, 2, 3, 4))
    kind = "bottleneck" if "layer1.0.conv3.weight" in arrays else "basic"
    depths = [depth for depth, known in DEPTHS.items() if known == (kind, counts)]
    if not depths:
        raise ValueError(
            f"no ResNet has {counts} {kind} blocks; supported depths are {list(DEPTHS)}"
        )
    stem = arrays.get("conv1.weight")
    if stem is None or stem.ndim != 4 or stem.shape[-1] not in STEMS:
        came = "no conv1.weight" if stem is None else f"conv1.weight {[*stem.shape]}"
        raise ValueError(f"a ResNet's stem must be one 7x7 or 3x3 convolution, got {came}")
    return {
        "depth": depths[0],
        "width": stem.shape[0],
        "stem": STEMS[stem.shape[-1]],
        "channels": stem.shape[1],
    }
