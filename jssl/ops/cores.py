"""Number of available CPU cores."""

import os


def cores() -> int:
    """Number of CPU cores this process may use; all cores where affinity is unsupported."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
