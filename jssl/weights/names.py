"""Conversion between torch state dicts and Flax trees: names, axes and layouts.

| torch                      | jssl                | conversion                          |
|----------------------------|---------------------|-------------------------------------|
| Linear.weight [o, i]       | kernel [i, o]       | transposed                          |
| Conv2d.weight [o, i, h, w] | kernel [h, w, i, o] | axes 2, 3, 1, 0                     |
| a ViT's first convolution  | kernel [h w i, o]   | the same, flattened: rows are patches |
| attn.qkv [3 d, d]          | query, key, value   | split in three, each transposed     |
| batch norm                 | scale, bias; statistics mean, var |                       |
| Embedding.weight [v, d]    | embedding [v, d]    | the same                            |
| GPT-2's Conv1D [i, o]      | kernel [i, o]       | the same; attn in three along o     |

There is no arithmetic, so a round trip is exact bit for bit.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

LEAVES = {
    "kernel": "weight",
    "embedding": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
Path = tuple[str, ...]  # ("params", "encoder", "block0", "fc1", "kernel")


class Place(NamedTuple):
    """The location of a Flax leaf in a state dict.

    Attributes:
      name: name of the tensor.
      third: 0, 1, 2 for the query, key or value of a joint tensor, else None.
      patch: kernel size of the convolution for a kernel on flat patches, else 0.
      plain: the axes are those of the leaf.
    """

    name: str
    third: int | None = None
    patch: int = 0
    plain: bool = False


def imported(
    shapes: Mapping[Path, tuple[int, ...]],
    place: Callable[[Path], Place],
    arrays: Mapping[str, np.ndarray],
    dropped: str,
    where: str = "the state dict",
) -> dict[Path, np.ndarray]:
    """Converts a state dict to Flax leaves in float32.

    Args:
      shapes: shapes of the leaves, by path.
      place: maps the path of a leaf to its place in the state dict.
      arrays: the state dict.
      dropped: regex; names that match it fully are left out.
      where: name of the state dict in error messages.

    Raises:
      ValueError: naming arrays that are missing or unexpected, or the first array of
        another shape or with non-finite values.
    """
    places = {path: place(path) for path in shapes}
    names = {kept.name for kept in places.values()}
    missing = sorted(names - set(arrays))
    spare = [n for n in arrays if n not in names and not re.fullmatch(dropped, n)]
    if missing or spare:
        names = {"missing": missing, "unexpected": spare}
        faults = [f"{kind} {_some(found)}" for kind, found in names.items() if found]
        raise ValueError(f"{where} does not fit: {'; '.join(faults)}")
    return {
        path: _ours(arrays[kept.name], kept, shapes[path], where)
        for path, kept in places.items()
    }


def exported(
    leaves: Mapping[Path, np.ndarray], place: Callable[[Path], Place]
) -> dict[str, np.ndarray]:
    """Converts Flax leaves to a state dict."""
    found, thirds, last = {}, {}, {}
    for path, leaf in leaves.items():
        kept = place(path)
        array = np.asarray(leaf)
        if kept.patch:
            array = array.reshape(kept.patch, kept.patch, -1, array.shape[-1])
        if path[-1] == "kernel" and not kept.plain:
            array = np.moveaxis(array, (-1, -2), (0, 1))
        if kept.third is None:
            found[kept.name] = array
        else:
            thirds.setdefault(kept.name, [None] * 3)[kept.third] = array
            last[kept.name] = -1 if kept.plain else 0
    joint = {name: np.concatenate(parts, last[name]) for name, parts in thirds.items()}
    return {name: np.ascontiguousarray(x) for name, x in (found | joint).items()}


def _ours(array, kept, shape, where):
    came, array = array, np.asarray(array, np.float32)
    axes = 4 if kept.patch else len(shape)
    along = -1 if kept.plain else 0
    if array.ndim != axes or (kept.third is not None and array.shape[along] % 3):
        raise ValueError(
            f"{where} does not fit: {kept.name} is {[*came.shape]}, which does not convert "
            f"to {[*shape]}"
        )
    if kept.third is not None:
        array = np.split(array, 3, along)[kept.third]
    if kept.name.endswith("weight") and array.ndim > 1 and not kept.plain:
        array = np.moveaxis(array, (0, 1), (-1, -2))
    if kept.patch:
        array = array.reshape(-1, array.shape[-1])
    if array.shape != tuple(shape):
        raise ValueError(
            f"{where} does not fit: {kept.name} is {[*came.shape]}, which does not convert "
            f"to {[*shape]}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{where} cannot be used: {kept.name} has non-finite values")
    return np.ascontiguousarray(array)


def _some(names, shown=4):
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
