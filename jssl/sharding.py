"""Device meshes and shardings: batches by rows, states leaf by leaf."""

import math
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

BATCH_AXES = ("data", "fsdp")  # mesh axes over which the rows of a batch are sharded
AXES = (*BATCH_AXES, "tensor")  # all that batches and `TRANSFORMER` are sharded along
Rules = Sequence[tuple[str, PartitionSpec | Callable]]


def make_mesh(axes: str = "", devices: Sequence | None = None) -> Mesh:
    """A mesh of all devices from "data=8;fsdp=4"; "" puts them all on the data axis.

    Axes are Auto: with Explicit axes, the default of jax.make_mesh, `z @ z.T` of a
    sharded z is an error.

    Raises:
      ValueError: if an axis is unknown, given twice or of size 0, or if the sizes do not
        multiply to the number of devices.
    """
    count = len(devices) if devices else jax.device_count()
    sizes = {"data": count}
    if axes:
        if not re.fullmatch(r"\w+=\d+(;\w+=\d+)*", axes):
            raise ValueError(f"a mesh must look like 'data=8;fsdp=4', got {axes!r}")
        pairs = [axis.split("=") for axis in axes.split(";")]
        sizes = {name: int(n) for name, n in pairs}
        if unknown := [name for name in sizes if name not in AXES]:
            raise ValueError(
                f"the mesh {axes!r} has an unknown axis {unknown[0]!r}, along which "
                f"nothing would be sharded: the axes are {', '.join(AXES)}"
            )
        if len(sizes) < len(pairs) or not all(sizes.values()):
            raise ValueError(f"the mesh {axes!r} needs each axis once, of size 1 or more")
    if math.prod(sizes.values()) != count:
        wanted = math.prod(sizes.values())
        raise ValueError(f"the mesh {axes!r} needs {wanted} devices, there are {count}")
    kinds = (AxisType.Auto,) * len(sizes)
    names, shape = tuple(sizes), tuple(sizes.values())
    return jax.make_mesh(shape, names, axis_types=kinds, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """A full copy of the array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Axis number `axis`, the samples, sharded over the batch axes of the mesh."""
    names = tuple(name for name in BATCH_AXES if name in mesh.axis_names)
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, names))


def check_divides(batch: int, mesh: Mesh) -> None:
    """Checks that the rows of a batch divide evenly among the devices.

    Raises:
      ValueError: if they do not.
    """
    parts = math.prod(mesh.shape[name] for name in BATCH_AXES if name in mesh.axis_names)
    if batch % parts:
        raise ValueError(
            f"a batch of {batch} does not divide among {parts} devices: "
            f"choose a multiple of {parts}"
        )


def place(batch: Any, mesh: Mesh, axis: int = 0) -> Any:
    """Builds global arrays from the rows that each process has loaded."""
    wanted = rows(mesh, axis)
    read = wanted if _in_order(mesh) else _as_read(mesh, axis)
    placed = jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(read, np.asarray(x)), batch
    )
    return placed if read is wanted else jax.device_put(placed, wanted)


@cache
def _in_order(mesh):
    """True if the devices of process 0 hold the first rows, those of 1 the next, etc.

    False on TPU pods where jax.make_mesh orders devices by their interconnect, and where
    a row is sharded over devices of several processes.
    """
    batch = [mesh.axis_names.index(a) for a in BATCH_AXES if a in mesh.axis_names]
    rest = [i for i in range(mesh.devices.ndim) if i not in batch]
    owners = [d.process_index for d in mesh.devices.transpose(batch + rest).flat]
    parts = math.prod(mesh.devices.shape[i] for i in batch)
    return owners == sorted(owners) and parts % len(set(owners)) == 0


def _as_read(mesh, axis):
    """A sharding of the rows by process, in order of process index."""
    devices = sorted(mesh.devices.flat, key=lambda d: (d.process_index, d.id))
    count = len({d.process_index for d in devices})
    shape, names = (count, len(devices) // count), ("process", "device")
    by_process = Mesh(
        np.array(devices).reshape(shape), names, axis_types=(AxisType.Auto,) * 2
    )
    return NamedSharding(by_process, PartitionSpec(*[None] * axis, "process"))


def infer(shapes: Any, mesh: Mesh, rules: Rules = ()) -> Any:
    """A NamedSharding for each leaf, from the first rule whose regex matches its path.

    Leaves without match are `fully_sharded`.
    """

    def choose(path, leaf):
        where = jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, spec in rules:
            if re.search(pattern, where):
                spec = spec(leaf.shape, mesh) if callable(spec) else spec
                return NamedSharding(mesh, spec)
        return NamedSharding(mesh, fully_sharded(np.shape(leaf), mesh))

    return jax.tree_util.tree_map_with_path(choose, shapes)


def rows_sharded(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Spec for a queue or memory bank: rows sharded like those of a batch.

    Replicated if the rows do not divide evenly.
    """
    names = tuple(name for name in BATCH_AXES if name in mesh.axis_names)
    even = shape and shape[0] % math.prod(mesh.shape[name] for name in names) == 0
    return PartitionSpec(names) if even else PartitionSpec()


def fully_sharded(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Spec for ZeRO-3: shards the largest dimension that the "fsdp" axis divides."""
    parts = mesh.shape.get("fsdp", 1)
    fits = [i for i, n in enumerate(shape) if n % parts == 0]
    if parts == 1 or not fits or math.prod(shape) < 2**14:  # not worth a gather
        return PartitionSpec()
    widest = max(fits, key=lambda i: shape[i])
    return PartitionSpec(*(["fsdp" if i == widest else None for i in range(len(shape))]))


def along(shape: tuple[int, ...], mesh: Mesh, names: tuple[str, ...]) -> PartitionSpec:
    """`PartitionSpec(*names)` without axes that the mesh lacks or that do not divide.

    Arrays of another rank, such as the factors of Adafactor's moments, are `fully_sharded`.
    """
    if len(shape) != len(names):
        return fully_sharded(shape, mesh)
    fits = [
        n in mesh.shape and size % mesh.shape[n] == 0
        for size, n in zip(shape, names, strict=True)
    ]
    return PartitionSpec(*[n if fit else None for n, fit in zip(names, fits, strict=True)])


# Heads and hidden units are sharded along "tensor", so that a block needs two all-reduces
# in each direction (Megatron-LM, https://arxiv.org/abs/1909.08053), the rest along "fsdp".
TRANSFORMER: Rules = (
    (r"(query|key|value|fc1)/kernel$", partial(along, names=("fsdp", "tensor"))),
    (r"(query|key|value|fc1)/bias$", partial(along, names=("tensor",))),
    (r"(out|fc2)/kernel$", partial(along, names=("tensor", "fsdp"))),
)
