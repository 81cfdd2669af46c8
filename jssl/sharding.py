"""Where the arrays live: the device mesh, and a sharding for every leaf of a state."""

import math
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
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
    wanted = rows(mesh, axis)
    read = wanted if _in_order(mesh) else _as_read(mesh, axis)
    placed = jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(read, np.asarray(x)), batch
    )
    return placed if read is wanted else jax.device_put(placed, wanted)


@cache
def _in_order(mesh):
    """Whether the first process's devices hold the first rows, and so on.

    On a TPU pod they need not: jax.make_mesh follows the wires. Nor where a row lies on
    devices of several processes.
    """
    batch = [mesh.axis_names.index(a) for a in BATCH_AXES if a in mesh.axis_names]
    rest = [i for i in range(mesh.devices.ndim) if i not in batch]
    owners = [d.process_index for d in mesh.devices.transpose(batch + rest).flat]
    parts = math.prod(mesh.devices.shape[i] for i in batch)
    return owners == sorted(owners) and parts % len(set(owners)) == 0


def _as_read(mesh, axis):
    """Divides the rows among the processes, in their order."""
    devices = sorted(mesh.devices.flat, key=lambda d: (d.process_index, d.id))
    count = len({d.process_index for d in devices})
    shape, names = (count, len(devices) // count), ("process", "device")
    by_process = Mesh(
        np.array(devices).reshape(shape), names, axis_types=(AxisType.Auto,) * 2
    )
    return NamedSharding(by_process, PartitionSpec(*[None] * axis, "process"))


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


def divided(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """A rule's spec: rows, as those of a queue or a bank, divided like those of a batch."""
    names = tuple(name for name in BATCH_AXES if name in mesh.axis_names)
    even = shape and shape[0] % math.prod(mesh.shape[name] for name in names) == 0
    return PartitionSpec(names) if even else PartitionSpec()


def fully_sharded(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """A rule's spec: the largest axis that "fsdp" divides is divided (ZeRO-3)."""
    parts = mesh.shape.get("fsdp", 1)
    fits = [i for i, n in enumerate(shape) if n % parts == 0]
    if parts == 1 or not fits or math.prod(shape) < 2**14:  # not worth a gather
        return PartitionSpec()
    widest = max(fits, key=lambda i: shape[i])
    return PartitionSpec(*(["fsdp" if i == widest else None for i in range(len(shape))]))


def cut(shape: tuple[int, ...], mesh: Mesh, names: tuple[str, ...]) -> PartitionSpec:
    """A rule's spec: axis i along names[i], where the mesh has that and it divides."""
    fits = [
        n in mesh.shape and size % mesh.shape[n] == 0
        for size, n in zip(shape, names, strict=True)
    ]
    return PartitionSpec(*[n if fit else None for n, fit in zip(names, fits, strict=True)])


# Heads and hidden units divided along "tensor", so that a block exchanges two sums each
# way (Megatron-LM, https://arxiv.org/abs/1909.08053); what is left along "fsdp".
TRANSFORMER: Rules = (
    (r"(query|key|value|fc1)/kernel$", partial(cut, names=("fsdp", "tensor"))),
    (r"(query|key|value|fc1)/bias$", partial(cut, names=("tensor",))),
    (r"(out|fc2)/kernel$", partial(cut, names=("tensor", "fsdp"))),
    ("", fully_sharded),
)
