"""Multi-process runs: initialization, broadcasts and error handling.

Start the same command on every host. Under SLURM, Open MPI and Kubernetes (indexed jobs)
and on TPU pods JAX detects the other processes; elsewhere add the arguments

  --coordinator=host:1234 --processes=4 --process=0    and 1, 2, 3 on the other hosts

where process 0 runs on `host`. `--processes=1` forces a single-process run in any
environment. https://docs.jax.dev/en/latest/multi_process.html
"""

import contextlib
import errno
import logging
import os
import re
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

WAIT = 300  # seconds for all processes to connect: hosts of a pod boot at different times
PATIENCE = 15  # seconds before a message reports the wait
SILENCE = 60  # seconds without a heartbeat after which JAX ends the other processes
SLURM = ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID")  # required by JAX
LOST = r"Gloo .*failed|reset by peer|closed by peer|heartbeat|Broken pipe"


class Stopped(BaseException):
    """The run was stopped by SIGTERM or SIGINT, after saving a checkpoint.

    It is no Exception: `recorded` would take it for a failure of a part, and go on.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.status = 128 + number  # exit status of a process that a signal has ended


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    wait: float = WAIT,
) -> None:
    """Initializes `jax.distributed` if this is a multi-process run.

    Must run before any computation. On a timeout the process exits with a one-line
    message.

    Args:
      coordinator: "host:port", the address on which process 0 listens.
      processes: number of processes.
      process: index of this process, from 0.
      wait: timeout in seconds for all processes to connect.

    Raises:
      ValueError: if only some of the three are given or one is invalid, or if the
        environment announces several processes without a usable coordinator address.
      OSError: if process 0 cannot listen on its port.
    """
    named = coordinator, processes, process
    explicit = any(x is not None for x in named)
    if named == (None, 1, None) or not (explicit or announced(os.environ)):
        return
    import jax

    how = {"local_device_ids": whole_node(os.environ)}
    if explicit:
        how = {"cluster_detection_method": "deactivate"}  # it would assign GPUs by itself
    here = "this process"
    if explicit:
        _check(*named)
        here = f"process {process} of {processes}"
    connected = threading.Event()
    where = coordinator or "the coordinator address of the environment"
    arguments = connected, here, where, wait
    watch = threading.Thread(target=_watch, args=arguments, daemon=True)
    watch.start()
    try:
        jax.distributed.initialize(
            *named,
            **how,
            initialization_timeout=int(wait) + 60,  # ends in an abort: `_watch` is first
            heartbeat_timeout_seconds=SILENCE,
        )
    except (ValueError, RuntimeError) as error:
        if explicit:
            raise ValueError(f"{here} cannot connect to the others: {error}") from error
        raise ValueError(
            f"the environment announces several processes, but JAX cannot connect them "
            f"({error}): give --coordinator, --processes and --process, or --processes=1 "
            f"for a single-process run"
        ) from error
    finally:
        connected.set()


def announced(environment: Mapping[str, str]) -> bool:
    """True if the environment announces a run of several processes.

    Checks the variables that JAX reads. Those of a single process are ignored, so that a
    command runs unchanged on a login node or a single TPU host.

    >>> announced({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"})
    True
    >>> announced({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"})    # outside of srun
    False
    """

    def count(name):
        text = environment.get(name, "")
        return int(text) if text.isdigit() else 1

    names = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
    hosts = next((environment[name] for name in names if environment.get(name)), "")
    slurm = all(f"SLURM_{name}" in environment for name in SLURM)
    return (
        "JAX_COORDINATOR_ADDRESS" in environment
        or (slurm and count("SLURM_NTASKS") > 1)
        or count("OMPI_COMM_WORLD_SIZE") > 1
        or count("MEGASCALE_NUM_SLICES") > 1
        or "," in hosts
        or {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= set(environment)
        or (not hosts and _on_tpu_vm())
    )


def whole_node(environment: Mapping[str, str]) -> list[int] | None:
    """Indices of all GPUs of a node that runs a single SLURM process, else None.

    By default JAX would give that process only the first GPU.

    >>> node = {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_NODES": "2"}
    >>> whole_node(node | {"SLURM_GPUS_ON_NODE": "4"})
    [0, 1, 2, 3]
    """
    tasks, nodes = (environment.get(f"SLURM_{x}") for x in ("NTASKS", "STEP_NUM_NODES"))
    gpus = environment.get("SLURM_GPUS_ON_NODE", "")
    others = ("JAX_LOCAL_DEVICE_IDS", "OMPI_COMM_WORLD_SIZE")
    if tasks != nodes or not gpus.isdigit() or any(x in environment for x in others):
        return None
    return list(range(int(gpus)))


def broadcast(text: str = "") -> str:
    """Broadcasts the first non-empty string among all processes to all of them."""
    import jax

    if jax.process_count() == 1:
        return text
    import numpy as np
    from jax.experimental import multihost_utils

    gather, own = multihost_utils.process_allgather, text.encode()
    size = -(-int(gather(np.int32(len(own))).max()) // 1024) * 1024
    rows = gather(np.frombuffer(own.ljust(size, b"\0"), np.uint8)) if size else ()
    return next((row.tobytes().rstrip(b"\0").decode() for row in rows if row.any()), "")


def raise_everywhere(work: Callable[[], Any]) -> Any:
    """Returns work(); a ValueError or OSError in one process is raised in all of them."""
    try:
        result, error = work(), None
    except (ValueError, OSError) as met:
        result, error = None, met
    message = broadcast("" if error is None else str(error) or type(error).__name__)
    if message:
        raise error or OSError(message)
    return result


def run(command: Callable[[], int]) -> NoReturn:
    """Runs a command and exits with its status.

    In a multi-process run a failed process exits immediately: a regular exit would
    deadlock, since JAX waits for the other processes, which wait for the next collective.
    So does a single process that a signal has stopped: threads of XLA may still compute,
    and would crash (status 139) while the interpreter is taken down.
    """
    try:
        status = command()
    except BaseException as error:
        if not joined():
            raise
        if not re.search(LOST, str(error)):
            traceback.print_exc()
        print(f"jssl: {reason(error)}", file=sys.stderr)
        status = 1
    if status == 1 if joined() else status in (130, 143):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def joined() -> bool:
    """True in a multi-process run."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


@contextlib.contextmanager
def recorded(failed: dict[str, str], name: str) -> Iterator[None]:
    """Catches an error of the block, as one line in failed[name]; not a full disk."""
    try:
        yield
    except Exception as error:
        if _disk_is_full(error):
            raise
        logging.getLogger("jssl").debug("%s failed", name, exc_info=True)
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        failed[name] = kind + reason(error)


def reason(error: BaseException) -> str:
    """An error as one line of text; lost connections and full disks are explained."""
    if _disk_is_full(error):
        where = f" for {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}: free some space and give the command again"
    text = " ".join(str(error).split()) or type(error).__name__
    if joined() and re.search(LOST, text):
        return (
            f"another process of this run is gone: see its own error message; the same "
            f"commands resume from the last checkpoint ({text[:160]})"
        )
    return text


def _disk_is_full(error):
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _check(coordinator, processes, process):
    if None in (coordinator, processes, process):
        raise ValueError("give all three of --coordinator, --processes and --process")
    if processes < 1 or not 0 <= process < processes:
        raise ValueError(
            f"--process must be from 0 to one less than --processes, got {process} of "
            f"{processes}"
        )
    address = re.fullmatch(r"(\[.+\]|[^:\s]+):(\d+)", coordinator)
    if not address or not 0 < int(address[2]) < 2**16:
        raise ValueError(f"--coordinator must be HOST:PORT, got {coordinator!r}")
    if process == 0:  # JAX 0.10 crashes if it cannot listen
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        try:
            port = int(address[2])
            socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
        except OSError as error:
            raise OSError(
                f"process 0 cannot listen at {coordinator}: {os.strerror(error.errno or 0)}"
            ) from error


def _watch(connected, here, where, wait):
    """Reports the wait, and exits with a one-line message before JAX would abort."""
    patience = min(PATIENCE, wait)
    if connected.wait(patience):
        return
    print(
        f"jssl: {here} is waiting up to {wait:.0f} s for the others at {where}",
        file=sys.stderr,
    )
    if connected.wait(wait - patience):
        return
    print(
        f"jssl: {here} timed out: not all processes connected to {where} within "
        f"{wait:.0f} s; check that each is running, that number 0 runs there, and that "
        f"this host can reach it",
        file=sys.stderr,
    )
    os._exit(1)


def _on_tpu_vm():
    """True on a Google TPU VM, where JAX finds the other hosts by the metadata server."""
    import jax  # sets TPU_SKIP_MDS_QUERY on import if the host has no TPU chip

    platforms = (jax.config.jax_platforms or "").split(",")
    return "tpu" in platforms and "TPU_SKIP_MDS_QUERY" not in os.environ
