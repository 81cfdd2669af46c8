"""Accelerators to plan for: published peak rates, and topologies for AOT compilation."""

import contextlib
import importlib.util
import math
import os
import re
from typing import NamedTuple


class Chip(NamedTuple):
    """Peak rates of one chip; None if not published, as for CPUs.

    Attributes:
      flops: bfloat16 FLOP/s of matrix products.
      hbm: memory bandwidth in bytes/s.
      ici: bytes/s sent to other chips over all links.
      memory: bytes.
    """

    flops: float | None = None
    hbm: float | None = None
    ici: float | None = None
    memory: float | None = None


# docs.cloud.google.com/tpu/docs/v5e, v6e, v5p, v4 (read 2026-11). ici is half of the
# "bidirectional" figure: v5e's 400 GB/s are 200 out and 200 in; v4's is the 1.1 PB/s of
# all-reduce of a pod divided by its 4,096 chips.
CHIPS = {
    "v4": Chip(275e12, 1200e9, 268e9, 32 * 2**30),
    "v5e": Chip(197e12, 819e9, 200e9, 16 * 2**30),
    "v5p": Chip(459e12, 2765e9, 600e9, 95 * 2**30),
    "v6e": Chip(918e12, 1638e9, 400e9, 32 * 2**30),
    "cpu": Chip(),
}


def topology(text: str) -> tuple[str, int]:
    """Parses "v5e:16x16" or "cpu:8" into (kind of chip, number of chips).

    Raises:
      ValueError: if the kind is unknown or the shape malformed.

    >>> topology("v5e:4x4")
    ('v5e', 16)
    """
    kind, _, shape = text.partition(":")
    if kind not in CHIPS or not re.fullmatch(r"\d+(x\d+)*", shape):
        known = ", ".join(CHIPS)
        raise ValueError(
            f"a topology must be KIND:SHAPE, such as v5e:16x16 or cpu:8, with KIND one of "
            f"{known}; got {text!r}"
        )
    return kind, math.prod(map(int, shape.split("x")))


def devices_of(kind: str, name: str, count: int) -> list:
    """Devices of a topology to compile for; the process itself runs on CPU.

    Raises:
      ValueError: if libtpu is not installed, or if there is no such topology.
    """
    # The topology is only described, so libtpu must not search for chips or a cloud host.
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "JAX_PLATFORMS": "cpu"}
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "4")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")  # no chip is locked
    import jax

    jax.config.update("jax_platforms", "cpu")
    if kind == "cpu":
        with contextlib.suppress(RuntimeError):  # the backend is already initialized
            jax.config.update("jax_num_cpu_devices", count)
        if jax.device_count() < count:
            raise ValueError(f"{name}: this process has {jax.device_count()} devices")
        return jax.devices()[:count]
    from jax.experimental import topologies

    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=name)
    except Exception as error:  # the exception type depends on versions and cause
        if importlib.util.find_spec("libtpu") is None:
            raise ValueError(
                "compiling for TPUs needs libtpu: `pip install 'jssl[plan]'`"
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ValueError(f"there is no topology {name!r}: {reason}") from error
    return list(described.devices)
