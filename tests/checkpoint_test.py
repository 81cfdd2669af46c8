"""What a run finds after a fault: damage, a kill, a full disk, another run."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jssl.checkpoint import Checkpoints
from jssl.config import load
from jssl.main import main
from jssl.session import claim, describe

ROOT = Path(__file__).parent.parent
ORDER = np.arange(5)
NOISE = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
DIGITS = f"--config={ROOT}/experiments/mae.py:source=digits,tiny=True"
CONFIG = {"title": "t", "file": "f.py", "function": "laptop", "knobs": {"epochs": 2}}


def sharding(*names):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec(*names))


def state(step, *names, shape=(64, 256)):
    """Whose every leaf tells the step; `big` does not fit into orbax's index."""
    return {
        "big": jax.device_put(NOISE[: shape[0], : shape[1]] + step, sharding(*names)),
        "count": jax.device_put(jnp.int32(step), sharding()),
    }


def shapes(state):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with the checkpoints of steps 2 and 4."""
    folder = tmp_path_factory.mktemp("checkpoints") / "stage"
    with Checkpoints(folder) as saved:
        for step in (2, 4):
            saved.save(step, state(step, "data"), ORDER)
    return folder


@pytest.fixture
def stage(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "stage")


def latest(folder, *names):
    """What a run that begins now goes on from; all its leaves are of one step."""
    with Checkpoints(folder) as saved:
        found = saved.latest(shapes(state(0, *names)))
    if found is not None:
        expected = state(found[0], *names)
        jax.tree.map(np.testing.assert_array_equal, found[1], expected)
        assert shapes(found[1]) == shapes(expected)
    return found


def steps(folder):
    return {path.name for path in folder.iterdir()}


def content(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def file(checkpoint, name):
    """A file of a checkpoint; "big" is the one that holds the array."""
    if name != "big":
        return checkpoint / name
    return max(checkpoint.rglob("*"), key=lambda p: p.stat().st_size * p.is_file())


def lose(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def flip(path):
    """One bit."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


FAULTS = [
    (lose, "big", "is missing"),
    (halve, "big", "bytes, not"),
    (zero, "big", "does not match its checksum"),
    (flip, "big", "does not match its checksum"),
    (flip, "order/checkpoint/0", "order/checkpoint/0 does not match its checksum"),
    (lose, "state/ocdbt.process_0", "is missing"),
    (lose, "state/manifest.ocdbt", "state/manifest.ocdbt is missing"),
    (lose, "state/_METADATA", "state/_METADATA is missing"),
    (zero, "state/_METADATA", "state/_METADATA does not match its checksum"),
    (lose, "_CHECKPOINT_METADATA", "_CHECKPOINT_METADATA is missing"),
    (zero, "_CHECKPOINT_METADATA", "_CHECKPOINT_METADATA cannot be read"),
    (lose, "sums.json", "sums.json is missing"),
    (halve, "sums.json", "sums.json cannot be read"),
]


@pytest.mark.parametrize(("damage", "name", "told"), FAULTS)
def test_a_damaged_checkpoint_is_passed_over_told_of_and_replaced(
    damage, name, told, stage, capfd
):
    damage(file(stage / "4", name))
    before = content(stage)
    step, _, order = latest(stage, "data")
    line = capfd.readouterr().err
    assert step == 2
    np.testing.assert_array_equal(order, ORDER)
    assert line.startswith(f"jssl: {stage}: checkpoint 4 is damaged: ")
    assert line.endswith(f"{told}; resuming from 2\n") or told == "bytes, not"
    assert told in line
    assert line.count("\n") == 1
    assert content(stage) == before  # who only reads changes nothing
    with Checkpoints(stage) as saved:
        saved.latest(shapes(state(0, "data")))
        saved.save(3, state(3, "data"))
        assert "4.damaged" in steps(stage)
        saved.save(4, state(4, "data"))
    assert steps(stage) == {"3", "4"}
    capfd.readouterr()
    assert latest(stage, "data")[0] == 4
    assert capfd.readouterr().err == ""


