"""Checkpoints: saves a state and restores the newest intact one, with orbax.

A stage's folder holds

  40/                       a checkpoint; renamed to this once it is complete
    _CHECKPOINT_METADATA    orbax: list of the items
    state/                  orbax: arrays; ocdbt.process_3/ was written by process 3
    order/                  orbax: sample order of the stream, if the method sets one
    sums.json               size and CRC-32 of every file in these two
  60.orbax-checkpoint-tmp/  a save in progress or an interrupted one
  60.damaged/               moved aside; deleted when step 60 or a later one is saved

TensorStore detects a missing or truncated file, but not a flipped bit in an array: hence
the checksums. Each process computes those of its own files, in its saving thread during
training; a restart verifies every file, each process a share of them.
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

from jssl.cluster import broadcast, raise_everywhere

BLOCKS = 8192  # bytes of orbax's own files per leaf: two blocks of a file system
DISK = errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO
METADATA, SUMS, WITH_SUMS = "_CHECKPOINT_METADATA", "sums.json", {"sums": "crc32"}
BARRIERS = itertools.count()
PARTIAL, DAMAGED = ".orbax-checkpoint-tmp", ".damaged"  # ignored by orbax


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints of one stage: saved asynchronously and atomically, the newest kept.

    All processes of a run call the same methods, and get the same result or an error.

    Raises:
      ValueError: if `keep` is less than 1.
    """

    def __init__(self, folder: Path, keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep at least 1 checkpoint to resume from, got {keep}")
        import orbax.checkpoint as ocp

        self.ocp, self.keep = ocp, keep
        self.folder = self.writing = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.faults, self.broken = {}, ""  # {step: fault}; error of a multi-process save

    def save(self, step: int, state: Any, order: np.ndarray | None = None) -> None:
        """Starts an asynchronous save; the state may be donated immediately.

        The next call, or leaving the context, waits for it.

        Raises:
          OSError: if the disk is full, or if the previous save has failed.
        """
        manager, args = self.manager, self.ocp.args
        self._guarded(manager.wait_until_finished)
        if step in manager.all_steps():
            return
        raise_everywhere(partial(self._guarded, partial(self._room_for, state)))
        items = {"state": args.StandardSave(state)}
        if order is not None:
            items["order"] = args.ArraySave(np.asarray(order))
        self.writing = self.folder / f"{step}{PARTIAL}"
        save = partial(manager.save, step, custom_metadata=WITH_SUMS)
        self._guarded(partial(save, args=args.Composite(**items)))

    def latest(self, shapes: Any) -> tuple[int, Any, np.ndarray | None] | None:
        """Restores the newest intact checkpoint: (step, state, order), or None.

        Damaged checkpoints are reported on stderr; the next save moves them aside.

        Args:
          shapes: ShapeDtypeStructs of the state, with the shardings to restore to.

        Raises:
          ValueError: if the checkpoint is of another model (the message names the first
            leaf that differs), or if there are checkpoints but none is intact.
        """
        if "manager" in vars(self):
            self._guarded(self.manager.wait_until_finished)
        self.faults, found = {}, None
        steps = broadcast(" ".join(map(str, self._called("")))).split()  # of process 0
        for step in sorted(map(int, steps), reverse=True):
            fault = broadcast(self._fault(step, sums=found is None))
            if fault:
                self.faults[step] = fault
            elif found is None:
                found = self._read(step, shapes)
        self._report(found)
        return found

    def __exit__(self, kind, error, trace):
        """Waits for the pending save; its failure does not hide an earlier error."""
        quiet = (OSError,) if kind else ()
        if "manager" in vars(self):
            with contextlib.closing(self.manager), contextlib.suppress(*quiet):
                self._guarded(self.manager.wait_until_finished)

    @cached_property
    def manager(self):
        """The orbax manager, created at the first save so that reading changes nothing."""
        raise_everywhere(self._move_aside)
        many, ocp = jax.process_count() > 1, self.ocp
        hooks = {"barrier_sync_fn": self._barrier} if many else {}
        hooks = ocp.AsyncOptions(post_finalization_callback=self._finish, **hooks)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self.keep, async_options=hooks, single_host_load_and_broadcast=many
        )
        manager = ocp.CheckpointManager(self.folder, options=options)
        manager.reached_preemption = lambda step: False  # checked by the training loop
        return manager

    def _move_aside(self):
        if jax.process_index() == 0:
            for step in self.faults:
                aside = self.folder / f"{step}{DAMAGED}"
                shutil.rmtree(aside, ignore_errors=True)
                (self.folder / str(step)).rename(aside)
            for path in self._called(PARTIAL).values():
                shutil.rmtree(path, ignore_errors=True)

    def _barrier(self, *, key: str, timeout_ms: int) -> None:
        """Barrier for the saving threads of several processes that also shares errors.

        With orbax's own barrier the other processes wait twenty minutes for one that
        cannot write. Here that process reaches the next barrier with its error set, and
        the error is raised in all of them.
        """
        from jax._src import distributed  # JAX has no public barrier for threads

        client: Any = distributed.global_state.client
        me = jax.process_index()
        error = sys.exc_info()[1]
        if not self.broken:
            if error is None and "async_write_complete" in key:
                for folder in self.writing.glob(f"*/ocdbt.process_{me}"):
                    write_sums(folder)
            name = f"jssl/saving/{next(BARRIERS)}"
            if error is not None:
                client.key_value_set(f"{name}/{me}", f"process {me}: {_reason(error)}")
            client.wait_at_barrier(name, timeout_ms)
            self.broken = "; ".join(dict(client.key_value_dir_get(f"{name}/")).values())
        if self.broken:
            raise OSError(self.broken)

    def _finish(self):
        """Runs in the saving thread of process 0 before the checkpoint is renamed."""
        write_sums(self.writing)
        for step, path in self._called(DAMAGED).items():
            if step <= int(self.writing.stem):
                shutil.rmtree(path, ignore_errors=True)

    def _called(self, suffix):
        """{step: folder} of the folders named by a step and this suffix."""
        paths = [path for path in self.folder.iterdir() if path.suffix == suffix]
        return {int(path.stem): path for path in paths if path.stem.isdigit()}

    def _fault(self, step, sums):
        """A description of the damage in this process's share of a checkpoint, or ""."""
        root, name = self.folder / str(step), METADATA
        try:
            if json.loads((root / name).read_bytes()).get("custom_metadata") != WITH_SUMS:
                return ""  # an older checkpoint without checksums
            name = SUMS
            files = json.loads((root / name).read_bytes()).items()
            share = slice(jax.process_index(), None, jax.process_count())
            for name, (size, crc) in sorted(files, key=lambda file: file[1])[share]:
                here = (root / name).stat().st_size
                if here != size:
                    return f"{name} has {here} bytes, not {size}"
                if sums and checksum(root / name) != crc:
                    return f"{name} does not match its checksum"
        except FileNotFoundError:
            return f"{name} is missing"
        except (OSError, ValueError, TypeError, AttributeError):
            return f"{name} cannot be read"
        return ""

    def _read(self, step, shapes):
        """(step, state, order). Processes read independently: none waits for another."""
        raise_everywhere(partial(self._compare, step, shapes))
        root, me, args = self.folder / str(step), jax.process_index(), self.ocp.args
        alone = self.ocp.options.MultiprocessingOptions(me, {me}, f"process_{me}")
        handler = self.ocp.CompositeCheckpointHandler()
        items = {"state": args.StandardRestore(shapes)}
        if (root / "order").exists():
            items["order"] = args.ArrayRestore()
        with self.ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
            read = partial(reader.restore, root, args=args.Composite(**items))
            read = partial(self._guarded, read, f"read the checkpoint {step} in")
            found = raise_everywhere(read)
        return step, found["state"], found["order"] if "order" in items else None

    def _report(self, found):
        """Prints unusable checkpoints and the one used instead; raises if there is none."""
        words = [f"checkpoint {s} is damaged: {why}" for s, why in self.faults.items()]
        if words and found is None:
            raise ValueError(
                f"no checkpoint in {self.folder} is intact: {'; '.join(words)}; restore a "
                f"copy of one there, or remove the folder to restart this stage"
            )
        last = -1 if found is None else found[0]
        newer = sorted(step for step in self._called(PARTIAL) if step > last)
        words += [f"checkpoint {step} is unfinished" for step in newer]
        if words and jax.process_index() == 0:
            rest = f"resuming from {last}" if found else "there is no other"
            print(f"jssl: {self.folder}: {'; '.join(words)}; {rest}", file=sys.stderr)

    def _room_for(self, state):
        """Raises if the disk is full: orbax's threads would print a traceback each."""
        needed = size_of(state)  # of all processes
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            sizes = f"{needed / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free"
            full = os.strerror(errno.ENOSPC)
            raise OSError(f"{full}: {sizes}; free some space and run again to resume")

    def _guarded(self, work, what="save a checkpoint in"):
        try:
            return work()
        except Exception as error:  # orbax and tensorstore raise many kinds
            raise OSError(f"could not {what} {self.folder}: {_reason(error)}") from error

    def _compare(self, step, shapes):
        """Raises a one-line error if the model differs; orbax's has hundreds of lines."""
        with self.ocp.StandardCheckpointer() as reader:
            saved = reader.metadata(self.folder / str(step) / "state").item_metadata
        if differs := difference(getattr(saved, "tree", saved), shapes):
            path, there, here = differs
            raise ValueError(
                f"the checkpoint in {self.folder} is of another model: {path} is {there} "
                f"there and {here} here; use the knobs it was made with, or another "
                f"--workdir"
            )


