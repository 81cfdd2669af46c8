"""From torch's state dict to our tree and back: the same numbers under other names.

| torch                    | ours               |                                      |
|--------------------------|--------------------|--------------------------------------|
| Linear.weight [o, i]     | kernel [i, o]      | transposed                           |
| Conv2d.weight [o, i, h, w] | kernel [h, w, i, o] | axes 2, 3, 1, 0                    |
| a ViT's first convolution | kernel [h w i, o] | the same, then flat: patches are rows |
| attn.qkv [3 d, d]        | query, key, value  | cut in three, each transposed        |
| batch norm               | scale, bias; mean, var among the statistics |             |

Nothing is computed, so that a tree that went there and back is equal bit for bit.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
Path = tuple[str, ...]  # ("params", "encoder", "block0", "fc1", "kernel")


class Place(NamedTuple):
    """Where a state dict keeps one of our leaves.

    Attributes:
      name: of the tensor.
      third: 0, 1, 2 where ours is the query, key or value of a joint one.
      patch: side of the convolution, where ours is a product with flat patches.
    """

    name: str
    third: int | None = None
    patch: int = 0


def imported(
    shapes: Mapping[Path, tuple[int, ...]],
    place: Callable[[Path], Place],
    arrays: Mapping[str, np.ndarray],
    dropped: str,
    where: str = "the weights",
) -> dict[Path, np.ndarray]:
    """Our leaves, float32, out of a state dict.

    Args:
      shapes: of our leaves, by path.
      place: where each is kept.
      arrays: the state dict.
      dropped: a regex; names that match it whole are left out knowingly.
      where: what to call the state dict when something is wrong.

    Raises:
      ValueError: naming what is missing, what is left over, or the first array of
        another shape or with values that are not finite.
    """
    places = {path: place(path) for path in shapes}
    names = {kept.name for kept in places.values()}
    missing = sorted(names - set(arrays))
    spare = [n for n in arrays if n not in names and not re.fullmatch(dropped, n)]
    if missing or spare:
        said = (("lack", missing), ("have besides", spare))
        told = [f"{verb} {_some(found)}" for verb, found in said if found]
        raise ValueError(f"{where} do not fit: they {' and '.join(told)}")
    return {
        path: _ours(arrays[kept.name], kept, shapes[path], where)
        for path, kept in places.items()
    }


def exported(
    leaves: Mapping[Path, np.ndarray], place: Callable[[Path], Place]
) -> dict[str, np.ndarray]:
    """A state dict out of our leaves."""
    found, thirds = {}, {}
    for path, leaf in leaves.items():
        kept = place(path)
        array = np.asarray(leaf)
        if kept.patch:
            array = array.reshape(kept.patch, kept.patch, -1, array.shape[-1])
        if path[-1] == "kernel":
            array = array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
        if kept.third is None:
            found[kept.name] = array
        else:
            thirds.setdefault(kept.name, [None] * 3)[kept.third] = array
    joint = {name: np.concatenate(parts) for name, parts in thirds.items()}
    return {name: np.ascontiguousarray(x) for name, x in (found | joint).items()}


def _ours(array, kept, shape, where):
    came, array = array, np.asarray(array, np.float32)
    if kept.third is not None and len(array) % 3 == 0:
        array = np.split(array, 3)[kept.third]
    if kept.name.endswith("weight") and array.ndim > 1:
        array = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
    if kept.patch:
        array = array.reshape(-1, array.shape[-1])
    if array.shape != tuple(shape):
        raise ValueError(
            f"{where} do not fit: {kept.name} is {[*came.shape]}, of which {[*shape]} "
            f"cannot be made"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{where} cannot be used: {kept.name} is not finite everywhere")
    return np.ascontiguousarray(array)


def _some(names, shown=4):
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
