"""What accelerators can do at best, by the makers' published figures."""

from typing import NamedTuple


class Chip(NamedTuple):
    """Peak rates of one chip; None where nothing is published, as of a CPU.

    Attributes:
      flops: bfloat16 products, a second.
      hbm: bytes a second from its own memory.
      ici: bytes a second that it sends to other chips, over all its links.
      memory: bytes.
    """

    flops: float | None = None
    hbm: float | None = None
    ici: float | None = None
    memory: float | None = None


# docs.cloud.google.com/tpu/docs/v5e, v6e, v5p, v4 (read 2026-11). Sent is half of the
# "bidirectional" figure: v5e's 400 GB/s are 200 out and 200 in.
CHIPS = {
    "v4": Chip(275e12, 1228e9, 300e9, 32 * 2**30),
    "v5e": Chip(197e12, 819e9, 200e9, 16 * 2**30),
    "v5p": Chip(459e12, 2765e9, 600e9, 95 * 2**30),
    "v6e": Chip(918e12, 1638e9, 400e9, 32 * 2**30),
    "cpu": Chip(),
}