def size_of(state: Any) -> int:
    """Bytes of a checkpoint of a state, or of its ShapeDtypeStructs."""
    return sum(x.size * x.dtype.itemsize + BLOCKS for x in jax.tree.leaves(state))


def difference(there: Any, here: Any) -> tuple[str, str, str] | None:
    """The first leaf that differs in shape or dtype: its path, it there, it here; or None.

    >>> difference({"w": np.zeros(3)}, {"w": np.zeros(2)})
    ('w', 'float64[3]', 'float64[2]')
    """
    name = partial(jax.tree_util.keystr, simple=True, separator="/")
    flat = jax.tree_util.tree_leaves_with_path
    leaves = lambda tree: {name(p): f"{x.dtype}{[*x.shape]}" for p, x in flat(tree)}
    old, new = leaves(there), leaves(here)
    for path in itertools.chain(new, old):
        if old.get(path) != new.get(path):
            return path, old.get(path, "absent"), new.get(path, "absent")
    return None


def write_sums(folder: Path) -> None:
    """Writes sums.json for all files below a folder, reusing those in its subfolders."""
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
    """CRC-32 of a file."""
    with open(path, "rb") as file:
        blocks = iter(partial(file.read, 2**20), b"")
        return reduce(lambda crc, block: zlib.crc32(block, crc), blocks, 0)


def _reason(error):
    """An error as one line of text; for disk errors, the system's message alone."""
    text = str(error).strip() or type(error).__name__
    own = isinstance(error, OSError) and error.errno is None  # raised here, already clear
    disk = [os.strerror(code) for code in DISK if os.strerror(code) in text and not own]
    return disk[0] if disk else text.splitlines()[0][:200]