def test_what_a_killed_save_left_is_told_of_and_removed(stage, capfd):
    shutil.copytree(stage / "4", stage / "6.orbax-checkpoint-tmp")
    lose(file(stage / "6.orbax-checkpoint-tmp", "big"))
    assert latest(stage, "data")[0] == 4
    line = f"jssl: {stage}: checkpoint 6 is unfinished; resuming from 4\n"
    assert capfd.readouterr().err == line
    assert "6.orbax-checkpoint-tmp" in steps(stage)
    with Checkpoints(stage) as saved:
        saved.latest(shapes(state(0, "data")))
        saved.save(5, state(5, "data"))
    assert steps(stage) == {"4", "5"}


def test_a_run_killed_in_its_first_save_begins_again(stage, capfd):
    (stage / "2").rename(stage / "2.orbax-checkpoint-tmp")
    shutil.rmtree(stage / "4")
    assert latest(stage, "data") is None
    line = f"jssl: {stage}: checkpoint 2 is unfinished; there is no other\n"
    assert capfd.readouterr().err == line


def test_where_none_is_whole_a_line_says_what_to_do_and_nothing_is_touched(stage, capfd):
    halve(file(stage / "2", "big"))
    lose(stage / "4" / "state" / "_METADATA")
    before = content(stage)
    with pytest.raises(ValueError, match=r"no checkpoint in .* is intact") as told:
        latest(stage, "data")
    assert "checkpoint 4 is damaged: state/_METADATA is missing" in str(told.value)
    assert "checkpoint 2 is damaged" in str(told.value)
    assert "restore a copy of one there, or remove the folder" in str(told.value)
    assert "\n" not in str(told.value)
    assert content(stage) == before
    assert capfd.readouterr().err == ""


def test_another_model_is_refused_and_no_damage(stage, capfd):
    like = shapes(state(0, "data", shape=(32, 256)))
    words = r"is of another model: big is float32\[64, 256\] there and float32\[32, 256\]"
    before = content(stage)
    with pytest.raises(ValueError, match=words), Checkpoints(stage) as saved:
        saved.latest(like)
    assert capfd.readouterr().err == ""
    assert content(stage) == before


def test_the_newest_whole_ones_are_kept(tmp_path, capfd):
    with Checkpoints(tmp_path, keep=3) as saved:
        for step in (2, 4, 6):
            saved.save(step, state(step, "data"))
    halve(file(tmp_path / "4", "big"))
    with Checkpoints(tmp_path, keep=3) as saved:
        saved.latest(shapes(state(0, "data")))
        saved.save(8, state(8, "data"))
    assert steps(tmp_path) == {"2", "6", "8"}
    assert "checkpoint 4 is damaged" in capfd.readouterr().err
    with Checkpoints(tmp_path, keep=1) as saved:
        saved.save(10, state(10, "data"))
    assert steps(tmp_path) == {"10"}
    with pytest.raises(ValueError, match="keep at least 1 checkpoint"):
        Checkpoints(tmp_path, keep=0)


@pytest.mark.parametrize("names", [("data",), (None, "data"), ()], ids=str)
def test_a_state_returns_in_another_sharding(names, stage):
    assert latest(stage, *names)[0] == 4


def test_an_older_checkpoint_without_sums_is_read(tmp_path, capfd):
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(tmp_path) as manager:
        items = {"state": ocp.args.StandardSave(state(2, "data"))}
        items["order"] = ocp.args.ArraySave(ORDER)
        manager.save(2, args=ocp.args.Composite(**items))
    assert latest(tmp_path, "data")[0] == 2
    halve(file(tmp_path / "2", "order/checkpoint/0"))
    with pytest.raises(OSError, match=r"could not read the checkpoint 2 in "):
        latest(tmp_path, "data")
    capfd.readouterr()


def test_save_returns_before_the_bytes_are_written_and_the_state_may_go(tmp_path):
    big = jax.random.normal(jax.random.key(0), (2**23,))
    expected = np.array(big)
    with Checkpoints(tmp_path) as saved:
        saved.save(1, {"big": big})
        early = (tmp_path / "1").exists()
        jax.jit(lambda x: x * 0, donate_argnums=0)(big).block_until_ready()
    assert not early
    assert (tmp_path / "1" / "sums.json").exists()
    with Checkpoints(tmp_path) as saved:
        _, restored, _ = saved.latest(shapes({"big": jnp.asarray(expected)}))
    np.testing.assert_array_equal(restored["big"], expected)


