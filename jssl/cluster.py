"""Joining a run of several processes, agreeing in it, and leaving one that has failed.

The same command starts on every host. Under SLURM, Open MPI and Kubernetes (indexed
jobs) and on TPU pods JAX finds the others by itself; elsewhere they are told:

  --coordinator=host:1234 --processes=4 --process=0    and 1, 2, 3 on the others

where the first, number 0, runs on `host`. `--processes=1` is a run of one's own whatever
the environment says. https://docs.jax.dev/en/latest/multi_process.html
"""

import os
import re
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

WAIT = 300  # seconds for all to come: machines of a pod boot at different times
PATIENCE = 15  # seconds before we say that we wait
SILENCE = 60  # seconds without a sign of life after which JAX ends the others
SLURM = ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID")  # what JAX needs
LOST = r"Gloo .*failed|reset by peer|closed by peer|heartbeat|Broken pipe"


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    wait: float = WAIT,
) -> None:
    """Joins the other processes, if there are any, before anything is computed.

    Ends the process, with one line, when the others do not come.

    Args:
      coordinator: "host:port", where process 0 listens.
      processes: how many there are.
      process: which this is, from 0.
      wait: seconds for all to come.

    Raises:
      ValueError: only some of the three are given, or nonsense, or the environment says
        that there are several processes but not where they meet.
      OSError: process 0 cannot listen at its port.
    """
    named = coordinator, processes, process
    told = any(x is not None for x in named)
    if named == (None, 1, None) or not (told or announced(os.environ)):
        return
    import jax

    how = {"local_device_ids": whole_node(os.environ)}
    if told:
        how = {"cluster_detection_method": "deactivate"}  # which would share out the GPUs
    here = "this process"
    if told:
        _check(*named)
        here = f"process {process} of {processes}"
    together = threading.Event()
    where = coordinator or "the place that the environment names"
    watch = threading.Thread(target=_watch, args=(together, here, where, wait), daemon=True)
    watch.start()
    try:
        jax.distributed.initialize(
            *named,
            **how,
            initialization_timeout=int(wait) + 60,  # ends in an abort: `_watch` is first
            heartbeat_timeout_seconds=SILENCE,
        )
    except (ValueError, RuntimeError) as error:
        if told:
            raise ValueError(f"{here} cannot join the others: {error}") from error
        raise ValueError(
            f"the environment speaks of several processes, but JAX cannot join them "
            f"({error}): give --coordinator, --processes and --process, or --processes=1 "
            f"for a run of its own"
        ) from error
    finally:
        together.set()


def announced(environment: Mapping[str, str]) -> bool:
    """Whether the environment says that this is one process of several.

    It is asked for what JAX itself reads; what it says of one process alone is passed
    over, so that a command typed on a login node or a single TPU host runs as it is.

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
    """The numbers of all GPUs of a node that has one process, under SLURM.

    JAX would give that process the first alone, as where each GPU has its process.

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


def agree(said: str = "") -> str:
    """What the first process that says anything says, in every process."""
    import jax

    if jax.process_count() == 1:
        return said
    import numpy as np
    from jax.experimental import multihost_utils

    gather, own = multihost_utils.process_allgather, said.encode()
    size = -(-int(gather(np.int32(len(own))).max()) // 1024) * 1024
    rows = gather(np.frombuffer(own.ljust(size, b"\0"), np.uint8)) if size else ()
    return next((row.tobytes().rstrip(b"\0").decode() for row in rows if row.any()), "")


def together(work: Callable[[], Any]) -> Any:
    """work(); the ValueError or OSError that one process meets is raised in all."""
    try:
        result, error = work(), None
    except (ValueError, OSError) as met:
        result, error = None, met
    said = agree("" if error is None else str(error) or type(error).__name__)
    if said:
        raise error or OSError(said)
    return result


def run(command: Callable[[], int]) -> NoReturn:
    """Ends this process with the command's status.

    One process of several that failed ends at once: at a regular exit JAX waits for the
    others, which wait for this one's share of the next step.
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
    if status == 1 and joined():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def joined() -> bool:
    """Whether this is a process of several."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def reason(error: BaseException) -> str:
    """What an error says, in one line; of a lost connection, what it means."""
    text = " ".join(str(error).split()) or type(error).__name__
    if joined() and re.search(LOST, text):
        return (
            f"another process of this run is gone: look for its own last words; the same "
            f"commands go on from the last checkpoint ({text[:160]})"
        )
    return text


def _check(coordinator, processes, process):
    if None in (coordinator, processes, process):
        raise ValueError("--coordinator, --processes and --process go together")
    if processes < 1 or not 0 <= process < processes:
        raise ValueError(
            f"--process counts from 0 to one less than --processes, got {process} of "
            f"{processes}"
        )
    address = re.fullmatch(r"(\[.+\]|[^:\s]+):(\d+)", coordinator)
    if not address or not 0 < int(address[2]) < 2**16:
        raise ValueError(f"a coordinator reads HOST:PORT, got {coordinator!r}")
    if process == 0:  # where it cannot listen, JAX 0.10 crashes
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        try:
            port = int(address[2])
            socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
        except OSError as error:
            raise OSError(
                f"process 0 cannot listen at {coordinator}: {os.strerror(error.errno)}"
            ) from error


def _watch(together, here, where, wait):
    """Says that the others are awaited, and gives up with a line: JAX would abort."""
    patience = min(PATIENCE, wait)
    if together.wait(patience):
        return
    print(
        f"jssl: {here} waits for the others at {where}, up to {wait:.0f} s", file=sys.stderr
    )
    if together.wait(wait - patience):
        return
    print(
        f"jssl: {here} gives up: not all have met at {where} within {wait:.0f} s; is each "
        f"of them running, does number 0 run there, and can this host reach it?",
        file=sys.stderr,
    )
    os._exit(1)


def _on_tpu_vm():
    """A TPU host that names no others: on Google's VMs, JAX asks the metadata server."""
    import jax  # has looked for the chips, and knows where there is no server to ask

    platforms = (jax.config.jax_platforms or "").split(",")
    return "tpu" in platforms and "TPU_SKIP_MDS_QUERY" not in os.environ
