"""Several processes as one: how they meet, what they learn, and what if one dies."""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jssl import cluster, sharding

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
processes = importlib.import_module("processes")

SLURM = {f"SLURM_{name}": "0" for name in cluster.SLURM}
JOB = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        (SLURM | {"SLURM_NTASKS": "4"}, True),
        (SLURM | {"SLURM_NTASKS": "1"}, False),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, False),  # a script, outside of srun
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "t0,t1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_PROCESS_ADDRESSES": "t0:8471", "MEGASCALE_NUM_SLICES": "2"}, True),
        ({"JAX_COORDINATOR_ADDRESS": "t0:1234"}, True),
        (JOB, True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),  # a pod of its own
    ],
)
def test_the_environment_says_whether_there_are_several_processes(environment, several):
    assert cluster.announced(environment) == several


def test_a_process_takes_its_nodes_gpus_or_what_jax_gives_it():
    node = {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_NODES": "4", "SLURM_GPUS_ON_NODE": "8"}
    assert cluster.whole_node(node) == list(range(8))
    assert cluster.whole_node(node | {"SLURM_NTASKS": "32"}) is None  # a process a GPU
    assert cluster.whole_node(node | {"JAX_LOCAL_DEVICE_IDS": "1"}) is None
    assert cluster.whole_node({}) is None


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (("host:1234", 2, None), "give all three of"),
        ((None, None, 0), "give all three of"),
        ((None, 4, None), "give all three of"),
        (("host:1234", 2, 2), "from 0 to one less than --processes, got 2 of 2"),
        (("host:1234", 2, -1), "got -1 of 2"),
        (("host", 2, 1), "must be HOST:PORT, got 'host'"),
        (("host:123456", 2, 1), "must be HOST:PORT"),
    ],
)
def test_nonsense_about_the_others_is_refused(named, message):
    with pytest.raises(ValueError, match=message):
        cluster.join(*named)


def test_one_process_is_alone_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    cluster.join(None, 1, None)
    assert not cluster.joined()


def test_an_environment_that_says_half_is_told_of(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")  # Open MPI 5 names no coordinator
    with pytest.raises(ValueError, match="or --processes=1 for a single-process run"):
        cluster.join()


def test_a_port_in_use_is_told_of():
    with processes.socket.create_server(("", 0)) as taken:
        address = f"localhost:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen at {address}: .*in use"):
            cluster.join(address, 2, 0)


ORDERS = {  # the process of each device of a mesh
    "data": ([0, 0, 1, 1], ("data",), True),
    "v5e": ([0, 0, 1, 1, 1, 1, 0, 2, 3, 3, 3, 3, 2, 2, 2, 0], ("data",), False),
    "tensor": ([[0, 0], [1, 1]], ("data", "tensor"), True),
    "tensor across": ([[0, 1], [0, 1]], ("data", "tensor"), False),
    "tensor first": ([[0, 1], [0, 1]], ("tensor", "data"), True),
    "fsdp first": ([[0, 1], [0, 1]], ("fsdp", "data"), True),  # rows go by data, then fsdp
    "fsdp first, in lines": ([[0, 0], [1, 1]], ("fsdp", "data"), False),
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_mesh_is_asked_whether_rows_lie_where_they_are_read(order):
    owners, names, in_order = ORDERS[order]
    devices = np.vectorize(lambda i: SimpleNamespace(process_index=i), otypes=[object])
    mesh = SimpleNamespace(axis_names=names, devices=devices(np.array(owners)))
    assert sharding._in_order.__wrapped__(mesh) == in_order


PLACED = """
import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from jssl import cluster, command, sharding
from jssl.data.rows import local_rows

command.prepare_jax(cpu_devices=2)
assert jax.process_count() == 2
rows = np.arange(24).reshape(8, 3)
devices = np.array(jax.devices())
for order, names in (
    (devices[[0, 2, 1, 3]], ("data",)),
    (devices.reshape(1, 4), ("data", "tensor")),
    (devices.reshape(2, 2), ("fsdp", "data")),
    (devices[[2, 3, 0, 1]].reshape(2, 2), ("data", "fsdp")),
):
    mesh = Mesh(order, names, axis_types=(AxisType.Auto,) * len(names))
    placed = sharding.place({"x": rows[local_rows(8)]}, mesh)["x"]
    assert placed.sharding == sharding.rows(mesh)
    whole = jax.jit(lambda x: x, out_shardings=sharding.replicated(mesh))(placed)
    np.testing.assert_array_equal(whole, rows)
print("placed")
"""


@pytest.mark.slow
def test_rows_come_in_order_on_a_mesh_that_is_in_none(tmp_path):
    """Joined by what SLURM says, too."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost"}
    both = []
    for i in "01":
        mine = {"SLURM_NTASKS": "2", "SLURM_PROCID": i, "SLURM_LOCALID": i}
        how = dict(cwd=ROOT, env=processes.environment(tmp_path) | job | mine)
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        both.append(subprocess.Popen([sys.executable, "-c", PLACED], **how, **pipes))
    for process in both:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "placed" in said


@pytest.mark.slow
def test_who_waits_in_vain_is_told_so_in_a_line(tmp_path):
    words = "from jssl import cluster; cluster.join('localhost:1', 2, 1, wait=3)"
    how = dict(cwd=ROOT, env=processes.environment(tmp_path), timeout=60)
    ran = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, **how
    )
    assert ran.returncode == 1
    assert "timed out: not all processes connected to localhost:1 within 3 s" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path, capsys):
    """A loss of pairs across the batch, and a stack of machines on the data's means."""
    assert processes.agree(tmp_path, [2], ["simclr", "dbn"], ["float32"])
    assert "OTHERS" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_process_that_dies_takes_the_others_along_and_the_run_goes_on(tmp_path):
    run = processes.Run(tmp_path, "run")
    party, [(first, seconds), (killed, _)] = run.stopped(2, 50, 1, signal.SIGKILL)
    assert (first, killed) == (1, -signal.SIGKILL)
    assert seconds < 90
    assert "another process of this run is gone" in party.last_words(0)
    saved, done = run.saved()[0][-1], run.losses()
    assert 0 < saved <= len(done)
    party, [(status, _)] = run.stopped(1, len(done) + 20, 0, signal.SIGTERM)
    assert status == 143
    assert f"resuming at step {saved} of" in party.logs[0].read_text()
    np.testing.assert_allclose(run.losses()[: len(done)], done, atol=1e-4)
    assert len(run.batches()) == len(run.losses())  # and none was another when done again
