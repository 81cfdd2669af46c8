"""Saving a state, and going on from the newest whole checkpoint, through orbax.

A stage's folder holds

  40/                       a checkpoint: gets this name when all of it is written
    _CHECKPOINT_METADATA    orbax's: what is inside
    state/                  orbax's: the arrays; ocdbt.process_3/ is what process 3 wrote
    order/                  orbax's: what the stream follows, where a method gave an order
    sums.json               ours: size and CRC-32 of every file in these two
  60.orbax-checkpoint-tmp/  a save under way, or one that was killed
  60.damaged/               moved aside; deleted when step 60 or a later one is saved

TensorStore notices a lost or truncated file, but reads a flipped bit of an array as another
number: hence the sums. Each process sums what it wrote, in its saving thread while training
goes on; a restart reads every file once more, each process its share of them.
"""

import contextlib
import errno
import itertools
import json
import os
import shutil
import sys
import zlib
from functools import cached_property, partial, reduce
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jssl.cluster import agree, together

BLOCKS = 8192  # what a leaf costs in orbax's own files, bytes (two blocks of a file system)
DISK = errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO
METADATA, SUMS, WITH_SUMS = "_CHECKPOINT_METADATA", "sums.json", {"sums": "crc32"}
MEETINGS = itertools.count()
PARTIAL, DAMAGED = ".orbax-checkpoint-tmp", ".damaged"  # orbax passes over these


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints of one stage: saved off the critical path, atomically, newest kept.

    All processes of a run call the same methods; all get the same answer, or an error.

    Raises:
      ValueError: when fewer than one are to be kept.
    """

    def __init__(self, folder: Path, keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep at least 1 checkpoint to go on from, not {keep}")
        import orbax.checkpoint as ocp

        self.ocp, self.keep = ocp, keep
        self.folder = self.writing = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.faults, self.broken = {}, ""  # by step; why a save of several processes failed

    def save(self, step: int, state: Any, order: np.ndarray | None = None) -> None:
        """Begins to save, and the state may be donated; the next call, or leaving, waits.

        Raises:
          OSError: there is no room, or what was begun before has failed.
        """
        manager, args = self.manager, self.ocp.args
        self._guarded(manager.wait_until_finished)
        if step in manager.all_steps():
            return
        together(partial(self._guarded, partial(self._room_for, state)))
        items = {"state": args.StandardSave(state)}
        if order is not None:
            items["order"] = args.ArraySave(np.asarray(order))
        self.writing = self.folder / f"{step}{PARTIAL}"
        save = partial(manager.save, step, custom_metadata=WITH_SUMS)
        self._guarded(partial(save, args=args.Composite(**items)))

    def latest(self, shapes: Any) -> tuple[int, Any, np.ndarray | None] | None:
        """(step, state, order) of the newest whole checkpoint, or None.

        Damaged ones are told of on stderr; the next save moves them out of its way.

        Args:
          shapes: ShapeDtypeStructs of the state, with the shardings it is to have.

        Raises:
          ValueError: when the checkpoint holds another model, naming the first leaf, or
            when there are checkpoints and none is whole.
        """
        if "manager" in vars(self):
            self._guarded(self.manager.wait_until_finished)
        self.faults, found = {}, None
        steps = agree(" ".join(map(str, self._called("")))).split()  # the first process's
        for step in sorted(map(int, steps), reverse=True):
            fault = agree(self._fault(step, sums=found is None))
            if fault:
                self.faults[step] = fault
            elif found is None:
                found = self._read(step, shapes)
        self._tell(found)
        return found

    def __exit__(self, kind, error, trace):
        """Waits for what is being saved; its failure does not hide an earlier one."""
        quiet = (OSError,) if kind else ()
        if "manager" in vars(self):
            with contextlib.closing(self.manager), contextlib.suppress(*quiet):
                self._guarded(self.manager.wait_until_finished)

    @cached_property
    def manager(self):
        """Orbax's, made at the first save: those who only read leave all as it is."""
        together(self._make_way)
        many, ocp = jax.process_count() > 1, self.ocp
        hooks = {"barrier_sync_fn": self._meet} if many else {}
        hooks = ocp.AsyncOptions(post_finalization_callback=self._finish, **hooks)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self.keep, async_options=hooks, single_host_load_and_broadcast=many
        )
        manager = ocp.CheckpointManager(self.folder, options=options)
        manager.reached_preemption = lambda step: False  # the loop asks, by its own numbers
        return manager

    def _make_way(self):
        if jax.process_index() == 0:
            for step in self.faults:
                aside = self.folder / f"{step}{DAMAGED}"
                shutil.rmtree(aside, ignore_errors=True)
                (self.folder / str(step)).rename(aside)
            for path in self._called(PARTIAL).values():
                shutil.rmtree(path, ignore_errors=True)

    def _meet(self, *, key: str, timeout_ms: int) -> None:
        """Orbax's barrier for the saving threads of several processes, if none has failed.

        Orbax has the others wait twenty minutes for one that cannot write. Here that one
        comes to their next meeting, its error in flight, and all of them hear of it.
        """
        from jax._src import distributed  # JAX has no public barrier for threads

        client, me = distributed.global_state.client, jax.process_index()
        error = sys.exc_info()[1]
        if not self.broken:
            if error is None and "async_write_complete" in key:
                for folder in self.writing.glob(f"*/ocdbt.process_{me}"):
                    write_sums(folder)
            name = f"jssl/saving/{next(MEETINGS)}"
            if error is not None:
                client.key_value_set(f"{name}/{me}", f"process {me}: {_reason(error)}")
            client.wait_at_barrier(name, timeout_ms)
            self.broken = "; ".join(dict(client.key_value_dir_get(f"{name}/")).values())
        if self.broken:
            raise OSError(self.broken)

    def _finish(self):
        """In the first process's saving thread, before the checkpoint gets its name."""
        write_sums(self.writing)
        for step, path in self._called(DAMAGED).items():
            if step <= int(self.writing.stem):
                shutil.rmtree(path, ignore_errors=True)

    def _called(self, suffix):
        """{step: folder} of those called by a step and this suffix."""
        paths = [path for path in self.folder.iterdir() if path.suffix == suffix]
        return {int(path.stem): path for path in paths if path.stem.isdigit()}

    def _fault(self, step, sums):
        """What is wrong with this process's share of a checkpoint; "" if nothing is."""
        root, name = self.folder / str(step), METADATA
        try:
            if json.loads((root / name).read_bytes()).get("custom_metadata") != WITH_SUMS:
                return ""  # an older one, without sums
            name = SUMS
            files = json.loads((root / name).read_bytes()).items()
            share = slice(jax.process_index(), None, jax.process_count())
            for name, (size, crc) in sorted(files, key=lambda file: file[1])[share]:
                here = (root / name).stat().st_size
                if here != size:
                    return f"{name} has {here} bytes, not {size}"
                if sums and checksum(root / name) != crc:
                    return f"{name} has other bytes than were written"
        except FileNotFoundError:
            return f"{name} is missing"
        except (OSError, ValueError, TypeError, AttributeError):
            return f"{name} cannot be read"
        return ""

    def _read(self, step, shapes):
        """(step, state, order). Each process reads alone: none waits for one that fails."""
        together(partial(self._compare, step, shapes))
        root, me, args = self.folder / str(step), jax.process_index(), self.ocp.args
        alone = self.ocp.options.MultiprocessingOptions(me, {me}, f"process_{me}")
        handler = self.ocp.CompositeCheckpointHandler()
        items = {"state": args.StandardRestore(shapes)}
        if (root / "order").exists():
            items["order"] = args.ArrayRestore()
        with self.ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
            read = partial(reader.restore, root, args=args.Composite(**items))
            found = together(partial(self._guarded, read, f"read the checkpoint {step} in"))
        return step, found["state"], found["order"] if "order" in items else None

    def _tell(self, found):
        """Of what cannot be used, and of what is used instead."""
        words = [f"checkpoint {s} is damaged: {why}" for s, why in self.faults.items()]
        if words and found is None:
            raise ValueError(
                f"no checkpoint in {self.folder} is whole: {'; '.join(words)}; put a copy "
                f"of one there, or remove that folder to begin this stage again"
            )
        last = -1 if found is None else found[0]
        newer = sorted(step for step in self._called(PARTIAL) if step > last)
        words += [f"checkpoint {step} is unfinished" for step in newer]
        if words and jax.process_index() == 0:
            rest = f"going on from {last}" if found else "there is no other"
            print(f"jssl: {self.folder}: {'; '.join(words)}; {rest}", file=sys.stderr)

    def _room_for(self, state):
        """Orbax's threads meet a full disk with a traceback each: look before they leap."""
        wanted = sum(x.nbytes + BLOCKS for x in jax.tree.leaves(state))  # by all processes
        free = shutil.disk_usage(self.folder).free
        if wanted > free:
            sizes = f"it wants {wanted / 1e6:.1f} MB and {free / 1e6:.1f} MB are free"
            full = os.strerror(errno.ENOSPC)
            raise OSError(f"{full}: {sizes}; make room and run again to go on")

    def _guarded(self, work, what="save a checkpoint in"):
        try:
            return work()
        except Exception as error:  # orbax and tensorstore raise many kinds
            raise OSError(f"could not {what} {self.folder}: {_reason(error)}") from error

    def _compare(self, step, shapes):
        """Says in one line what orbax would say in hundreds."""
        with self.ocp.StandardCheckpointer() as reader:
            saved = reader.metadata(self.folder / str(step) / "state").item_metadata
        name = partial(jax.tree_util.keystr, simple=True, separator="/")
        flat = jax.tree_util.tree_leaves_with_path
        leaves = lambda tree: {name(p): f"{x.dtype}{[*x.shape]}" for p, x in flat(tree)}
        there, here = leaves(getattr(saved, "tree", saved)), leaves(shapes)
        for path in itertools.chain(here, there):
            if there.get(path) != here.get(path):
                raise ValueError(
                    f"the checkpoint in {self.folder} is of another model: {path} is "
                    f"{there.get(path, 'absent')} there and {here.get(path, 'absent')} "
                    f"here; give the knobs it was made with, or another --workdir"
                )


def write_sums(folder: Path) -> None:
    """Writes sums.json, of all files below; takes what a sums.json below says already."""
    sums = {}
    for path in folder.rglob(SUMS):
        sums |= {path.parent / n: x for n, x in json.loads(path.read_bytes()).items()}
    for path in folder.rglob("*"):
        if path.is_file() and path not in sums and path.name not in (METADATA, SUMS):
            sums[path] = path.stat().st_size, checksum(path)
    with open(folder / SUMS, "w") as file:
        json.dump({str(path.relative_to(folder)): sums[path] for path in sums}, file)
        file.flush()
        os.fsync(file.fileno())


def checksum(path: Path) -> int:
    """The CRC-32 of a file."""
    with open(path, "rb") as file:
        blocks = iter(partial(file.read, 2**20), b"")
        return reduce(lambda crc, block: zlib.crc32(block, crc), blocks, 0)


def _reason(error):
    """An error in one line, in the system's words where the disk is to blame."""
    said = str(error).strip() or type(error).__name__
    own = isinstance(error, OSError) and error.errno is None  # says it well already
    blamed = [os.strerror(code) for code in DISK if os.strerror(code) in said and not own]
    return blamed[0] if blamed else said.splitlines()[0][:200]
