"""CPU settings for XLA, JAX and malloc, applied by the launcher.

Measured on two cores (benchmarks/LEVERS.md). Nothing is changed if another backend may be
in use, since XLA_FLAGS apply to every backend of a process, nor with versions of jaxlib
that were not measured, since XLA aborts on unknown flags.
"""

import ctypes
import importlib.metadata
import os
import platform
from collections.abc import MutableMapping
from importlib.util import find_spec

FLAGS = (
    # Eigen's convolution kernels: YNNPACK's take up to twice as long.
    "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution",
    # Preserves optimization barriers, which `jssl.ops.convolution` needs.
    "--xla_disable_hlo_passes=cse_barrier_expander",
)
SINCE, BEFORE = (0, 10), (0, 13)  # jaxlib

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from glibc's malloc.h
LIMIT = 2**31 - 1  # bytes: the largest value that mallopt takes, a C int


def tune() -> None:
    """Applies all settings if this process computes on CPU. Call before any computation."""
    if on_cpu():
        tell_xla(os.environ)
        keep_memory()
        one_at_a_time()


def on_cpu() -> bool:
    """True if JAX is configured for the CPU or has no other backend installed."""
    import jax

    if jax.config.jax_platforms:
        return jax.config.jax_platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not (plugins or find_spec("jax_plugins") or find_spec("libtpu"))


def tell_xla(environment: MutableMapping[str, str]) -> None:
    """Prepends FLAGS to XLA_FLAGS, so that flags set by the user take precedence.

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
    """Makes malloc keep freed blocks of up to 2 GiB; returns True if the setting was made.

    XLA allocates a step's scratch space and results anew at every step. By default glibc
    returns such large blocks to the system at once, and getting them back, zeroed page by
    page, took a quarter of a ViT's step. Nothing is changed if the environment configures
    malloc (MALLOC_..., GLIBC_TUNABLES), or without glibc.
    """
    configured = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if configured or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(MMAP_THRESHOLD, LIMIT) and mallopt(TRIM_THRESHOLD, LIMIT))


def one_at_a_time() -> None:
    """Disables asynchronous dispatch on CPU: each step runs in the calling thread.

    Asynchronous dispatch allocates the next step's scratch space early, in threads whose
    malloc arenas return blocks above 64 MiB to the system in spite of `keep_memory`.
    Programs for several devices are not affected.
    """
    import jax

    if "JAX_CPU_ENABLE_ASYNC_DISPATCH" not in os.environ:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
