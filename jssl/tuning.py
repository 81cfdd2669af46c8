"""What the launcher tells XLA's compiler for CPUs, JAX, and the allocator below them.

Measured on two cores (benchmarks/LEVERS.md). Where anything but a CPU might compute, all
stays as it is: XLA_FLAGS reach every backend of a process. XLA ends a process that names a
flag it does not know, so versions that were not measured go without, too.
"""

import ctypes
import importlib.metadata
import os
import platform
from collections.abc import MutableMapping
from importlib.util import find_spec

FLAGS = (
    # Convolutions by Eigen's kernels: YNNPACK's take up to twice as long.
    "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution",
    # Barriers hold, which `jssl.ops.convolution` needs.
    "--xla_disable_hlo_passes=cse_barrier_expander",
)
SINCE, BEFORE = (0, 10), (0, 13)  # jaxlib

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's names of them, malloc.h
LIMIT = 2**31 - 1  # bytes: the most that can be said


def tune() -> None:
    """All of it, for this process, if it computes on CPU; before anything is computed."""
    if on_cpu():
        tell_xla(os.environ)
        keep_memory()
        one_at_a_time()


def on_cpu() -> bool:
    """Whether JAX was told to compute on CPU, or knows of nothing else here."""
    import jax

    if jax.config.jax_platforms:
        return jax.config.jax_platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not (plugins or find_spec("jax_plugins") or find_spec("libtpu"))


def tell_xla(environment: MutableMapping[str, str]) -> None:
    """Puts FLAGS before what XLA_FLAGS holds, so that the user's own prevail.

    >>> environment = {"XLA_FLAGS": "--xla_dump_to=/tmp/x"}
    >>> tell_xla(environment)
    >>> environment["XLA_FLAGS"].split()[-1]
    '--xla_dump_to=/tmp/x'
    """
    version = importlib.metadata.version("jaxlib")
    if SINCE <= tuple(map(int, version.split(".")[:2])) < BEFORE:
        given = environment.get("XLA_FLAGS", "").split()
        new = [flag for flag in FLAGS if flag not in given]
        environment["XLA_FLAGS"] = " ".join([*new, *given])


def keep_memory() -> bool:
    """Has malloc keep the blocks it is given back, up to 2 GiB; whether it was told.

    XLA asks for a step's scratch and results at every step. glibc gives blocks that large
    back to the system at once, and fetching them anew, zeroed page by page, took a quarter
    of a ViT's step. Where the environment tells malloc anything (MALLOC_...,
    GLIBC_TUNABLES), all is left to it.
    """
    told = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if told or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(MMAP_THRESHOLD, LIMIT) and mallopt(TRIM_THRESHOLD, LIMIT))


def one_at_a_time() -> None:
    """Has JAX compute in the thread that asks, one step after the other.

    Ahead of a step, it would take scratch for the next, too, and from threads whose heaps
    malloc keeps small: blocks above 64 MiB would go back to the system all the same.
    Programs for several devices are not concerned.
    """
    import jax

    if "JAX_CPU_ENABLE_ASYNC_DISPATCH" not in os.environ:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
