"""Where the arrays live: the device mesh, and a sharding for every leaf of a state."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

BATCH_AXES = ("data", "fsdp")  # the axes among which the rows of a batch are divided
Rules = Sequence[tuple[str, PartitionSpec | Callable]]


def make_mesh(axes: str = "", devices: Sequence | None = None) -> Mesh:
    """A mesh of all devices from "data=8;fsdp=4"; "" puts them all on "data".

    Axes are Auto: under Explicit ones, jax.make_mesh's default, `z @ z.T` of a sharded z
    is refused.

    Raises:
      ValueError: when the sizes do not multiply to the number of devices.
    """
    count = len(devices) if devices else jax.device_count()
    sizes = {"data": count}
    if axes:
        if not re.fullmatch(r"\w+=\d+(;\w+=\d+)*", axes):
            raise ValueError(f"a mesh reads 'data=8;fsdp=4', got {axes!r}")
        sizes = {k: int(n) for k, n in (axis.split("=") for axis in axes.split(";"))}
    if math.prod(sizes.values()) != count:
        wanted = math.prod(sizes.values())
        raise ValueError(f"the mesh {axes!r} wants {wanted} devices, there are {count}")
    kinds = (AxisType.Auto,) * len(sizes)
    names, shape = tuple(sizes), tuple(sizes.values())
    return jax.make_mesh(shape, names, axis_types=kinds, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Divides axis number `axis`, the samples, among the devices."""
    names = tuple(name for name in BATCH_AXES if name in mesh.axis_names)
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, names))


def check_divides(batch: int, mesh: Mesh) -> None:
    """Raises ValueError unless the devices can share the rows of a batch evenly."""
    parts = math.prod(mesh.shape[name] for name in BATCH_AXES if name in mesh.axis_names)
    if batch % parts:
        raise ValueError(
            f"a batch of {batch} does not divide among {parts} devices: "
            f"choose a multiple of {parts}"
        )


def place(batch: Any, mesh: Mesh, axis: int = 0) -> Any:
    """This process's rows, as its share of global arrays."""
    sharding = rows(mesh, axis)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
    )


def infer(shapes: Any, mesh: Mesh, rules: Rules = ()) -> Any:
    """A NamedSharding for each leaf, by the first rule whose regex its path contains."""

    def choose(path, leaf):
        where = jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, spec in rules:
            if re.search(pattern, where):
                spec = spec(leaf.shape, mesh) if callable(spec) else spec
                return NamedSharding(mesh, spec)
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(choose, shapes)


def fully_sharded(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """A rule's spec: the largest axis that "fsdp" divides is divided (ZeRO-3)."""
    parts = mesh.shape.get("fsdp", 1)
    fits = [i for i, n in enumerate(shape) if n % parts == 0]
    if parts == 1 or not fits or math.prod(shape) < 2**14:  # not worth a gather
        return PartitionSpec()
    widest = max(fits, key=lambda i: shape[i])
    return PartitionSpec(*(["fsdp" if i == widest else None for i in range(len(shape))]))