def test_a_workdir_has_one_run_at_a_time(tmp_path):
    place = f"process {os.getpid()} on host {socket.gethostname()}"
    with claim(tmp_path / "run", CONFIG, True):
        before = content(tmp_path)
        words = f"is in use by {place}; wait for it, stop it or name another --workdir"
        with pytest.raises(ValueError, match=words), claim(tmp_path / "run", CONFIG, True):
            pass
        assert content(tmp_path) == before
        with claim(tmp_path / "other", CONFIG, True):
            pass
    with claim(tmp_path / "run", CONFIG, True):
        pass


def test_a_run_that_fails_leaves_its_workdir_free(tmp_path):
    with pytest.raises(KeyboardInterrupt), claim(tmp_path, CONFIG, True):
        raise KeyboardInterrupt
    with claim(tmp_path, CONFIG, True):
        pass


def python(code, *arguments):
    how = dict(cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    how["env"] = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(words, **how)


HOLD = """
import json, sys, time
from pathlib import Path
from jssl.config import load
from jssl.session import claim, describe
with claim(Path(sys.argv[1]), describe(load(sys.argv[2])), True):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.mark.slow
def test_the_second_of_two_runs_is_refused_until_the_first_is_gone(tmp_path, capfd):
    command = [DIGITS, f"--workdir={tmp_path / 'run'}"]
    holder = python(HOLD, tmp_path / "run", DIGITS.removeprefix("--config="))
    assert holder.stdout.readline() == "held\n"
    before = content(tmp_path)
    assert main(command) == 1
    assert content(tmp_path) == before
    assert capfd.readouterr().err == (
        f"jssl: {tmp_path / 'run'} is in use by process {holder.pid} on host "
        f"{socket.gethostname()}; wait for it, stop it or name another --workdir\n"
    )
    holder.kill()
    holder.communicate()
    config = describe(load(DIGITS.removeprefix("--config=")))
    with claim(tmp_path / "run", config, True):
        pass


KILLED = """
import os, signal, sys
import jax
from jssl.checkpoint import Checkpoints
state = {"big": jax.random.normal(jax.random.key(0), (2**24,))}
with Checkpoints(sys.argv[1]) as saved:
    saved.save(1, state)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_run_killed_while_it_saves_leaves_nothing_that_looks_whole(tmp_path, capfd):
    process = python(KILLED, tmp_path)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert steps(tmp_path) == {"1.orbax-checkpoint-tmp"}
    with Checkpoints(tmp_path) as saved:
        assert saved.latest(shapes(state(0, "data"))) is None
        saved.save(1, state(1, "data"))
    assert "checkpoint 1 is unfinished; there is no other" in capfd.readouterr().err
    assert latest(tmp_path, "data")[0] == 1


FAILING = """
import resource, sys
import jax
from jssl.checkpoint import Checkpoints
state = {"big": jax.random.normal(jax.random.key(0), (64, 256))}
try:
    with Checkpoints(sys.argv[1]) as saved:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
        saved.save(6, state)
        saved.save(8, state)
except OSError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_save_that_fails_is_told_in_one_line_and_harms_no_other(stage):
    out, _ = python(FAILING, stage).communicate()
    assert out == f"could not save a checkpoint in {stage}: File too large\n"
    assert steps(stage) == {"2", "4", "6.orbax-checkpoint-tmp"}
    assert latest(stage, "data")[0] == 4


TWO = """
import json, os, resource, signal, sys, time
from functools import partial
from pathlib import Path
import jax
import numpy as np
from jax.experimental.multihost_utils import (
    reached_preemption_sync_point, sync_global_devices
)
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jssl.checkpoint import Checkpoints
from jssl.cluster import broadcast, raise_everywhere
from jssl.session import claim

port, me, folder, held, noise = int(sys.argv[1]), int(sys.argv[2]), *map(Path, sys.argv[3:])
jax.distributed.initialize(f"localhost:{port}", 2, me)
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
rows = NamedSharding(mesh, PartitionSpec("data"))
noise, said = np.load(noise), {}

def state(step):
    number = NamedSharding(mesh, PartitionSpec())
    values = {"big": (noise + step, rows), "count": (np.int32(step), number)}
    place = lambda x, s: jax.make_array_from_callback(x.shape, s, lambda part: x[part])
    return {name: place(np.asarray(x), s) for name, (x, s) in values.items()}

def error(work):
    begin = time.time()
    try:
        work()
    except (ValueError, OSError) as met:
        return [f"{type(met).__name__}: {met}", time.time() - begin]

def fail_in(process, kind):
    if process == me:
        raise kind(f"from {process}")

shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(0)
)
with Checkpoints(folder) as saved:
    for step in (2, 4):
        saved.save(step, state(step), np.arange(5))
