"""Saving a state, and going on from the last one saved, through orbax."""

import errno
import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

BLOCKS = 8192  # what a leaf costs in orbax's own files, bytes (two blocks of a file system)


class Checkpoints:
    """The checkpoints of one stage: saved off the critical path, atomically, newest kept.

    Beside the state stands the `order` that the stream follows, where a method gave one.
    """

    def __init__(self, folder: Path, keep: int = 2):
        import orbax.checkpoint as ocp

        self.ocp = ocp
        self.folder = Path(folder).absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self.manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, step: int, state: Any, order: np.ndarray | None = None) -> None:
        """Begins to save; the next call, or leaving, waits for it and reports failure."""
        if step in self.manager.all_steps():
            return
        self._room_for(state)
        items = {"state": self.ocp.args.StandardSave(state)}
        if order is not None:
            items["order"] = self.ocp.args.ArraySave(np.asarray(order))
        self._guarded(
            lambda: self.manager.save(step, args=self.ocp.args.Composite(**items))
        )

    def latest(self, shapes: Any) -> tuple[int, Any, np.ndarray | None] | None:
        """(step, state, order) of the newest checkpoint, or None.

        Args:
          shapes: ShapeDtypeStructs of the state, with the shardings it is to have.

        Raises:
          ValueError: when the checkpoint holds another model, naming the first leaf.
        """
        step = self.manager.latest_step()
        if step is None:
            return None
        names = {p.name for p in (self.folder / str(step)).iterdir()}
        items = {"state": self.ocp.args.StandardRestore(shapes)}
        if "order" in names:
            items["order"] = self.ocp.args.ArrayRestore()
        self._compare(step, shapes)
        found = self.manager.restore(step, args=self.ocp.args.Composite(**items))
        return step, found["state"], found["order"] if "order" in names else None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        """Waits for what is being saved; its failure does not hide an earlier one."""
        try:
            self._guarded(self.manager.wait_until_finished)
        except OSError:
            if kind is None:
                raise
        finally:
            self.manager.close()

    def _room_for(self, state):
        """Orbax's threads meet a full disk with a traceback each: look before they leap."""
        leaves = jax.tree.leaves(state)
        shards = [shard for leaf in leaves for shard in leaf.addressable_shards]
        own = sum(shard.data.nbytes for shard in shards if shard.replica_id == 0)
        wanted, free = own + BLOCKS * len(leaves), shutil.disk_usage(self.folder).free
        if wanted > free:
            raise OSError(
                f"could not save a checkpoint in {self.folder}: "
                f"{os.strerror(errno.ENOSPC)}: it wants {wanted / 1e6:.1f} MB and "
                f"{free / 1e6:.1f} MB are free; make room and run again to go on"
            )

    def _guarded(self, work):
        try:
            work()
        except Exception as error:  # orbax and tensorstore raise many kinds
            said, full = str(error).strip(), os.strerror(errno.ENOSPC)
            reason = full if full in said else said.splitlines()[0][:200]
            raise OSError(
                f"could not save a checkpoint in {self.folder}: {reason}"
            ) from error

    def _compare(self, step, shapes):
        """Says in one line what orbax would say in hundreds."""
        with self.ocp.StandardCheckpointer() as reader:
            saved = reader.metadata(self.folder / str(step) / "state").item_metadata
        there, here = (
            _leaves(saved.tree if hasattr(saved, "tree") else saved),
            _leaves(shapes),
        )
        for path in itertools.chain(here, there):
            if there.get(path) != here.get(path):
                raise ValueError(
                    f"the checkpoint in {self.folder} is of another model: {path} is "
                    f"{there.get(path, 'absent')} there and {here.get(path, 'absent')} "
                    f"here; give the knobs it was made with, or another --workdir"
                )


def _leaves(tree):
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(
            path, simple=True, separator="/"
        ): f"{leaf.dtype}{[*leaf.shape]}"
        for path, leaf in flat
    }
