"""What the launcher tells XLA's compiler for CPUs.

Both were measured on two cores (benchmarks/LEVERS.md), and cost nothing elsewhere:
convolutions by Eigen's kernels in place of YNNPACK's, which are slower by half at narrow
layers, and barriers kept, which `jssl.ops.convolution` needs. XLA ends a process that
names a flag it does not know, so versions that were not measured go without.
"""

import importlib.metadata
from collections.abc import MutableMapping

FLAGS = (
    "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution",
    "--xla_disable_hlo_passes=cse_barrier_expander",
)
SINCE, BEFORE = (0, 10), (0, 13)  # jaxlib


def tell_xla(environment: MutableMapping[str, str]) -> None:
    """Puts FLAGS before what XLA_FLAGS holds, so that the user's own prevail; to be called
    before anything is computed.

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