long = broadcast("x" * 2000 if me else "")
said["agreed"] = [broadcast(), broadcast(f"from {me}"), long[-1:]]
said["raised"] = [error(partial(raise_everywhere, partial(fail_in, 1, ValueError)))[0]]
said["refused"] = error(claim(held, {}, me == 0).__enter__)[0]
if me == 1:
    path = max((folder / "4").glob("state/ocdbt.process_1/d/*"), key=os.path.getsize)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
sync_global_devices("damaged")
with Checkpoints(folder) as saved:
    said["seen"] = saved._fault(4, True)
    step, found, order = saved.latest(shapes)
    whole = jax.tree.map(lambda x, y: bool((x == y).all()), found, state(step))
    said["found"] = [step, order.tolist(), whole]
    for step in (3, 4):
        saved.save(step, state(step))

def cannot_write():
    with Checkpoints(folder) as saved:
        said["again"] = saved.latest(shapes)[0]
        if me == 1:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
        saved.save(6, state(6))
        saved.save(8, state(8))

with Checkpoints(folder.parent / "later") as saved:
    saved.save(1000, state(1000))
    if me == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2)  # until JAX's service has heard of it
    for count in range(1, 500):
        if reached_preemption_sync_point(count):
            said["stopped"] = count
            break
        time.sleep(0.02)
said["failed"] = error(cannot_write)
print(json.dumps(said))
"""


@pytest.mark.slow
def test_two_processes_take_every_decision_together(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    np.save(tmp_path / "noise.npy", NOISE)
    places = tmp_path / "stage", tmp_path / "held", tmp_path / "noise.npy"
    with claim(tmp_path / "held", CONFIG, True):
        both = [python(TWO, port, i, *places) for i in range(2)]
        ends = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    zero, one = (json.loads(out.splitlines()[-1]) for out, _ in ends)
    assert zero["agreed"] == one["agreed"] == ["", "from 0", "x"]
    assert zero["raised"] == ["OSError: from 1"]
    assert one["raised"] == ["ValueError: from 1"]
    for refused in (zero["refused"], one["refused"]):
        assert f"held is in use by process {os.getpid()} on host" in refused
    assert sorted(map(bool, (zero["seen"], one["seen"]))) == [False, True]  # by one alone
    assert (
        zero["found"] == one["found"] == [2, [0, 1, 2, 3, 4], {"big": True, "count": True}]
    )
    lines = [line for _, err in ends for line in err.splitlines() if "jssl: " in line]
    assert len(lines) == 1
    assert "checkpoint 4 is damaged: state/ocdbt.process_1/d/" in lines[0]
    assert lines[0].endswith("does not match its checksum; resuming from 2")
    assert zero["stopped"] == one["stopped"] < 500  # orbax asks not with its 1000
    assert zero["again"] == one["again"] == 4
    for words, seconds in (zero["failed"], one["failed"]):
        assert words.endswith("stage: process 1: File too large")
        assert seconds < 60
    assert steps(places[0]) == {"3", "4", "6.orbax-checkpoint-tmp"}
    assert latest(places[0], "data")[0] == 4
